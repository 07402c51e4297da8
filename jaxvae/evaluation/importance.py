"""Importance weights of latent codes, and bounds on log p(x) from them, for many K in one pass.

In: a function from noise to what codes weigh, a key for each image. Out: nats per image, and the effective sample size.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

# of noise [s, b, z]: log p(x|z) and log p(z) − log q(z|x) of the codes made of it, [s, b] each
Weigh = Callable[[Float[Array, "s b z"]], tuple[Float[Array, "s b"], Float[Array, "s b"]]]


class Bounds(NamedTuple):
    """What K codes for each image say; a row for each K, but for the last."""

    bound: Float[Array, "k b"]  # L_K, nats
    ess: Float[Array, "k b"]  # effective sample size of the K weights, (Σw)² / Σw², from 1 to K (Kong 1992)
    log_likelihood: Float[Array, "b"]  # mean log p(x|z) over the codes of the largest K, nats: minus the distortion


def importance_weighted_bounds(
    weigh: Weigh, keys: Key[Array, "b"], latent: int, ks: Sequence[int], at_once: int
) -> Bounds:
    """L_K = log 1/K Σ p(x, z)/q(z|x) with K codes z ~ q(z|x) (Burda, Grosse & Salakhutdinov 2016, equation 8).

    All K share their samples: the first K of the largest's. They are drawn `at_once` at a time and only sums are kept,
    so that memory does not grow with K. The noise of a sample depends on its image's key and its own index alone, not
    on the other images or on `at_once`.
    """
    batch = len(keys)
    last, most = jnp.asarray(ks) - 1, max(ks)

    def draw(key, samples):
        return jax.vmap(lambda sample: jax.random.normal(jax.random.fold_in(key, sample), (latent,)))(samples)

    def body(carry, _):
        start, total, squares, found = carry
        samples = start + jnp.arange(at_once)
        noise = jax.vmap(draw, in_axes=(0, None), out_axes=1)(keys, samples)
        likely, log_ratio = weigh(noise)
        log_w = likely + log_ratio
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

    nothing = jnp.full(batch, -jnp.inf)
    rows = jnp.zeros((len(ks), batch))
    empty = Bounds(rows, rows, jnp.zeros(batch))
    (*_, found), _ = lax.scan(body, (0, nothing, nothing, empty), length=-(-most // at_once))
    ess = jnp.clip(jnp.exp(found.ess), 1, last[:, None] + 1)  # of nearly equal weights it is rounded beyond them
    return Bounds(found.bound - jnp.log1p(last)[:, None], ess, found.log_likelihood / most)
