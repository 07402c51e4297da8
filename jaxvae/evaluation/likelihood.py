"""How likely images are under a trained model: bounds for many K over a whole split, and annealed estimates.

In: a model, its parameters, images as a dataset has them. Out: a value for each image, in nats, as float64 host arrays.

Images are dealt in small batches over the devices. An image's noise depends on the seed and its place alone, so values
do not depend, but for rounding, on the batch, on the padding of the last one, or on how many devices there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.data import Examples
from jaxvae.evaluation import annealing
from jaxvae.evaluation.importance import Bounds, importance_weighted_bounds
from jaxvae.jax_settings import local_devices, own_settings
from jaxvae.models import VAE, Params, codes_at_once
from jaxvae.training import to_float, to_stored

POLL_SECONDS = 0.01
CALLS_AT_ONCE = 200  # times the codes decoded together: two or three seconds of a core, how long an interrupt may wait
LARGEST_BATCH = 100
RATE_SAMPLES = 100  # codes for each image, where the rate has no closed form

Advance = Callable[[int], None]  # called with the number of images that are done


class Weighted(NamedTuple):
    """A column for each image, as `importance.Bounds` has."""

    bound: np.ndarray  # [k, n], L_K in nats
    ess: np.ndarray  # [k, n], effective sample size
    log_likelihood: np.ndarray  # [n], mean log p(x|z) in nats over the codes of the largest K


@own_settings()
def bounds(
    vae: VAE,
    params: Params,
    images: Examples,
    ks: Sequence[int],
    seed: int = 0,
    *,
    conditions: Any = None,
    streams: np.ndarray | None = None,
    batch: int | None = None,
    devices: Sequence[Any] | None = None,
    advance: Advance = lambda done: None,
) -> Weighted:
    """Importance weighting by q(z|x), for each K of `ks`, with matrix products in float32.

    Args:
        vae: bound to the images' shape.
        images: [n, *shape], as a dataset has them.
        conditions: of the images, as stored, for a model that has one: L_K bounds log p(x|c) then.
        streams: whole numbers [n] below 2³²: images of one number are given the same noise; default, their places.
        batch: images at once; default, what suits the model and the largest K. Memory does not grow with K.
        devices: of type `jax.Device`; default all local ones.
    """
    batch = batch or min(suitable_batch(vae, max(ks)), len(images))
    at_once = max(1, min(codes_at_once(vae.encoder) // batch, max(ks)))
    program = partial(_bounds, tuple(ks), at_once, vae.in_float32())
    return Weighted(*_dealt(program, params, (images, conditions), seed, batch, devices, advance, streams))


def suitable_batch(vae: VAE, samples: int) -> int:
    """How many images `bounds` takes at once if there are enough of them."""
    return max(1, min(LARGEST_BATCH, CALLS_AT_ONCE * codes_at_once(vae.encoder) // samples))


@own_settings()
def rate(
    vae: VAE, params: Params, images: Examples, seed: int = 0, *, conditions: Any = None
) -> tuple[np.ndarray, str]:
    """KL(q(z|x) ‖ p(z)) of each image, in nats, [n], and how it was computed: in closed form where there is one, else
    as the mean of log q(z|x) − log p(z) over codes drawn from q."""
    batch = min(LARGEST_BATCH, len(images))
    (values,) = _dealt(partial(_rate, vae.in_float32()), params, (images, conditions), seed, batch)
    return values, "exact" if vae.has_closed_kl else f"mean over {RATE_SAMPLES:,} codes from q(z|x)"


class Annealed(NamedTuple):
    """A value for each image."""

    lower: np.ndarray  # of log p(x) in expectation, nats
    upper: np.ndarray | None  # from the codes that images were simulated from; none for others
    acceptance: np.ndarray  # share of Hamiltonian proposals


@own_settings()
def annealed(
    vae: VAE,
    params: Params,
    images: np.ndarray,
    steps: int,
    chains: int,
    seed: int = 0,
    *,
    conditions: Any = None,
    codes: np.ndarray | None = None,
    batch: int = 5,
    devices: Sequence[Any] | None = None,
    advance: Advance = lambda done: None,
) -> Annealed:
    """Annealed importance sampling from the prior to the posterior of each image (Wu et al. 2017).

    Args:
        vae: bound to the images' shape.
        steps: densities between the two, less one; `chains`: for each image.
        codes: those that the images were drawn from, [n, d], if they were: exact draws of the posterior, from which
            chains run back and bound log p(x) from above (Grosse, Ghahramani & Adams 2015).
    """
    known = codes is not None
    given = codes if known else np.zeros((len(images), vae.latent_dim), np.float32)
    program = partial(_annealed, steps, chains, known, vae.in_float32())
    examples = images, given, conditions
    lower, upper, acceptance = _dealt(program, params, examples, seed, min(batch, len(images)), devices, advance)
    return Annealed(lower, upper if known else None, acceptance)


@own_settings()
def simulated(
    vae: VAE, params: Params, n: int, seed: int = 0, dtype: Any = np.uint8, *, conditions: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """`n` images of the model's own, given so many conditions if it has one, stored as `dtype`, and the codes that they
    were drawn from, [n, d]."""
    vae = vae.in_float32().given(conditions)
    key_z, key_x = jax.random.split(jax.random.key(seed))
    z = vae.sample_prior(params, key_z, n)
    x = vae.likelihood.sample(vae.own_params(params, "likelihood"), key_x, vae.decode(params, z))
    return np.asarray(to_stored(x, dtype)), np.asarray(z)


def _dealt(
    program, params, examples, seed: int, batch: int, devices=None, advance: Advance = lambda done: None, streams=None
) -> list[np.ndarray]:
    """What `program(params, key, streams, examples)` returns, its last axis over all examples; each device computes a
    batch at a time."""
    devices = list(devices or local_devices())
    n = len(jax.tree.leaves(examples)[0])
    streams = np.arange(n) if streams is None else streams
    here = [jax.device_put((params, jax.random.key(seed)), device) for device in devices]
    starts = list(range(0, n, batch))
    running: dict[int, tuple[int, Any]] = {}  # device → where its batch starts, and what will come out
    found: dict[int, Any] = {}
    while len(found) < len(starts):
        for i, device in enumerate(devices):
            if i not in running and len(found) + len(running) < len(starts):
                start = starts[len(found) + len(running)]
                indices = np.minimum(np.arange(start, start + batch), n - 1)  # the last batch is filled up
                given = jax.device_put((streams[indices], jax.tree.map(lambda x, at=indices: x[at], examples)), device)
                running[i] = start, program(*here[i], *given)
        for i, (start, out) in list(running.items()):
            if all(leaf.is_ready() for leaf in jax.tree.leaves(out)):
                count = min(batch, n - start)
                found[start] = [np.asarray(leaf, np.float64)[..., :count] for leaf in jax.tree.leaves(out)]
                del running[i]
                advance(count)
        time.sleep(POLL_SECONDS if running else 0)
    return [np.concatenate(parts, axis=-1) for parts in zip(*(found[start] for start in starts), strict=True)]


@partial(jax.jit, static_argnums=(0, 1))
def _bounds(ks: tuple[int, ...], at_once: int, vae: VAE, params, key, indices, examples) -> Bounds:
    images, conditions = examples
    vae, x = vae.given(conditions), to_float(images)
    q = vae.encode(params, x)
    keys = jax.vmap(partial(jax.random.fold_in, key))(indices)

    def weigh(noise):
        z, log_ratio = vae.sample_codes(params, q, noise)
        return vae.log_likelihood(params, z, x), log_ratio

    return importance_weighted_bounds(weigh, keys, vae.latent_dim, ks, at_once)


@partial(jax.jit, static_argnums=0)
def _rate(vae: VAE, params, key, indices, examples):
    images, conditions = examples
    vae = vae.given(conditions)
    q = vae.encode(params, to_float(images))
    keys = jax.vmap(partial(jax.random.fold_in, key))(indices)
    noise = jax.vmap(lambda key: jax.random.normal(key, (RATE_SAMPLES, vae.latent_dim)), out_axes=1)(keys)
    return vae.kl(params, q, noise)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _annealed(steps: int, chains: int, known: bool, vae: VAE, params, key, indices, examples):
    betas, coarse = annealing.schedule(steps), annealing.schedule(max(1, steps // 5))
    own, model = vae.own_params(params, "likelihood"), vae

    def one(index, image, code, condition):
        vae = model.given(jax.tree.map(lambda stored: stored[None], condition))
        log_prior = partial(vae.log_prior, params)
        key_tune, key_first, key_chains, key_start = jax.random.split(jax.random.fold_in(key, index), 4)
        x = to_float(image[None])

        def log_joint(z):  # its normaliser is p(x)
            originals = jnp.broadcast_to(x, (len(z), *vae.shape))
            return log_prior(z) + vae.likelihood.log_prob(own, vae.decode(params, z), originals)

        path = annealing.Path(log_prior, log_joint)
        sizes = annealing.tune(path, key_tune, vae.sample_prior(params, key_first, chains), coarse)
        sizes = jnp.interp(betas[1:], coarse[1:], sizes)
        up = annealing.forward(path, key_chains, vae.sample_prior(params, key_start, chains), betas, sizes)
        if not known:
            return annealing.lower(up), jnp.zeros(()), up.acceptance
        down = annealing.backward(path, key_chains, jnp.broadcast_to(code, (chains, len(code))), betas, sizes)
        return annealing.lower(up), annealing.upper(down), (up.acceptance + down.acceptance) / 2

    return jax.vmap(one)(indices, *examples)
