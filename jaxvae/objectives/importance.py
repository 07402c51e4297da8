"""Importance weights of latent codes, and bounds on log p(x) from them, for many K in one pass.

In: log p(x|z) as a function of codes, q(z|x), a key for each image. Out: nats per image, and the effective sample size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from jaxvae.models import Normal

LogLikelihood = Callable[[Float[Array, "s b z"]], Float[Array, "s b"]]  # log p(x|z) of s codes for each of b images


class Bounds(NamedTuple):
    """What K codes for each image say; a row for each K, but for the last."""

    bound: Float[Array, "k b"]  # L_K, nats
    ess: Float[Array, "k b"]  # effective sample size of the K weights, (Σw)² / Σw², from 1 to K (Kong 1992)
    log_likelihood: Float[Array, "b"]  # mean log p(x|z) over the codes of the largest K, nats: minus the distortion


def log_weights(
    log_likelihood: Float[Array, "s b"],
    z: Float[Array, "s b z"],
    noise: Float[Array, "s b z"],
    log_std: Float[Array, "b z"],
) -> Float[Array, "s b"]:
    """log p(x|z) + log p(z) − log q(z|x) at z = mean + std · noise, in nats; the normals' constants cancel."""
    return log_likelihood + (0.5 * (jnp.square(noise) - jnp.square(z)) + log_std).sum(-1)


def log_mean_exp(x: Float[Array, "s b"]) -> Float[Array, "b"]:
    return jax.nn.logsumexp(x, axis=0) - jnp.log(len(x))


def importance_weighted_bounds(
    log_likelihood: LogLikelihood, posterior: Normal, keys: Key[Array, "b"], ks: Sequence[int], at_once: int
) -> Bounds:
    """L_K = log 1/K Σ p(x, z)/q(z|x) with K codes z ~ q(z|x) (Burda, Grosse & Salakhutdinov 2016, equation 8).

    All K share their samples: the first K of the largest's. They are drawn `at_once` at a time and only sums are kept,
    so that memory does not grow with K. The noise of a sample depends on its image's key and its own index alone, not
    on the other images or on `at_once`.
    """
    batch, latent = posterior.mean.shape
    last, most = jnp.asarray(ks) - 1, max(ks)

    def draw(key, samples):
        return jax.vmap(lambda sample: jax.random.normal(jax.random.fold_in(key, sample), (latent,)))(samples)

    def body(carry, _):
        start, total, squares, found = carry
        samples = start + jnp.arange(at_once)
        noise = jax.vmap(draw, in_axes=(0, None), out_axes=1)(keys, samples)
        z = posterior.mean + jnp.exp(posterior.log_std) * noise
        likely = log_likelihood(z)
        log_w = log_weights(likely, z, noise, posterior.log_std)
        totals = jnp.logaddexp(total, lax.cumlogsumexp(log_w))
        all_squares = jnp.logaddexp(squares, lax.cumlogsumexp(2 * log_w))
        here = (last >= start) & (last < start + at_once)
        at = jnp.clip(last - start, 0, at_once - 1)
        bound, ess = (
            jnp.where(here[:, None], new[at], old)
            for new, old in ((totals, found.bound), (2 * totals - all_squares, found.ess))
        )
        seen = found.log_likelihood + jnp.where((samples < most)[:, None], likely, 0).sum(0)
        return (start + at_once, totals[-1], all_squares[-1], Bounds(bound, ess, seen)), None

    nothing = jnp.full(batch, -jnp.inf, posterior.mean.dtype)
    rows = jnp.zeros((len(ks), batch), posterior.mean.dtype)
    empty = Bounds(rows, rows, jnp.zeros(batch, posterior.mean.dtype))
    (*_, found), _ = lax.scan(body, (0, nothing, nothing, empty), length=-(-most // at_once))
    return Bounds(found.bound - jnp.log1p(last)[:, None], jnp.exp(found.ess), found.log_likelihood / most)
