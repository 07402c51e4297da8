"""Likelihoods of real numbers that are a mean plus noise of some scale: Gaussian and Laplace, in nats.

In: what a decoder puts out. Out: log-densities, means and samples.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae.errors import MAX_FLOAT32, ConfigError, quoted
from jaxvae.models.base import Params, Shape, Support
from jaxvae.parts import part, static

SCALES = ("learned", "optimal", "decoded")
SMALLEST_CHANGE = 1e-6  # of (s* / s)^p, so that rounding gives no logarithm of zero
LEAST_SCALE = 1e-3  # that a learned one starts at: data that hardly vary would begin at a density without limit


class _MeanPlusNoise(ABC):
    """x = mean + scale · noise, each number by itself.

    Attributes:
        scale: `learned`, one for all numbers of all examples, a parameter of the model, which starts at the scale of
            the training examples around their mean; `optimal`, the same parameter, which each step sets to the most
            likely one for its batch, whatever the optimiser and its rate (Rybkin, Daniilidis & Levine 2021, section
            3.2); `decoded`, one for each number, whose logarithm the decoder puts out behind the mean; or a fixed
            number above 0.

    One scale for all numbers can go to zero where a number is the same in all examples, and the density with it to
    infinity: leave such columns out.
    """

    scale: Any

    measure: ClassVar[str] = "density"
    support: ClassVar[Support] = Support()
    link: ClassVar[str] = "identity"
    power: ClassVar[int]  # of the deviation in the logarithm of the density

    def check(self) -> None:
        scale = self.scale
        if isinstance(scale, str) and scale in SCALES:
            return
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < MAX_FLOAT32:
            name = type(self).part_name  # type: ignore[attr-defined]
            raise ConfigError(f"{name}: scale must be {', '.join(SCALES)} or a number above 0, not {quoted(scale)}")

    def init(self, key: Key[Array, ""], shape: Shape) -> Params:
        return {"log_scale": jnp.zeros(())} if self.starts_from_data else {}

    @property
    def starts_from_data(self) -> bool:
        return self.scale in ("learned", "optimal")

    def starting_params(self, params: Params, x: Float[Array, "n *x"]) -> Params:
        return {"log_scale": self._log_scale_of(x)} if self.starts_from_data else params

    @property
    def refits(self) -> bool:
        return self.scale == "optimal"

    def refit(self, params: Params, gradients: Params, shape: Shape) -> Params:
        """The most likely scale s* of a batch. By log s, −log p of a number has the derivative 1 − |deviation / s|^p,
        on average 1 − (s* / s)^p: with it s* is known."""
        mean_power = 1 - gradients["log_scale"] / math.prod(shape)
        return {"log_scale": params["log_scale"] + jnp.log(jnp.maximum(mean_power, SMALLEST_CHANGE)) / self.power}

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "..."]:
        mean = x.mean(0)
        if self.scale != "decoded":
            return mean
        return jnp.stack([mean, jnp.broadcast_to(self._log_scale_of(x), mean.shape)], -1)

    def _log_scale_of(self, x: Float[Array, "n *x"]) -> Float[Array, ""]:
        """The most likely one for all numbers around the mean example."""
        return jnp.log(jnp.maximum(self.fitted_scale(x - x.mean(0)), LEAST_SCALE))

    @abstractmethod
    def fitted_scale(self, deviations: Float[Array, "n *x"]) -> Float[Array, ""]:
        """The most likely scale of noise."""

    def outputs(self, shape: Shape) -> Shape:
        return (*shape, 2) if self.scale == "decoded" else shape

    @abstractmethod
    def log_density(self, noise: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        """Of the noise at scale 1."""

    @abstractmethod
    def noise(self, key: Key[Array, ""], shape: Shape) -> Float[Array, "*x"]:
        """Draws at scale 1."""

    def log_prob(self, params: Params, out: Float[Array, "b ..."], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        log_scale = jnp.broadcast_to(self.log_scale(params, out), x.shape)
        density = self.log_density((x - self.mean(params, out)) * jnp.exp(-log_scale)) - log_scale
        return density.reshape(len(x), -1).sum(-1)

    def mean(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return out[..., 0] if self.scale == "decoded" else out

    def log_scale(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "..."]:
        """Of each number, or of all."""
        if self.scale == "decoded":
            return out[..., 1]
        return params["log_scale"] if self.starts_from_data else jnp.log(jnp.float32(self.scale))

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        mean = self.mean(params, out)
        return mean + jnp.exp(self.log_scale(params, out)) * self.noise(key, mean.shape)


@part("likelihood/gaussian")
class Gaussian(_MeanPlusNoise):
    """Independent normal distributions around what the decoder puts out; `scale` is their standard deviation."""

    scale: Any = static(default="learned", title="scale")

    power: ClassVar[int] = 2

    def log_density(self, noise: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        return -0.5 * (jnp.square(noise) + math.log(2 * math.pi))

    def noise(self, key: Key[Array, ""], shape: Shape) -> Float[Array, "*x"]:
        return jax.random.normal(key, shape)

    def fitted_scale(self, deviations: Float[Array, "n *x"]) -> Float[Array, ""]:
        return jnp.sqrt(jnp.square(deviations).mean())


@part("likelihood/laplace")
class Laplace(_MeanPlusNoise):
    """Independent Laplace distributions, with heavier tails; `scale` is the mean absolute deviation."""

    scale: Any = static(default="learned", title="scale")

    power: ClassVar[int] = 1

    def log_density(self, noise: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        return -jnp.abs(noise) - math.log(2)

    def noise(self, key: Key[Array, ""], shape: Shape) -> Float[Array, "*x"]:
        return jax.random.laplace(key, shape)

    def fitted_scale(self, deviations: Float[Array, "n *x"]) -> Float[Array, ""]:
        return jnp.abs(deviations).mean()
