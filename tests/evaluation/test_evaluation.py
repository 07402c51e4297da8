"""Evaluated runs: records that say what they are of, and agree with each other."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae import data, results
from jaxvae.errors import InputError
from jaxvae.evaluation import Evaluation, Plan, by_class, data_of, in_float32, reader
from jaxvae.runs import Run
from jaxvae.training import engine, sweep
from tests.classic import classic

CONFIG = classic("linear", 4, hidden=(32,), batch_size=20, epochs=40)
PLAN = Plan(samples=(1, 20), repeats=3, ais_images=3, ais_steps=5, ais_chains=3)


def trained(config, dataset) -> Run:
    state = sweep([config], dataset)[config.name]
    about = results.about(dataset)
    return Run(Path("somewhere"), config, about, jax.tree.map(jnp.asarray, state.params), [], np.zeros(0))


@pytest.fixture(scope="module")
def run(small):
    return trained(CONFIG, small)


@pytest.fixture(scope="module")
def report(run, small):
    return Evaluation(PLAN).evaluate(run, small)


@pytest.fixture(scope="module")
def by_label(report):
    return {record.label: record for record in report.records}


def test_every_record_says_what_it_is_of(report, small):
    for record in report.records:
        assert (record.dataset, record.fingerprint) == ("blobs", small.fingerprint)
        assert record.binarization == ("simulated" if record.split == "simulated" else "none")
        assert record.run == "somewhere"
        assert record.images == (3 if "AIS" in record.metric or record.metric == "bracket" else 25)
        assert record.split == ("simulated" if record.metric.startswith(("simulated", "bracket")) else "test")


def test_the_numbers_agree_with_each_other(by_label, report):
    rate, distortion, elbo = by_label["rate"], by_label["distortion"], by_label["ELBO"]
    assert elbo.value == pytest.approx(-rate.value - distortion.value)
    one, twenty = by_label["L_K, K = 1"], by_label["L_K, K = 20"]
    noise = 4 * np.hypot(one.standard_error_repeats, elbo.standard_error_repeats)
    assert one.value == pytest.approx(elbo.value, abs=noise)
    assert one.value < twenty.value < 0
    assert 1 <= by_label["effective sample size, K = 20"].value <= 20
    assert by_label["effective sample size, K = 1"].value == pytest.approx(1, abs=1e-4)
    assert by_label["mutual information"].value <= np.log(25)
    assert sum(report.kl_per_dimension) == pytest.approx(rate.value, rel=1e-6)
    assert by_label["active units"].value + by_label["collapsed units"].value == 4
    gap = by_label["simulated, reverse AIS"].value - by_label["simulated, AIS"].value
    assert by_label["bracket"].value == pytest.approx(gap)
    assert by_label["linear probe"].value > 0.9  # a blob's place is its label
    assert by_label["nearest neighbours"].value > 0.7  # of ten neighbours at most six can be of its label
    assert np.sum(report.digits["confusion"]) == 25
    assert by_label["reading"].value == pytest.approx(np.trace(report.digits["confusion"]) / 25)


def test_the_rate_is_that_of_the_training_engine(run, small, by_label):
    """Exact in both, and the ELBO is the engine's test loss but for its noise."""
    program = CONFIG.program(small.shape)
    state = engine.init(program, 0)._replace(params=run.params)
    evaluate = jax.jit(engine.evaluate)
    images = jnp.asarray(small.test_images)
    losses = [evaluate(program, state, images, jnp.int32(epoch)) for epoch in range(20)]
    assert by_label["rate"].value == pytest.approx(float(losses[0].kl), rel=1e-4)
    loss = np.array([float(one.loss) for one in losses])
    assert -by_label["ELBO"].value == pytest.approx(loss.mean(), abs=4 * loss.std() / np.sqrt(20))


def test_standard_errors_are_those_of_means_over_images_and_over_repeats(run, small, by_label):
    from jaxvae.evaluation import likelihood

    rows = np.stack(
        [likelihood.bounds(run.vae, run.params, small.test_images, (20,), seed).bound[0] for seed in range(3)]
    )
    record = by_label["L_K, K = 20"]
    assert record.value == pytest.approx(rows.mean())
    assert record.standard_error == pytest.approx(rows.mean(0).std(ddof=1) / 5)
    assert record.standard_error_repeats == pytest.approx(rows.mean(1).std(ddof=1) / np.sqrt(3))


@pytest.mark.slow
def test_binarised_runs_are_evaluated_on_binarised_images(small):
    config = dataclasses.replace(CONFIG, binarize="dynamic", epochs=1)
    run = trained(config, small)
    report = Evaluation(Plan(samples=(1,), codes=False)).evaluate(run, small)
    assert {record.binarization for record in report.records} == {"dynamic"}
    assert {record.fingerprint for record in report.records} == {small.fingerprint}
    white = data.binarized(small, "dynamic").test_images
    mean, _ = (np.asarray(leaf) for leaf in run.encode(white))
    grey, _ = (np.asarray(leaf) for leaf in run.encode(small.test_images))
    assert not np.allclose(mean, grey)
    rate = next(record for record in report.records if record.metric == "rate")
    from jaxvae.evaluation.codes import kl_per_image

    assert rate.value == pytest.approx(kl_per_image(*map(np.asarray, run.encode(white))).mean(), rel=1e-6)


def test_the_training_split_of_a_dynamic_run_is_black_and_white_too(small):
    config = dataclasses.replace(CONFIG, binarize="dynamic", epochs=0)
    run = trained(config, small)
    report = Evaluation(Plan(samples=(), split="train", codes=False)).evaluate(run, small)
    from jaxvae.evaluation.codes import kl_per_image

    white = data.binarized(small, "static").train_images
    expected = kl_per_image(*map(np.asarray, run.encode(white))).mean()
    assert report.records[0].value == pytest.approx(expected, rel=1e-6)


def test_a_diverged_run_is_refused_by_name_and_has_no_clusters(run, small):
    params = run.params | {
        "encoder": run.params["encoder"] | {"mean": jax.tree.map(lambda w: w * jnp.nan, run.params["encoder"]["mean"])}
    }
    lost = dataclasses.replace(run, params=params)
    with pytest.raises(InputError, match="somewhere has codes that are not finite"):
        Evaluation(Plan(samples=())).evaluate(lost, small)
    classes = by_class(in_float32(lost), reader(small), small.test_images, small.test_labels, small.classes)
    assert classes["classes"] == []
    assert np.sum(classes["confusion"]) == 25


def test_one_image_says_nothing_about_units(run, small):
    report = Evaluation(Plan(samples=(), images=1)).evaluate(run, small)
    assert [record.metric for record in report.records] == ["rate"]
    assert report.remarks == []


def test_collapse_is_named(run, small):
    """Dimensions whose posterior is made the prior, whatever the image."""
    params = jax.tree.map(lambda leaf: leaf, run.params)
    for head in ("mean", "log_std"):
        dead = params["encoder"][head]
        params["encoder"][head] = {"kernel": dead["kernel"].at[:, 1:].set(0), "bias": dead["bias"].at[1:].set(0)}
    report = Evaluation(Plan(samples=())).evaluate(dataclasses.replace(run, params=params), small)
    by_metric = {record.metric: record.value for record in report.records}
    assert (by_metric["active units"], by_metric["collapsed units"]) == (1, 3)
    assert report.remarks[0].startswith("posterior collapse: 3 of 4 dimensions are inactive; they hold 0.00 of ")
    assert Evaluation(Plan(samples=())).evaluate(run, small).remarks == []


def test_other_data_than_the_runs_are_refused(run, small):
    with pytest.raises(InputError, match="was trained on other data"):
        data_of(run, small._replace(test_images=small.test_images[::-1]))
    # more of the same is cut to what the run had
    more = small._replace(
        train_images=np.concatenate([small.train_images] * 2), train_labels=np.concatenate([small.train_labels] * 2)
    )
    assert data_of(run, more).fingerprint == small.fingerprint


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan(samples=(0,)), "samples must be a whole number of at least 1 and below"),
        (Plan(images=0), "images must be a whole number of at least 1"),
        (Plan(repeats=0), "repeats must be a whole number of at least 1"),
        (Plan(split="validation"), "split must be train or test"),
        (Plan(ais_images=1, ais_steps=0), "ais steps must be a whole number of at least 1"),
    ],
)
def test_impossible_plans_are_refused(plan, says):
    with pytest.raises(InputError, match=says):
        Evaluation(plan)
