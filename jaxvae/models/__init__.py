"""Networks and distributions, and the VAE that puts them together."""

from jaxvae.models.base import Likelihood, Network, Normal, Params, Posterior, Prior, Shape
from jaxvae.models.conv import Conv, ConvDecoder
from jaxvae.models.likelihoods import Bernoulli
from jaxvae.models.mlp import MLP, MLPDecoder
from jaxvae.models.posteriors import DiagonalNormal, standard_noise
from jaxvae.models.priors import StandardNormal
from jaxvae.models.vae import AUTOMATIC, VAE, automatic_precision, codes_at_once, parameter_count, resize

__all__ = [
    "AUTOMATIC", "MLP", "VAE", "Bernoulli", "Conv", "ConvDecoder", "DiagonalNormal", "Likelihood", "MLPDecoder",
    "Network", "Normal", "Params", "Posterior", "Prior", "Shape", "StandardNormal", "automatic_precision",
    "codes_at_once", "parameter_count", "resize", "standard_noise",
]  # fmt: skip
