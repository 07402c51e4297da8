"""Likelihoods against SciPy's distributions, quadrature and their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jaxvae.errors import ConfigError
from jaxvae.models import MLP, VAE, Bernoulli, Categorical, ContinuousBernoulli, Gaussian, Laplace
from jaxvae.parts import check, from_json, to_json

RNG = np.random.default_rng(0)
OUT = RNG.normal(0, 2, (5, 3, 4)).astype(np.float32)
REAL = RNG.normal(0, 3, (5, 3, 4)).astype(np.float32)
LOG_SCALE = np.float32(-0.7)
LEARNED = {"log_scale": jnp.asarray(LOG_SCALE)}
PAIRS = np.stack([OUT, RNG.normal(0, 1, OUT.shape).astype(np.float32)], -1)

# likelihood, its parameters, what the decoder puts out, examples, SciPy's distribution of each number
CASES = {
    "gaussian, learned": (Gaussian(), LEARNED, OUT, REAL, stats.norm(OUT, np.exp(LOG_SCALE))),
    "gaussian, fixed": (Gaussian(0.3), {}, OUT, REAL, stats.norm(OUT, 0.3)),
    "gaussian, decoded": (Gaussian("decoded"), {}, PAIRS, REAL, stats.norm(OUT, np.exp(PAIRS[..., 1]))),
    "laplace, learned": (Laplace(), LEARNED, OUT, REAL, stats.laplace(OUT, np.exp(LOG_SCALE))),
    "laplace, decoded": (Laplace("decoded"), {}, PAIRS, REAL, stats.laplace(OUT, np.exp(PAIRS[..., 1]))),
    "bernoulli": (Bernoulli(), {}, OUT, RNG.integers(0, 2, OUT.shape).astype(np.float32),
                  stats.bernoulli(special.expit(OUT))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_log_probability_mean_and_samples_are_scipys(name):
    likelihood, params, out, x, reference = CASES[name]
    assert likelihood.outputs(OUT.shape[1:]) == out.shape[1:]
    out, x_given = jnp.asarray(out), jnp.asarray(x)
    terms = (reference.logpdf if hasattr(reference.dist, "pdf") else reference.logpmf)(x)
    np.testing.assert_allclose(likelihood.log_prob(params, out, x_given), terms.sum((1, 2)), rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(likelihood.mean(params, out), np.broadcast_to(reference.mean(), OUT.shape), rtol=1e-5)
    n = 4000
    many = jnp.repeat(out[:1], n, 0)
    drawn = np.asarray(likelihood.sample(params, jax.random.key(1), many), float)
    error = np.broadcast_to(reference.std(), OUT.shape)[0] / np.sqrt(n)
    assert (np.abs(drawn.mean(0) - np.broadcast_to(reference.mean(), OUT.shape)[0]) < 5 * error).all()


LOGITS = np.array([-30, -8, -1, -0.1001, -0.0999, -1e-4, 0, 1e-4, 0.05, 0.0999, 0.1001, 2, 12, 30])


@pytest.mark.parametrize("logit", LOGITS)
def test_the_continuous_bernoulli_integrates_to_one_and_has_its_mean(logit):
    """Loaiza-Ganem & Cunningham 2019, section 3, in float64 by quadrature; the two branches meet at 0.1."""
    likelihood, out = ContinuousBernoulli(), jnp.full((1, 1), logit, jnp.float32)
    log_constant = float(likelihood.log_prob({}, out, jnp.zeros((1, 1)))[0])  # at x = 0 it is log C + log(1 − λ)

    def density(x):
        return np.exp(log_constant + logit * x)

    near = [0, 1 / max(1, abs(logit)), 1 - 1 / max(1, abs(logit)), 1]
    total, _ = integrate.quad(density, 0, 1, points=near[1:3])
    mean, _ = integrate.quad(lambda x: x * density(x), 0, 1, points=near[1:3])
    assert total == pytest.approx(1, rel=2e-5)
    assert float(likelihood.mean({}, out)[0, 0]) == pytest.approx(mean, rel=2e-5)
    x = jnp.linspace(0, 1, 7)[:, None]
    expected = log_constant + logit * np.asarray(x)[:, 0]
    np.testing.assert_allclose(
        likelihood.log_prob({}, jnp.broadcast_to(out, x.shape), x), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("logit", [-20.0, -0.5, 0.03, 6.0])
def test_samples_of_the_continuous_bernoulli_follow_its_distribution_function(logit):
    drawn = ContinuousBernoulli().sample({}, jax.random.key(0), jnp.full((5000, 1), logit))

    def cdf(x):
        return np.expm1(logit * x) / np.expm1(logit)

    assert stats.kstest(np.asarray(drawn, float)[:, 0], cdf).pvalue > 0.01


def test_its_derivatives_are_those_of_an_exponential_family():
    likelihood, x = ContinuousBernoulli(), jnp.full((1, 1), 0.3)
    value = jax.jit(lambda logit: likelihood.log_prob({}, logit[None, None], x)[0])
    for logit in LOGITS:
        slope = float(jax.grad(value)(jnp.float32(logit)))
        expected = 0.3 - float(likelihood.mean({}, jnp.full((1, 1), logit, jnp.float32))[0, 0])
        assert slope == pytest.approx(expected, abs=2e-5)


def test_categorical_log_probabilities_are_log_odds_less_their_normaliser_and_sum_to_one():
    out = RNG.normal(0, 3, (7, 3, 4, 5)).astype(np.float32)
    x = RNG.integers(0, 5, (7, 3, 4)).astype(np.float32)
    expected = special.log_softmax(out.astype(float), -1)
    own = np.take_along_axis(expected, x.astype(int)[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(Categorical(5).log_prob({}, jnp.asarray(out), jnp.asarray(x)), own, rtol=1e-5)
    every = jnp.arange(5.0)[:, None]
    log_prob = Categorical(5).log_prob({}, jnp.broadcast_to(out[0, 0, 0], (5, 1, 5)), every)
    assert float(jnp.exp(log_prob).sum()) == pytest.approx(1, abs=1e-6)


def test_categorical_samples_have_their_probabilities_and_the_mean_is_the_most_probable_class():
    out = np.log(np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2]], np.float32))
    drawn = Categorical(3).sample({}, jax.random.key(0), jnp.broadcast_to(out, (5000, 2, 3)))
    for column, odds in zip(np.asarray(drawn).T, out, strict=True):
        counts = np.bincount(column.astype(int), minlength=3)
        assert stats.chisquare(counts, 5000 * np.exp(odds, dtype=float) / np.exp(odds, dtype=float).sum()).pvalue > 0.01
    np.testing.assert_array_equal(Categorical(3).mean({}, jnp.asarray(out)[None]), [[2, 0]])
    assert Categorical(3).outputs((2,)) == (2, 3)
    assert str(Categorical(3).support) == "whole numbers of at least 0 and at most 2"


@pytest.mark.parametrize("classes", [1, 0, -3, 2.0, True, "3", 2**16])
def test_impossible_numbers_of_classes_are_refused(classes):
    with pytest.raises(ConfigError, match="likelihood/categorical: classes must be a whole number of at least 2"):
        check(Categorical(classes))


def test_a_scale_that_is_learned_is_a_parameter_and_others_are_not():
    for likelihood, has in ((Gaussian(), True), (Gaussian("decoded"), False), (Laplace(2.0), False)):
        params = VAE(2, MLP((8,)), likelihood=likelihood).bind((3,)).init(jax.random.key(0))
        assert ("likelihood" in params) == has
        assert from_json(to_json(likelihood)) == likelihood


@pytest.mark.parametrize("scale", [0, -1.0, "best", float("inf"), float("nan"), None, True])
def test_impossible_scales_are_refused(scale):
    with pytest.raises(ConfigError, match="likelihood/gaussian: scale must be learned, optimal, decoded or a num"):
        check(Gaussian(scale))
