"""Likelihoods p(x|z) of numbers in [0, 1] and of classes, given what a decoder puts out, in nats."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from jaxvae.errors import MAX_WIDTH
from jaxvae.models.base import Params, Shape, Support
from jaxvae.parts import part, require_whole, static
from jaxvae.values import Whole


@part("likelihood/bernoulli")
class Bernoulli:
    """Independent pixels in {0, 1}; the decoder puts out their logits.

    For grey levels strictly between 0 and 1 it is the cross-entropy that VAEs on grey pixels are trained with, not the
    log-probability of data.
    """

    measure: ClassVar[str] = "cross-entropy"
    support: ClassVar[Support] = Support(0, 1)
    link: ClassVar[str] = "sigmoid"

    def outputs(self, shape: Shape) -> Shape:
        return shape

    def log_prob(self, params: Params, out: Float[Array, "b *x"], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        return bernoulli_log_prob(out, x)

    def mean(self, params: Params, out: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        return jax.nn.sigmoid(out)

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        return jax.random.bernoulli(key, jax.nn.sigmoid(out)).astype(jnp.float32)

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "*x"]:
        mean = _mean_inside(x)
        return jnp.log(mean) - jnp.log1p(-mean)


@part("likelihood/continuous-bernoulli")
class ContinuousBernoulli:
    """Independent numbers in [0, 1] with density C(λ)·λ^x·(1 − λ)^(1 − x); the decoder puts out the logits of λ.

    With l = logit λ, C = l / tanh(l/2), and the mean is 1 / (1 − e^−l) − 1/l (Loaiza-Ganem & Cunningham 2019, section
    3). Both are replaced by their series around l = 0.
    """

    measure: ClassVar[str] = "density"
    support: ClassVar[Support] = Support(0, 1)
    link: ClassVar[str] = "continuous-bernoulli"

    def outputs(self, shape: Shape) -> Shape:
        return shape

    def log_prob(self, params: Params, out: Float[Array, "b *x"], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        small, logits = _apart_from_zero(out)
        series = jnp.log(2) + jnp.square(out) / 12 - 7 * out**4 / 1440
        constant = jnp.where(small, series, jnp.log(logits / jnp.tanh(logits / 2)))
        return bernoulli_log_prob(out, x) + constant.reshape(len(constant), -1).sum(-1)

    def mean(self, params: Params, out: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        small, logits = _apart_from_zero(out)
        return jnp.where(small, 0.5 + out / 12 - out**3 / 720, -1 / jnp.expm1(-logits) - 1 / logits)

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b *x"]) -> Float[Array, "b *x"]:
        """By inverting the distribution function, u = (e^(l·x) − 1) / (e^l − 1), on the side where l is negative."""
        small, logits = _apart_from_zero(-jnp.abs(out))
        u = jax.random.uniform(key, out.shape)
        x = jnp.where(small, u, jnp.log1p(u * jnp.expm1(logits)) / logits)
        return jnp.clip(jnp.where(out > 0, 1 - x, x), 0, 1)

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "*x"]:
        """By bisection, as the mean has no inverse in closed form; within ±1000 it is between 0.001 and 0.999."""
        mean = _mean_inside(x)

        def halve(_, ends):
            middle = (ends[0] + ends[1]) / 2
            below = self.mean(params, middle) < mean
            return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

        ends = lax.fori_loop(0, 40, halve, (jnp.full_like(mean, -1000), jnp.full_like(mean, 1000)))
        return (ends[0] + ends[1]) / 2


def _mean_inside(x: Float[Array, "n *x"]) -> Float[Array, "*x"]:
    """The mean example, kept between 0.001 and 0.999."""
    return jnp.clip(x.mean(0), 0.001, 0.999)


def _apart_from_zero(logits: Array) -> tuple[Array, Array]:
    """Where logits are close to zero, and the logits with a number there at which nothing is divided by zero."""
    small = jnp.abs(logits) < 0.1  # the series are exact to 1e-8 there
    return small, jnp.where(small, 1.0, logits)


@part("likelihood/categorical")
class Categorical:
    """Each number of an example is one of the classes 0 … `classes` − 1; the decoder puts out log-odds of each class,
    [*shape, classes].

    Classes are names, whose average says nothing: `mean` is the most probable class of each number.

    Example:
        >>> out = jnp.log(jnp.array([[[0.2, 0.3, 0.5]]]))
        >>> Categorical(3).mean({}, out), Categorical(3).log_prob({}, out, jnp.array([[1.0]])).round(4)
        (Array([[2.]], dtype=float32), Array([-1.204], dtype=float32))
    """

    classes: Whole = static(title="classes")

    measure: ClassVar[str] = "probability"

    @property
    def support(self) -> Support:
        return Support(0, self.classes - 1, whole=True)

    def check(self) -> None:
        require_whole(self, "classes", 2, MAX_WIDTH)

    def outputs(self, shape: Shape) -> Shape:
        return (*shape, self.classes)

    def log_prob(self, params: Params, out: Float[Array, "b *x c"], x: Float[Array, "b *x"]) -> Float[Array, "b"]:
        of_classes = jax.nn.log_softmax(out)
        per_number = jnp.take_along_axis(of_classes, x.astype(jnp.int32)[..., None], -1)
        return per_number.reshape(len(x), -1).sum(-1)

    def mean(self, params: Params, out: Float[Array, "b *x c"]) -> Float[Array, "b *x"]:
        return out.argmax(-1).astype(jnp.float32)

    def sample(self, params: Params, key: Key[Array, ""], out: Float[Array, "b *x c"]) -> Float[Array, "b *x"]:
        return jax.random.categorical(key, out).astype(jnp.float32)

    def starting_output(self, params: Params, x: Float[Array, "n *x"]) -> Float[Array, "*x c"]:
        """Log-frequencies; of a class that no example has, as if half a one had it."""
        frequencies = jnp.stack([(x == label).mean(0) for label in range(self.classes)], -1)
        return jnp.log(jnp.maximum(frequencies, 0.5 / len(x)))


def bernoulli_log_prob(logits: Float[Array, "b *pixels"], x: Float[Array, "b *pixels"]) -> Float[Array, "b"]:
    """Σ x·log p + (1 − x)·log(1 − p) of each example, in nats, with p = sigmoid(logits).

    Written as (x − ½)·logits − ½|logits| − log(1 + exp(−|logits|)): exact however large the logits are, its derivative
    x − p also where |logits| has none, and a training step of the linear model takes a tenth less time than with
    `jax.nn.softplus`.
    """
    per_pixel = (x - 0.5) * logits - 0.5 * jnp.abs(logits) - jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return per_pixel.reshape(len(per_pixel), -1).sum(-1)
