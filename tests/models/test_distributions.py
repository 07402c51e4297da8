"""Closed forms, Monte Carlo against analytic, and an independent library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.models.distributions import Normal, bernoulli_log_prob, kl_to_standard_normal, sample


@pytest.fixture
def normal():
    key_mean, key_std = jax.random.split(jax.random.key(3))
    return Normal(jax.random.normal(key_mean, (4, 3)), 0.5 * jax.random.normal(key_std, (4, 3)))


def test_kl_is_zero_only_at_the_prior():
    zero = jnp.zeros((1, 5))
    assert float(kl_to_standard_normal(Normal(zero, zero))[0]) == 0.0
    assert float(kl_to_standard_normal(Normal(zero + 0.1, zero))[0]) == pytest.approx(5 * 0.005)
    # ½ (σ² − 1) − log σ at σ = 2
    assert float(kl_to_standard_normal(Normal(zero, zero + jnp.log(2)))[0]) == pytest.approx(5 * (1.5 - np.log(2)))


def test_kl_is_the_mean_log_ratio_of_samples(normal):
    n = 200_000
    wide = Normal(*(jnp.repeat(leaf, n, 0) for leaf in normal))
    z = np.asarray(sample(jax.random.key(0), wide), np.float64).reshape(4, n, 3)
    mean, std = np.asarray(normal.mean)[:, None], np.exp(np.asarray(normal.log_std))[:, None]
    ratio = (stats.norm.logpdf(z, mean, std) - stats.norm.logpdf(z)).sum(-1)
    error = ratio.std(1) / np.sqrt(n)
    assert (np.abs(ratio.mean(1) - np.asarray(kl_to_standard_normal(normal))) < 4 * error).all()


def test_samples_have_the_moments_asked_for(normal):
    n = 100_000
    z = np.asarray(sample(jax.random.key(1), Normal(*(jnp.repeat(leaf, n, 0) for leaf in normal)))).reshape(4, n, 3)
    std = np.exp(np.asarray(normal.log_std))
    np.testing.assert_allclose(z.mean(1), normal.mean, atol=4 * std.max() / np.sqrt(n))
    np.testing.assert_allclose(z.std(1), std, rtol=4 / np.sqrt(2 * n))
    standard = (z - np.asarray(normal.mean)[:, None]) / std[:, None]
    correlations = np.corrcoef(standard.transpose(0, 2, 1).reshape(12, n)) - np.eye(12)
    assert np.abs(correlations).max() < 5 / np.sqrt(n)


def test_noise_of_a_dimension_does_not_depend_on_how_many_there_are():
    key = jax.random.key(5)
    few, many = (sample(key, Normal(jnp.zeros((6, d)), jnp.zeros((6, d)))) for d in (2, 7))
    np.testing.assert_array_equal(few, many[:, :2])


def test_sample_differentiates_through_mean_and_std():
    def total(mean, log_std):
        return sample(jax.random.key(0), Normal(mean, log_std)).sum()

    mean, log_std = jnp.ones((2, 3)), jnp.full((2, 3), 0.3)
    d_mean, d_log_std = jax.grad(total, argnums=(0, 1))(mean, log_std)
    np.testing.assert_allclose(d_mean, 1)
    # d(mean + std·ε)/d log std is std·ε, the distance from the mean
    np.testing.assert_allclose(d_log_std, sample(jax.random.key(0), Normal(mean, log_std)) - mean, rtol=1e-5)


def test_bernoulli_log_prob_of_bits_is_scipys():
    logits = jax.random.normal(jax.random.key(0), (5, 3, 4)) * 3
    x = jax.random.bernoulli(jax.random.key(1), 0.4, (5, 3, 4)).astype(jnp.float32)
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    expected = stats.bernoulli.logpmf(np.asarray(x), p).sum((1, 2))
    np.testing.assert_allclose(bernoulli_log_prob(logits, x), expected, rtol=1e-5)


def test_bernoulli_cross_entropy_of_grey_is_least_at_the_pixel_itself():
    x = jnp.array([[0.2, 0.5, 0.9]])
    at_x = jnp.log(x) - jnp.log1p(-x)
    gradient = jax.grad(lambda logits: bernoulli_log_prob(logits, x).sum())(at_x)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(bernoulli_log_prob(at_x, x), (x * jnp.log(x) + (1 - x) * jnp.log1p(-x)).sum(), rtol=1e-6)


def test_gradient_of_the_bernoulli_log_prob_is_pixel_minus_probability():
    logits, x = jnp.array([[-30.0, -2.0, -0.0, 0.0, 1.5, 30.0]]), jnp.array([[0.3, 0.0, 0.9, 0.5, 1.0, 0.7]])
    gradient = jax.grad(lambda logits: bernoulli_log_prob(logits, x).sum())(logits)
    np.testing.assert_allclose(gradient, x - 1 / (1 + np.exp(-np.asarray(logits, np.float64))), atol=1e-6)


def test_bernoulli_log_prob_is_finite_and_exact_for_extreme_logits():
    logits, x = jnp.array([[1e4, -1e4, 1e4, -1e4]]), jnp.array([[1.0, 0.0, 0.0, 1.0]])
    assert float(bernoulli_log_prob(logits, x)[0]) == -2e4
    gradient = jax.grad(lambda logits: bernoulli_log_prob(logits, x).sum())(logits)
    np.testing.assert_array_equal(gradient, [[0, 0, -1, 1]])
