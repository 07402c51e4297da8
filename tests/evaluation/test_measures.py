"""Probabilities, densities and cross-entropies stay apart; bits per dimension of bytes are those of the definition."""

import dataclasses
from itertools import combinations
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxvae.config import RunConfig
from jaxvae.data import Dataset, checked
from jaxvae.errors import ConfigError, DataError, InputError
from jaxvae.evaluation import METRICS, Evaluation, Plan, Record, records
from jaxvae.models import (
    GIVEN_TOTALS,
    MLP,
    VAE,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    NegativeBinomial,
    Poisson,
)
from jaxvae.page.run_table import evaluation_columns
from jaxvae.results import about
from jaxvae.runs import Run
from jaxvae.training import check

RNG = np.random.default_rng(0)
PLAN = Plan(samples=(1, 5), codes=False)
BYTES = Dataset("noise", RNG.integers(0, 256, (40, 3, 4)).astype(np.uint8), None,
                RNG.integers(0, 256, (20, 3, 4)).astype(np.uint8), None)  # fmt: skip
COUNTS = Dataset("counts", RNG.poisson(4, (40, 12)), None, RNG.poisson(4, (20, 12)), None)


def config(likelihood, **more) -> RunConfig:
    return RunConfig(VAE(2, MLP((8,)), likelihood=likelihood), batch_size=20, **more)


def evaluated(likelihood, dataset, plan=PLAN, **more) -> list[Record]:
    """Records of a model that is not trained."""
    own, dataset = config(likelihood, **more), checked(dataset)
    params = own.vae.bind(dataset.shape).init(jax.random.key(0))
    run = Run(Path(own.name), own, about(dataset), params, [], np.zeros(0))
    return Evaluation(plan).evaluate(run, dataset).records


def by_label(rows):
    return {record.label: record for record in rows}


@pytest.fixture(scope="module")
def of_bytes():
    likelihoods = Bernoulli(), Gaussian(), ContinuousBernoulli(), DiscretizedLogistic()
    return {type(one).__name__: evaluated(one, BYTES) for one in likelihoods}


def test_bits_per_dimension_are_those_of_bytes(of_bytes):
    """Of uniform noise no model needs fewer than 8; a uniform density of dequantised bytes has 8 exactly."""
    for name, offset in (("DiscretizedLogistic", 0), ("Gaussian", 8), ("ContinuousBernoulli", 8)):
        found = by_label(of_bytes[name])
        for k in (1, 5):
            nats, bits = found[f"L_K, K = {k}"], found[f"bits per dimension, K = {k}"]
            assert bits.value == pytest.approx(offset - nats.value / 12 / np.log(2), abs=1e-9)
            assert bits.standard_error == pytest.approx(nats.standard_error / 12 / np.log(2))
            assert (bits.unit, bits.measure) == ("bits", nats.measure)
            assert bits.value > 8 - 3 * bits.standard_error
            assert ("dequantised" in bits.estimator) == bool(offset)
    assert by_label(of_bytes["ContinuousBernoulli"])["bits per dimension, K = 5"].value == pytest.approx(8, abs=0.3)


def test_cross_entropies_counts_and_black_and_white_pixels_have_no_bits_of_bytes(of_bytes):
    black = evaluated(DiscretizedLogistic(), BYTES, binarize="static")
    for rows in (of_bytes["Bernoulli"], evaluated(Poisson(), COUNTS), black):
        assert "L_K" in {record.metric for record in rows}
        assert "bits per dimension" not in {record.metric for record in rows}


def test_numbers_of_two_measures_share_no_table(of_bytes):
    measures = {name: by_label(rows)["L_K, K = 5"].measure for name, rows in of_bytes.items()}
    assert measures == {"Bernoulli": "cross-entropy", "Gaussian": "density", "ContinuousBernoulli": "density",
                        "DiscretizedLogistic": "probability"}  # fmt: skip
    for one, other in combinations(of_bytes, 2):
        if measures[one] == measures[other]:
            assert records.table([*of_bytes[one], *of_bytes[other]]).row_count > 3
        else:
            with pytest.raises(InputError, match=f"measure {measures[one]} against {measures[other]}"):
                records.table([*of_bytes[one], *of_bytes[other]])
    rates = [record for rows in of_bytes.values() for record in rows if record.metric in ("rate", "active units")]
    assert records.check_comparable(rates) is None  # codes are codes


def test_a_column_of_the_page_holds_numbers_of_one_measure(of_bytes):
    two = {"a": of_bytes["Gaussian"], "b": of_bytes["ContinuousBernoulli"], "c": of_bytes["DiscretizedLogistic"]}
    cells = {column.title: set(column.cells) for column in evaluation_columns(two)}
    assert (cells["−log p(x)"], cells["bits per dimension"]) == ({"a", "b"}, {"a", "b"})
    assert cells["active units"] == {"a", "b", "c"}


def test_whatever_depends_on_the_likelihood_says_its_measure():
    """All that is in nats or bits but rates and differences."""
    differences = {"rate", "mutual information", "marginal KL", "AIS above L_K", "bracket"}
    in_nats = {name for name, metric in METRICS.items() if metric.unit in ("nats", "bits")} - differences
    assert in_nats == {name for name, metric in METRICS.items() if metric.of_likelihood}


@pytest.mark.slow
def test_counts_given_their_totals_are_apart_and_no_images_of_the_model_s_own_are_weighed():
    """The totals of images that it draws are not those that it was given."""
    plan = PLAN._replace(ais_images=2, ais_steps=2, ais_chains=2)
    one, other = (by_label(evaluated(NegativeBinomial(library), COUNTS, plan)) for library in ("none", "observed"))
    assert {one["L_K, K = 5"].measure, other["L_K, K = 5"].measure} == {"probability", GIVEN_TOTALS}
    assert one.keys() - other.keys() == {"simulated, AIS", "simulated, reverse AIS", "bracket"}
    assert np.isfinite([record.value for record in other.values()]).all()


@pytest.mark.parametrize(
    ("likelihoods", "dataset", "error", "says"),
    [
        ((Bernoulli(), DiscretizedLogistic()), BYTES, ConfigError, "one measure, not cross-entropy and probability"),
        ((Poisson(), Poisson("observed")), COUNTS, ConfigError, "not probability and probability given totals"),
        ((DiscretizedLogistic(),), COUNTS, DataError, r"counts has images of float32; .* takes bytes \(uint8\)"),
        ((Categorical(256),), BYTES, DataError, "for categorical give them as int32"),
        ((NegativeBinomial(),), BYTES, DataError, "for negative-binomial give them as int32"),
        ((Categorical(3),), COUNTS, DataError, r"categorical takes whole numbers of at least 0 and at most 2"),
        ((NegativeBinomial(),), COUNTS._replace(test_images=np.full((2, 12), -1.0)), DataError, "whole numbers"),
    ],
)  # fmt: skip
def test_a_sweep_of_likelihoods_that_do_not_suit_is_one_line(likelihoods, dataset, error, says):
    with pytest.raises(error, match=says) as caught:
        check([config(likelihood) for likelihood in likelihoods], dataset, "loop")
    assert "\n" not in str(caught.value)


def test_likelihoods_that_suit_are_taken():
    for likelihood, dataset in (
        (DiscretizedLogistic(), BYTES),
        (NegativeBinomial(), COUNTS),
        (Categorical(20), COUNTS),
    ):
        check([config(likelihood)], dataset, "loop")
    two = config(Gaussian()), dataclasses.replace(config(ContinuousBernoulli()), seed=1)
    check(two, BYTES, "loop")
