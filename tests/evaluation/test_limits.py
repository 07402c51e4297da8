"""What must hold of every estimate, however wide, narrow, far or alike codes and weights are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvae.evaluation import codes
from jaxvae.evaluation.importance import importance_weighted_bounds
from jaxvae.models import Normal
from jaxvae.models.posteriors import kl_to_standard_normal

TOLERANCE = 1e-6  # nats, of a logarithm that is summed in float64


@st.composite
def normals(draw):
    """Means and log-stds of q(z|x), float32 [n, d], of any scale: near the prior, far apart, narrow, wide."""
    n, d = draw(st.integers(2, 40)), draw(st.sampled_from([1, 2, 10]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = 10.0 ** draw(st.integers(-9, 4))
    log_std = draw(st.sampled_from([-30.0, -15.0, -5.0, -1.0, 0.0, 1.0, 5.0]))
    wobble = 10.0 ** draw(st.integers(-9, 0))
    mean = rng.normal(0, spread, (n, d))
    if draw(st.booleans()):
        mean[n // 2 :] = mean[0]  # images that share a code
    return mean.astype(np.float32), (log_std + rng.normal(0, wobble, (n, d))).astype(np.float32)


@settings(max_examples=150)
@given(normals())
def test_what_codes_tell_is_within_its_limits(normal):
    mean, log_std = normal
    n = len(mean)
    assert (codes.information(mean, log_std).mutual_information <= np.log(n) + TOLERANCE).all()
    assert (codes.kl_per_dimension(mean, log_std) >= 0).all()
    assert (codes.kl_per_image(mean, log_std) >= 0).all()
    assert codes.frechet_distance(mean, log_std) >= 0
    labels = np.arange(n) % 2
    if n > 2:
        apart = codes.separation(mean, labels)
        assert ((apart.purity >= 0) & (apart.purity <= 1)).all()
        assert ((apart.silhouette >= -1) & (apart.silhouette <= 1)).all()
        assert (apart.radius >= 0).all()


@pytest.mark.slow
@given(normals())
def test_the_divergence_of_training_is_never_below_zero_in_float32(normal):
    mean, log_std = (jnp.asarray(part) for part in normal)
    assert (kl_to_standard_normal(Normal(mean, log_std)) >= 0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e-5, 1e-3, 1.0])
def test_the_divergence_has_its_own_gradient_also_where_it_is_rounded_below_zero(scale):
    rng = np.random.default_rng(0)
    mean, log_std = (jnp.asarray(rng.normal(0, scale, (1000, 3)), jnp.float32) for _ in range(2))
    assert (kl_to_standard_normal(Normal(mean, log_std)) >= 0).all()
    gradient = jax.grad(lambda q: kl_to_standard_normal(q).sum())(Normal(mean, log_std))
    np.testing.assert_allclose(gradient.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(gradient.log_std, np.expm1(2 * np.asarray(log_std, np.float64)), rtol=1e-4, atol=2e-7)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-7, 1e-3, 1.0, 30.0, 1e4]), st.sampled_from([0.0, -1e5, 1e5]))
def test_sample_sizes_lie_between_one_and_all_and_bounds_between_the_weights(seed, scale, level):
    ks, batch, most = (1, 3, 16), 4, 16
    log_w = level + scale * np.random.default_rng(seed).normal(size=(most, batch)).astype(np.float32)
    drawn = iter([log_w])

    def weigh(noise):
        given = jnp.asarray(next(drawn), jnp.float32)
        return given, jnp.zeros_like(given)

    bounds = importance_weighted_bounds(weigh, jax.random.split(jax.random.key(0), batch), 1, ks, most)
    for k, ess, bound in zip(ks, bounds.ess, bounds.bound, strict=True):
        assert ((ess >= 1) & (ess <= k)).all()
        of_k = log_w[:k].astype(np.float64)
        slack = 1e-5 * (1 + np.abs(of_k).max())
        assert (bound <= of_k.max(0) + slack).all()
        assert (bound >= of_k.mean(0) - slack).all()
