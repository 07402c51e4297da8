"""The encoders and decoders as textbooks draw them.

In: images in [0, 1], or latent codes. Out: the parameters of q(z|x), or the logits of p(x|z).
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxvae.config import ModelConfig
from jaxvae.conv import Conv, ConvTranspose, Window
from jaxvae.distributions import Normal
from jaxvae.precision import product

SIDE = 28
HIDDEN = 256
K4 = Window(kernel=4, stride=2, padding=1)
K3 = Window(kernel=3, stride=2, padding=1)

Pictures = Float[Array, "b 28 28"]
Codes = Float[Array, "b z"]


def dense(features: int, precision: str, name: str) -> nn.Dense:
    def dot_general(x, kernel, dimension_numbers, **_):
        return product(precision, x, kernel, dimension_numbers)

    return nn.Dense(features, dot_general=dot_general, name=name)


class Encoder(nn.Module):
    """q(z|x): a trunk, then a linear layer each for the mean and the log standard deviation."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Pictures) -> Normal:
        trunk = {"linear": linear_trunk, "conv": conv_trunk}[self.config.architecture]
        h = trunk(x, self.config.precision)
        if self.config.architecture == "conv":
            mean = BLDense(self.config.latent_dim, self.config.precision, name="mean")(h).T
            log_std = BLDense(self.config.latent_dim, self.config.precision, name="log_std")(h).T
            return Normal(mean, log_std)
        mean = dense(self.config.latent_dim, self.config.precision, "mean")(h)
        log_std = dense(self.config.latent_dim, self.config.precision, "log_std")(h)
        return Normal(mean, log_std)


class Decoder(nn.Module):
    """p(x|z): the logits of independent Bernoulli pixels."""

    config: ModelConfig

    @nn.compact
    def __call__(self, z: Codes) -> Pictures:
        head = {"linear": linear_head, "conv": conv_head}[self.config.architecture]
        return head(z, self.config.precision)


class BLDense(nn.Module):
    features: int
    precision: str

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[0], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return product(self.precision, kernel, x, (((0,), (0,)), ((), ()))) + bias[:, None]


def linear_trunk(x: Pictures, precision: str) -> Float[Array, "b h"]:
    """784 – 256."""
    return nn.relu(dense(HIDDEN, precision, "hidden")(x.reshape(-1, SIDE * SIDE)))


def linear_head(z: Codes, precision: str) -> Pictures:
    """d – 256 – 784."""
    h = nn.relu(dense(HIDDEN, precision, "latent")(z))
    return dense(SIDE * SIDE, precision, "pixels")(h).reshape(-1, SIDE, SIDE)


def conv_trunk(x: Pictures, precision: str) -> Float[Array, "b h"]:
    """1×28×28 – 32×14×14 – 64×7×7 – 128×4×4, after DCGAN's discriminator (Radford et al. 2016)."""
    h = jnp.moveaxis(x, 0, -1)[None]
    h = Conv(32, K4, relu=True, precision=precision, name="conv1")(h)
    h = Conv(64, K4, relu=True, precision=precision, name="conv2")(h)
    h = Conv(128, K3, relu=True, precision=precision, name="conv3")(h)
    return h.reshape(128 * 4 * 4, -1)


def conv_head(z: Codes, precision: str) -> Pictures:
    """d – 128×4×4 – 64×7×7 – 32×14×14 – 1×28×28, the trunk mirrored."""
    h = nn.relu(BLDense(128 * 4 * 4, precision, name="latent")(z.T)).reshape(128, 4, 4, -1)
    h = ConvTranspose(64, K3, relu=True, precision=precision, name="conv1")(h)
    h = ConvTranspose(32, K4, relu=True, precision=precision, name="conv2")(h)
    h = ConvTranspose(1, K4, precision=precision, name="conv3")(h)
    return jnp.moveaxis(h[0], -1, 0)
