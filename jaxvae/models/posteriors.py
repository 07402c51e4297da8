"""Approximate posteriors q(z|x): how codes are drawn, and what they cost.

In: what the encoder's heads put out, draws of N(0, I). Out: codes, log-probabilities and divergences in nats.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae.models.base import Normal
from jaxvae.models.priors import StandardNormal, standard_normal_log_prob
from jaxvae.parts import part


@part("posterior/normal")
class DiagonalNormal:
    """Independent normals, q(z|x) = Π N(z_j; mean_j, std_j²) (Kingma & Welling 2014, appendix C)."""

    heads: ClassVar[Normal] = Normal(mean=1, log_std=1)  # type: ignore[arg-type]

    def sample_and_log_prob(self, q: Normal, noise: Float[Array, "k b z"]) -> tuple[Array, Array]:
        return sample(q, noise), standard_normal_log_prob(noise) - q.log_std.sum(-1)

    def sample(self, q: Normal, noise: Float[Array, "b z"]) -> Float[Array, "b z"]:
        """A code of each example."""
        return sample(q, noise)

    def noise(self, q: Normal, z: Float[Array, "k b z"]) -> Float[Array, "k b z"]:
        """The noise that `sample_and_log_prob` makes these codes of."""
        return (z - q.mean) * jnp.exp(-q.log_std)

    def log_prob(self, q: Normal, z: Float[Array, "k b z"]) -> Float[Array, "k b"]:
        return standard_normal_log_prob(self.noise(q, z)) - q.log_std.sum(-1)

    def log_ratio(
        self, q: Normal, z: Float[Array, "k b z"], noise: Float[Array, "k b z"], prior: object
    ) -> Float[Array, "k b"] | None:
        """log p(z) − log q(z|x) for a standard normal prior and for normals, where the constants cancel; else None."""
        if isinstance(prior, Normal):
            u = (z - prior.mean) * jnp.exp(-prior.log_std)
            return (0.5 * (jnp.square(noise) - jnp.square(u)) + q.log_std - prior.log_std).sum(-1)
        if not isinstance(prior, StandardNormal):
            return None
        return (0.5 * (jnp.square(noise) - jnp.square(z)) + q.log_std).sum(-1)

    def kl(self, q: Normal, prior: object) -> Float[Array, "b"] | None:
        if isinstance(prior, Normal):
            return kl_between(q, prior)
        return kl_to_standard_normal(q) if isinstance(prior, StandardNormal) else None

    def kl_by_dimension(self, q: Normal, prior: object) -> Float[Array, "b z"]:
        """Of each latent dimension, for priors that `kl` has a closed form for."""
        mean, log_std = relative_to(q, prior) if isinstance(prior, Normal) else q
        return 0.5 * (jnp.square(mean) + jnp.exp(2 * log_std) - 1 - 2 * log_std)

    def marginals(self, q: Normal) -> Normal:
        return q


def sample(normal: Normal, noise: Float[Array, "*k b z"]) -> Float[Array, "*k b z"]:
    """mean + std · noise, differentiable in the parameters (Kingma & Welling 2014, section 2.4)."""
    return normal.mean + jnp.exp(normal.log_std) * noise


def standard_noise(key: Key[Array, ""], shape: tuple[int, ...], latent: int) -> Float[Array, "*shape z"]:
    """Draws from N(0, I), `shape` of them.

    The noise of a latent dimension depends on the key and on that dimension's index alone, so a model padded with
    unused dimensions draws the same numbers as the model without them.
    """
    keys = jax.vmap(lambda dimension: jax.random.fold_in(key, dimension))(jnp.arange(latent))
    return jax.vmap(lambda key: jax.random.normal(key, shape), out_axes=-1)(keys)


def kl_to_standard_normal(normal: Normal) -> Float[Array, "b"]:
    """KL(N(mean, std²) ‖ N(0, I)) of each example, in nats (Kingma & Welling 2014, appendix B)."""
    mean, log_std = normal
    kl = 0.5 * (jnp.square(mean) + jnp.exp(2 * log_std) - 1 - 2 * log_std).sum(-1)
    return kl + jax.lax.stop_gradient(jnp.maximum(-kl, 0))  # float32 may round it below zero; its gradient is right


def kl_between(one: Normal, other: Normal) -> Float[Array, "b"]:
    """KL(one ‖ other) of each example, in nats: that of the standard normal, in the numbers in which `other` is it."""
    return kl_to_standard_normal(relative_to(one, other))


def relative_to(one: Normal, other: Normal) -> Normal:
    """The first in numbers in which the second is the standard normal."""
    return Normal((one.mean - other.mean) * jnp.exp(-other.log_std), one.log_std - other.log_std)
