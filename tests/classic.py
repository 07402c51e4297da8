"""Runs of the classic experiment's kind, each setting under its usual name."""

from typing import Any

from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE, Conv, MLPDecoder
from jaxvae.objectives import ELBO
from jaxvae.optimisers import Adam
from jaxvae.parts import named


def vae(
    architecture: str = "linear",
    latent_dim: int = 2,
    *,
    hidden: tuple[int, ...] = (256,),
    activation: str = "relu",
    precision: str = "float32",
    output_bias: str = "zero",
) -> VAE:
    """A linear or conv model; `hidden`, `activation` and `output_bias` are a linear one's."""
    if architecture == "conv":
        return VAE(latent_dim, Conv(), precision=precision)
    decoder = None if output_bias == "zero" else MLPDecoder(hidden, activation, output_bias=output_bias)
    return VAE(latent_dim, MLP(hidden, activation), decoder, precision=precision)


def classic(
    architecture: str = "linear",
    latent_dim: int = 2,
    *,
    objective: str = "elbo",
    importance_samples: int = 1,
    beta: float = 1.0,
    learning_rate: Any = 1e-3,
    batch_size: int = 100,
    binarize: str = "none",
    epochs: int = 15,
    seed: int = 0,
    **model: Any,
) -> RunConfig:
    """A run; `model` are the keywords of `vae`."""
    loss = ELBO(beta) if objective == "elbo" else named("objective", objective)(importance_samples)
    network = vae(architecture, latent_dim, **model)
    return RunConfig(network, loss, Adam(learning_rate), batch_size, binarize, epochs, seed)
