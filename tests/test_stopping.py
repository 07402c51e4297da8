"""Runs that end early, by the loss on examples that are held out."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError, DataError
from jaxvae.models import MLP, VAE, Gaussian, Labels
from jaxvae.optimisers import Adam
from jaxvae.results import read_results
from jaxvae.stopping import Patience
from jaxvae.study import Study
from jaxvae.training import final_params
from jaxvae.training.sweep import sweep

RNG = np.random.default_rng(0)
NOISE = data.from_arrays(RNG.normal(size=(200, 10)).astype(np.float32), RNG.integers(0, 3, 200))  # nothing to learn


def config(seed=0, epochs=30, patience=3, validation=0.2, rate=1e-2, condition=None):
    vae = VAE(3, MLP((32,)), likelihood=Gaussian(), condition=condition)
    stopping = patience and Patience(patience)
    return RunConfig(vae, optimiser=Adam(rate), batch_size=20, epochs=epochs, seed=seed, validation=validation,
                     stopping=stopping)  # fmt: skip


def trained(runs, strategy="loop", **how):
    reports = {}
    states = sweep(
        runs, NOISE, strategy=strategy, on_epoch=lambda e: reports.setdefault(e.run.name, []).append(e), **how
    )
    return states, reports


def same_bits(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    ("patience", "min_delta", "after", "losses", "best", "stop"),
    [
        (2, 0.0, 0, [5, 4, 4.5, 4.1, 3], 2, 4),  # stops before it would have fallen again
        (3, 0.0, 0, [5, 4, 4.5, 4.1, 3, 2], 6, None),
        (2, 1.0, 0, [5, 4.5, 4.2, 4.1, 3], 1, 3),  # falls, but by less than it must
        (2, 0.0, 3, [1, 2, 3, 9, 8, 8, 8], 5, 7),  # what comes before `after` does not count
        (2, 0.0, 0, [5, np.nan, np.nan, 1], 1, 3),
    ],
)
def test_patience_counts_epochs_without_a_lower_loss(patience, min_delta, after, losses, best, stop):
    rule = Patience(patience, min_delta, after)
    watch, stopped = rule.init({"w": jnp.float32(0)}), None
    for epoch, loss in enumerate(losses, 1):
        watch = rule.update(watch, {"w": jnp.float32(epoch)}, jnp.int32(epoch), jnp.float32(loss))
        if stopped is None and rule.stops(watch):
            stopped = epoch
            break
    assert (int(watch.epoch), float(watch.params["w"]), stopped) == (best, best, stop)


def test_a_validation_split_is_a_part_of_the_train_split_that_is_not_trained_on():
    left, held_out = data.split_off(NOISE, 0.25)
    assert (len(left.train_images), len(held_out.test_images)) == (135, 45)
    together = np.concatenate([left.train_images, held_out.test_images])
    assert {row.tobytes() for row in together} == {row.tobytes() for row in NOISE.train_images}
    rows = {row.tobytes(): label for row, label in zip(NOISE.train_images, NOISE.train_labels, strict=True)}
    assert all(rows[row.tobytes()] == y for row, y in zip(held_out.test_images, held_out.test_labels, strict=True))
    np.testing.assert_array_equal(left.test_images, NOISE.test_images)
    again = data.split_off(NOISE, 0.25)[1].test_images
    np.testing.assert_array_equal(again, held_out.test_images)
    with pytest.raises(DataError, match=r"a validation split of 0\.999 leaves none"):
        data.split_off(NOISE, 0.999)


@pytest.mark.slow
def test_a_run_ends_with_the_bits_of_one_that_was_trained_for_the_best_epochs():
    runs = [config(), config(seed=1), config(rate=3e-2)]
    states, reports = trained(runs)
    for run in runs:
        own, watch = reports[run.name], states[run.name].watch
        losses = [report.validation.loss for report in own[1:]]
        assert int(watch.epoch) == np.argmin(losses) + 1 == len(losses) - 3 < 27
        assert [report.stopped for report in own] == [False] * (len(own) - 1) + [True]
        alone, _ = trained([config(run.seed, int(watch.epoch), patience=None, rate=run.optimiser.learning_rate)])
        (alone,) = alone.values()
        same_bits(final_params(run.optimiser, states[run.name]), alone.params)
    _, of_lanes = trained(runs, "vmap")
    assert {name: len(own) for name, own in of_lanes.items()} == {name: len(own) for name, own in reports.items()}


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_it_goes_on_to_the_same_bits_and_stays_stopped(strategy):
    runs = [config(), config(seed=1)]
    states, reports = trained(runs, strategy)
    half = {name: own[2].state for name, own in reports.items()}
    lanes = {name: own[2].lane_runs for name, own in reports.items()}
    again, rest = trained(runs, strategy, states=half, lane_runs=lanes)
    assert [report.epoch for report in rest[runs[0].name]] == [r.epoch for r in reports[runs[0].name][3:]]
    for name in states:
        same_bits(again[name].watch, states[name].watch)
    _, nothing = trained(runs, strategy, states=states)
    assert not nothing


@pytest.mark.slow
def test_a_folder_says_what_was_held_out_and_loads_the_best_parameters(tmp_path):
    run = config(condition=Labels(3))
    study = Study(tmp_path / "study", [run], NOISE)
    study.train(quiet=True)
    study.write(1.0)
    loaded, lines = jaxvae.load(study.folder / run.name), []
    best = int(np.argmin([entry["validation"]["loss"] for entry in loaded.metrics[1:]])) + 1
    assert loaded.metrics[-1]["best"] == best < loaded.metrics[-1]["epoch"] == best + 3
    at_best = jaxvae.load(study.folder / run.name, "best")
    same_bits(at_best.params, loaded.params)
    found = read_results(study.folder)
    assert found.finals[run.name].loss == loaded.metrics[best]["test"]["loss"]
    lines = (study.folder / "metrics.csv").read_text().splitlines()
    assert sum(",validation," in line for line in lines) == best + 4
    assert json.loads((study.folder / "sweep.json").read_text())["results"][0]["best_epoch"] == best
    before = loaded.metrics
    Study(tmp_path / "study", [run], NOISE).train(quiet=True)  # has nothing to do
    assert jaxvae.load(study.folder / run.name).metrics == before


@pytest.mark.slow
def test_fit_stops_early_and_its_run_is_the_best():
    x = RNG.normal(size=(200, 5))
    run = jaxvae.fit(x, latent_dim=2, epochs=40, stopping=Patience(4), optimiser=Adam(1e-2), quiet=True)
    entry = run.metrics[-1]
    assert entry["stopped"]
    assert entry["epoch"] == entry["best"] + 4
    assert run.config.validation == 0.1


@pytest.mark.slow
def test_a_program_that_does_not_import_the_part_reads_it():
    code = (
        "import sys, json; from jaxvae.config import RunConfig; print(RunConfig.from_json(json.load(sys.stdin)).name)"
    )
    text = json.dumps(config().to_json())
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == config().name


def test_careless_settings_are_one_line():
    with pytest.raises(ConfigError, match=r"needs a validation split to look at: validation=0\.1"):
        config(validation=0)
    with pytest.raises(ConfigError, match="validation must be a finite number of at least 0 and below 1"):
        config(validation=1)
    with pytest.raises(ConfigError, match="stopping/patience: epochs must be a whole number of at least 1"):
        config(patience=-1)
    with pytest.raises(ConfigError, match=r"must have one validation split, not 0\.1 and 0\.2"):
        sweep([config(validation=0.1), config(seed=1)], NOISE)
