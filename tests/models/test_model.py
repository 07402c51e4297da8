import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.config import Hypers, ModelConfig
from jaxvae.models import model
from jaxvae.objectives.base import negative_elbo

IMAGES = jax.random.uniform(jax.random.key(9), (3, 28, 28))


def parameters(config, seed=0):
    return jax.jit(model.init, static_argnums=0)(config, jax.random.key(seed))


@pytest.mark.parametrize(("architecture", "expected"), [("linear", 404_244), ("conv", 228_677)])
def test_parameter_counts_at_two_dimensions(architecture, expected):
    config = ModelConfig(architecture, 2)
    shapes = jax.eval_shape(lambda: model.init(config, jax.random.key(0)))
    assert model.parameter_count(shapes) == expected


@pytest.mark.parametrize("architecture", ["linear", "conv"])
def test_encode_and_decode_are_deterministic_and_treat_images_alone(architecture):
    config = ModelConfig(architecture, 3)
    params = parameters(config)
    encode, decode = (jax.jit(f, static_argnums=0) for f in (model.encode, model.decode))
    q = encode(config, params, IMAGES)
    logits = decode(config, params, q.mean)
    assert q.mean.shape == q.log_std.shape == (3, 3)
    assert logits.shape == (3, 28, 28)
    again = encode(config, params, IMAGES[::-1])
    np.testing.assert_allclose(again.mean[::-1], q.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(decode(config, params, q.mean[::-1])[::-1], logits, rtol=1e-4, atol=1e-5)


def test_linear_model_is_the_textbooks_two_layers():
    config = ModelConfig("linear", 4)
    params = jax.tree.map(np.asarray, parameters(config))
    x = np.asarray(IMAGES, np.float64).reshape(3, 784)
    e, d = params["encoder"], params["decoder"]

    def layer(x, p):
        return x @ p["kernel"].astype(np.float64) + p["bias"]

    h = np.maximum(layer(x, e["hidden"]), 0)
    mean = layer(h, e["mean"])
    logits = layer(np.maximum(layer(mean, d["latent"]), 0), d["pixels"])
    q = model.encode(config, params, IMAGES)
    np.testing.assert_allclose(q.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(q.log_std, layer(h, e["log_std"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.decode(config, params, q.mean), logits.reshape(3, 28, 28), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["linear", "conv"])
def test_a_padded_model_is_the_small_one(architecture):
    """Same losses and gradients, and no gradient into the padding, so that it stays zero for good."""
    small, large = ModelConfig(architecture, 2), ModelConfig(architecture, 6)
    params = parameters(small)

    def objective(config, params):
        hypers = Hypers(jnp.float32(1e-3), jnp.float32(1.5), jnp.int32(2))
        losses = negative_elbo(config, params, IMAGES, jax.random.key(2), hypers)
        return losses.loss.mean(), losses

    grad = jax.jit(jax.grad(objective, argnums=1, has_aux=True), static_argnums=0)
    expected, expected_losses = grad(small, params)
    padded, losses = grad(large, model.resize_latent(params, 6))
    for a, b in zip(losses, expected_losses, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    trimmed = model.resize_latent(padded, 2)
    for a, b in zip(jax.tree.leaves(trimmed), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    back = model.resize_latent(trimmed, 6)
    jax.tree.map(np.testing.assert_array_equal, back, padded)


def test_resizing_there_and_back_is_the_identity():
    params = parameters(ModelConfig("linear", 3))
    there = model.resize_latent(params, 8)
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(lambda: model.init(ModelConfig("linear", 8), jax.random.key(0))))
    assert jax.tree.map(jnp.shape, there) == shapes
    jax.tree.map(np.testing.assert_array_equal, model.resize_latent(there, 3), params)
