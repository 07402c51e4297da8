"""Likelihoods of bytes against SciPy's logistic distribution, their own sums and their own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxvae.errors import ConfigError
from jaxvae.models import MLP, VAE, Conv, DiscretizedLogistic, Gaussian, LogisticMixture
from jaxvae.models.logistic import LEAST_LOG_SCALE, _softplus
from jaxvae.parts import check, from_json, to_json

BYTES = jnp.arange(256.0)[:, None] / 255
PAIRS = [(0.0, 0.0), (0.3, -3.0), (-0.999, -4.0), (1.0, -6.5), (3.0, -1.0), (-40.0, 2.0), (0.1, 5.0), (0.501, -7.0)]
RNG = np.random.default_rng(0)
MIXED = RNG.normal(0, 1, (5, 3)).astype(np.float32) * [1, 0.7, 1] - [0, 0, 2.5]


def of_all_bytes(likelihood, out):
    """Log-probability of each byte, for a number of which the decoder puts out `out`."""
    return likelihood.log_prob({}, jnp.broadcast_to(jnp.asarray(out, jnp.float32), (256, 1, *np.shape(out))), BYTES)


@pytest.mark.parametrize(("location", "log_scale"), PAIRS)
def test_a_byte_has_the_probability_of_its_bin(location, log_scale):
    """Differences of SciPy's distribution function in double precision, of the tail that a bin is in.

    Edges are float32, of which the smallest scale makes 1e-4 and more.
    """
    edges = (2 * np.arange(255) + 1) / 255 - 1
    noise = (edges - np.float32(location)) / np.exp(np.float32(log_scale).astype(float))
    below, above = (np.diff(ends) for ends in ([0, *stats.logistic.cdf(noise), 1], [-1, *-stats.logistic.sf(noise), 0]))
    expected = np.log(np.maximum(np.where([*(noise < 0), False], below, above), 1e-300))
    found = np.asarray(of_all_bytes(DiscretizedLogistic(), (location, log_scale)), float)
    likely = expected > -500
    np.testing.assert_allclose(found[likely], expected[likely], rtol=1e-5, atol=5e-4)
    assert (found[~likely] < -490).all()
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("out", [*PAIRS, MIXED])
def test_means_are_sums_over_bytes(out):
    likelihood = DiscretizedLogistic() if np.shape(out) == (2,) else LogisticMixture(5)
    probabilities = np.exp(np.asarray(of_all_bytes(likelihood, out), float))
    mean = float(likelihood.mean({}, jnp.asarray(out, jnp.float32)[None, None])[0, 0])
    assert mean == pytest.approx(float(probabilities @ np.arange(256)) / 255, abs=1e-4)


@pytest.mark.parametrize("out", [PAIRS[1], PAIRS[3], PAIRS[4], MIXED])
def test_samples_are_bytes_with_their_probabilities(out):
    likelihood = DiscretizedLogistic() if np.shape(out) == (2,) else LogisticMixture(5)
    n = 20_000
    many = jnp.broadcast_to(jnp.asarray(out, jnp.float32), (n, 1, *np.shape(out)))
    drawn = np.asarray(likelihood.sample({}, jax.random.key(0), many), float)[:, 0] * 255
    np.testing.assert_allclose(drawn, np.rint(drawn), atol=1e-4)
    probabilities = np.exp(np.asarray(of_all_bytes(likelihood, out), float))
    cells = np.minimum((probabilities.cumsum() * 20).astype(int), 19)  # about equally likely, of neighbouring bytes
    expected = n * np.bincount(cells, probabilities, 20)
    counts = np.bincount(cells[np.rint(drawn).astype(int)], minlength=20)
    there = expected > 5
    assert counts[~there].sum() < 30
    assert stats.chisquare(counts[there], expected[there] * counts[there].sum() / expected[there].sum()).pvalue > 0.01


def test_a_mixture_is_the_weighted_sum_of_its_components():
    parts = [np.exp(np.asarray(of_all_bytes(DiscretizedLogistic(), one), float)) for one in MIXED[:, 1:]]
    expected = special.softmax(MIXED[:, 0]) @ np.array(parts)
    found = np.exp(np.asarray(of_all_bytes(LogisticMixture(5), MIXED), float))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert found.sum() == pytest.approx(1, abs=2e-5)


def test_a_decoder_of_zeros_likes_all_inner_levels_about_the_same():
    found = np.asarray(of_all_bytes(DiscretizedLogistic(), (0.0, 0.0)))
    assert (np.abs(found[1:-1] + np.log(256)) < 1.1).all()


def test_softplus_and_its_derivative_are_right_to_rounding():
    t = np.array([-80, -20, -1, -1e-6, 0, 1e-6, 1, 20, 90], np.float32)
    np.testing.assert_allclose(_softplus(jnp.asarray(t)), np.logaddexp(0, t.astype(float)), rtol=1e-6)
    slopes = jax.vmap(jax.grad(_softplus))(jnp.asarray(t))
    np.testing.assert_allclose(slopes, special.expit(t.astype(float)), rtol=1e-6, atol=6e-8)


@pytest.mark.parametrize("size", [1.0, 30.0, 80.0])
def test_gradients_are_finite(size):
    for log_scale in (-size, size):
        out = jnp.broadcast_to(jnp.array([-size, log_scale]), (256, 1, 2))
        slopes = jax.grad(lambda out: DiscretizedLogistic().log_prob({}, out, BYTES).sum())(out)
        assert np.isfinite(slopes).all()


def test_scales_have_a_least():
    least, less = (of_all_bytes(DiscretizedLogistic(), (0.3, s)) for s in (LEAST_LOG_SCALE, LEAST_LOG_SCALE - 5))
    np.testing.assert_array_equal(least, less)


@pytest.mark.parametrize("likelihood", [DiscretizedLogistic(), LogisticMixture(2), Gaussian("decoded")])
@pytest.mark.parametrize(("network", "shape"), [(Conv((4, 8)), (12, 12)), (Conv((4,)), (8, 8, 3)), (MLP((8,)), (3, 5))])
def test_decoders_put_out_what_it_asks_for(likelihood, network, shape):
    """Of each channel of a picture its own numbers."""
    vae = VAE(2, network, likelihood=likelihood).bind(shape)
    vae.check_networks()
    params = jax.eval_shape(vae.init, jax.random.key(0))
    z, x = jnp.zeros((3, 2, 2)), jnp.zeros((2, *shape))
    assert jax.eval_shape(vae.mean, params, z[0]).shape == x.shape
    assert jax.eval_shape(vae.log_likelihood, params, z, x).shape == (3, 2)


def test_a_picture_s_channels_keep_their_own_outputs():
    """The last bias of a convolutional decoder, one for each channel, component and number, in that order."""
    vae = VAE(2, Conv((4,)), likelihood=LogisticMixture(2)).bind((8, 8, 3))
    params = vae.init(jax.random.key(0))
    params["decoder"]["conv1"] = {"kernel": 0 * params["decoder"]["conv1"]["kernel"], "bias": jnp.arange(18.0)}
    np.testing.assert_array_equal(vae.decode(params, jnp.ones((1, 2)))[0, 3, 5], np.arange(18).reshape(3, 2, 3))


@pytest.mark.parametrize("components", [0, 1.5, True, "5", 2000])
def test_impossible_numbers_of_components_are_refused(components):
    with pytest.raises(
        ConfigError, match="likelihood/logistic-mixture: components must be a whole number of at least 1"
    ):
        check(LogisticMixture(components))
    assert from_json(to_json(LogisticMixture(7))) == LogisticMixture(7)
