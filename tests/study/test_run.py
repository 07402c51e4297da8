"""A run as a user holds it: how likely examples are, what it is worth, saved and shown; in memory and from a folder."""

import dataclasses
import json
import pickle
import re

import jax
import numpy as np
import pytest

import jaxvae
from jaxvae import data
from jaxvae.commands import evaluate as evaluate_command
from jaxvae.commands import report as report_command
from jaxvae.errors import DataError, InputError, StorageError
from jaxvae.evaluation import Plan
from jaxvae.models import MLP, VAE, Bernoulli, Gaussian, Poisson
from jaxvae.runs import Divergence, checkpoint
from tests.linear import AsItIs, exact

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(90, 2)) @ RNG.normal(size=(2, 5)) + RNG.normal(size=(90, 5))
TRAIN, TEST = NUMBERS[:70], NUMBERS[70:]
SMALL = VAE(2, MLP((8,)), likelihood=Gaussian())
UNIT = 2**7  # of the numbers that `run` is given; a power of two changes no digit of what is standardised
PLAN = Plan(samples=(1, 20))


def fitted(unit=1, **how):
    return jaxvae.fit(TRAIN * unit, SMALL, test=TEST * unit, quiet=True, **how)


def with_model(run, vae, **changes):
    """The run with another model, that has parameters of the same shapes if none are given."""
    return dataclasses.replace(run.in_trained_numbers(), config=dataclasses.replace(run.config, vae=vae), **changes)


@pytest.fixture(scope="module")
def run():
    return fitted(UNIT, epochs=3)


@pytest.fixture(scope="module")
def pictures(small):
    """Of a run on labelled bytes."""
    return jaxvae.fit(small, VAE(2, MLP((8,))), batch_size=20, epochs=2, quiet=True)


def values(report):
    return {record.label: record.value for record in report.records}


# ── log p(x) ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_examples_likelihood_does_not_depend_on_what_it_is_given_with(run):
    x = NUMBERS * UNIT
    together = run.log_likelihood(x, samples=7)
    np.testing.assert_array_equal(run.log_likelihood(x[::-1], samples=7)[::-1], together)
    one_by_one = [run.log_likelihood(one[None], samples=7)[0] for one in x[:5]]
    np.testing.assert_array_equal(one_by_one, together[:5])
    twice = run.log_likelihood(np.concatenate([x[:1], x[:1], x[1:2]]), samples=7)
    assert twice[0] == twice[1] != twice[2]
    assert (run.log_likelihood(x, samples=7, seed=1) != together).all()
    assert run.log_likelihood(x[:0]).shape == (0,)


def test_densities_change_with_the_unit_of_the_numbers():
    given, small = (fitted(unit, epochs=1).log_likelihood(NUMBERS * unit, samples=7) for unit in (UNIT, 1))
    np.testing.assert_allclose(given, small - 5 * np.log(UNIT), rtol=1e-6)


def test_the_bound_is_the_evaluations(run):
    """But for the codes, which either draws for itself."""
    found = run.log_likelihood(TEST * UNIT, samples=20) + run.log_scale
    record = next(one for one in run.evaluate(plan=PLAN, quiet=True).records if one.label == "L_K, K = 20")
    again = run.log_likelihood(TEST * UNIT, samples=20, seed=1) + run.log_scale
    noise = np.std(found - again) / np.sqrt(len(found))  # of a difference of two such means
    assert found.mean() == pytest.approx(record.value, abs=4 * noise)
    assert 0 < noise < record.standard_error / 3


def test_bytes_are_taken_as_those_of_the_test_split(pictures, small):
    """Dequantised or binarised; grey levels that are given as floats are taken as they are."""
    density = with_model(pictures, VAE(2, MLP((8,)), likelihood=Gaussian(0.5)))
    between = data.dequantized(small).test_images
    np.testing.assert_array_equal(density.log_likelihood(small.test_images, 3), density.log_likelihood(between, 3))
    black = dataclasses.replace(pictures, config=dataclasses.replace(pictures.config, binarize="dynamic"))
    white = data.binarized(small, "dynamic").test_images
    np.testing.assert_array_equal(black.log_likelihood(small.test_images, 3), black.log_likelihood(white / 255.0, 3))
    grey = pictures.log_likelihood(small.test_images, 3)
    np.testing.assert_array_equal(grey, black.log_likelihood(small.test_images / 255.0, 3))


def test_draws_of_p_x_have_its_moments(run):
    linear = VAE(2, AsItIs(), likelihood=Gaussian())
    own = with_model(run, linear, params=linear.bind((5,)).init(jax.random.key(1)))
    density, key = exact(own), jax.random.key(0)
    drawn = np.asarray(own.sample(key, 20_000, noise=True))
    np.testing.assert_allclose(drawn.mean(0), density.mean, atol=5 * np.sqrt(density.cov.max() / 20_000))
    np.testing.assert_allclose(np.cov(drawn.T), density.cov, atol=6 * density.cov.max() / np.sqrt(20_000))
    means = np.asarray(own.sample(key, 300))
    assert np.linalg.matrix_rank(means - means.mean(0), tol=1e-2) == 2


@pytest.mark.parametrize(
    ("examples", "how", "error", "says"),
    [
        (NUMBERS, {"samples": 0}, InputError, "samples must be a whole number of at least 1"),
        (NUMBERS, {"seed": -1}, InputError, "seed must be a whole number of at least 0"),
        (NUMBERS[:, :4], {}, InputError, r"images must have shape \[n, 5\], not \[90, 4\]"),
        (np.full((2, 5), np.nan), {}, InputError, "must be finite numbers"),
    ],
)
def test_careless_calls_are_one_line(run, examples, how, error, says):
    with pytest.raises(error, match=says):
        run.log_likelihood(examples, **how)


def test_what_has_no_probability_is_refused(run):
    counts = with_model(run, VAE(2, MLP((8,)), likelihood=Poisson()))
    with pytest.raises(DataError, match=r"data given to evaluate has 0.5 at \[1, 4\] of its"):
        counts.log_likelihood([[1, 2, 3, 4, 5], [1, 2, 3, 4, 0.5]])


# ── what it is worth ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_evaluated_on_its_own_data_and_on_others(run, tmp_path):
    own = run.evaluate(plan=PLAN, quiet=True)
    assert {(record.images, record.binarization) for record in own.records} == {(20, "numbers")}
    given = run.evaluate(TEST * UNIT, plan=PLAN, quiet=True)
    assert values(given) == values(own)
    assert {record.dataset for record in given.records} == {"data given to evaluate"}
    assert {record.fingerprint for record in given.records} != {run.data.fingerprint}
    loaded = jaxvae.load(run.save(tmp_path / "run"))
    dataset = data.from_arrays(TRAIN * UNIT, test=TEST * UNIT)
    assert values(loaded.evaluate(dataset, plan=PLAN, quiet=True)) == values(own)
    assert values(loaded.evaluate(data.standardized(dataset), PLAN, quiet=True)) == values(own)
    with pytest.raises(InputError, match="has no data with it; give the dataset that it was trained on"):
        loaded.evaluate()
    with pytest.raises(InputError, match="was trained on other data"):
        loaded.evaluate(data.from_arrays(NUMBERS * UNIT))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"plan": 500}, "plan must be a jaxvae.evaluation.Plan, not 500"),
        ({"plan": Plan(samples=(0,))}, "samples must be a whole number of at least 1"),
        ({"data": "mnist"}, r"images must have shape \[n, 5\], not \[\]"),
        ({"data": TEST[:, :2]}, r"images must have shape \[n, 5\], not \[20, 2\]"),
        ({"data": TEST[:0]}, "at least one image is needed"),
    ],
)
def test_careless_evaluations_are_one_line(run, given, says):
    with pytest.raises(InputError, match=says):
        run.evaluate(**given, quiet=True)


def test_a_report_reads_as_a_table(run, pictures):
    report = run.evaluate(plan=PLAN, quiet=True)
    text = str(report)
    assert repr(report) == text
    assert text.startswith("20 test examples of data, numbers as the run sees them")
    bound = next(record for record in report.records if record.label == "L_K, K = 20")
    assert re.search(rf"L_K, K = 20 +│ +{bound.value:.2f} \({bound.standard_error:.2f}\) │ nats", text)
    higher = f"log p(x) and its bounds are {run.log_scale:.2f} nats lower"
    assert text.endswith(f"densities are of standardised numbers; of the numbers as given, {higher}")
    assert run.log_scale == pytest.approx(np.log((TRAIN * UNIT).std(0)).sum(), abs=1e-4)
    text = str(pictures.evaluate(plan=Plan(samples=(1,), codes=False), quiet=True))
    assert text.startswith("25 test images of blobs, grey pixels (binarize none)")
    assert "standardised" not in text


def test_a_run_is_one_line(run):
    loss = run.metrics[-1]["test"]["loss"]
    assert repr(run) == f"<Run {run.config.name} of data: test loss {loss:.2f} nats after epoch 3>"
    lost = dataclasses.replace(run, diverged=Divergence(4, 2))
    assert repr(lost).endswith("after epoch 3, diverged in epoch 4, step 2>")


# ── saved ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_what_was_saved_is_the_folder_that_training_would_have_left(tmp_path):
    run, kept = fitted(epochs=2, seed=3), fitted(epochs=2, seed=3, out=tmp_path / "kept")
    own = run.save(tmp_path / "saved" / run.config.name)
    one, other = (checkpoint.read(folder, 2) for folder in (own, kept.folder))
    states = (read.state._replace(key=jax.random.key_data(read.state.key)) for read in (one, other))
    jax.tree.map(np.testing.assert_array_equal, *states)
    np.testing.assert_array_equal(one.reconstructions, other.reconstructions)
    assert (one.diverged, one.lane_runs) == (other.diverged, other.lane_runs)
    further = fitted(epochs=4, seed=3, out=tmp_path / "saved")
    assert further.folder == own
    jax.tree.map(np.testing.assert_array_equal, further.params, fitted(epochs=4, seed=3).params)


def test_a_loaded_run_is_saved_as_it_was_loaded(tmp_path):
    kept = fitted(epochs=3, out=tmp_path / "kept")
    assert checkpoint.epochs(kept.folder)[-2:] == [2, 3]
    assert values(kept.evaluate(plan=PLAN, quiet=True)) == values(kept.evaluate(kept.data, PLAN, quiet=True))
    copy = jaxvae.load(jaxvae.load(kept.folder, epoch=2).save(tmp_path / "copy"))
    assert copy.metrics == kept.metrics[:3]
    jax.tree.map(np.testing.assert_array_equal, copy.params, jaxvae.load(kept.folder, epoch=2).params)
    assert len((tmp_path / "copy" / "metrics.jsonl").read_text().splitlines()) == 3


def test_nothing_else_is_written_over_and_nothing_is_half_written(run, tmp_path, monkeypatch):
    own = run.save(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in own.rglob("*")}
    assert run.save(own) == jaxvae.load(own).save(own) == own
    assert {path: path.stat().st_mtime_ns for path in own.rglob("*")} == before
    other = dataclasses.replace(run, params=jax.tree.map(lambda leaf: leaf + 1, run.params))
    (tmp_path / "file").touch()
    for folder in (own, tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match=f"{folder} has something else in it; choose another folder"):
            other.save(folder)
    with pytest.raises(InputError, match="lies in the folder of the run"):
        run.save(own / "checkpoints" / "mine")
    with pytest.raises(StorageError, match="Not a directory"):
        run.save(tmp_path / "file" / "run")

    def full(path, text):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("jaxvae.runs.manifest.write_manifest", lambda folder: full(folder, ""))
    with pytest.raises(StorageError, match="No space left"):
        run.save(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]


def test_a_run_can_be_pickled(run):
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again.log_likelihood(NUMBERS, 3), run.log_likelihood(NUMBERS, 3))
    assert again.data.fingerprint == run.data.fingerprint


# ── shown ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sections(page):
    return re.findall(r'<section id="([a-z-]+)"', page.read_text())


def test_the_page_of_one_run(pictures, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pictures.report()
    assert page.name == f"{pictures.config.name}.html"
    shown = ["trained", "runs", "losses", "reconstructions", "rate-distortion", "explorer"]
    assert sections(page) == shown
    assert f"{pictures.metrics[-1]['test']['reconstruction']:.2f}" in page.read_text()
    folder = pictures.save(tmp_path / "run")
    loaded = jaxvae.load(folder)
    assert loaded.report() == folder / "report.html"
    assert sections(folder / "report.html") == ["trained", "runs", "losses", "rate-distortion", "load"]
    assert sections(loaded.report(tmp_path, small)) == [*shown, "load"]
    assert f"jaxvae.load(&#39;{folder}&#39;)" in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="nowhere is no folder; the page cannot be written there"):
        loaded.report(tmp_path / "nowhere" / "page.html")
    with pytest.raises(InputError, match="was trained on other data"):
        loaded.report(data=small.first(50, 20))


def test_the_page_of_a_table(run, tmp_path):
    found = ["trained", "runs", "losses", "reconstructions", "rate-distortion", "explorer"]
    assert sections(run.report(tmp_path / "page.html")) == found
    assert "nats are per example" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_the_commands_read_a_saved_run(give, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))
    dataset = data.load("digits")
    run = jaxvae.fit(dataset, VAE(2, MLP((8,)), likelihood=Bernoulli()), epochs=1, quiet=True)
    folder = run.save(tmp_path / "run")
    code, printed, errors = give(evaluate_command.main, [folder, "--samples", 1, 20, "--quiet"])
    assert (code, errors) == (0, "")
    of_command = [record["value"] for record in json.loads((folder / "evaluation.json").read_text())["records"]]
    report = run.evaluate(plan=Plan(samples=(1, 20)), quiet=True)
    np.testing.assert_allclose(of_command, [record.value for record in report.records], rtol=1e-4)
    code, printed, errors = give(report_command.main, [folder])
    assert (code, errors) == (0, "")
    page = folder / "report.html"
    assert str(page) in printed
    assert "explorer" in sections(page)
    assert "−log p(x)" in page.read_text()
