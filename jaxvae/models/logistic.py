"""Likelihoods of bytes, seen as byte/255: logistic distributions rounded to the 256 levels, in nats.

In: what a decoder puts out. Out: log-probabilities of the bytes, which sum to one over them, means and samples.

A byte has the probability of its bin, the numbers that are rounded to it; the first and the last bin are open to ∓∞
(Salimans et al. 2017, section 2.1). Locations and scales are on their axis, on which bytes lie from −1 to 1, so that a
decoder that puts out zeros gives each grey level about the same probability.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae.models.base import Params, Shape, Support
from jaxvae.parts import part, require_whole, static
from jaxvae.values import Whole

HALF = 1 / 255  # of a bin, on the axis from −1 to 1
LEAST_LOG_SCALE = -7.0  # a ninth of a bin: smaller ones change no bin's own byte, and cost any other without limit


@part("likelihood/discretized-logistic")
class DiscretizedLogistic:
    """Each byte by itself; the decoder puts out location and log scale of each, [*shape, 2].

    Example:
        >>> levels = jnp.arange(256.0)[:, None] / 255
        >>> log_prob = DiscretizedLogistic().log_prob({}, jnp.zeros((256, 1, 2)), levels)
        >>> round(float(jnp.exp(log_prob).sum()), 5)
        1.0
    """

    measure: ClassVar[str] = "probability"
    support: ClassVar[Support] = Support(0, 1, bytes=True)

    def outputs(self, shape: Shape) -> Shape:
        return (*shape, 2)

    def log_prob(self, params: Params, out: Float[Array, "b ..."], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        per_byte = _log_prob(out[..., 0], out[..., 1], x)
        return per_byte.reshape(len(x), -1).sum(-1)

    def mean(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return _mean(out[..., 0], out[..., 1])

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return _sample(key, out[..., 0], out[..., 1])

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "..."]:
        return jnp.stack(_fitted(x), -1)


@part("likelihood/logistic-mixture")
class LogisticMixture:
    """Each byte by itself, of a mixture of discretised logistics; the decoder puts out the log-odds, location and log
    scale of each component, [*shape, components, 3]. The channels of a pixel are independent given the code."""

    components: Whole = static(default=5, title="components")

    measure: ClassVar[str] = "probability"
    support: ClassVar[Support] = Support(0, 1, bytes=True)

    def check(self) -> None:
        require_whole(self, "components", 1, 2**10)

    def outputs(self, shape: Shape) -> Shape:
        return (*shape, self.components, 3)

    def log_prob(self, params: Params, out: Float[Array, "b ..."], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        of_components = jax.nn.log_softmax(out[..., 0]) + _log_prob(out[..., 1], out[..., 2], x[..., None])
        return jax.nn.logsumexp(of_components, -1).reshape(len(x), -1).sum(-1)

    def mean(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return (jax.nn.softmax(out[..., 0]) * _mean(out[..., 1], out[..., 2])).sum(-1)

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        key_component, key_x = jax.random.split(key)
        component = jax.random.categorical(key_component, out[..., 0])[..., None]
        location, log_scale = (jnp.take_along_axis(out[..., i], component, -1)[..., 0] for i in (1, 2))
        return _sample(key_x, location, log_scale)

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "..."]:
        """Components that are alike: the decoder's kernels tell them apart."""
        location, log_scale = _fitted(x)
        alike = jnp.stack([jnp.zeros_like(location), location, log_scale], -1)
        return jnp.repeat(alike[..., None, :], self.components, -2)


def _log_prob(location: Float[Array, "..."], log_scale: Float[Array, "..."], x: Float[Array, "..."]) -> Array:
    """log(σ(a) − σ(b)), a > b the edges of x's bin in scales from the location; of an open bin, log σ(a) or log σ(−b).

    Written as log σ(a) + log σ(−b) + log(1 − e^(b − a)): exact however far from the location the bin is.
    """
    inverse = jnp.exp(-jnp.maximum(log_scale, LEAST_LOG_SCALE))
    centred = 2 * x - 1 - location
    up_to = -_softplus(-(centred + HALF) * inverse)
    down_to = -_softplus((centred - HALF) * inverse)
    within = up_to + down_to + jnp.log(-jnp.expm1(-2 * HALF * inverse))
    return jnp.where(x < HALF / 2, up_to, jnp.where(x > 1 - HALF / 2, down_to, within))


def _softplus(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """log(1 + e^t), its derivative to 6e-8; on CPU a mixture and its gradient take 0.4 times as long as with
    `jax.nn.softplus`."""
    return 0.5 * (t + jnp.abs(t)) + jnp.log1p(jnp.exp(-jnp.abs(t)))


def _mean(location: Float[Array, "..."], log_scale: Float[Array, "..."]) -> Array:
    """Σ P(byte > k) / 255 over k = 0 … 254."""
    edges = (2 * jnp.arange(255) + 1) / 255 - 1
    inverse = jnp.exp(-jnp.maximum(log_scale, LEAST_LOG_SCALE))
    return jax.nn.sigmoid((location[..., None] - edges) * inverse[..., None]).mean(-1)


def _sample(key: Key[Array, ""], location: Float[Array, "..."], log_scale: Float[Array, "..."]) -> Array:
    noise = jax.random.logistic(key, location.shape)
    x = location + jnp.exp(jnp.maximum(log_scale, LEAST_LOG_SCALE)) * noise
    return jnp.rint(255 * jnp.clip((1 + x) / 2, 0, 1)) / 255


def _fitted(x: Float[Array, "n *x"]) -> tuple[Array, Array]:
    """Of each number location and log scale, the scale that of all examples around their mean, the location that whose
    mean, cut off at −1 and 1, is theirs.

    With F the distribution function, that mean in [0, 1] is μ = ½∫(1 − F) from −1 to 1, of which `_mean` is the sum by
    midpoints: with h = s/2, h·log(1 + e^((m+1)/s)) − h·log(1 + e^((m−1)/s)), here solved for m.
    """
    mean = jnp.clip(x.mean(0), 0.001, 0.999)
    half = jnp.maximum(jnp.sqrt(x.var(0).mean()) * math.sqrt(3) / math.pi, HALF)  # the scale on an axis from 0 to 1
    below, above = -jnp.expm1(-mean / half), -jnp.expm1(-(1 - mean) / half)
    location = 2 * (mean + half * (jnp.log(below) - jnp.log(above))) - 1
    return location, jnp.broadcast_to(jnp.log(2 * half), location.shape)
