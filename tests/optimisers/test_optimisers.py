"""Optimisers against Optax by itself and against formulas in NumPy; averages, clipping; in lanes, folders and texts."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvae
from jaxvae.commands.grid import requested_runs
from jaxvae.commands.sweep import parser
from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError
from jaxvae.models import MLP, VAE, Gaussian
from jaxvae.naming import parsed
from jaxvae.objectives import Context
from jaxvae.optimisers import EMA, SGD, Adam, AdamW, Clip, Lion, Muon
from jaxvae.schedules import Cosine, Linear
from jaxvae.study.study import FOLDER
from jaxvae.training import engine, run_mesh
from jaxvae.training.sweep import sweep
from tests.classic import classic

PARAMS = {
    "encoder": {"kernel": jax.random.normal(jax.random.key(0), (6, 4)), "bias": jnp.ones(4)},
    "prior": {"mean": jax.random.normal(jax.random.key(1), (3, 2))},
}
GRADIENTS = [jax.tree.map(lambda p, i=i: jnp.sin(7 * p + i), PARAMS) for i in range(6)]
ALL = [
    AdamW(3e-3, 0.1), Lion(1e-3), SGD(1e-4, 0.5, 0.01), SGD(1e-4, 0.5, nesterov=True), Muon(1e-3), Clip(Adam(), 5.0),
    EMA(Adam(), 0.9), EMA(Clip(AdamW(), 5.0), 0.99),
]  # fmt: skip


def words(optimiser):
    return RunConfig(VAE(2, MLP()), optimiser=optimiser).name


def steps(optimiser, params=PARAMS):
    """Parameters and states after each step, and before the first; numbers are traced, as in a program."""
    update = jax.jit(lambda optimiser, *given: optimiser.update(*given))
    found = [(params, optimiser.init(params))]
    for gradients in GRADIENTS:
        params, state = update(optimiser, gradients, found[-1][1], found[-1][0])
        found.append((params, state))
    return found


def assert_close(one, other, **how):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **({"rtol": 1e-4, "atol": 1e-6} | how)), one, other)


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("optimiser", "transformation"),
    [
        (Adam(0.01, b1=0.8), optax.adam(0.01, b1=0.8)),
        (AdamW(0.01, 0.3, 0.8, 0.99), optax.adamw(0.01, 0.8, 0.99, weight_decay=0.3)),
        (Lion(0.01, 0.3, 0.8, 0.95), optax.lion(0.01, 0.8, 0.95, weight_decay=0.3)),
        (SGD(0.1, 0.7), optax.sgd(0.1, 0.7)),
        (SGD(0.1, 0.7, nesterov=True), optax.sgd(0.1, 0.7, nesterov=True)),
        (Clip(SGD(0.1, 0.7), 1.5), optax.chain(optax.clip_by_global_norm(1.5), optax.sgd(0.1, 0.7))),
    ],
    ids=lambda one: getattr(one, "part_label", ""),
)
def test_steps_are_optax_s(optimiser, transformation):
    params, state = PARAMS, transformation.init(PARAMS)
    for gradients, (found, _) in zip(GRADIENTS, steps(optimiser)[1:], strict=True):
        change, state = transformation.update(gradients, state, params)
        params = optax.apply_updates(params, change)
        assert_close(found, params)


def test_steps_are_an_independent_calculation():
    """AdamW, Lion and SGD of one number in NumPy, double precision."""
    g = np.array([float(gradients["encoder"]["kernel"][0, 0]) for gradients in GRADIENTS])
    start = float(PARAMS["encoder"]["kernel"][0, 0])

    def adamw(p, m=0.0, v=0.0):
        for t, one in enumerate(g, 1):
            m, v = 0.8 * m + 0.2 * one, 0.99 * v + 0.01 * one**2
            p = p - 0.01 * (m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8) + 0.3 * p)
            yield p

    def lion(p, m=0.0):
        for one in g:
            p = p - 0.01 * (np.sign(0.8 * m + 0.2 * one) + 0.3 * p)
            m = 0.95 * m + 0.05 * one
            yield p

    def sgd(p, v=0.0):
        for one in g:
            v = 0.7 * v + one
            p = p - 0.1 * (v + 0.2 * p)
            yield p

    def nesterov(p, v=0.0):
        for one in g:
            v = 0.7 * v + one
            p = p - 0.1 * (one + 0.7 * v)
            yield p

    for optimiser, expected in (
        (AdamW(0.01, 0.3, 0.8, 0.99), adamw), (Lion(0.01, 0.3, 0.8, 0.95), lion), (SGD(0.1, 0.7, 0.2), sgd),
        (SGD(0.1, 0.7, nesterov=True), nesterov),
    ):  # fmt: skip
        found = [float(params["encoder"]["kernel"][0, 0]) for params, _ in steps(optimiser)[1:]]
        np.testing.assert_allclose(found, [*expected(start)], rtol=1e-4)


def test_muon_s_steps_of_matrices_are_orthogonal_and_as_large_as_adam_s():
    """Newton and Schulz's iteration leaves singular values between 0.5 and 1.5 (Jordan et al. 2024); a step's numbers
    are those of 0.2 rates, and what is no network's matrix is Adam's with Nesterov's momentum."""
    (before, _), (after, _) = steps(Muon(0.01))[:2]
    moved = np.asarray(before["encoder"]["kernel"] - after["encoder"]["kernel"]) / (0.01 * 0.2 * np.sqrt(6))
    assert (np.abs(np.linalg.svd(moved)[1] - 1) < 0.5).all()
    left, _, right = np.linalg.svd(np.asarray(GRADIENTS[0]["encoder"]["kernel"]), full_matrices=False)
    assert np.trace(left.T @ moved @ right.T) / 4 > 0.6  # along the gradient's own polar factor
    for path in (("encoder", "bias"), ("prior", "mean")):
        step = before[path[0]][path[1]] - after[path[0]][path[1]]
        signs = np.sign(GRADIENTS[0][path[0]][path[1]])
        np.testing.assert_allclose(step, 0.01 * (1 + 0.9 * 0.1 / (1 - 0.9**2)) * signs, rtol=1e-3)


@pytest.mark.parametrize("norm", [0.5, 3.0, 1e6])
def test_clipped_gradients_have_at_most_the_norm_and_their_direction(norm):
    (before, _), (after, _) = steps(Clip(SGD(1.0, 0.0), norm))[:2]
    moved = np.concatenate([np.ravel(a - b) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)])
    gradient = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(GRADIENTS[0])])
    size = np.linalg.norm(gradient)
    assert 0.5 < 3.0 < size < 1e6
    np.testing.assert_allclose(moved, gradient * min(1.0, norm / size), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.9, 0.9999])
def test_averaged_parameters_are_their_closed_form(decay):
    """Σ d^(t−i) p_i · (1 − d)/(1 − d^t), double precision, of what the optimiser within gives by itself."""
    found, plain = steps(EMA(SGD(0.1, 0.5), decay)), [params for params, _ in steps(SGD(0.1, 0.5))]
    optimiser = EMA(SGD(0.1, 0.5), decay)
    for t, (params, state) in enumerate(found):
        assert_close(params, plain[t], rtol=1e-6)
        average = optimiser.evaluation_params(params, state)
        weights = decay ** np.arange(t - 1, -1, -1.0) if t else np.ones(1)
        own = plain[1 : t + 1] if t else plain[:1]
        expected = jax.tree.map(
            lambda *each, w=weights: np.tensordot(w / w.sum(), np.asarray(each, np.float64), 1), *own
        )
        assert_close(average, expected, rtol=1e-5)


@pytest.mark.slow
def test_what_a_likelihood_sets_by_itself_is_in_no_norm():
    """The gradient of a Gaussian's optimal scale is large at first; it is not the optimiser's."""
    vae = VAE(2, MLP((8,)), likelihood=Gaussian("optimal"))
    program = RunConfig(vae, optimiser=Clip(SGD(1.0, 0.0), 1.0)).program((3,))
    state, x = engine.init(program, 0), 5 * jax.random.normal(jax.random.key(1), (20, 3))
    after, _ = engine.train_step(program, state, x, Context(20))
    moved = [after.params[part] for part in ("encoder", "decoder")], [state.params[p] for p in ("encoder", "decoder")]
    assert float(optax.tree.norm(jax.tree.map(jnp.subtract, *moved))) == pytest.approx(1.0, rel=1e-4)


# ── in runs ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def of(optimiser, latent_dim=2, epochs=2, **more):
    run = classic("linear", latent_dim, hidden=(8,), batch_size=10, epochs=epochs, **more)
    return dataclasses.replace(run, optimiser=optimiser)


@pytest.mark.slow
def test_evaluation_and_reconstruction_are_of_the_averages(small):
    run, reports = of(EMA(Adam(0.01), 0.99)), []
    sweep([run], small, strategy="loop", on_epoch=reports.append, probes=small.test_images[:5])
    images, program = jnp.asarray(small.test_images), run.program((28, 28))
    plain = dataclasses.replace(program, optimiser=Adam())
    for report in reports:
        average = report.state.opt_state.average
        state = report.state._replace(params=average)
        expected = jax.jit(engine.evaluate)(plain, state, images, jnp.int32(report.epoch))
        np.testing.assert_allclose(report.test[:3], expected[:3], rtol=1e-6)
        pictures = engine.reconstruct(program.vae, average, images[:5])
        assert np.abs(report.reconstructions.astype(int) - np.asarray(pictures).astype(int)).max() <= 1
    raw = jax.jit(engine.evaluate)(plain, reports[-1].state, images, jnp.int32(2))
    assert abs(float(raw.loss) / float(reports[-1].test.loss) - 1) > 0.01


@pytest.mark.slow
def test_a_run_s_parameters_are_the_averages_in_memory_and_from_its_folder(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 5))
    how = {"latent_dim": 2, "optimiser": EMA(Adam(0.01), 0.9), "epochs": 2, "quiet": True}
    here, kept = jaxvae.fit(x, **how), jaxvae.fit(x, out=tmp_path / "runs", **how)
    jax.tree.map(np.testing.assert_array_equal, here.params, here.state.opt_state.average)
    jax.tree.map(np.testing.assert_array_equal, here.params, kept.params)
    apart = jax.tree.map(
        lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), here.params, here.state.params
    )
    assert max(jax.tree.leaves(apart)) > 1e-3
    assert jaxvae.load(here.save(tmp_path / "saved")).config == here.config


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ALL, ids=words)
def test_a_run_taken_up_again_ends_to_the_bit_as_if_never_interrupted(optimiser, small, tmp_path):
    """From a checkpoint, through which the optimiser's state goes."""
    whole = sweep([of(optimiser)], small, strategy="loop")
    for epochs in (1, 2):
        jaxvae.study.Study(tmp_path, [of(optimiser, epochs=epochs)], small).train("loop", quiet=True)
    state = jaxvae.runs.checkpoint.read(tmp_path / of(optimiser).name, 2).state
    for one, other in zip(
        *map(jax.tree.leaves, ((s.params, s.opt_state) for s in (*whole.values(), state))), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", ALL, ids=words)
def test_a_vmapped_lane_is_the_solo_run(optimiser, small):
    """Of another latent size, rate and decay each; muon's are of one size, as its steps depend on it."""
    inner = optimiser
    while hasattr(inner, "optimiser"):
        inner = inner.optimiser
    rate = inner.learning_rate

    def with_rate(part, rate):
        if hasattr(part, "optimiser"):
            return dataclasses.replace(part, optimiser=with_rate(part.optimiser, rate))
        return dataclasses.replace(part, learning_rate=rate)

    runs = [of(with_rate(optimiser, rate * (1 + i)), 2 + 3 * i, 1, seed=i) for i in range(2)]
    if isinstance(optimiser, Muon):
        assert runs[0].structure != runs[1].structure
        runs = [dataclasses.replace(run, vae=runs[0].vae) for run in runs]
    assert runs[0].structure == runs[1].structure
    found, states = {}, {}
    for strategy in ("loop", "vmap"):
        rows = found[strategy] = {}
        states[strategy] = sweep(
            runs, small, strategy=strategy, mesh=run_mesh(jax.local_devices()[:1]),
            on_epoch=lambda r, rows=rows: rows.update({(r.run.name, r.epoch): r}),
        )  # fmt: skip
    for key, solo in found["loop"].items():
        assert len(found["vmap"][key].lane_runs) == 2
        np.testing.assert_allclose(found["vmap"][key].test[:3], solo.test[:3], rtol=2e-4)
    for run in runs:
        both = [jax.tree.leaves((states[s][run.name].params, states[s][run.name].opt_state)) for s in ("loop", "vmap")]
        for a, b in zip(*both, strict=True):
            # where a gradient is mere rounding, so is the sign of a step that has the size of the rate
            assert np.quantile(np.abs(np.asarray(a, np.float64) - np.asarray(b)), 0.99) < 1e-4 * max(1, np.abs(a).max())


def test_numbers_share_a_program_and_parts_do_not():
    one = of(AdamW(0.1, 0.2, 0.3, 0.4)).structure
    assert one == of(AdamW(Cosine(0.1, 5), 0.0), latent_dim=7).structure
    assert of(EMA(Clip(AdamW(), 5.0), 0.9)).structure == of(EMA(Clip(AdamW(0.1), 6.0), 0.99), latent_dim=7).structure
    assert of(Clip(Muon())).structure != of(Clip(Muon()), latent_dim=3).structure
    assert len({of(optimiser).structure for optimiser in ALL}) == len(ALL)


# ── names, JSON, texts ───────────────────────────────────────────────────────────────────────────────────────────────

NAMED = [
    *ALL, Adam(), Adam(0.1), Clip(), Clip(Adam(0.1)), Clip(SGD()), Clip(SGD(0.1)), Clip(SGD(), 5.0), EMA(Clip()),
    Clip(EMA()), EMA(Clip(SGD(0.5), 0.5)), EMA(Clip(SGD(0.5)), 0.5), Clip(Clip(SGD(0.5), 0.5)), Clip(Clip(Clip(SGD()))),
    Clip(Clip(Clip(Adam(), 5.0)), 1.0), Clip(Clip(Clip(Adam()), 5.0), 1.0), Clip(Clip(Clip(Adam())), 5.0),
    Clip(SGD(0.1, 0.3)), Clip(SGD(0.1), 0.3), AdamW(Linear(0.1, 0.2, 3)), Clip(AdamW(Linear(0.1, 0.2, 3), 0.3)),
    Clip(AdamW(Linear(0.1, 0.2, 3, after=0.3)), 7.0),
]  # fmt: skip


def test_names_are_one_to_one_and_json_comes_back():
    names = [words(optimiser) for optimiser in NAMED]
    assert len(set(names)) == len(set(NAMED))
    for optimiser, name in zip(NAMED, names, strict=True):
        assert FOLDER.fullmatch(name)
        run = RunConfig(VAE(2, MLP()), optimiser=optimiser)
        assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run
    assert words(Adam(0.1)) == "linear-2-lr0.1"
    assert words(Clip(SGD(0.1), 5.0)) == "linear-2-optimiser=clip.sgd.lr0.1-norm5"


def test_axes_tell_the_optimiser_and_the_one_within():
    axes = RunConfig(VAE(2, MLP()), optimiser=EMA(Clip(SGD(0.1), 5.0), 0.9)).axes
    told = {name: axes[name].value for name in axes}
    assert told["optimiser"] == "ema"
    assert (told["inner optimiser"], told["inner inner optimiser"]) == ("clip", "sgd")
    assert (told["learning_rate"], told["max_norm"], told["decay"]) == (0.1, 5.0, 0.9)


@pytest.mark.parametrize(
    ("text", "optimiser"),
    [
        ("adamw:weight_decay=0.1", AdamW(weight_decay=0.1)),
        ("clip:max_norm=5,optimiser=sgd(momentum=0.5,nesterov=true)", Clip(SGD(momentum=0.5, nesterov=True), 5)),
        ("ema:optimiser=clip(optimiser=adamw(0.1),max_norm=2)", EMA(Clip(AdamW(0.1), 2))),
        ("ema:optimiser=clip(lion,2)", EMA(Clip(Lion(), 2))),
        ("adam:learning_rate=cosine(0.001,15,warm_up=2)", Adam(Cosine(0.001, 15, warm_up=2))),
    ],
)
def test_a_text_is_a_part(text, optimiser):
    assert parsed("optimiser", text) == optimiser


def test_a_rate_beside_a_text_reaches_the_optimiser_within():
    for text in ("clip:optimiser=sgd", "ema:optimiser=clip(optimiser=sgd)"):
        found = parsed("optimiser", text, learning_rate=0.3)
        assert "sgd.lr0.3" in words(found)
    assert parsed("optimiser", "ema", learning_rate=0.3) == EMA(Adam(0.3))
    assert parsed("optimiser", "ema", learning_rate=None) == EMA()
    with pytest.raises(ConfigError, match=r"learning_rate is given twice: 0\.1 in 'sgd:0\.1', and 0\.3"):
        parsed("optimiser", "clip:optimiser=sgd(0.1)", learning_rate=0.3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clip:max_norm=5,optimiser=sgd(momentum=0.5", "has a bracket that does not open or does not close"),
        ("clip:optimiser=sgdd", "optimiser must be one of"),
        ("clip:optimiser=sgd(0.1,0.2,0.3,true,5)", "optimiser 'sgd:0.1,0.2,0.3,true,5' must be such as"),
        ("clip:optimiser=sgd(momentum=0.5,0.1)", "must be such as name:field=value"),
        ("clip:optimiser=sgd(0.1,learning_rate=0.2)", "optimiser sgd has learning_rate twice"),
        ("adam:learning_rate=cosin(1,2)", "learning_rate must be one of linear, cyclical"),
        ("adam:learning_rate=cosine(1)", "learning_rate cosine needs length: cosine(length=…)"),
        ("adam:learning_rate=cosine(1,length=2,over=3)", "learning_rate cosine has no field over; it has initial,"),
    ],
)
def test_what_no_text_of_a_part_is_is_told_in_one_line(text, says):
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        parsed("optimiser", text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AdamW(b1=1.0), "optimiser/adamw: b1 must be a finite number of at least 0 and below 1, not 1.0"),
        (
            lambda: AdamW(b2=Linear(0.9, 1.0, 5)),
            "schedule/linear: final must be a finite number of at least 0 and below",
        ),
        (lambda: SGD(momentum=2.0), "optimiser/sgd: momentum must be a finite number of at least 0 and below 1"),
        (lambda: SGD(nesterov="yes"), "optimiser/sgd: nesterov must be true or false, not 'yes'"),
        (lambda: EMA(decay=1.0), "optimiser/ema: decay must be a finite number of at least 0 and below 1"),
        (lambda: Clip(max_norm=-1.0), "optimiser/clip: max_norm must be a finite number of at least 0"),
        (lambda: Clip(3.0), "optimiser/clip: optimiser must be a part, not 3.0"),
        (lambda: Clip(Gaussian()), "optimiser/clip: optimiser must be a part of the kind optimiser"),
    ],
)
def test_what_no_optimiser_can_be_is_refused_in_one_line(make, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        RunConfig(VAE(2, MLP()), optimiser=make())


def test_rates_and_betas_on_the_command_line_may_be_schedules():
    def asked(*words):
        return requested_runs(parser().parse_args(["--architectures", "linear", "--latent-dims", "2", *words]))

    runs = asked("--betas", "1", "linear(0,1,length=10)", "--learning-rates", "cosine(0.001,15)", "0.001")
    assert [run.objective.beta for run in runs] == [1.0, 1.0, Linear(0, 1, 10), Linear(0, 1, 10)]
    assert [run.optimiser.learning_rate for run in runs] == [Cosine(0.001, 15), 0.001] * 2
    runs = asked("--optimiser", "clip:optimiser=adamw", "--learning-rates", "0.1", "0.2")
    assert [run.optimiser for run in runs] == [Clip(AdamW(0.1)), Clip(AdamW(0.2))]
    with pytest.raises(ConfigError, match=r"schedule must be one of linear, .* not 'lin'"):
        asked("--betas", "lin(0,1)")
