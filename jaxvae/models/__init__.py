"""Networks and distributions, and the VAE that puts them together."""

from jaxvae.models.base import (
    GIVEN_TOTALS,
    Condition,
    Likelihood,
    Network,
    Normal,
    Params,
    Posterior,
    Prior,
    Shape,
    Support,
)  # fmt: skip
from jaxvae.models.class_reader import class_logits
from jaxvae.models.conditions import Labels, Side, conditions_of
from jaxvae.models.conv import Conv, ConvDecoder
from jaxvae.models.counts import NegativeBinomial, Poisson
from jaxvae.models.equinox_network import equinox_network
from jaxvae.models.functional import network
from jaxvae.models.gaussian import Gaussian, Laplace
from jaxvae.models.likelihoods import Bernoulli, Categorical, ContinuousBernoulli
from jaxvae.models.logistic import DiscretizedLogistic, LogisticMixture
from jaxvae.models.mlp import MLP, MLPDecoder
from jaxvae.models.modules import automatic_precision, codes_at_once
from jaxvae.models.nnx_network import nnx_network
from jaxvae.models.parameters import parameter_count, resize
from jaxvae.models.posteriors import DiagonalNormal, standard_noise
from jaxvae.models.priors import ConditionalNormal, StandardNormal
from jaxvae.models.vae import AUTOMATIC, VAE

__all__ = [
    "AUTOMATIC", "GIVEN_TOTALS", "MLP", "VAE", "Bernoulli", "Categorical", "Condition", "ConditionalNormal",
    "ContinuousBernoulli", "Conv", "ConvDecoder", "DiagonalNormal", "DiscretizedLogistic", "Gaussian", "Labels",
    "Laplace", "Likelihood", "LogisticMixture", "MLPDecoder", "NegativeBinomial", "Network", "Normal", "Params",
    "Poisson", "Posterior", "Prior", "Shape", "Side", "StandardNormal", "Support", "automatic_precision",
    "class_logits", "codes_at_once", "conditions_of", "equinox_network", "network", "nnx_network", "parameter_count",
    "resize", "standard_noise",
]  # fmt: skip
