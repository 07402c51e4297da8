"""What training minimises.

In: parameters, a batch of images in [0, 1], a key and the traced scalars. Out: a loss in nats per image and its parts.
The batch may be a device's own part of one that is shared among `shards` devices; its noise is then its part, too.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from jaxvae.config import Hypers, ModelConfig, TrainConfig
from jaxvae.models import Normal, bernoulli_log_prob, kl_to_standard_normal, model, own_rows, sample, standard_noise
from jaxvae.objectives.importance import log_mean_exp, log_weights


class Losses(NamedTuple):
    """Nats, summed over pixels and latent dimensions; `loss` is what an objective minimises."""

    reconstruction: Float[Array, "..."]
    kl: Float[Array, "..."]
    loss: Float[Array, "..."]


def negative_elbo(
    config: ModelConfig,
    params: model.Params,
    images: Float[Array, "b 28 28"],
    key_z: Key[Array, ""],
    hypers: Hypers,
    shards: int = 1,
) -> Losses:
    """The negative evidence lower bound of each image, from one sample of z (Kingma & Welling 2014, equation 10).

    The loss is reconstruction + β · kl. β = 1 is the bound itself; other weights of the KL are Higgins et al. 2017.
    Codes beyond `hypers.latent_dim` are held at zero, so that models of several latent sizes can share the largest
    one's program.
    """
    posterior = model.encode(config, params, images)
    in_use = jnp.arange(config.latent_dim) < hypers.latent_dim
    z = jnp.where(in_use, sample(key_z, posterior, shards), 0)
    reconstruction = -bernoulli_log_prob(model.decode(config, params, z), images)
    kl = kl_to_standard_normal(posterior)
    return Losses(reconstruction, kl, reconstruction + hypers.beta * kl)


def importance_weighted(
    samples: int,
    config: ModelConfig,
    params: model.Params,
    images: Float[Array, "b 28 28"],
    key_z: Key[Array, ""],
    hypers: Hypers,
    shards: int = 1,
) -> Losses:
    """−L_K of each image, K = `samples` (Burda, Grosse & Salakhutdinov 2016, equation 8), reparameterised.

    Reconstruction and KL are those of the ELBO, the first as a mean over the K samples; the loss is at most their sum
    in expectation.
    """
    posterior, noise = _posterior_and_noise(samples, config, params, images, key_z, hypers, shards)
    z = posterior.mean + jnp.exp(posterior.log_std) * noise
    log_likelihood = _log_likelihood(config, params, images, z)
    bound = log_mean_exp(log_weights(log_likelihood, z, noise, posterior.log_std))
    return Losses(-log_likelihood.mean(0), kl_to_standard_normal(posterior), -bound)


def importance_weighted_dreg(
    samples: int,
    config: ModelConfig,
    params: model.Params,
    images: Float[Array, "b 28 28"],
    key_z: Key[Array, ""],
    hypers: Hypers,
    shards: int = 1,
) -> Losses:
    """`importance_weighted` with the doubly reparameterised gradient for the encoder (Tucker et al. 2019, equation 8).

    With w̃ the normalised weights: the decoder's gradient is Σ w̃ ∂log w, as before; the encoder's comes through the
    samples alone, Σ w̃² (∂log w/∂z) ∂z, the dependence of log q on its own parameters being left out.
    """
    posterior, noise = _posterior_and_noise(samples, config, params, images, key_z, hypers, shards)
    z = posterior.mean + jnp.exp(posterior.log_std) * noise
    fixed = lax.stop_gradient(posterior)

    def log_w(params, z):
        log_likelihood = _log_likelihood(config, params, images, z)
        again = (z - fixed.mean) * jnp.exp(-fixed.log_std)
        return log_weights(log_likelihood, z, again, fixed.log_std), log_likelihood

    weights, pull, log_likelihood = jax.vjp(log_w, *lax.stop_gradient((params, z)), has_aux=True)
    normalised = jax.nn.softmax(weights, axis=0)
    to_params, to_z = pull(normalised)
    # zero in value, and with the two gradients: what stands at its place is linear in `params` and in `z`
    surrogate = (normalised[..., None] * to_z * (z - lax.stop_gradient(z))).sum((0, 2))
    leaves = jax.tree.map(lambda g, p: (g * (p - lax.stop_gradient(p))).sum(), to_params, params)
    surrogate += sum(jax.tree.leaves(leaves)) / len(images)
    return Losses(-log_likelihood.mean(0), kl_to_standard_normal(posterior), -log_mean_exp(weights) - surrogate)


def _posterior_and_noise(
    samples, config, params, images, key_z, hypers, shards
) -> tuple[Normal, Float[Array, "k b z"]]:
    posterior = model.encode(config, params, images)
    in_use = jnp.arange(config.latent_dim) < hypers.latent_dim
    noise = own_rows(standard_noise(key_z, (samples, len(images) * shards), config.latent_dim), shards, axis=1)
    # an unused dimension's log-std must not count in the weights: its gradient would not vanish
    return Normal(*(jnp.where(in_use, leaf, 0) for leaf in posterior)), jnp.where(in_use, noise, 0)


def _log_likelihood(config, params, images, z: Float[Array, "k b z"]) -> Float[Array, "k b"]:
    """log p(x|z) of every code of every image."""
    logits = model.decode(config, params, z.reshape(-1, z.shape[-1])).reshape(*z.shape[:2], *images.shape[1:])
    return jax.vmap(bernoulli_log_prob, in_axes=(0, None))(logits, images)


def objective(train: TrainConfig, shards: int = 1) -> Callable[..., Losses]:
    """The function `(config, params, images, key_z, hypers) -> Losses` that a configuration asks for."""
    weighted = {"iwae": importance_weighted, "iwae-dreg": importance_weighted_dreg}
    if train.objective == "elbo":
        return partial(negative_elbo, shards=shards)
    return partial(weighted[train.objective], train.importance_samples, shards=shards)
