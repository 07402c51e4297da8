"""Likelihoods of counts, given what a decoder puts out, in nats: Poisson, and negative binomial, which spreads more.

Rows of a table of counts often have very different totals, which say little of what a row is: of a cell, how many of
its molecules were read. `library="observed"` takes an example's total as known, and the decoder puts out how it is
shared out.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Key

from jaxvae.models.base import GIVEN_TOTALS, Params, Shape, Support
from jaxvae.parts import part, require_one_of, static
from jaxvae.values import Text

LIBRARIES = ("none", "observed")
DISPERSIONS = ("learned", "decoded")
MAX_LOG_THETA = 15.0  # beyond, it is a Poisson distribution to float32
SERIES_FROM = 10.0  # Stirling's series is exact to 1e-8 there


class _Counts(ABC):
    """Independent counts of given means.

    Attributes:
        library: `none`, the decoder puts out the logarithm of each mean; `observed`, log-odds of the shares that the
            numbers of an example have in its total, which is taken as known: a mean is total × softmax (Lopez et al.
            2018, where it is called the library size). Log-probabilities are then given the total, an example of zeros
            counts as one of total 1, and `mean` and `sample`, which know no total, take the mean one of the training
            examples, a parameter that is not trained.
    """

    library: Text

    support: ClassVar[Support] = Support(0, whole=True)

    def check(self) -> None:
        require_one_of(self, "library", LIBRARIES)

    @property
    def measure(self) -> str:
        return GIVEN_TOTALS if self.library == "observed" else "probability"

    @property
    def link(self) -> str | None:
        """See `jaxvae.models.Likelihood`; shares of a total are of all outputs together."""
        return "exp" if self.library == "none" else None

    @property
    def starts_from_data(self) -> bool:
        return self.library == "observed"

    def init(self, key: Key[Array, ""], shape: Shape) -> Params:
        return {"library": jnp.ones(())} if self.library == "observed" else {}

    def starting_params(self, params: Params, x: Float[Array, "n *x"]) -> Params:
        return params | {"library": _totals(x).mean()} if self.library == "observed" else params

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "..."]:
        """Of a column without any count, as if there were half a one."""
        return jnp.log(jnp.maximum(x.mean(0), 0.5 / len(x)))

    def encoder_input(self, x: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        """log(1 + x): a network that is given counts of thousands begins with codes and variances without limit."""
        return jnp.log1p(x)

    def outputs(self, shape: Shape) -> Shape:
        return shape

    def log_prob(self, params: Params, out: Float[Array, "b ..."], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        per_count = self.of_counts(params, self._log_mean(out, _totals(x)), out, x)
        return per_count.reshape(len(x), -1).sum(-1)

    def mean(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return jnp.exp(self._log_mean(out, params.get("library")))

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return self.draw(params, key, self._log_mean(out, params.get("library")), out).astype(jnp.float32)

    @abstractmethod
    def of_counts(self, params: Params, log_mean: Float[Array, "b *x"], out: Array, x: Array) -> Float[Array, "b *x"]:
        """Log-probabilities of counts."""

    @abstractmethod
    def draw(self, params: Params, key: Key[Array, ""], log_mean: Float[Array, "b *x"], out: Array) -> Array:
        """Counts [b, *x]."""

    def shares(self, out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        """The part of what the decoder puts out that means are made of."""
        return out

    def _log_mean(self, out: Float[Array, "b ..."], library: Array | None) -> Float[Array, "b *x"]:
        shares = self.shares(out)
        if self.library == "none":
            return shares
        assert library is not None
        log_shares = jax.nn.log_softmax(shares.reshape(len(shares), -1))
        return (log_shares + jnp.log(library)[..., None]).reshape(shares.shape)


@part("likelihood/poisson")
class Poisson(_Counts):
    """Independent counts whose variances are their means; `library`: see `NegativeBinomial`."""

    library: Text = static(default="none", title="library")

    def of_counts(self, params: Params, log_mean: Float[Array, "b *x"], out: Array, x: Array) -> Float[Array, "b *x"]:
        return x * log_mean - jnp.exp(log_mean) - gammaln(x + 1)

    def draw(self, params: Params, key: Key[Array, ""], log_mean: Float[Array, "b *x"], out: Array) -> Array:
        return jax.random.poisson(key, jnp.exp(log_mean))


@part("likelihood/negative-binomial")
class NegativeBinomial(_Counts):
    """Independent counts of variance mean + mean²/θ, Poisson's for θ → ∞ (Lopez et al. 2018, methods).

    Attributes:
        library: `none`, the decoder puts out the logarithm of each mean; `observed`, log-odds of the shares that the
            numbers of an example have in its total, which is taken as known.
        dispersion: where θ comes from: `learned`, a parameter of the model for each number of an example, which starts
            at 1; `decoded`, the decoder puts out its logarithm for each number behind the other output.

    Example:
        >>> from jaxvae.models import MLP, VAE
        >>> VAE(10, MLP(), likelihood=NegativeBinomial(library="observed")).likelihood.outputs((50,))
        (50,)
    """

    library: Text = static(default="none", title="library")
    dispersion: Text = static(default="learned", title="dispersion")

    def check(self) -> None:
        super().check()
        require_one_of(self, "dispersion", DISPERSIONS)

    def init(self, key: Key[Array, ""], shape: Shape) -> Params:
        own = {"log_theta": jnp.zeros(shape)} if self.dispersion == "learned" else {}
        return super().init(key, shape) | own

    def outputs(self, shape: Shape) -> Shape:
        return (*shape, 2) if self.dispersion == "decoded" else shape

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "..."]:
        out = super().starting_output(params, x)
        return jnp.stack([out, jnp.zeros_like(out)], -1) if self.dispersion == "decoded" else out

    def shares(self, out: Float[Array, "b ..."]) -> Float[Array, "b *x"]:
        return out[..., 0] if self.dispersion == "decoded" else out

    def log_theta(self, params: Params, out: Float[Array, "b ..."]) -> Float[Array, "..."]:
        """Of each number, kept between ∓15."""
        own = out[..., 1] if self.dispersion == "decoded" else params["log_theta"]
        return jnp.clip(own, -MAX_LOG_THETA, MAX_LOG_THETA)

    def of_counts(self, params: Params, log_mean: Float[Array, "b *x"], out: Array, x: Array) -> Float[Array, "b *x"]:
        log_theta = self.log_theta(params, out)
        theta, log_odds = jnp.exp(log_theta), log_mean - log_theta
        failures, successes = -theta * jax.nn.softplus(log_odds), -x * jax.nn.softplus(-log_odds)
        return _log_rising(theta, x) - gammaln(x + 1) + failures + successes

    def draw(self, params: Params, key: Key[Array, ""], log_mean: Float[Array, "b *x"], out: Array) -> Array:
        """Poisson counts whose means have a gamma distribution."""
        key_mean, key_x = jax.random.split(key)
        log_theta = self.log_theta(params, out)
        gamma = jax.random.gamma(key_mean, jnp.broadcast_to(jnp.exp(log_theta), log_mean.shape))
        return jax.random.poisson(key_x, gamma * jnp.exp(log_mean - log_theta))


def _totals(x: Float[Array, "b *x"]) -> Float[Array, "b"]:
    """Of each example, at least 1."""
    return jnp.maximum(x.reshape(len(x), -1).sum(-1), 1)


def _log_rising(theta: Float[Array, "..."], x: Float[Array, "..."]) -> Float[Array, "..."]:
    """log Γ(θ + x) − log Γ(θ); by Stirling's series where θ is large and float32 would lose the difference."""
    large = theta > SERIES_FROM
    few, many = jnp.where(large, 1.0, theta), jnp.where(large, theta, SERIES_FROM)
    series = (many - 0.5) * jnp.log1p(x / many) + x * (jnp.log(many + x) - 1) + _rest(many + x) - _rest(many)
    return jnp.where(large, series, gammaln(few + x) - gammaln(few))


def _rest(t: Float[Array, "..."]) -> Float[Array, "..."]:
    return 1 / (12 * t) - 1 / (360 * t**3)
