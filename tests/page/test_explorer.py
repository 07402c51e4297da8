import base64
import json
import math
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import expit

from jaxvae.config import RunConfig
from jaxvae.figures import pictures
from jaxvae.models import MLP, VAE, Conv
from jaxvae.page import explorer
from jaxvae.runs import Run
from tests.classic import classic

LOOK = pictures.Look((28, 28))
ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * expit(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "linear": lambda x: x,
}


def run_of(config, scale=1.0, shape=(28, 28)):
    params = jax.tree.map(lambda leaf: scale * leaf, config.vae.bind(shape).init(jax.random.key(1)))
    return Run(
        Path("nowhere"), config, {"dataset": {"shape": list(shape)}}, params, [], np.zeros((1, 2, 1, *shape), np.uint8)
    )


def unpacked(decoder):
    """The layers with their arrays in float64, read as the page reads them."""
    raw = base64.b64decode(decoder["weights"])
    numbers = {
        "dense": lambda layer: (layer["outputs"], layer["inputs"] * layer["outputs"]),
        "norm": lambda layer: (2 * layer["outputs"], 0),
        "transposed": lambda layer: (
            layer["features"], math.prod(layer["kernel"]) * layer["channels"] * layer["features"],
        ),
    }  # fmt: skip
    sizes = [numbers[layer["kind"]](layer) for layer in decoder["layers"]]
    outputs = sum(own for own, _ in sizes)
    if decoder["precision"] == "float32":
        floats, kernels = np.frombuffer(raw[: 8 * outputs], np.float32), np.frombuffer(raw[8 * outputs :], np.int16)
        biases, scales = floats[:outputs].astype(float), floats[outputs:].astype(float)
    else:
        biases, kernels = np.frombuffer(raw[: 4 * outputs], np.float32), np.frombuffer(raw[4 * outputs :], jnp.bfloat16)
        scales = np.ones(outputs)
    assert len(kernels) == sum(size for _, size in sizes)
    for layer, (own, size) in zip(decoder["layers"], sizes, strict=True):
        yield layer, (kernels[:size].astype(float).reshape(-1, own) * scales[:own]).ravel(), biases[:own]
        kernels, scales, biases = kernels[size:], scales[own:], biases[own:]


def decode(decoder, z, shape):
    """The packed decoder by textbook: zeros between the pixels, then a full convolution, then a crop."""
    values = z
    layers = list(unpacked(decoder))
    for i, (layer, kernel, bias) in enumerate(layers):
        if decoder["precision"] == "bfloat16" and layer["kind"] != "norm":
            values = np.asarray(values).astype(jnp.bfloat16).astype(float)
        if layer["kind"] == "dense":
            values = values.ravel() @ kernel.reshape(layer["inputs"], layer["outputs"]) + bias
        elif layer["kind"] == "norm":
            scale, shift = np.split(bias, 2)
            values = (values - values.mean()) / np.sqrt(values.var() + 1e-6) * scale + shift
        else:
            rows, stride, pad = layer["rows"], layer["stride"], layer["padding"]
            pixels = values.reshape(rows, -1, layer["channels"])
            spread = np.zeros((*(stride * (size - 1) + 1 for size in pixels.shape[:2]), layer["channels"]))
            spread[::stride, ::stride] = pixels
            taps = kernel.reshape(*layer["kernel"], layer["channels"], layer["features"])
            around = [(size - 1,) * 2 for size in layer["kernel"]]
            seen = sliding_window_view(np.pad(spread, (*around, (0, 0))), layer["kernel"], (0, 1))
            full = np.einsum("yxckl,klcf->yxf", seen, taps[::-1, ::-1], optimize=True)
            values = full[pad : len(full) - pad, pad : full.shape[1] - pad] + bias
        if i < len(layers) - 1 and layers[i + 1][0]["kind"] != "norm":
            values = ACTIVATIONS[decoder["activation"]](values)
    return values.reshape(shape)


RUNS = {
    "linear": (classic("linear", 3), (28, 28)),
    "deep": (classic("linear", 2, hidden=(20, 30), activation="tanh"), (28, 28)),
    "conv": (classic("conv", 3), (28, 28)),
    **{name: (RunConfig(VAE(2, MLP((9, 7), name, "layer"))), (6,)) for name in ACTIVATIONS},
    "norm in bfloat16": (RunConfig(VAE(2, MLP((9, 7), norm="layer"), precision="bfloat16")), (6,)),
    "not square": (RunConfig(VAE(2, Conv((4, 5, 6), kernel=5))), (18, 13, 3)),
}
runs = pytest.mark.parametrize(("config", "shape"), RUNS.values(), ids=RUNS)


@pytest.mark.slow
@runs
def test_a_packed_decoder_is_the_decoder_but_for_the_rounding_of_its_weights(config, shape):
    run = run_of(config, 3.0, shape)
    packed = explorer.packed_decoder(run)
    assert packed is not None
    for z in np.random.default_rng(0).normal(0, 2, (2, config.latent_dim)):
        logits = np.asarray(run.vae.decode(run.params, jnp.asarray(z[None], jnp.float32)))[0]
        found = decode(packed, z, shape)
        assert np.abs(logits).max() > 1
        np.testing.assert_allclose(found, logits, atol=2e-4 * np.abs(logits).max())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@runs
def test_the_pages_script_runs_a_packed_decoder(config, shape):
    packed = explorer.packed_decoder(run_of(config, 3.0, shape))
    assert packed is not None
    z = np.random.default_rng(0).normal(0, 2, config.latent_dim).round(3)
    script = resources.files("jaxvae.page").joinpath("templates/decoder.js").read_text(encoding="utf-8")
    script += f"\nconsole.log(JSON.stringify([...network({json.dumps(packed)})({z.tolist()})]));"
    said = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True).stdout
    expected = decode(packed, z, shape).ravel()
    np.testing.assert_allclose(json.loads(said), expected, atol=1e-5 * np.abs(expected).max())


def test_a_page_runs_no_residual_blocks():
    assert explorer.packed_decoder(run_of(RunConfig(VAE(2, Conv((4,), residual=1))))) is None


@pytest.mark.slow
def test_weights_travel_in_the_precision_that_products_read():
    run = run_of(classic("linear", 2, precision="bfloat16"))
    packed = explorer.packed_decoder(run)
    assert packed is not None
    kernel = next(iter(unpacked(packed)))[1].reshape(2, 256)
    np.testing.assert_array_equal(kernel, run.params["decoder"]["latent"]["kernel"].astype(jnp.bfloat16))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_what_is_not_finite_is_left_out(part, broken):
    run = run_of(classic("linear", 2))
    images = np.zeros((5, 28, 28), np.uint8)
    assert explorer.explored(run, images, LOOK) is not None
    layer = run.params[part]["mean" if part == "encoder" else "pixels"]
    layer["bias"] = layer["bias"].at[0].set(broken)
    assert explorer.explored(run, images, LOOK) is None


def test_posteriors_wider_than_numbers_can_say_are_cut():
    run = run_of(classic("linear", 3))
    layer = run.params["encoder"]["log_std"]
    layer["bias"] = layer["bias"].at[0].set(400.0)
    model = explorer.explored(run, np.zeros((5, 28, 28), np.uint8), LOOK)
    assert model is not None
    assert np.isfinite(model["kl"]).all()
    assert np.isfinite(model["axes"]).all()


def test_zeros_and_large_numbers_travel_too():
    kernel = np.zeros((3, 4), np.float32)
    kernel[:, 1] = [1e6, -3e6, 2e6]
    scales = explorer._scales(kernel)
    np.testing.assert_allclose(np.rint(kernel / scales).astype(np.int16) * scales, kernel, atol=3e6 / 65534)


def test_two_dimensions_are_looked_at_as_they_are():
    mean = np.random.default_rng(0).normal(size=(50, 2)) @ [[3, 1], [0, 1]]
    centre, axes = explorer.plane(mean, np.zeros((50, 2)))
    np.testing.assert_array_equal(centre, [0, 0])
    np.testing.assert_array_equal(axes, np.eye(2))
    assert explorer.plane(mean[:, :1], np.zeros((50, 1)))[1].tolist() == [[1], [0]]


def test_more_dimensions_are_looked_at_along_the_aggregate_posteriors_principal_axes():
    """Its covariance is the means' plus the mean variance; the last dimension is wide only by its variances."""
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(5000, 4)) * [0.1, 2.0, 0.5, 0.1] + 3
    log_std = np.log([0.1, 0.1, 0.1, 1.5]) + np.zeros((5000, 4))
    centre, axes = explorer.plane(mean, log_std)
    np.testing.assert_allclose(centre, [3, 3, 3, 3], atol=0.1)
    np.testing.assert_allclose(axes, [[0, 1, 0, 0], [0, 0, 0, 1]], atol=0.05)
    drawn = mean + np.exp(log_std) * rng.normal(size=mean.shape)
    by_svd = np.linalg.svd(drawn - drawn.mean(0), full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs((axes * by_svd).sum(1)), 1, atol=1e-2)


@pytest.mark.slow
def test_codes_travel_as_encode_gives_them():
    run = run_of(classic("conv", 3))
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), dtype=np.uint8)
    model = explorer.explored(run, images, LOOK)
    assert model is not None
    q = run.encode(images)
    for key, expected in (("mean", q.mean), ("logStd", q.log_std)):
        found = np.frombuffer(base64.b64decode(model[key]), np.float16).reshape(7, 3)
        np.testing.assert_allclose(found, np.asarray(expected), atol=1e-3, rtol=1e-3)
    closed = 0.5 * (np.asarray(q.mean) ** 2 + np.exp(2 * np.asarray(q.log_std)) - 1 - 2 * np.asarray(q.log_std))
    np.testing.assert_allclose(model["kl"], closed.mean(0), atol=1e-4)
