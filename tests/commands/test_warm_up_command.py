"""The experiment on KL warm-up: what it trains, how it judges, what it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments import warm_up
from jaxvae.schedules import Linear


def measured(units):
    return [{"name": "", "active units": n, "KL": float(n), "−ELBO": 100.0 - n} for n in units]


@pytest.mark.parametrize(
    ("without", "with_it", "verdict"),
    [
        ([30, 31, 30], [35, 37, 36], "holds"),
        ([30, 31, 30], [30, 31, 30], "does not hold"),
        ([30, 31, 30], [25, 24, 25], "does not hold"),
        ([30, 31, 30], [25, 39, 31], "undecided, as the interval has zero in it"),
        ([30], [35], "not tested, as one seed has no interval"),
    ],
)
def test_the_claim_is_judged_by_the_interval_of_paired_differences(without, with_it, verdict):
    found = warm_up._compared([one for pair in zip(*map(measured, (without, with_it)), strict=True) for one in pair])
    assert found["verdict"] == verdict
    assert found["difference"]["active units"]["mean"] == pytest.approx(np.mean(with_it) - np.mean(without), abs=1e-4)
    assert found["difference"]["−ELBO"]["mean"] == pytest.approx(np.mean(without) - np.mean(with_it), abs=1e-4)


def test_each_seed_is_trained_with_and_without():
    pairs = warm_up.pairs(SimpleNamespace(latent_dim=50, epochs=15, warm_up=5, seeds=2), 60_000)
    names = [run.name for pair in pairs for run in pair]
    assert names == [
        "conv-50", "conv-50-betalinear.from0.to1.over3000.by=step",
        "conv-50-seed1", "conv-50-betalinear.from0.to1.over3000.by=step-seed1",
    ]  # fmt: skip
    beta = pairs[0][1].program((28, 28), 6, steps=600).objective.beta  # the first epoch after five
    assert pairs[0][1].objective.beta == Linear(0, 1, 3000, by="step")
    np.testing.assert_array_equal(beta.values, np.ones(600))


@pytest.mark.parametrize("flag", ["--epochs", "--warm-up", "--seeds", "--latent-dim", "--limit"])
def test_what_is_no_number_of_them_is_refused_in_a_line(flag, give):
    code, _, err = give(warm_up.main, [flag, 0])
    assert (code, err.count("\n")) == (2, 1)
    assert f"{flag[2:]} must be a whole number of at least 1" in err
