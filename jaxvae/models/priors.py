"""Priors p(z) over codes, in nats, and p(z|c) given a condition."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae.models.base import Normal, Params
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


@part("prior/conditional-normal")
class ConditionalNormal:
    """Independent normals p(z|c), whose mean and log standard deviation are affine in the condition (Sohn, Lee & Yan
    2015, section 4.1). It starts as the standard normal."""

    takes_condition: ClassVar[bool] = True

    def init(self, key: Key[Array, ""], latent_dim: int, size: int) -> Params:
        zeros = {"kernel": jnp.zeros((size, latent_dim)), "bias": jnp.zeros(latent_dim)}
        return {"mean": zeros, "log_std": zeros}

    def normal(self, params: Params, condition: Float[Array, "b size"]) -> Normal:
        """p(z|c) of each condition."""
        mean, log_std = (condition @ params[name]["kernel"] + params[name]["bias"] for name in Normal._fields)
        return Normal(mean, log_std)

    def log_prob(
        self, params: Params, z: Float[Array, "*s z"], condition: Float[Array, "b size"]
    ) -> Float[Array, "*s"]:
        """Of codes [b, z] or [k, b, z], those at a condition's place given that one."""
        mean, log_std = self.normal(params, condition)
        return standard_normal_log_prob((z - mean) * jnp.exp(-log_std)) - log_std.sum(-1)

    def sample(
        self, params: Params, key: Key[Array, ""], n: int, latent_dim: int, condition: Float[Array, "b size"]
    ) -> Float[Array, "n z"]:
        mean, log_std = self.normal(params, condition)
        return mean + jnp.exp(log_std) * jax.random.normal(key, (n, latent_dim))
