"""Likelihoods of counts against SciPy's distributions, with and without a given total."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxvae.errors import ConfigError
from jaxvae.models import GIVEN_TOTALS, MLP, VAE, NegativeBinomial, Poisson
from jaxvae.models.counts import MAX_LOG_THETA, _log_rising
from jaxvae.parts import check, from_json, to_json

RNG = np.random.default_rng(0)
OUT = RNG.normal(0, 2, (5, 3, 4)).astype(np.float32)
COUNTS = RNG.poisson(RNG.gamma(1, 6, OUT.shape)).astype(np.float32)
LOG_THETA = RNG.normal(0, 2, OUT.shape[1:]).astype(np.float32)
LEARNED = {"log_theta": jnp.asarray(LOG_THETA)}
DECODED = RNG.normal(0, 2, OUT.shape).astype(np.float32)
PAIRS = np.stack([OUT, DECODED], -1)
LIBRARY = 70.0


def shares(out):
    return special.softmax(out.reshape(len(out), -1).astype(float), -1).reshape(out.shape)


def negative_binomial(mean, log_theta):
    theta = np.exp(log_theta.astype(float))
    return stats.nbinom(theta, theta / (theta + mean))


# likelihood, its parameters, what the decoder puts out, SciPy's distribution around given means
CASES = {
    "poisson": (Poisson(), {}, OUT, stats.poisson),
    "learned": (NegativeBinomial(), LEARNED, OUT, lambda mean: negative_binomial(mean, LOG_THETA)),
    "decoded": (NegativeBinomial(dispersion="decoded"), {}, PAIRS, lambda mean: negative_binomial(mean, DECODED)),
    "poisson, observed": (Poisson("observed"), {}, OUT, stats.poisson),
    "learned, observed": (NegativeBinomial("observed"), LEARNED, OUT, lambda mean: negative_binomial(mean, LOG_THETA)),
    "decoded, observed": (NegativeBinomial("observed", "decoded"), {}, PAIRS,
                          lambda mean: negative_binomial(mean, DECODED)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_log_probability_mean_and_samples_are_scipys(name):
    likelihood, params, out, around = CASES[name]
    assert likelihood.outputs(OUT.shape[1:]) == out.shape[1:]
    observed = likelihood.library == "observed"
    means = COUNTS.sum((1, 2), keepdims=True) * shares(OUT) if observed else np.exp(OUT.astype(float))
    expected = around(means).logpmf(COUNTS).sum((1, 2))
    log_prob = likelihood.log_prob(params, jnp.asarray(out), jnp.asarray(COUNTS))
    np.testing.assert_allclose(log_prob, expected, rtol=2e-5, atol=1e-4)

    params = params | ({"library": jnp.float32(LIBRARY)} if observed else {})
    means = LIBRARY * shares(OUT) if observed else means
    np.testing.assert_allclose(likelihood.mean(params, jnp.asarray(out)), means, rtol=1e-5)
    n = 4000
    drawn = np.asarray(likelihood.sample(params, jax.random.key(1), jnp.repeat(jnp.asarray(out)[:1], n, 0)), float)
    spread = np.broadcast_to(around(means).std(), OUT.shape)[0]
    assert (np.abs(drawn.mean(0) - means[0]) < 5 * spread / np.sqrt(n)).all()
    zeros = np.broadcast_to(around(means).pmf(0), OUT.shape)[0]  # a moment would be the tail's alone
    assert (np.abs((drawn == 0).mean(0) - zeros) < 5 * np.sqrt(zeros * (1 - zeros) / n) + 1e-3).all()


def test_probabilities_of_all_counts_sum_to_one():
    every = jnp.arange(5000.0)[:, None]
    for log_mean, log_theta in ((0.0, 0.0), (3.0, 1.0), (4.0, -0.5), (-2.0, 8.0), (5.0, 15.0)):
        params = {"log_theta": jnp.full(1, log_theta)}
        log_prob = NegativeBinomial().log_prob(params, jnp.full(every.shape, log_mean), every)
        assert float(jnp.exp(log_prob).sum()) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("theta", [1e-6, 0.03, 0.999, 9.99, 10.01, 300.0, 1e5, 3e6])
def test_the_rising_factorial_keeps_its_digits(theta):
    x = np.array([0, 1, 2, 17, 400, 9000], np.float32)
    theta = np.float32(theta)
    expected = special.gammaln(float(theta) + x.astype(float)) - special.gammaln(float(theta))
    if theta > 1e4:  # there SciPy's own difference has no digits left
        expected = np.array([np.log(float(theta) + np.arange(count)).sum() for count in x])
    np.testing.assert_allclose(_log_rising(jnp.asarray(theta), jnp.asarray(x)), expected, rtol=3e-6, atol=3e-5)


def test_without_dispersion_it_is_a_poisson_distribution():
    params = {"log_theta": jnp.full(OUT.shape[1:], MAX_LOG_THETA)}
    both = (like.log_prob(params, jnp.asarray(OUT), jnp.asarray(COUNTS)) for like in (NegativeBinomial(), Poisson()))
    np.testing.assert_allclose(*both, rtol=1e-4)


def test_gradients_are_finite_and_that_of_theta_is_exact():
    likelihood, x = NegativeBinomial(), jnp.asarray(COUNTS)
    slopes = jax.jit(jax.grad(lambda p: likelihood.log_prob(p, jnp.asarray(OUT), x).sum()))(LEARNED)["log_theta"]
    theta, mean = np.exp(LOG_THETA.astype(float)), np.exp(OUT.astype(float))
    by_theta = special.digamma(COUNTS + theta) - special.digamma(theta) + np.log(theta / (theta + mean)) + 1
    expected = (theta * (by_theta - (COUNTS + theta) / (theta + mean))).sum(0)
    np.testing.assert_allclose(slopes, expected, rtol=1e-3, atol=1e-3)

    counts = jnp.array([[0.0, 1, 5000], [0, 0, 0]])
    for library in ("none", "observed"):
        likelihood = NegativeBinomial(library)
        slopes = jax.jit(jax.grad(lambda p, out, like=likelihood: like.log_prob(p, out, counts).sum(), (0, 1)))
        for size in (-80.0, 0.0, 80.0):
            leaves = jax.tree.leaves(slopes({"log_theta": jnp.full(3, size)}, jnp.full((2, 3), -size)))
            assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_shares_are_the_same_whatever_is_added_to_their_log_odds():
    likelihood, x = NegativeBinomial("observed"), jnp.asarray(COUNTS)
    one, other = (likelihood.log_prob(LEARNED, jnp.asarray(OUT) + add, x) for add in (0.0, 7.0))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_is_given_totals_is_no_probability_of_the_counts():
    for likelihood in (Poisson, NegativeBinomial):
        assert likelihood().measure == "probability"
        assert likelihood("observed").measure == GIVEN_TOTALS


def test_its_parameters_are_one_for_each_number_and_the_total():
    vae = VAE(2, MLP((8,)), likelihood=NegativeBinomial("observed")).bind((3, 4))
    own = vae.init(jax.random.key(0))["likelihood"]
    assert {name: leaf.shape for name, leaf in own.items()} == {"library": (), "log_theta": (3, 4)}
    assert "likelihood" not in VAE(2, MLP((8,)), likelihood=Poisson()).bind((3, 4)).init(jax.random.key(0))
    assert from_json(to_json(vae.likelihood)) == vae.likelihood
    assert from_json({"part": "likelihood/poisson"}) == Poisson()  # as runs before it had a library wrote it


@pytest.mark.parametrize("likelihood", [Poisson, NegativeBinomial])
def test_impossible_choices_are_refused(likelihood):
    with pytest.raises(ConfigError, match=r"library must be one of none, observed, not 'scvi'"):
        check(likelihood("scvi"))
    with pytest.raises(ConfigError, match=r"dispersion must be one of learned, decoded, not 1.0"):
        check(NegativeBinomial(dispersion=1.0))  # type: ignore[arg-type]
