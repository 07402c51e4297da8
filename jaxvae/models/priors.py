"""Priors p(z) over codes, in nats."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae.models.base import Params
from jaxvae.parts import part


@part("prior/normal")
class StandardNormal:
    """N(0, I), which has no parameters (Kingma & Welling 2014)."""

    def init(self, key: Key[Array, ""], latent_dim: int) -> Params:
        return {}

    def log_prob(self, params: Params, z: Float[Array, "*s z"]) -> Float[Array, "*s"]:
        return standard_normal_log_prob(z)

    def sample(self, params: Params, key: Key[Array, ""], n: int, latent_dim: int) -> Float[Array, "n z"]:
        return jax.random.normal(key, (n, latent_dim))


def standard_normal_log_prob(z: Float[Array, "*s z"]) -> Float[Array, "*s"]:
    """log N(z; 0, I)."""
    return -0.5 * (jnp.square(z) + jnp.log(2 * jnp.pi)).sum(-1)
