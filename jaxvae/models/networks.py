"""The encoders and decoders as textbooks draw them.

In: images in [0, 1], or latent codes. Out: the parameters of q(z|x), or the logits of p(x|z).
"""

from functools import partial
from itertools import chain, count

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxvae.config import ModelConfig
from jaxvae.models.distributions import Normal
from jaxvae.nn import BatchLastDense, Conv, ConvTranspose, Dense, Window

SIDE = 28
K4 = Window(kernel=4, stride=2, padding=1)
K3 = Window(kernel=3, stride=2, padding=1)

Pictures = Float[Array, "b 28 28"]
Codes = Float[Array, "b z"]


class LinearEncoder(nn.Module):
    """784 – 256 – d for the mean, d for the log standard deviation; `hidden` for the 256."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Pictures) -> Normal:
        layer, activation = _dense(self.config)
        h = x.reshape(-1, SIDE * SIDE)
        for width, name in zip(self.config.hidden, _names("hidden"), strict=False):
            h = activation(layer(width, name=name)(h))
        return Normal(
            mean=layer(self.config.latent_dim, name="mean")(h),
            log_std=layer(self.config.latent_dim, name="log_std")(h),
        )


class LinearDecoder(nn.Module):
    """d – 256 – 784, the encoder mirrored."""

    config: ModelConfig

    @nn.compact
    def __call__(self, z: Codes) -> Pictures:
        layer, activation = _dense(self.config)
        h = z
        for width, name in zip(reversed(self.config.hidden), _names("latent"), strict=False):
            h = activation(layer(width, name=name)(h))
        return layer(SIDE * SIDE, name="pixels")(h).reshape(-1, SIDE, SIDE)


def _dense(config: ModelConfig):
    """A linear model's layer and activation. Tanh layers start as Glorot & Bengio 2010 have it, equation 16."""
    if config.activation == "tanh":
        return partial(Dense, precision=config.precision, kernel_init=nn.initializers.glorot_uniform()), nn.tanh
    return partial(Dense, precision=config.precision), nn.relu


def _names(first: str):
    """Of hidden layers: `first`, then hidden2, hidden3 and so on."""
    return chain([first], (f"hidden{i}" for i in count(2)))


class ConvEncoder(nn.Module):
    """1×28×28 – 32×14×14 – 64×7×7 – 128×4×4 – d and d, after DCGAN's discriminator (Radford et al. 2016)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Pictures) -> Normal:
        layer, conv = (partial(kind, precision=self.config.precision) for kind in (BatchLastDense, Conv))
        h = jnp.moveaxis(x, 0, -1)[None]
        h = conv(32, K4, relu=True, name="conv1")(h)
        h = conv(64, K4, relu=True, name="conv2")(h)
        h = conv(128, K3, relu=True, name="conv3")(h).reshape(128 * 4 * 4, -1)
        return Normal(
            mean=layer(self.config.latent_dim, name="mean")(h).T,
            log_std=layer(self.config.latent_dim, name="log_std")(h).T,
        )


class ConvDecoder(nn.Module):
    """d – 128×4×4 – 64×7×7 – 32×14×14 – 1×28×28, the encoder mirrored."""

    config: ModelConfig

    @nn.compact
    def __call__(self, z: Codes) -> Pictures:
        layer, conv = (partial(kind, precision=self.config.precision) for kind in (BatchLastDense, ConvTranspose))
        h = nn.relu(layer(128 * 4 * 4, name="latent")(z.T)).reshape(128, 4, 4, -1)
        h = conv(64, K3, relu=True, name="conv1")(h)
        h = conv(32, K4, relu=True, name="conv2")(h)
        h = conv(1, K4, name="conv3")(h)
        return jnp.moveaxis(h[0], -1, 0)


ENCODERS = {"linear": LinearEncoder, "conv": ConvEncoder}  # q(z|x)
DECODERS = {"linear": LinearDecoder, "conv": ConvDecoder}  # the logits of p(x|z), independent Bernoulli pixels
