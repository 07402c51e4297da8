"""A linear-Gaussian model, whose likelihood and posterior are known, and the same estimator in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxvae.evaluation.importance import importance_weighted_bounds
from jaxvae.models import DiagonalNormal, Normal, StandardNormal

NOISE = 0.7  # standard deviation of p(x|z)
KS = (1, 2, 5, 50, 500)


@pytest.fixture(scope="module")
def weights():
    """Orthogonal columns, so that the posterior's dimensions are independent."""
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))
    return q * [1.5, 0.8]


@pytest.fixture(scope="module")
def x(weights):
    return np.random.default_rng(1).normal(size=(40, 6)) @ np.linalg.cholesky(covariance(weights)).T


def covariance(weights):
    return weights @ weights.T + NOISE**2 * np.eye(len(weights))


def log_likelihood(weights, x):
    def log_p(z):
        return jax.scipy.stats.norm.logpdf(x, z @ weights.T, NOISE).sum(-1)

    return log_p


def posterior(weights, x) -> Normal:
    """p(z|x) of probabilistic PCA (Tipping & Bishop 1999, equation 6)."""
    precision = 1 + (weights**2).sum(0) / NOISE**2
    return Normal(x @ weights / NOISE**2 / precision, np.broadcast_to(-0.5 * np.log(precision), (len(x), 2)))


def bounds(log_p, q, keys, ks, at_once):
    q = Normal(*map(jnp.asarray, q))

    def weigh(noise):
        z, log_q = DiagonalNormal().sample_and_log_prob(q, noise)
        return log_p(z), StandardNormal().log_prob({}, z) - log_q

    return importance_weighted_bounds(weigh, keys, q.mean.shape[1], ks, at_once)


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def test_with_the_exact_posterior_every_bound_is_the_likelihood(weights, x):
    with jax.enable_x64(True):
        found = bounds(log_likelihood(weights, x), posterior(weights, x), keys(len(x)), KS, 30)
    exact = stats.multivariate_normal(cov=covariance(weights)).logpdf(x)
    np.testing.assert_allclose(found.bound, np.broadcast_to(exact, (len(KS), len(x))), atol=1e-9)
    np.testing.assert_allclose(found.ess, np.broadcast_to(np.array(KS)[:, None], found.ess.shape), rtol=1e-9)


@pytest.mark.slow
def test_with_a_wrong_posterior_bounds_rise_from_the_elbo_to_the_likelihood(weights, x):
    """One image many times, so that means over copies are means over noise."""
    copies = np.repeat(x[:1], 4000, 0)
    exact = stats.multivariate_normal(cov=covariance(weights)).logpdf(x[0])
    right = posterior(weights, copies)
    wrong = Normal(right.mean + 0.3, right.log_std + 0.4)
    with jax.enable_x64(True):
        found = bounds(log_likelihood(weights, copies), wrong, keys(len(copies)), KS, 100)
    bound = np.asarray(found.bound)
    mean, error = bound.mean(1), bound.std(1) / np.sqrt(len(copies))
    std, exact_std = np.exp(wrong.log_std[0]), np.exp(right.log_std[0])
    kl = (np.log(exact_std / std) + (std**2 + 0.3**2) / (2 * exact_std**2) - 0.5).sum()
    assert abs(mean[0] - (exact - kl)) < 4 * error[0]  # L_1 is the ELBO: log p(x) − KL(q ‖ posterior)
    rises = np.diff(bound, axis=0)
    assert (rises.mean(1) > -4 * rises.std(1) / np.sqrt(len(copies))).all()
    assert abs(mean[-1] - exact) < 0.01
    assert (mean < exact + 4 * error).all()
    assert ((np.asarray(found.ess) >= 1 - 1e-9) & (np.asarray(found.ess) <= np.array(KS)[:, None] + 1e-9)).all()


@pytest.mark.parametrize("at_once", [1, 7, 500, 800])
def test_bounds_do_not_depend_on_how_many_samples_or_images_are_taken_at_once(at_once, weights, x):
    q = Normal(x[:, :2], np.zeros((len(x), 2)))
    with jax.enable_x64(True):
        whole = bounds(log_likelihood(weights, x), q, keys(len(x)), KS, 100)
        few = Normal(*(leaf[:3] for leaf in q))
        part = bounds(log_likelihood(weights, x[:3]), few, keys(len(x))[:3], KS, at_once)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_allclose(one[..., :3], other, rtol=1e-9)


def test_bounds_are_those_of_the_definition(weights, x):
    """In NumPy, from the same noise, one sample after another."""
    q = Normal(x[:, 2:4], 0.3 * x[:, 4:])
    with jax.enable_x64(True):
        found = bounds(log_likelihood(weights, x), q, keys(len(x)), KS, 64)
        noise = np.array([[jax.random.normal(jax.random.fold_in(key, s), (2,)) for s in range(5)] for key in keys(4)])
    z = q.mean[:4, None] + np.exp(q.log_std[:4, None]) * noise
    log_joint = stats.norm.logpdf(x[:4, None], z @ weights.T, NOISE).sum(-1) + stats.norm.logpdf(z).sum(-1)
    log_w = log_joint - stats.norm.logpdf(z, q.mean[:4, None], np.exp(q.log_std[:4, None])).sum(-1)
    for row, k in enumerate(KS[:3]):
        np.testing.assert_allclose(found.bound[row, :4], special.logsumexp(log_w[:, :k], 1) - np.log(k), rtol=1e-9)
        w = special.softmax(log_w[:, :k], 1)
        np.testing.assert_allclose(found.ess[row, :4], 1 / (w**2).sum(1), rtol=1e-9)


@pytest.mark.slow
def test_the_mean_log_likelihood_is_the_expectation_under_q(weights, x):
    """E log p(x|z) for z ~ N(m, s²) in closed form; the codes drawn beyond the largest K do not count."""
    q = Normal(x[:, 2:4], 0.3 * x[:, 4:])
    with jax.enable_x64(True):
        found = bounds(log_likelihood(weights, x), q, keys(len(x)), (1, 20_000), 3_000)
        few = bounds(log_likelihood(weights, x), q, keys(len(x)), (3,), 2)
        noise = np.array([[jax.random.normal(jax.random.fold_in(key, s), (2,)) for s in range(3)] for key in keys(40)])
    spread = (np.exp(2 * q.log_std) * (weights**2).sum(0)).sum(1)  # orthogonal columns
    expected = stats.norm.logpdf(x, q.mean @ weights.T, NOISE).sum(1) - spread / (2 * NOISE**2)
    np.testing.assert_allclose(found.log_likelihood, expected, atol=0.5, rtol=0.02)
    assert abs((np.asarray(found.log_likelihood) - expected).mean()) < 0.03
    z = q.mean[:, None] + np.exp(q.log_std[:, None]) * noise
    drawn = stats.norm.logpdf(x[:, None], z @ weights.T, NOISE).sum(-1).mean(1)
    np.testing.assert_allclose(few.log_likelihood, drawn, rtol=1e-9)


@pytest.mark.slow
def test_intervals_hold_the_true_likelihood_as_often_as_they_say(weights):
    """Of datasets drawn from the model, the share whose mean ± 1.96 standard errors holds the true mean log-density."""
    rng = np.random.default_rng(5)
    sets, n = 400, 60
    drawn = rng.normal(size=(sets * n, 6)) @ np.linalg.cholesky(covariance(weights)).T
    right = posterior(weights, drawn)
    near = Normal(right.mean + 0.1, right.log_std + 0.05)  # as good as a trained encoder, not exact
    with jax.enable_x64(True):
        found = bounds(log_likelihood(weights, drawn), near, keys(len(drawn)), (50,), 50)
    values = np.asarray(found.bound[0]).reshape(sets, n)
    errors = values.std(1, ddof=1) / np.sqrt(n)
    truth = -stats.multivariate_normal(cov=covariance(weights)).entropy()  # E log p(x)
    held = (np.abs(values.mean(1) - truth) < 1.96 * errors).mean()
    assert abs(held - 0.95) < 3 * np.sqrt(0.95 * 0.05 / sets) + 0.005  # Student's t at n = 60 would be 2.00
