"""Likelihoods of whole splits: against NumPy, against the exact integral, and however the images are dealt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp, softmax

from jaxvae.evaluation import likelihood
from jaxvae.evaluation.importance import Bounds
from tests.blobs import blobs
from tests.classic import vae

MODEL = vae("linear", 2, precision="bfloat16", hidden=(16,)).bind((28, 28))  # evaluated in float32 all the same
IMAGES = blobs(13, 3)[0]
KS = (1, 4, 30)


@pytest.fixture(scope="module")
def params():
    """A decoder whose codes matter and an encoder that is off, so that bounds rise and weights differ."""
    params = jax.jit(MODEL.init)(jax.random.key(1))
    params["decoder"]["latent"]["kernel"] *= 0.7
    params["encoder"]["log_std"]["bias"] = jnp.array([-0.3, -0.6])
    return params


def layers(params):
    """The model in NumPy, double precision: an encoder and log p(x|z)."""
    e, d = (jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params[part]) for part in ("encoder", "decoder"))
    x = IMAGES.reshape(-1, 784) / 255

    def layer(x, p):
        return x @ p["kernel"] + p["bias"]

    def log_likelihood(z):
        """Codes [n, images, 2], or [n, 1, 2] for all images, → [n, images]"""
        p = expit(layer(np.maximum(layer(z, d["latent"]), 0), d["pixels"]))
        if p.shape[1] == 1:
            return np.log(p[:, 0]) @ x.T + np.log(1 - p[:, 0]) @ (1 - x).T
        return (x * np.log(p) + (1 - x) * np.log(1 - p)).sum(-1)

    h = np.maximum(layer(x, e["hidden"]), 0)
    return layer(h, e["mean"]), layer(h, e["log_std"]), log_likelihood


def test_bounds_are_an_independent_calculation(params):
    found = likelihood.bounds(MODEL, params, IMAGES, KS, seed=5)
    mean, log_std, log_likelihood = layers(params)
    keys = [jax.random.fold_in(jax.random.key(5), i) for i in range(len(IMAGES))]
    noise = np.array([[jax.random.normal(jax.random.fold_in(key, s), (2,)) for key in keys] for s in range(30)])
    z = mean + np.exp(log_std) * noise
    likely = log_likelihood(z)
    log_w = likely + (0.5 * (noise**2 - z**2) + log_std).sum(-1)
    for row, k in enumerate(KS):
        np.testing.assert_allclose(found.bound[row], logsumexp(log_w[:k], 0) - np.log(k), rtol=1e-5)
        np.testing.assert_allclose(found.ess[row], 1 / (softmax(log_w[:k], 0) ** 2).sum(0), rtol=1e-3)
    np.testing.assert_allclose(found.log_likelihood, likely.mean(0), rtol=1e-5)


@pytest.mark.parametrize(("batch", "devices"), [(1, 1), (5, 1), (5, 2), (13, 2), (100, 1)])
def test_values_do_not_depend_on_batches_padding_or_devices(batch, devices, params):
    whole = likelihood.bounds(MODEL, params, IMAGES, KS)
    seen = []
    other = likelihood.bounds(
        MODEL, params, IMAGES, KS, batch=batch, devices=jax.local_devices()[:devices], advance=seen.append
    )
    np.testing.assert_allclose(other.bound, whole.bound, rtol=2e-5)
    np.testing.assert_allclose(other.log_likelihood, whole.log_likelihood, rtol=2e-5)
    np.testing.assert_allclose(other.ess, whole.ess, rtol=1e-3)  # log-weights of −550 nats are rounded to 6e-5
    few = likelihood.bounds(MODEL, params, IMAGES[:4], KS, batch=batch)
    np.testing.assert_allclose(few.bound, whole.bound[:, :4], rtol=2e-5)
    assert sum(seen) == len(IMAGES)  # each counted once, the padding not at all


def test_memory_does_not_grow_with_k(params):
    def bytes_for(k):
        arguments = params, jax.random.key(0), np.arange(10), (IMAGES[:10], None)
        program = likelihood._bounds.lower((1, k), 20, MODEL.in_float32(), *arguments).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert bytes_for(2000) == bytes_for(40)


def exact(params):
    """log p(x) by a fine grid over the two latent dimensions."""
    _, _, log_likelihood = layers(params)
    grid = np.linspace(-5.5, 5.5, 151)
    z = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 1, 2)
    joint = log_likelihood(z) - 0.5 * (z**2).sum(-1)
    return logsumexp(joint, 0) - np.log(2 * np.pi) + 2 * np.log(grid[1] - grid[0])


@pytest.mark.slow
def test_importance_weighting_and_annealing_find_the_exact_integral(params):
    truth = exact(params)
    found = likelihood.bounds(MODEL, params, IMAGES, (1, 2000))
    assert found.bound[0].mean() < truth.mean() - 0.05  # the ELBO is loose, so that there is something to find
    np.testing.assert_allclose(found.bound[1], truth, atol=0.15)
    assert found.bound[1].mean() == pytest.approx(truth.mean(), abs=0.03)
    annealed = likelihood.annealed(MODEL, params, IMAGES[:6], steps=150, chains=32, batch=6)
    assert annealed.upper is None
    np.testing.assert_allclose(annealed.lower, truth[:6], atol=0.3)
    assert annealed.lower.mean() == pytest.approx(truth[:6].mean(), abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 5])
def test_annealing_does_not_depend_on_the_batch(batch, params):
    whole = likelihood.annealed(MODEL, params, IMAGES[:5], steps=10, chains=4, batch=5)
    other = likelihood.annealed(MODEL, params, IMAGES[:5], steps=10, chains=4, batch=batch)
    np.testing.assert_allclose(other.lower, whole.lower, rtol=1e-4)


@pytest.mark.slow
def test_on_simulated_images_the_bracket_holds_the_likelihood(params, monkeypatch):
    images, codes = likelihood.simulated(MODEL, params, 6, seed=2)
    assert set(np.unique(images)) == {0, 255}
    found = likelihood.annealed(MODEL, params, images, steps=100, chains=16, codes=codes, batch=6)
    assert found.upper is not None
    monkeypatch.setattr("tests.evaluation.test_likelihood.IMAGES", images)
    truth = exact(params)
    error = (found.upper - found.lower).std() / np.sqrt(6)
    assert found.lower.mean() - 3 * error < truth.mean() < found.upper.mean() + 3 * error
    assert found.upper.mean() - found.lower.mean() < 0.3


def test_simulated_images_come_from_their_codes(params):
    images, codes = likelihood.simulated(MODEL, params, 4000)
    assert abs(codes.mean()) < 0.05
    assert codes.std() == pytest.approx(1, abs=0.03)
    p = MODEL.in_float32().mean(params, jnp.asarray(codes))
    residual = images / 255 - np.asarray(p)
    scaled = residual.sum(0) / np.sqrt((p * (1 - p)).sum(0))  # a standard normal in each pixel
    assert np.abs(scaled).max() < 5
    assert scaled.std() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_the_conv_model_too():
    model = vae("conv", 3).bind((28, 28))
    params = jax.jit(model.init)(jax.random.key(0))
    found = likelihood.bounds(model, params, IMAGES[:3], (1, 6), batch=2)
    alone = likelihood.bounds(model, params, IMAGES[:3], (1, 6), batch=3)
    assert isinstance(found, likelihood.Weighted)
    assert Bounds._fields == found._fields
    np.testing.assert_allclose(found.bound, alone.bound, rtol=1e-5)
    annealed = likelihood.annealed(model, params, IMAGES[:2], steps=5, chains=2)
    assert np.isfinite(annealed.lower).all()
