"""Encoder and decoder, and the distributions that they give the parameters of."""

from jaxvae.models import model
from jaxvae.models.distributions import (
    DATA,
    Normal,
    bernoulli_log_prob,
    kl_to_standard_normal,
    own_rows,
    sample,
    standard_noise,
)
from jaxvae.models.model import Params, resize_latent
from jaxvae.models.networks import K3, K4, ConvEncoder

__all__ = [
    "DATA",
    "K3",
    "K4",
    "ConvEncoder",
    "Normal",
    "Params",
    "bernoulli_log_prob",
    "kl_to_standard_normal",
    "model",
    "own_rows",
    "resize_latent",
    "sample",
    "standard_noise",
]
