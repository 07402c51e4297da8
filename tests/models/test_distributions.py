"""Closed forms, Monte Carlo against analytic, and an independent library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae.models import Bernoulli, DiagonalNormal, Normal, StandardNormal, standard_noise
from jaxvae.models.likelihoods import bernoulli_log_prob
from jaxvae.models.posteriors import kl_to_standard_normal, sample


@pytest.fixture
def normal():
    key_mean, key_std = jax.random.split(jax.random.key(3))
    return Normal(jax.random.normal(key_mean, (4, 3)), 0.5 * jax.random.normal(key_std, (4, 3)))


def draw(key, normal):
    """A code for each row."""
    rows, latent = normal.mean.shape
    return sample(normal, standard_noise(key, (rows,), latent))


def test_kl_is_zero_only_at_the_prior():
    zero = jnp.zeros((1, 5))
    assert float(kl_to_standard_normal(Normal(zero, zero))[0]) == 0.0
    assert float(kl_to_standard_normal(Normal(zero + 0.1, zero))[0]) == pytest.approx(5 * 0.005)
    # ½ (σ² − 1) − log σ at σ = 2
    assert float(kl_to_standard_normal(Normal(zero, zero + jnp.log(2)))[0]) == pytest.approx(5 * (1.5 - np.log(2)))


def test_kl_is_the_mean_log_ratio_of_samples(normal):
    n = 200_000
    wide = Normal(*(jnp.repeat(leaf, n, 0) for leaf in normal))
    z = np.asarray(draw(jax.random.key(0), wide), np.float64).reshape(4, n, 3)
    mean, std = np.asarray(normal.mean)[:, None], np.exp(np.asarray(normal.log_std))[:, None]
    ratio = (stats.norm.logpdf(z, mean, std) - stats.norm.logpdf(z)).sum(-1)
    error = ratio.std(1) / np.sqrt(n)
    assert (np.abs(ratio.mean(1) - np.asarray(kl_to_standard_normal(normal))) < 4 * error).all()


def test_samples_have_the_moments_asked_for(normal):
    n = 100_000
    z = np.asarray(draw(jax.random.key(1), Normal(*(jnp.repeat(leaf, n, 0) for leaf in normal)))).reshape(4, n, 3)
    std = np.exp(np.asarray(normal.log_std))
    np.testing.assert_allclose(z.mean(1), normal.mean, atol=4 * std.max() / np.sqrt(n))
    np.testing.assert_allclose(z.std(1), std, rtol=4 / np.sqrt(2 * n))
    standard = (z - np.asarray(normal.mean)[:, None]) / std[:, None]
    correlations = np.corrcoef(standard.transpose(0, 2, 1).reshape(12, n)) - np.eye(12)
    assert np.abs(correlations).max() < 5 / np.sqrt(n)


def test_noise_of_a_dimension_does_not_depend_on_how_many_there_are():
    key = jax.random.key(5)
    few, many = (draw(key, Normal(jnp.zeros((6, d)), jnp.zeros((6, d)))) for d in (2, 7))
    np.testing.assert_array_equal(few, many[:, :2])


def test_sample_differentiates_through_mean_and_std():
    def total(mean, log_std):
        return draw(jax.random.key(0), Normal(mean, log_std)).sum()

    mean, log_std = jnp.ones((2, 3)), jnp.full((2, 3), 0.3)
    d_mean, d_log_std = jax.grad(total, argnums=(0, 1))(mean, log_std)
    np.testing.assert_allclose(d_mean, 1)
    # d(mean + std·ε)/d log std is std·ε, the distance from the mean
    np.testing.assert_allclose(d_log_std, draw(jax.random.key(0), Normal(mean, log_std)) - mean, rtol=1e-5)


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


# ── as parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_posterior_knows_the_log_probability_of_its_codes(normal):
    """SciPy's, whether of the codes that it draws or of codes that are given."""
    noise = standard_noise(jax.random.key(2), (6, 4), 3)
    z, log_q = DiagonalNormal().sample_and_log_prob(normal, noise)
    mean, std = np.asarray(normal.mean), np.exp(np.asarray(normal.log_std))
    np.testing.assert_allclose(z, mean + std * np.asarray(noise), rtol=1e-6)
    expected = stats.norm.logpdf(np.asarray(z), mean, std).sum(-1)
    np.testing.assert_allclose(log_q, expected, rtol=1e-5)
    np.testing.assert_allclose(DiagonalNormal().log_prob(normal, z), expected, rtol=1e-5)
    np.testing.assert_allclose(DiagonalNormal().noise(normal, z), noise, rtol=1e-4, atol=1e-5)


def test_the_ratio_that_a_posterior_knows_is_prior_less_posterior(normal):
    """And for any other prior it knows neither that nor the divergence."""
    noise, posterior, prior = standard_noise(jax.random.key(2), (6, 4), 3), DiagonalNormal(), StandardNormal()
    z, log_q = posterior.sample_and_log_prob(normal, noise)
    ratio = posterior.log_ratio(normal, z, noise, prior)
    np.testing.assert_allclose(ratio, prior.log_prob({}, z) - log_q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(posterior.kl(normal, prior), kl_to_standard_normal(normal))
    assert posterior.log_ratio(normal, z, noise, object()) is None
    assert posterior.kl(normal, object()) is None


def test_heads_of_zero_are_the_standard_normal():
    """What latent dimensions that are not in use have."""
    zero = Normal(jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    noise = standard_noise(jax.random.key(2), (5, 2), 3)
    z, log_q = DiagonalNormal().sample_and_log_prob(zero, noise)
    np.testing.assert_array_equal(z, noise)
    np.testing.assert_allclose(log_q, stats.norm.logpdf(np.asarray(z)).sum(-1), rtol=1e-5)


def test_the_prior_s_samples_and_density_are_the_standard_normal_s():
    z = np.asarray(StandardNormal().sample({}, jax.random.key(0), 50_000, 2))
    for latent in z.T:
        assert stats.kstest(latent, stats.norm.cdf).pvalue > 0.01
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / np.sqrt(len(z))
    np.testing.assert_allclose(
        StandardNormal().log_prob({}, jnp.asarray(z[:50])), stats.norm.logpdf(z[:50]).sum(-1), rtol=1e-5
    )


def test_bernoulli_s_samples_have_its_mean_and_the_shape_of_examples():
    likelihood, logits = Bernoulli(), jnp.linspace(-3, 3, 24).reshape(1, 4, 3, 2)
    assert likelihood.outputs((4, 3, 2)) == (4, 3, 2)
    mean = np.asarray(likelihood.mean({}, logits))
    np.testing.assert_allclose(mean, 1 / (1 + np.exp(-np.asarray(logits, np.float64))), rtol=1e-6)
    n = 20_000
    drawn = np.asarray(likelihood.sample({}, jax.random.key(0), jnp.repeat(logits, n, 0)))
    assert set(np.unique(drawn)) == {0, 1}
    assert (np.abs(drawn.mean(0) - mean[0]) < 4.5 * np.sqrt(mean[0] * (1 - mean[0]) / n)).all()
