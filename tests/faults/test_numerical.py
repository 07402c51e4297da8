"""Runs that stop to be finite stop alone, and say where; extreme inputs work or are refused before training."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvae
from jaxvae.data.dataset import Dataset
from jaxvae.errors import ConfigError, InputError
from jaxvae.page import report
from jaxvae.runs import checkpoint
from jaxvae.runs.history import Divergence
from jaxvae.study import resume
from jaxvae.study.study import Study
from jaxvae.training import run_mesh
from jaxvae.training.sweep import sweep
from tests.classic import classic

pytestmark = pytest.mark.usefixtures("one_device")


def run(seed=0, latent_dim=2, **changes):
    """Three steps an epoch."""
    return classic("linear", latent_dim, **{"hidden": (8,), "batch_size": 20, "epochs": 4, "seed": seed, **changes})


BAD = run(seed=9, learning_rate=1e30)


def leaves(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state.params, state.opt_state, state.step))]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_a_run_that_diverges_stops_alone_and_leaves_the_others_their_bits(strategy, small):
    healthy, reports = [run(seed=0), run(seed=1, latent_dim=2 if strategy == "loop" else 5)], []
    without = sweep(healthy, small, strategy=strategy, mesh=run_mesh(jax.local_devices()[:1]))
    among = [healthy[0], BAD, healthy[1]]
    states = sweep(among, small, strategy=strategy, mesh=run_mesh(jax.local_devices()[:1]), on_epoch=reports.append)
    for name, state in without.items():
        assert leaves(states[name]) == leaves(state)
    own = [report for report in reports if report.run == BAD]
    assert [(report.epoch, report.diverged) for report in own] == [(0, None), (1, 2)]
    assert leaves(states[BAD.name]) == leaves(own[0].state)  # its last finite state
    assert [r.epoch for r in reports if r.run == healthy[0]] == [0, 1, 2, 3, 4]
    assert not any(r.diverged for r in reports if r.run != BAD)


def test_the_step_is_that_of_the_first_loss_that_is_not_finite(small):
    """Played back a step at a time with the engine's own step."""
    from jaxvae.objectives import Context
    from jaxvae.training import engine

    config, found = run(seed=3, learning_rate=4e17), []
    sweep([config], small, on_epoch=lambda report: found.append(report.diverged))
    program, images = config.program(small.shape, 1), jax.numpy.asarray(small.train_images)
    state, step = engine.init(program, config.seed), jax.jit(engine.train_step, static_argnames="context")
    steps = engine.steps_per_epoch(config.batch_size, len(images))
    for taken in range(config.epochs * steps):
        order = jax.random.permutation(engine.key_for(state, engine.Purpose.ORDER, taken // steps), len(images))
        batch = engine.to_float(images[order.reshape(steps, -1)[taken % steps]])
        state, losses = step(program, state, batch, context=Context(len(images)))
        if not np.isfinite(losses.loss):
            break
    assert found[-1] == taken + 1


def test_a_state_that_is_not_finite_counts_though_its_losses_are(small):
    """Squared gradients of a huge KL term overflow: Adam would stand still for good."""
    found = []
    sweep([run(beta=1e30, epochs=1)], small, on_epoch=found.append)
    assert found[1].diverged == 3  # the epoch's last step, as no loss tells which
    assert np.isfinite(jax.tree.leaves((found[1].train, found[1].test))).all()


@pytest.fixture(scope="module")
def diverged(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diverged") / "sweep"
    study, printed = Study(folder, [run(), BAD], small), io.StringIO()
    with contextlib.redirect_stdout(printed):
        study.train("vmap", quiet=True)
        study.write(0.0)
    return folder, study, printed.getvalue()


def test_every_table_and_the_page_say_where(diverged):
    folder, _, printed = diverged
    assert "0, then diverged in epoch 1, step 2" in printed
    mark = {"epoch": 1, "step": 2}
    rows = [row for row in csv.DictReader((folder / "metrics.csv").read_text().splitlines()) if row["run"] == BAD.name]
    assert [(row["epoch"], row["split"], row["loss"]) for row in rows[1:]] == [("1", "diverged at step 2", "nan")]
    results = {row["name"]: row.get("diverged") for row in json.loads((folder / "sweep.json").read_text())["results"]}
    assert results == {run().name: None, BAD.name: mark}
    assert json.loads((folder / "claims.json").read_text())["diverged"] == {BAD.name: mark}
    assert json.loads((folder / "digits.json").read_text())["runs"][BAD.name]["diverged"] == mark
    assert json.loads((folder / BAD.name / "metrics.jsonl").read_text().splitlines()[-1]) == {"diverged": mark}
    assert (folder / report.PAGE).read_text(encoding="utf-8").count("diverged in epoch 1, step 2") == 1
    assert jaxvae.load(folder / BAD.name).diverged == Divergence(1, 2)


def test_runs_that_diverged_are_no_conflict_with_themselves(diverged, small, tmp_path):
    folder, study, _ = diverged
    found = resume.past_of_runs(folder, study.runs, study.about, print)
    assert found[BAD.name].diverged == Divergence(1, 2)
    other = Study(folder, study.runs, small._replace(train_images=255 - small.train_images)).about
    with pytest.raises(InputError, match=r"dataset \w{12} there, \w{12} now"):
        resume.past_of_runs(folder, study.runs, other, print)
    slower = dataclasses.replace(BAD, batch_size=30)
    with pytest.raises(InputError, match=rf"lacks or would change \({run().name}, .*\)"):
        resume.past_of_runs(folder, [slower], study.about, print)
    shutil.copytree(folder / BAD.name, tmp_path / slower.name)
    with pytest.raises(InputError, match=r"batch_size 20 there, 30 now"):
        resume.past_of_runs(tmp_path, [slower], study.about, print)


@pytest.mark.slow
def test_the_last_finite_checkpoint_is_kept_and_goes_along_when_the_others_go_on(diverged, small, tmp_path):
    folder, study, _ = diverged
    assert checkpoint.epochs(folder / BAD.name) == [0]
    loaded = jaxvae.load(folder / BAD.name)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(loaded.params))
    again = Study(folder, study.runs, small)
    again.train("vmap", quiet=True)
    assert again.how["epochs_trained"] == 0
    longer = [run(epochs=6), run(seed=9, learning_rate=1e30, epochs=6)]
    copy = shutil.copytree(folder, tmp_path / "longer")
    Study(copy, longer, small).train("vmap", quiet=True)
    assert jaxvae.load(copy / run().name).metrics[-1]["epoch"] == 6
    assert jaxvae.load(copy / BAD.name).diverged == Divergence(1, 2)


def test_progress_says_it_once_and_counts_no_more_epochs_of_it(small, tmp_path, capsys):
    Study(tmp_path / "sweep", [run(), BAD], small).train("loop")
    lines = capsys.readouterr().out.splitlines()
    assert sum("diverged at step 2" in line for line in lines) == 1
    assert lines[-1].startswith("[  5/5]")


# ── extreme inputs ───────────────────────────────────────────────────────────────────────────────────────────────────


def images(train, test, level=None, seed=0):
    rng = np.random.default_rng(seed)

    def some(n):
        shape = (n, 28, 28)
        return rng.integers(0, 256, shape, np.uint8) if level is None else np.full(shape, level, np.uint8)

    labels = (np.arange(n, dtype=np.uint8) % 10 for n in (train, test))
    return Dataset("extreme", some(train), next(labels), some(test), next(labels))


@pytest.mark.slow
def test_one_image_is_enough_from_training_to_the_page(tmp_path):
    config = run(batch_size=1, epochs=2)
    study = Study(tmp_path / "sweep", [config], images(1, 1))
    study.train(quiet=True)
    study.write(0.0)
    assert (tmp_path / "sweep" / report.PAGE).exists()
    loaded([config], tmp_path / "sweep")


@pytest.mark.slow
def test_black_and_white_images_and_a_single_batch_can_be_trained_on():
    for dataset, batch in ((images(40, 20, level=0), 20), (images(40, 20, level=255), 20), (images(20, 20), 20)):
        config, reports = run(batch_size=batch, epochs=1), []
        sweep([config], dataset, on_epoch=reports.append)
        assert [report.diverged for report in reports] == [None, None]


def loaded(configs, folder):
    runs = [jaxvae.load(folder / config.name) for config in configs]
    for one in runs:
        assert one.diverged or one.metrics[-1]["epoch"] == one.config.epochs
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one.params))
    return runs


@pytest.mark.slow
def test_extreme_numbers_can_be_trained_with(tmp_path):
    changes = {"learning_rate": 0.0}, {"learning_rate": 1e6}, {"beta": 0.0}, {"beta": 1e6}, {"beta": 1e37}
    configs = [run(seed=seed, epochs=2, **change) for seed, change in enumerate(changes)]
    configs += [run(epochs=2, latent_dim=d) for d in (1, 512)]
    Study(tmp_path / "sweep", configs, images(40, 20)).train(quiet=True)
    runs = loaded(configs, tmp_path / "sweep")
    numbers = [(one.config.optimiser.learning_rate, one.config.objective.beta) for one in runs if one.diverged]
    assert numbers == [
        (1e6, 1),
        (1e-3, 1e37),
    ]
    first, last = (checkpoint.read(runs[0].folder, epoch).state.params for epoch in (1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, last)  # learning rate 0


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: run(learning_rate=float("inf")), "learning_rate must be"),
        (lambda: run(beta=1e39), "beta must be .* below 3.4e"),  # infinite in float32
        (
            lambda: Study(Path("nowhere"), [run(batch_size=41)], images(40, 20)).train(),
            "larger than the training",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_training(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
