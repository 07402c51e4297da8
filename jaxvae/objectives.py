"""What training minimises.

In: parameters, a batch of images in [0, 1], a key and the traced scalars. Out: a loss in nats per image and its parts.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae import model
from jaxvae.config import Hypers, ModelConfig
from jaxvae.distributions import bernoulli_log_prob, kl_to_standard_normal, sample


class Losses(NamedTuple):
    """Nats, summed over pixels and latent dimensions; `loss` is reconstruction + β · kl."""

    reconstruction: Float[Array, "..."]
    kl: Float[Array, "..."]
    loss: Float[Array, "..."]


def negative_elbo(
    config: ModelConfig,
    params: model.Params,
    images: Float[Array, "b 28 28"],
    key_z: Key[Array, ""],
    hypers: Hypers,
) -> Losses:
    """The negative evidence lower bound of each image, from one sample of z (Kingma & Welling 2014, equation 10).

    β = 1 is the bound itself; other weights of the KL are Higgins et al. 2017. Codes beyond `hypers.latent_dim` are
    held at zero, so that models of several latent sizes can share the largest one's program.
    """
    posterior = model.encode(config, params, images)
    in_use = jnp.arange(config.latent_dim) < hypers.latent_dim
    z = jnp.where(in_use, sample(key_z, posterior), 0)
    reconstruction = -bernoulli_log_prob(model.decode(config, params, z), images)
    kl = kl_to_standard_normal(posterior)
    return Losses(reconstruction, kl, reconstruction + hypers.beta * kl)
