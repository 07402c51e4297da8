"""The conv VAE with Flax's own convolutions: NHWC, `nn.Conv` and `nn.ConvTranspose`, as a tutorial would write it.

In: a key, a state, images. Out: a state trained a step further.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key, UInt8

from jaxvae.models import Bernoulli, DiagonalNormal, Normal, StandardNormal, standard_noise
from jaxvae.training import to_float

ADAM = optax.adam(1e-3)


class StockConvVAE(nn.Module):
    """1×28×28 – 32×14×14 – 64×7×7 – 128×4×4 – d and back, as in jaxvae/models/conv.py."""

    latent_dim: int

    @nn.compact
    def __call__(self, x: Float[Array, "b 28 28 1"], key_z: Key[Array, ""]) -> tuple[Normal, Float[Array, "b 28 28 1"]]:
        h = nn.relu(nn.Conv(32, (4, 4), strides=2, padding=1)(x))
        h = nn.relu(nn.Conv(64, (4, 4), strides=2, padding=1)(h))
        h = nn.relu(nn.Conv(128, (3, 3), strides=2, padding=1)(h)).reshape(len(x), -1)
        posterior = Normal(nn.Dense(self.latent_dim)(h), nn.Dense(self.latent_dim)(h))
        noise = standard_noise(key_z, (1, len(x)), self.latent_dim)
        z, _ = DiagonalNormal().sample_and_log_prob(posterior, noise)
        h = nn.relu(nn.Dense(2048)(z[0])).reshape(-1, 4, 4, 128)
        # Flax's padding of a transposed convolution is kernel − 1 − that of the convolution it mirrors
        h = nn.relu(nn.ConvTranspose(64, (3, 3), strides=(2, 2), padding=1)(h))
        h = nn.relu(nn.ConvTranspose(32, (4, 4), strides=(2, 2), padding=2)(h))
        return posterior, nn.ConvTranspose(1, (4, 4), strides=(2, 2), padding=2)(h)


class State(NamedTuple):
    params: Any  # nested dictionaries of float32 arrays
    opt_state: optax.OptState
    key: Key[Array, ""]


def init(latent_dim: int, key: Key[Array, ""]) -> State:
    params = StockConvVAE(latent_dim).init(key, jnp.zeros((1, 28, 28, 1)), key)["params"]
    return State(params, ADAM.init(params), key)


def train_step(latent_dim: int, state: State, images: UInt8[Array, "b 28 28"]) -> State:
    """One step of Adam on the batch's mean negative ELBO."""
    key, key_z = jax.random.split(state.key)

    def mean_loss(params):
        x = to_float(images)[..., None]
        outputs: Any = StockConvVAE(latent_dim).apply({"params": params}, x, key_z)
        posterior, logits = outputs
        kl: Any = DiagonalNormal().kl(posterior, StandardNormal())
        return (kl - Bernoulli().log_prob({}, logits, x)).mean()

    updates, opt_state = ADAM.update(jax.grad(mean_loss)(state.params), state.opt_state)
    return State(optax.apply_updates(state.params, updates), opt_state, key)
