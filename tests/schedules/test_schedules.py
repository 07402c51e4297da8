"""Schedules against their closed forms in NumPy, by epoch and by step; in programs, names and JSON."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError
from jaxvae.models import MLP, VAE
from jaxvae.objectives import ELBO, Context
from jaxvae.optimisers import EMA, Adam, Clip
from jaxvae.parts import Number, part, traced
from jaxvae.runs import criterion
from jaxvae.runs.history import best, history_entry
from jaxvae.schedules import (
    Cosine,
    Cyclical,
    EachStep,
    Exponential,
    Linear,
    Stages,
    after_last_step,
    at_epoch,
    at_step,
    has_schedule,
)
from jaxvae.study.study import FOLDER
from jaxvae.training import engine, make_mesh, run_mesh
from jaxvae.training.sweep import sweep
from tests.classic import classic

SHAPE = (28, 28)
T = np.arange(40)


def cosine(t, length, warm_up, initial, final):
    falling = final + (initial - final) * (1 + np.cos(np.pi * np.minimum(t - warm_up, length - warm_up)
                                                      / (length - warm_up))) / 2  # fmt: skip
    return np.where(t < warm_up, initial * (t + 1) / (warm_up + 1), falling)


CLOSED = {
    "linear": (Linear(0.0, 1.0, 10), np.clip(T / 10, 0, 1)),
    "linear, down, later": (Linear(4.0, 0.5, 7, after=5), np.interp(T, [5, 12], [4.0, 0.5])),
    "cyclical": (
        Cyclical(20, cycles=4),
        np.where(T >= 20, 1.0, np.minimum(1.0, (T % 5) / 5 / 0.5)),
    ),
    "cyclical, uneven": (
        Cyclical(32, cycles=3, rising=0.25, initial=0.5, final=2.0),
        np.where(T >= 32, 2.0, 0.5 + 1.5 * np.minimum(1.0, (T / (32 / 3) % 1) / 0.25)),
    ),
    "cosine": (Cosine(1e-3, 15), cosine(T, 15, 0, 1e-3, 0.0)),
    "cosine, warmed up": (Cosine(0.5, 30, final=0.1, warm_up=6), cosine(T, 30, 6, 0.5, 0.1)),
    "exponential": (Exponential(2.0, 8, factor=0.3), 2.0 * 0.3 ** (T / 8)),
    "stages": (Stages(1.0), 10 ** (-np.searchsorted([1, 4, 13, 40], T, "right") / 7)),
}


@pytest.mark.parametrize("case", CLOSED)
def test_by_epoch_a_schedule_is_its_closed_form(case):
    """t epochs lie behind epoch t + 1; before training the first epoch's value holds."""
    schedule, expected = CLOSED[case]
    run = RunConfig(VAE(2, MLP()), ELBO(schedule))
    found = [run.program(SHAPE, epoch, steps=7).objective.beta for epoch in range(len(T) + 1)]
    np.testing.assert_allclose(found[1:], expected, rtol=1e-6, atol=1e-7)
    assert found[0] == found[1]


@pytest.mark.parametrize("case", [case for case in CLOSED if case != "stages"])
def test_by_step_a_schedule_is_its_closed_form(case):
    """Over epochs of eight steps, t steps lie behind each; evaluation has an epoch's last number."""
    schedule, expected = dataclasses.replace(CLOSED[case][0], by="step"), CLOSED[case][1]
    run = RunConfig(VAE(2, MLP()), ELBO(schedule))
    programs = [run.program(SHAPE, 1 + t // 8, steps=8) for t in range(len(T))]
    found = [at_step(program, t).objective.beta for t, program in enumerate(programs)]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    for epoch in range(1, 6):
        last = 8 * epoch - 1
        assert after_last_step(programs[last]).objective.beta == pytest.approx(expected[last])
    before = run.program(SHAPE, 0, steps=8).objective.beta
    np.testing.assert_allclose(before.values, np.full(8, expected[0]), rtol=1e-6, atol=1e-7)


def test_a_users_schedule_counts_what_it_says():
    @part("schedule/of-tests-squares")
    class Squares:
        by: str = "epoch"

        def at(self, count):
            return count**2

    for by, expected in (("epoch", 9.0), ("step", [81.0, 100.0, 121.0, 144.0])):
        found = RunConfig(VAE(2, MLP()), ELBO(Squares(by))).program(SHAPE, 3, steps=4).objective.beta
        np.testing.assert_array_equal(found.values if by == "step" else found, expected)


# ── in programs ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_structures_tell_by_step_from_by_epoch_and_nothing_else():
    def structure(beta, rate=1e-3):
        return classic(beta=beta, learning_rate=rate).structure

    plain = structure(1.0)
    assert plain == structure(Linear(0, 1, 5)) == structure(Cyclical(20), Cosine(1e-3, 9))
    stepped = structure(Linear(0, 1, 50, by="step"))
    assert plain != stepped == structure(Cyclical(20, by="step"))
    assert stepped != structure(1.0, Cosine(1e-3, 9, by="step"))


def test_a_model_s_and_a_nested_part_s_fields_have_schedules_too():
    @part("likelihood/of-tests-scheduled")
    class Scaled:
        scale: Number = traced(default=1.0)

    one = Scaled(Linear(2, 1, 4))
    assert has_schedule(one)
    assert not has_schedule(Scaled())
    assert at_epoch(one, 3).scale == 1.5
    assert isinstance(at_epoch(Scaled(Linear(2, 1, 4, by="step")), 3, 6).scale, EachStep)


@pytest.mark.slow
def test_a_run_s_model_has_the_numbers_of_its_last_epoch():
    """Which its likelihoods are computed with."""

    @part("likelihood/of-tests-sharpening")
    class Sharpening:
        scale: Number = traced(default=1.0)

        measure = "density"

        def outputs(self, shape):
            return shape

        def log_prob(self, params, out, x):
            terms = -jnp.abs(x - out) / self.scale - jnp.log(2 * self.scale)
            return terms.reshape(len(terms), -1).sum(-1)

        def mean(self, params, out):
            return out

        def sample(self, params, key, out):
            return out + self.scale * jax.random.laplace(key, out.shape)

    x = np.random.default_rng(0).normal(size=(60, 5))
    for by, final in (("epoch", 1 - 0.5 / 2), ("step", 1 - 9 * 0.05)):
        schedule = Linear(1.0, 0.5, 2) if by == "epoch" else Linear(1.0, 0.0, 20, by="step")
        vae = VAE(2, MLP((4,)), likelihood=Sharpening(schedule))
        run = jaxvae.fit(x, vae, epochs=2, batch_size=10, standardize=False, quiet=True)
        assert len(run.data.train_images) // 10 == 5
        assert float(run.vae.likelihood.scale) == pytest.approx(final)
        fixed = dataclasses.replace(run.config, vae=dataclasses.replace(vae, likelihood=Sharpening(final)))
        other = dataclasses.replace(run, config=fixed)
        np.testing.assert_allclose(run.log_likelihood(x, 20), other.log_likelihood(x, 20), rtol=1e-5)


@pytest.mark.slow
def test_a_batch_may_be_shared_among_devices(small):
    """With a clipped, averaged optimiser and numbers of each step: to rounding the run on one device."""
    run = classic(hidden=(8,), batch_size=20, epochs=2, beta=Linear(0, 1, 5, by="step"))
    run = dataclasses.replace(run, optimiser=EMA(Clip(Adam(), 5.0), 0.9))
    found = []
    for mesh in (run_mesh(jax.local_devices()[:1]), make_mesh("data=2")):
        found.append([])
        sweep([run], small, mesh=mesh, strategy="vmap", on_epoch=found[-1].append)
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one.test[:3], two.test[:3], rtol=1e-4)


def linear_step(program, state, images, context, shards=1):
    """What a spy in the engine's place sees of a program's β."""
    program = at_step(program, state.step)
    beta = program.objective.beta + jnp.zeros(())
    return state._replace(step=state.step + 1), engine.Losses(beta, beta**2, beta)


def test_each_step_of_an_epoch_has_its_number(monkeypatch):
    """Sum and sum of squares over two epochs, as a whole and in chunks of steps."""
    monkeypatch.setattr(engine, "train_step", linear_step)
    schedule = Linear(0, 1, 12, by="step")
    run, images = classic(beta=schedule, batch_size=10), jnp.zeros((60, *SHAPE), jnp.uint8)
    state = engine.init(run.program(SHAPE), 0)
    for epoch in (1, 2):
        expected = np.arange(6 * epoch - 6, 6 * epoch) / 12
        program = run.program(SHAPE, epoch, steps=6)
        order = engine.epoch_order(program, state, 60)
        chunk, _ = engine.train_steps(program, state, images, order[:2], Context(60))
        _, rest = engine.train_steps(program, chunk, images, order[2:], Context(60))
        np.testing.assert_allclose(rest.loss, expected[2:], rtol=1e-6)
        state, losses, _ = engine.train_epoch(program, state, images)
        assert float(losses.loss) == pytest.approx(expected.mean())
        assert float(losses.kl) == pytest.approx((expected**2).mean())


@pytest.mark.slow
def test_the_test_loss_has_the_number_of_the_last_step(small):
    """loss − reconstruction is β of the epoch's last step times KL; before training, that of the first one."""
    run = classic(hidden=(8,), batch_size=20, epochs=3, beta=Linear(0.5, 4, 6, by="step"))
    reports = []
    sweep([run], small, strategy="loop", on_epoch=reports.append)
    for report in reports:
        beta = 0.5 + 3.5 * min(1.0, max(0, 3 * report.epoch - 1) / 6)
        expected = float(report.test.reconstruction) + beta * float(report.test.kl)
        assert float(report.test.loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_nothing_is_compiled_after_the_first_epoch(strategy, small):
    compiled, after_first = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration, **_: compiled.append(event) if "backend_compile" in event else None
    )

    def on_epoch(report):
        if report.epoch > 1:
            after_first.extend(compiled)
        compiled.clear()

    run = classic(latent_dim=3, hidden=(7,), batch_size=20, epochs=4, learning_rate=Cosine(1e-3, 9, by="step"))
    try:
        sweep([run], small, strategy=strategy, on_epoch=on_epoch)
        assert after_first == []
    finally:
        jax.monitoring.clear_event_listeners()


@pytest.mark.slow
def test_lanes_with_schedules_are_the_solo_runs_and_share_a_program(small):
    betas = [Linear(0, 1, 6, by="step"), Cyclical(12, by="step"), Linear(3, 1, 4, by="step")]
    runs = [classic(latent_dim=2 + i, hidden=(8,), batch_size=10, epochs=2, beta=beta) for i, beta in enumerate(betas)]
    found = {}
    for strategy in ("loop", "vmap"):
        rows = found[strategy] = {}
        sweep(runs, small, strategy=strategy, on_epoch=lambda r, rows=rows: rows.update({(r.run.name, r.epoch): r}))
    for key, solo in found["loop"].items():
        lane = found["vmap"][key]
        assert len(lane.lane_runs) >= 2
        np.testing.assert_allclose(lane.test[:3], solo.test[:3], rtol=1e-4)


def test_a_run_taken_up_again_ends_to_the_bit_as_if_never_interrupted(small):
    run = classic(hidden=(8,), batch_size=20, epochs=3, beta=Linear(0, 1, 7, by="step"))
    whole = sweep([run], small, strategy="loop")[run.name]
    first = sweep([dataclasses.replace(run, epochs=1)], small, strategy="loop")
    again = sweep([run], small, strategy="loop", states=first)[run.name]
    jax.tree.map(np.testing.assert_array_equal, whole.params, again.params)


# ── which epoch is the best ──────────────────────────────────────────────────────────────────────────────────────────


def test_epochs_are_compared_by_the_elbo_where_the_loss_changes_with_them(small):
    """The first epoch's loss is without KL; its −ELBO is not."""
    warmed, plain = (
        classic(hidden=(8,), batch_size=20, epochs=2, beta=beta, learning_rate=0.01) for beta in (Linear(0, 1, 2), 4.0)
    )
    for run in (warmed, plain):
        reports = []
        sweep([run], small, strategy="loop", on_epoch=reports.append)
        history = json.loads(json.dumps([history_entry(report) for report in reports]))
        tests = [entry["test"] for entry in history]
        expected = [t["reconstruction"] + t["kl"] for t in tests] if run is warmed else [t["loss"] for t in tests]
        assert [criterion(entry) for entry in history] == pytest.approx(expected)
        assert best(history) == int(np.argmin(expected))
    assert "criterion" not in history[0]
    assert not has_schedule(Adam())


# ── checks, names and JSON ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Linear(0, 1, 0), "schedule/linear: length must be above 0, not 0"),
        (lambda: Linear(0, -1, 3), "schedule/linear: final must be a finite number of at least 0"),
        (lambda: Linear(0, 1, 3, after="late"), "schedule/linear: after must be a finite number"),
        (lambda: Linear(0, 1, 3, by="batch"), "schedule/linear: by must be one of epoch, step, not 'batch'"),
        (lambda: Cyclical(10, cycles=0), "schedule/cyclical: cycles must be a whole number of at least 1"),
        (lambda: Cyclical(10, rising=1.5), "schedule/cyclical: rising must be at most 1, not 1.5"),
        (lambda: Cosine(1.0, 5, warm_up=5), "schedule/cosine: warm_up must be a finite number of at least 0 and below"),
        (lambda: Exponential(1.0, 5, factor=2.0), "schedule/exponential: factor must be at most 1, not 2.0"),
    ],
)
def test_what_no_schedule_can_be_is_refused_in_one_line(make, says):
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        RunConfig(VAE(2, MLP()), ELBO(make()))
    assert "\n" not in str(caught.value)


def test_runs_with_schedules_have_names_of_their_own_and_come_back_from_json():
    schedules = [
        Linear(0, 1, 5), Linear(0.1, 5, 5), Linear(0, 1, 5, after=1), Linear(0, 1, 5, by="step"), Linear(0, 1.5, 5),
        Cyclical(5), Cyclical(5, 3), Cyclical(5, rising=0.3), Cyclical(5, initial=0.3), Cyclical(5, final=0.3),
        Cosine(0.1, 5), Cosine(0.1, 5, 0.01), Cosine(0.1, 5, warm_up=1), Exponential(0.1, 5), Exponential(0.1, 5, 0.1),
        Exponential(0.1, 1000), Stages(0.1), 0.1,
    ]  # fmt: skip
    runs = [classic(beta=one, learning_rate=other) for one in schedules for other in schedules]
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        assert FOLDER.fullmatch(run.name)
        assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run
    assert classic(beta=Linear(0, 1, 10)).name == "linear-2-betalinear.from0.to1.over10"
