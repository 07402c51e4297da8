"""How likely images are under a trained model: bounds for many K over a whole split, and annealed estimates.

In: a model's parameters and images as bytes. Out: a value for each image, in nats, as float64 host arrays.

Images are dealt in small batches over the devices. An image's noise depends on the seed and its place alone, so values
do not depend, but for rounding, on the batch, on the padding of the last one, or on how many devices there are.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.config import ModelConfig
from jaxvae.evaluation import annealing
from jaxvae.models import bernoulli_log_prob, model
from jaxvae.objectives import Bounds, importance_weighted_bounds
from jaxvae.training import engine

POLL_SECONDS = 0.01
CODES_AT_ONCE = {"linear": 1000, "conv": 100}  # decoded together: what activations stay in a core's cache
CODES_A_CALL = {"linear": 200_000, "conv": 20_000}  # two or three seconds of a core: how long an interrupt may wait
LARGEST_BATCH = 100

Advance = Callable[[int], None]  # called with the number of images that are done


def in_float32(config: ModelConfig) -> ModelConfig:
    """The model that is evaluated: whatever precision its products were trained in, they are now float32."""
    return dataclasses.replace(config, precision="float32")


class Weighted(NamedTuple):
    """A column for each image, as `importance.Bounds` has."""

    bound: np.ndarray  # [k, n], L_K in nats
    ess: np.ndarray  # [k, n], effective sample size
    log_likelihood: np.ndarray  # [n], mean log p(x|z) in nats over the codes of the largest K


def bounds(
    config: ModelConfig,
    params: model.Params,
    images: np.ndarray,
    ks: Sequence[int],
    seed: int = 0,
    *,
    batch: int | None = None,
    devices: Sequence[Any] | None = None,
    advance: Advance = lambda done: None,
) -> Weighted:
    """Importance weighting by q(z|x), for each K of `ks`.

    Args:
        images: bytes [n, 28, 28].
        batch: images at once; default, what suits the model and the largest K. Memory does not grow with K.
        devices: of type `jax.Device`; default all local ones.
    """
    batch = batch or max(1, min(LARGEST_BATCH, CODES_A_CALL[config.architecture] // max(ks), len(images)))
    at_once = max(1, min(CODES_AT_ONCE[config.architecture] // batch, max(ks)))
    program = partial(_bounds, in_float32(config), tuple(ks), at_once)
    parts = _dealt(program, params, images, jax.random.key(seed), batch, devices, advance)
    bound, ess, log_likelihood = (np.concatenate(leaves, axis=-1) for leaves in zip(*parts, strict=True))
    return Weighted(bound, ess, log_likelihood)


class Annealed(NamedTuple):
    """A value for each image."""

    lower: np.ndarray  # of log p(x) in expectation, nats
    upper: np.ndarray | None  # from the codes that images were simulated from; none for others
    acceptance: np.ndarray  # share of Hamiltonian proposals


def annealed(
    config: ModelConfig,
    params: model.Params,
    images: np.ndarray,
    steps: int,
    chains: int,
    seed: int = 0,
    *,
    codes: np.ndarray | None = None,
    batch: int = 5,
    devices: Sequence[Any] | None = None,
    advance: Advance = lambda done: None,
) -> Annealed:
    """Annealed importance sampling from the prior to the posterior of each image (Wu et al. 2017).

    Args:
        steps: densities between the two, less one; `chains`: for each image.
        codes: those that the images were drawn from, [n, d], if they were: exact draws of the posterior, from which
            chains run back and bound log p(x) from above (Grosse, Ghahramani & Adams 2015).
    """
    known = codes is not None
    given = codes if known else np.zeros((len(images), config.latent_dim), np.float32)
    program = partial(_annealed, in_float32(config), steps, chains, known)
    parts = _dealt(program, params, (images, given), jax.random.key(seed), min(batch, len(images)), devices, advance)
    lower, upper, acceptance = (np.concatenate(leaves) for leaves in zip(*parts, strict=True))
    return Annealed(lower, upper if known else None, acceptance)


def simulated(config: ModelConfig, params: model.Params, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`n` images of the model's own as bytes 0 and 255, and the codes that they were drawn from, [n, d]."""
    key_z, key_x = jax.random.split(jax.random.key(seed))
    z = jax.random.normal(key_z, (n, config.latent_dim))
    white = jax.random.bernoulli(key_x, jax.nn.sigmoid(model.decode(in_float32(config), params, z)))
    return np.asarray(white, np.uint8) * np.uint8(255), np.asarray(z)


def _dealt(program, params, examples, key, batch: int, devices, advance: Advance) -> list[tuple[np.ndarray, ...]]:
    """`program(params, key, indices, examples)` over batches of the examples, a batch a device at a time; in order."""
    devices = list(devices or jax.local_devices())
    n = len(jax.tree.leaves(examples)[0])
    here = [jax.device_put((params, key), device) for device in devices]
    starts = list(range(0, n, batch))
    running: dict[int, tuple[int, Any]] = {}  # device → where its batch starts, and what will come out
    found: dict[int, Any] = {}
    while len(found) < len(starts):
        for i, device in enumerate(devices):
            if i not in running and len(found) + len(running) < len(starts):
                start = starts[len(found) + len(running)]
                indices = np.minimum(np.arange(start, start + batch), n - 1)  # the last batch is filled up
                given = jax.device_put((indices, jax.tree.map(lambda x, at=indices: x[at], examples)), device)
                running[i] = start, program(*here[i], *given)
        for i, (start, out) in list(running.items()):
            if all(leaf.is_ready() for leaf in jax.tree.leaves(out)):
                count = min(batch, n - start)
                found[start] = [np.asarray(leaf, np.float64)[..., :count] for leaf in jax.tree.leaves(out)]
                del running[i]
                advance(count)
        time.sleep(POLL_SECONDS if running else 0)
    return [tuple(found[start]) for start in starts]


@partial(jax.jit, static_argnums=(0, 1, 2))
def _bounds(config: ModelConfig, ks: tuple[int, ...], at_once: int, params, key, indices, images) -> Bounds:
    x = engine.pixels(images)
    posterior = model.encode(config, params, x)
    keys = jax.vmap(partial(jax.random.fold_in, key))(indices)

    def log_likelihood(z):
        logits = model.decode(config, params, z.reshape(-1, z.shape[-1])).reshape(*z.shape[:2], *x.shape[1:])
        return jax.vmap(bernoulli_log_prob, in_axes=(0, None))(logits, x)

    return importance_weighted_bounds(log_likelihood, posterior, keys, ks, at_once)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _annealed(config: ModelConfig, steps: int, chains: int, known: bool, params, key, indices, examples):
    betas, coarse = annealing.schedule(steps), annealing.schedule(max(1, steps // 5))

    def one(index, image, code):
        key_tune, key_first, key_chains, key_start = jax.random.split(jax.random.fold_in(key, index), 4)
        x = engine.pixels(image[None])

        def log_likelihood(z):
            return bernoulli_log_prob(model.decode(config, params, z), jnp.broadcast_to(x, (len(z), 28, 28)))

        path = annealing.from_prior(log_likelihood)
        shape = chains, config.latent_dim
        sizes = annealing.tune(path, key_tune, jax.random.normal(key_first, shape), coarse)
        sizes = jnp.interp(betas[1:], coarse[1:], sizes)
        up = annealing.forward(path, key_chains, jax.random.normal(key_start, shape), betas, sizes)
        if not known:
            return annealing.lower(up), jnp.zeros(()), up.acceptance
        down = annealing.backward(path, key_chains, jnp.broadcast_to(code, shape), betas, sizes)
        return annealing.lower(up), annealing.upper(down), (up.acceptance + down.acceptance) / 2

    return jax.vmap(one)(indices, *examples)
