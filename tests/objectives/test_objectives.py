"""The importance-weighted objective against NumPy, and its two gradients against each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import expit, logsumexp
from scipy.stats import norm

from jaxvae.config import Hypers, ModelConfig, TrainConfig
from jaxvae.models import model
from jaxvae.models.distributions import standard_noise
from jaxvae.objectives.base import importance_weighted, importance_weighted_dreg, negative_elbo, objective

CONFIG = ModelConfig("linear", 3, hidden=(8, 6), activation="tanh")
HYPERS = Hypers(jnp.float32(1e-3), jnp.float32(1.0), jnp.int32(3))
IMAGES = (jax.random.uniform(jax.random.key(4), (4, 28, 28)) > 0.8).astype(jnp.float32)
KEY = jax.random.key(8)


@pytest.fixture(scope="module")
def params():
    """Fresh ones, with a posterior that is far from the prior."""
    params = jax.jit(model.init, static_argnums=0)(CONFIG, jax.random.key(0))
    params["encoder"]["mean"]["kernel"] *= 3
    params["encoder"]["log_std"]["bias"] = jnp.array([-0.5, 0.2, -1.0])
    return params


@pytest.mark.parametrize("loss", [importance_weighted, importance_weighted_dreg])
@pytest.mark.parametrize("samples", [1, 7])
def test_the_bound_is_an_independent_calculation(loss, samples, params):
    """Log-weights written out with densities from SciPy, double precision, for given noise."""
    losses = jax.jit(loss, static_argnums=(0, 1))(samples, CONFIG, params, IMAGES, KEY, HYPERS)
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in model.encode(CONFIG, params, IMAGES))
    z = mean + np.exp(log_std) * np.asarray(standard_noise(KEY, (samples, 4), 3), np.float64)
    logits = np.stack([model.decode(CONFIG, params, jnp.asarray(codes, jnp.float32)) for codes in z])
    p, x = expit(logits.astype(np.float64)), np.asarray(IMAGES, np.float64)
    log_likelihood = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum((2, 3))
    log_w = log_likelihood + norm.logpdf(z).sum(-1) - norm.logpdf(z, mean, np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(losses.loss, -(logsumexp(log_w, 0) - np.log(samples)), rtol=1e-5)
    np.testing.assert_allclose(losses.reconstruction, -log_likelihood.mean(0), rtol=1e-5)


def test_one_sample_is_the_elbo_in_expectation(params):
    keys = jax.random.split(KEY, 4000)
    losses = jax.jit(jax.vmap(lambda key: importance_weighted(1, CONFIG, params, IMAGES, key, HYPERS)))(keys)
    elbo = jax.jit(jax.vmap(lambda key: negative_elbo(CONFIG, params, IMAGES, key, HYPERS)))(keys)
    np.testing.assert_allclose(losses.reconstruction, elbo.reconstruction, rtol=1e-4)  # the same codes
    difference = np.asarray(losses.loss - elbo.loss)  # the KL, sampled, less the KL, exact
    assert (np.abs(difference.mean(0)) < 4 * difference.std(0) / np.sqrt(len(keys))).all()
    assert (difference.std(0) > 0.1).all()


def gradients(loss, params, keys):
    """A row a key: of the encoder's parameters, of the decoder's."""

    @jax.jit
    @jax.vmap
    def gradient(key):
        found = jax.grad(lambda p: loss(8, CONFIG, p, IMAGES, key, HYPERS).loss.mean())(params)
        return [ravel_pytree(found[part])[0] for part in ("encoder", "decoder")]

    return [np.asarray(part, np.float64) for part in gradient(keys)]


def test_the_doubly_reparameterised_gradient_is_unbiased_with_less_variance(params):
    """Where q is near the posterior, as training brings it: the plain gradient stays noisy there, the other does not.

    A fresh decoder hardly depends on its codes, so that its posterior is near the prior.
    """
    narrow = {"kernel": 0.05 * params["encoder"]["log_std"]["kernel"], "bias": jnp.zeros(3)}
    near = {"mean": {"kernel": 0.05 * params["encoder"]["mean"]["kernel"], "bias": jnp.zeros(3)}, "log_std": narrow}
    params = params | {"encoder": params["encoder"] | near}
    encoder, decoder = gradients(importance_weighted, params, jax.random.split(KEY, 1000))
    encoder_dreg, decoder_dreg = gradients(importance_weighted_dreg, params, jax.random.split(KEY, 1000))
    np.testing.assert_allclose(decoder_dreg, decoder, rtol=1e-3, atol=1e-5)  # the decoder's is the same
    difference = encoder_dreg - encoder
    error = difference.std(0) / np.sqrt(len(difference))
    assert (encoder.std(0) > 1e-4).sum() > 1000  # pixels that are black in all images give their weights none
    assert (np.abs(difference.mean(0)) < 5 * error + 1e-7).all()
    assert encoder_dreg.var(0).sum() < 0.5 * encoder.var(0).sum()


@pytest.mark.parametrize("loss", [negative_elbo, partial(importance_weighted, 3), partial(importance_weighted_dreg, 3)])
def test_a_padded_model_has_the_small_ones_loss_and_gradient(loss, params):
    def mean_loss(config, params):
        return loss(config, params, IMAGES, KEY, HYPERS).loss.mean()

    value, gradient = jax.jit(jax.value_and_grad(partial(mean_loss, CONFIG)))(params)
    large = ModelConfig("linear", 5, hidden=(8, 6), activation="tanh")
    padded, wide = jax.jit(jax.value_and_grad(partial(mean_loss, large)))(model.resize_latent(params, 5))
    assert float(padded) == pytest.approx(float(value), rel=1e-5)
    for a, b in zip(jax.tree.leaves(model.resize_latent(wide, 3)), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    back = model.resize_latent(model.resize_latent(wide, 3), 5)  # no gradient into the padding: it stays zero for good
    jax.tree.map(np.testing.assert_array_equal, back, wide)


def test_configurations_name_their_objective():
    assert objective(TrainConfig()).func is negative_elbo  # type: ignore[attr-defined]
    for name, function in (("iwae", importance_weighted), ("iwae-dreg", importance_weighted_dreg)):
        chosen = objective(TrainConfig(objective=name, importance_samples=9))
        assert (chosen.func, chosen.args) == (function, (9,))  # type: ignore[attr-defined]
