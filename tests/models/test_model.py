from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError
from jaxvae.models import MLP, VAE, Conv, Normal, parameter_count, resize
from jaxvae.models.conv import Residual
from jaxvae.models.modules import Networks
from jaxvae.nn import square
from jaxvae.objectives import ELBO, Context
from jaxvae.training import engine
from tests.classic import classic, vae

SHAPE = (28, 28)
IMAGES = jax.random.uniform(jax.random.key(9), (3, *SHAPE))


def parameters(model, seed=0):
    return jax.jit(VAE.init)(model, jax.random.key(seed))


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0))


@pytest.mark.parametrize(("architecture", "expected"), [("linear", 404_244), ("conv", 228_677)])
def test_parameter_counts_at_two_dimensions(architecture, expected):
    assert parameter_count(shapes(vae(architecture, 2).bind(SHAPE))) == expected


@pytest.mark.parametrize("architecture", ["linear", "conv"])
def test_encode_and_decode_are_deterministic_and_treat_images_alone(architecture):
    model = vae(architecture, 3).bind(SHAPE)
    params = parameters(model)
    encode, decode = jax.jit(model.encode), jax.jit(model.decode)
    q = encode(params, IMAGES)
    logits = decode(params, q.mean)
    assert q.mean.shape == q.log_std.shape == (3, 3)
    assert logits.shape == (3, 28, 28)
    again = encode(params, IMAGES[::-1])
    np.testing.assert_allclose(again.mean[::-1], q.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(decode(params, q.mean[::-1])[::-1], logits, rtol=1e-4, atol=1e-5)


def test_linear_model_is_the_textbooks_two_layers():
    model = vae("linear", 4).bind(SHAPE)
    params = jax.tree.map(np.asarray, parameters(model))
    x = np.asarray(IMAGES, np.float64).reshape(3, 784)
    e, d = params["encoder"], params["decoder"]

    def layer(x, p):
        return x @ p["kernel"].astype(np.float64) + p["bias"]

    h = np.maximum(layer(x, e["hidden"]), 0)
    mean = layer(h, e["mean"])
    logits = layer(np.maximum(layer(mean, d["latent"]), 0), d["pixels"])
    q = model.encode(params, IMAGES)
    np.testing.assert_allclose(q.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(q.log_std, layer(h, e["log_std"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.decode(params, q.mean), logits.reshape(3, 28, 28), rtol=1e-4, atol=1e-5)


ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "linear": lambda x: x,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_are_normed_and_then_activated(activation):
    model = VAE(2, MLP((8, 6), activation, "layer")).bind((5,))
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64) + 0.1, parameters(model))
    x = np.random.default_rng(0).normal(size=(4, 5))

    def layer(x, p):
        return x @ p["kernel"] + p["bias"]

    def activated(h, network, name):
        norm = params[network][f"{name}-norm"]
        h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6) * norm["scale"] + norm["bias"]
        return ACTIVATIONS[activation](h)

    h = x
    for name in ("hidden", "hidden2"):
        h = activated(layer(h, params["encoder"][name]), "encoder", name)
    single = jax.tree.map(jnp.float32, params)
    q = model.encode(single, jnp.float32(x))
    np.testing.assert_allclose(q.mean, layer(h, params["encoder"]["mean"]), rtol=1e-4, atol=1e-5)
    h = np.asarray(q.mean, np.float64)
    for name in ("latent", "hidden2"):
        h = activated(layer(h, params["decoder"][name]), "decoder", name)
    np.testing.assert_allclose(
        model.decode(single, q.mean), layer(h, params["decoder"]["pixels"]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["linear", "conv"])
def test_a_padded_model_is_the_small_one(architecture):
    """Same losses and gradients, and no gradient into the padding, so that it stays zero for good."""
    run = classic(architecture, 2, beta=1.5)
    small, large = run.program(SHAPE), run.program(SHAPE, latent_dim=6)
    params = parameters(small.vae)

    @jax.jit
    def gradient(program, params):
        def objective(params):
            noise = engine.codes_noise(program, jax.random.key(2), len(IMAGES))
            losses = program.objective(program.vae, params, IMAGES, noise, Context(len(IMAGES)))
            return losses.loss.mean(), losses

        return jax.grad(objective, has_aux=True)(params)

    expected, expected_losses = gradient(small, params)
    padded, losses = gradient(large, resize(params, shapes(large.vae)))
    for a, b in zip(losses[:3], expected_losses[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    trimmed = resize(padded, params)
    for a, b in zip(jax.tree.leaves(trimmed), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    back = resize(trimmed, padded)
    jax.tree.map(np.testing.assert_array_equal, back, padded)


def test_resizing_there_and_back_is_the_identity():
    small, large = vae("linear", 3).bind(SHAPE), vae("linear", 8).bind(SHAPE)
    params = parameters(small)
    there = resize(params, shapes(large))
    assert jax.tree.map(jnp.shape, there) == jax.tree.map(jnp.shape, shapes(large))
    jax.tree.map(np.testing.assert_array_equal, resize(there, params), params)


# ── examples of any shape ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (MLP((8,)), (5,)),
        (MLP((8, 6)), (7, 3)),
        (MLP((8, 6), "gelu", "layer"), (7, 3)),
        (MLP((8,)), (6, 5, 3)),
        (Conv((4, 6)), (8, 8)),
        (Conv((4, 6)), (9, 9, 3)),
        (Conv((4, 6, 5, 7)), (31, 31, 2)),
        (Conv((4, 6), kernel=5), (11, 8)),
        (Conv((3, 4, 5, 6, 7), kernel=1), (1, 14, 4)),
        (Conv((4, 6), residual=2), (6, 9, 3)),
    ],
    ids=str,
)
def test_a_network_decodes_to_the_shape_that_it_encodes(encoder, shape):
    """And the model without padding is the one with it."""
    small, large = VAE(2, encoder).bind(shape), VAE(4, encoder).bind(shape)
    x = jax.random.uniform(jax.random.key(1), (3, *shape))
    params = parameters(small)
    q = small.encode(params, x)
    assert q.mean.shape == q.log_std.shape == (3, 2)
    assert small.mean(params, q.mean).shape == x.shape
    wide = jax.tree.map(lambda leaf: leaf, resize(params, shapes(large)))
    padded = Normal(*(jnp.pad(leaf, ((0, 0), (0, 2))) for leaf in q))
    for found, expected in zip(large.encode(wide, x), padded, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(large.mean(wide, padded.mean), small.mean(params, q.mean), rtol=1e-5, atol=1e-6)


class Heads(NamedTuple):
    mean: int = 1
    factor: int = 2


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [MLP((5,)), Conv((4, 6))], ids=["batch first", "batch last"])
def test_a_head_of_two_latent_axes_is_a_matrix_for_each_example(encoder):
    """Whatever layout the network's features have."""
    images = IMAGES[:, :9, :9]
    networks = Networks(encoder, encoder.mirrored().clone(outputs=(9, 9)), Heads(), 3, "float32")
    params = networks.init(jax.random.key(0), images, jnp.zeros((1, 3)))["params"]
    q = networks.apply({"params": params}, images, method="encode")
    features = encoder.apply({"params": params["encoder"]}, images)
    features = features.T if isinstance(encoder, Conv) else features
    factor, mean = params["encoder"]["factor"], params["encoder"]["mean"]
    expected = jnp.einsum("bf,fij->bij", features, factor["kernel"]) + factor["bias"]
    np.testing.assert_allclose(q.factor, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(q.mean, features @ mean["kernel"] + mean["bias"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(28,), (4, 4, 4, 4)])
def test_a_conv_model_takes_pictures_alone(shape):
    with pytest.raises(ConfigError, match=r"a conv network takes pictures, \[height, width\] or"):
        VAE(2, Conv()).bind(shape).init(jax.random.key(0))


@given(st.integers(0, 5).map(lambda n: 2 * n + 1), st.integers(1, 70), st.integers(1, 70), st.integers(1, 9))
def test_each_convolution_halves_a_side_and_its_mirror_image_comes_back(kernel, height, width, layers):
    sizes = height, width
    for window, smaller in Conv((1,) * layers, kernel).windows(sizes):
        assert smaller == tuple(-(-size // 2) for size in sizes) == window.positions(*sizes)
        assert window.covered(*smaller) == sizes
        for side, size in zip(window[:2], sizes, strict=True):
            assert side.kernel == kernel + (size % 2 == 0)
        sizes = smaller


def test_the_classic_model_has_the_windows_of_before():
    windows = [window for window, _ in Conv().windows((28, 28))]
    assert windows == [square(4, 2, 1), square(4, 2, 1), square(3, 2, 1)]


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (MLP(norm="batch"), "network/mlp: norm must be one of none, layer, not 'batch'"),
        (MLP(activation="swish"), "network/mlp: activation must be one of relu, tanh, gelu, silu, elu, linear, not"),
        (Conv(kernel=4), "network/conv: kernel must be odd, as even sides have one more, not 4"),
        (Conv(kernel=0), "network/conv: kernel must be a whole number of at least 1 and below 32, not 0"),
        (Conv(kernel=3.0), "network/conv: kernel must be a whole number"),
        (Conv(residual=-1), "network/conv: residual must be a whole number of at least 0"),
        (Conv(residual=True), "network/conv: residual must be a whole number"),
    ],
)
def test_careless_settings_are_one_line(encoder, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig(VAE(2, encoder))


def test_names_tell_of_what_is_not_the_default():
    assert RunConfig(VAE(2, MLP((256,), "silu", "layer"))).name == "linear-2-silu-normlayer"
    assert RunConfig(VAE(2, Conv())).name == "conv-2"
    assert RunConfig(VAE(2, Conv((8,), kernel=5, residual=1))).name == "conv-2-channels8-kernel5-residual1"


def test_a_residual_block_adds_two_convolutions_to_what_it_is_given():
    h = jax.random.normal(jax.random.key(0), (3, 5, 4, 2))  # channels, height, width, batch
    block = Residual(3, "float32")
    params = block.init(jax.random.key(1), h)

    def convolution(h, layer):
        y = jax.lax.conv_general_dilated(
            h, layer["kernel"], (1, 1), "SAME", dimension_numbers=("CHWN", "HWIO", "CHWN"), precision="highest"
        )
        return y + layer["bias"][:, None, None, None]

    inner = jax.nn.relu(convolution(h, params["params"]["conv1"]))
    expected = jax.nn.relu(h + convolution(inner, params["params"]["conv2"]))
    np.testing.assert_allclose(block.apply(params, h), expected, rtol=1e-5, atol=1e-5)


def test_a_model_that_does_not_know_its_examples_says_so():
    with pytest.raises(ConfigError, match=r"bind it: vae.bind\(shape\)"):
        VAE(2, MLP()).init(jax.random.key(0))


def test_closed_divergences_are_known_before_there_are_codes():
    assert VAE(2, MLP()).has_closed_kl
    assert ELBO().codes == 1
