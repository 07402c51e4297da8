"""Training as pure functions: a state, one step, one epoch, one exact evaluation.

In: a configuration, a state, the dataset as bytes on the device, traced scalars. Out: the next state and mean losses.
Where a run's batch is shared among `shards` devices, each of them computes its part and all have the same state.
"""

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Key, UInt8

from jaxvae.config import Hypers, ModelConfig, TrainConfig
from jaxvae.models import DATA, model, own_rows
from jaxvae.objectives import Losses, objective

EVALUATION_BATCH = 100
DEFAULT = TrainConfig()

Bytes = UInt8[Array, "n 28 28"]


class Purpose(enum.IntEnum):
    """What a key is for. A run's root key is never advanced, only folded with one of these and then with a count."""

    INIT = 0
    ORDER = 1  # then the epoch
    TRAIN_NOISE = 2  # then the step
    TEST_NOISE = 3  # then the epoch
    BINARIZE = 4  # then the step


class TrainState(NamedTuple):
    """All that a run needs to go on."""

    step: Int[Array, "..."]  # optimiser steps taken
    params: model.Params
    opt_state: optax.OptState
    key: Key[Array, "..."]  # the root key


def init(config: ModelConfig, seed: int | Integer[Array, ""], train: TrainConfig = DEFAULT) -> TrainState:
    key = jax.random.key(seed)
    params = model.init(config, jax.random.fold_in(key, Purpose.INIT))
    moments: Any = _adam(train).init(params)
    start = jax.tree.map(lambda leaf: leaf + train.adam_second_moment, moments.nu)
    return TrainState(jnp.zeros((), jnp.int32), params, moments._replace(nu=start), key)


def _adam(train: TrainConfig) -> optax.GradientTransformation:
    """Kingma & Ba 2015, β₂ = 0.999; the learning rate is a traced scalar."""
    return optax.scale_by_adam(b1=train.adam_b1, eps=train.adam_epsilon)


def with_output_bias(state: TrainState, mean_image: Float[Array, "28 28"]) -> TrainState:
    """The decoder of a linear model starts at the logit of the mean image, kept between 0.001 and 0.999."""
    mean = jnp.clip(mean_image.reshape(-1), 0.001, 0.999)
    decoder = state.params["decoder"]
    pixels = decoder["pixels"] | {"bias": jnp.log(mean) - jnp.log1p(-mean)}
    return state._replace(params=state.params | {"decoder": decoder | {"pixels": pixels}})


def key_for(state: TrainState, purpose: Purpose, count: int | Int[Array, ""]) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.fold_in(state.key, purpose), count)


def pixels(images: Bytes) -> Float[Array, "n 28 28"]:
    """Bytes → [0, 1]."""
    return images.astype(jnp.float32) / 255


def binarized(key: Key[Array, ""], images: Float[Array, "b 28 28"], shards: int = 1) -> Float[Array, "b 28 28"]:
    """Each pixel drawn as 1 with its grey level for probability (Salakhutdinov & Murray 2008, section 5)."""
    uniform = jax.random.uniform(key, (len(images) * shards, *images.shape[1:]))
    return (own_rows(uniform, shards) < images).astype(jnp.float32)


def train_step(
    config: ModelConfig,
    train: TrainConfig,
    state: TrainState,
    images: Float[Array, "b 28 28"],
    hypers: Hypers,
    shards: int = 1,
) -> tuple[TrainState, Losses]:
    """One step of Adam on the batch's mean loss."""
    if train.binarize == "dynamic":
        images = binarized(key_for(state, Purpose.BINARIZE, state.step), images, shards)

    def mean_loss(params):
        key_z = key_for(state, Purpose.TRAIN_NOISE, state.step)
        losses = jax.tree.map(jnp.mean, objective(train, shards)(config, params, images, key_z, hypers))
        return losses.loss, losses

    gradients, losses = jax.grad(mean_loss, has_aux=True)(state.params)
    if shards > 1:
        gradients, losses = lax.pmean((gradients, losses), DATA)
    directions, opt_state = _adam(train).update(gradients, state.opt_state)
    params = jax.tree.map(lambda p, d: p - hypers.learning_rate * d, state.params, directions)
    return TrainState(state.step + 1, params, opt_state, state.key), losses


def steps_per_epoch(train: TrainConfig, images: int) -> int:
    """Whole batches in an epoch; the images left over take part in another epoch's permutation."""
    return images // train.batch_size


def train_epoch(
    config: ModelConfig, train: TrainConfig, state: TrainState, images: Bytes, hypers: Hypers, shards: int = 1
) -> tuple[TrainState, Losses, Int[Array, ""]]:
    """One pass over a fresh permutation of the images.

    Returns the running mean of the training losses, and how many steps came before the first whose loss is not finite.
    """
    steps = steps_per_epoch(train, len(images))
    key_order = key_for(state, Purpose.ORDER, state.step // steps)
    order = jax.random.permutation(key_order, len(images))[: steps * train.batch_size]

    def body(state, indices):
        return train_step(config, train, state, pixels(images[own_rows(indices, shards)]), hypers, shards)

    state, losses = lax.scan(body, state, order.reshape(steps, train.batch_size))
    finite = jnp.isfinite(losses.loss)
    sound = jnp.where(finite.all(), steps, jnp.argmin(finite))
    return state, jax.tree.map(jnp.mean, losses), sound


def evaluate(
    config: ModelConfig,
    train: TrainConfig,
    state: TrainState,
    images: Bytes,
    hypers: Hypers,
    epoch: Int[Array, ""],
    shards: int = 1,
) -> Losses:
    """Mean losses over `images`, each counted exactly once: the last batch is filled up with images of weight zero."""
    n = len(images)
    batch = min(EVALUATION_BATCH, n)
    batches = -(-n // batch)
    batches += -batches % shards
    indices = own_rows(jnp.arange(batches * batch).reshape(-1, batch), shards)
    key = key_for(state, Purpose.TEST_NOISE, epoch)

    def body(total, indices):
        key_z = jax.random.fold_in(key, indices[0])
        batch = pixels(images[jnp.minimum(indices, n - 1)])
        losses = objective(train)(config, state.params, batch, key_z, hypers)
        counts = indices < n
        return jax.tree.map(lambda t, values: t + jnp.where(counts, values, 0).sum(), total, losses), None

    total, _ = lax.scan(body, Losses(*jnp.zeros(3)), indices)
    if shards > 1:
        total = lax.psum(total, DATA)
    return jax.tree.map(lambda t: t / n, total)


def is_finite(state: TrainState) -> Bool[Array, ""]:
    """Whether all numbers that a run goes on from are finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.opt_state))]).all()


def reconstruct(config: ModelConfig, params: model.Params, images: Bytes) -> UInt8[Array, "n 28 28"]:
    """Bernoulli means decoded from the posterior means, as bytes for looking at."""
    z = model.encode(config, params, pixels(images)).mean
    return jnp.rint(255 * jax.nn.sigmoid(model.decode(config, params, z))).astype(jnp.uint8)
