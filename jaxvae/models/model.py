"""The variational auto-encoder: deterministic in both directions, no sampling inside.

In: images in [0, 1] or codes, and parameters. Out: q(z|x), or logits.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvae.config import ModelConfig
from jaxvae.models.distributions import Normal
from jaxvae.models.networks import DECODERS, ENCODERS, SIDE, Codes, Pictures

Params = Any  # nested dictionaries of float32 arrays


class VAE(nn.Module):
    """Encoder and decoder of one configuration (Kingma & Welling 2014)."""

    config: ModelConfig

    def setup(self):
        self.encoder = ENCODERS[self.config.architecture](self.config)
        self.decoder = DECODERS[self.config.architecture](self.config)

    def encode(self, images: Pictures) -> Normal:
        """q(z|x), mean and log-std of shape [b, z]."""
        return self.encoder(images)

    def decode(self, z: Codes) -> Pictures:
        """The logits of p(x|z), shape [b, 28, 28]."""
        return self.decoder(z)

    def __call__(self, images: Pictures) -> Pictures:
        return self.decode(self.encode(images).mean)


def init(config: ModelConfig, key: jax.Array) -> Params:
    """Fresh parameters, float32."""
    return VAE(config).init(key, jnp.zeros((1, SIDE, SIDE)))["params"]


def encode(config: ModelConfig, params: Params, images: Pictures) -> Normal:
    return VAE(config).apply({"params": params}, images, method=VAE.encode)  # type: ignore[return-value]


def decode(config: ModelConfig, params: Params, z: Codes) -> Pictures:
    return VAE(config).apply({"params": params}, z, method=VAE.decode)  # type: ignore[return-value]


def parameter_count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def resize_latent(tree: Any, latent_dim: int) -> Any:
    """Parameters, or anything shaped like them, with `latent_dim` latent dimensions: zeros added, or the last cut off.

    A padded model is the small one as long as its unused codes are held at zero: an unused mean and log-std stay at
    0, where their KL and its gradient vanish, and a zero code sends no gradient to the weights that read it.
    """

    def resize(path: tuple, leaf):
        names = [entry.key for entry in path if isinstance(entry, jax.tree_util.DictKey)]
        match names:
            case ["encoder", "mean" | "log_std", _]:
                axis = leaf.ndim - 1
            case ["decoder", "latent", "kernel"]:
                axis = 0
            case _:
                return leaf
        missing = latent_dim - leaf.shape[axis]
        if missing <= 0:
            return jax.lax.slice_in_dim(leaf, 0, latent_dim, axis=axis)
        return jnp.pad(leaf, [(0, missing if a == axis else 0) for a in range(leaf.ndim)])

    return jax.tree_util.tree_map_with_path(resize, tree)
