"""Training as pure functions: a state, one step, one epoch, one exact evaluation.

In: a program (model, objective, optimiser and their numbers), a state, the dataset on the device, as stored, for a
model with a condition those of the examples beside it. Out: the next state and mean losses. Where a run's batch is
shared among `shards` devices, each of them computes its part and all have the same state; everything drawn for a batch
is drawn whole on each device, which keeps its own rows.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer, Key, Num

from jaxvae.config import Program
from jaxvae.models import VAE, Params, standard_noise
from jaxvae.objectives import Context, Losses
from jaxvae.schedules import after_last_step, at_step
from jaxvae.training.mesh import DATA, own_rows

EVALUATION_BATCH = 100

Stored = Num[Array, "n ..."]  # uint8, or float32
Examples = Float[Array, "b ..."]


class Purpose(enum.IntEnum):
    """What a key is for. A run's root key is never advanced, only folded with one of these and then with a count."""

    INIT = 0
    ORDER = 1  # then the epoch
    TRAIN_NOISE = 2  # then the step
    TEST_NOISE = 3  # then the epoch
    BINARIZE = 4  # then the step
    DEQUANTIZE = 5  # then the step


class TrainState(NamedTuple):
    """All that a run needs to go on."""

    step: Int[Array, "..."]  # optimiser steps taken
    params: Params
    opt_state: Any  # what the optimiser carries
    key: Key[Array, "..."]  # the root key


def init(program: Program, seed: int | Integer[Array, ""]) -> TrainState:
    """The state before the first step."""
    key = jax.random.key(seed)
    params = program.vae.init(jax.random.fold_in(key, Purpose.INIT))
    return TrainState(jnp.zeros((), jnp.int32), params, program.optimiser.init(params), key)


def key_for(state: TrainState, purpose: Purpose, count: int | Int[Array, ""]) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.fold_in(state.key, purpose), count)


def to_float(images: Stored) -> Examples:
    """What models see: bytes as numbers in [0, 1], other numbers as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def binarized(key: Key[Array, ""], images: Examples, shards: int = 1) -> Examples:
    """Each pixel drawn as 1 with its grey level for probability (Salakhutdinov & Murray 2008, section 5)."""
    uniform = jax.random.uniform(key, (len(images) * shards, *images.shape[1:]))
    return (own_rows(uniform, shards) < images).astype(jnp.float32)


def dequantized(key: Key[Array, ""], images: Examples, shards: int = 1) -> Examples:
    """Each byte, given in [0, 1], anywhere between its level and the next: (byte + u) / 256 with u uniform between 0
    and 1 (Theis et al. 2016, section 3.1)."""
    uniform = jax.random.uniform(key, (len(images) * shards, *images.shape[1:]))
    return (255 * images + own_rows(uniform, shards)) / 256


def seen_in_step(program: Program, state: TrainState, images: Stored, shards: int = 1) -> Examples:
    """What the model sees of a batch: black and white pixels, or bytes under a density dequantised, both drawn anew at
    each step; else what is stored."""
    if program.binarize == "dynamic":
        return binarized(key_for(state, Purpose.BINARIZE, state.step), to_float(images), shards)
    if images.dtype == jnp.uint8 and program.vae.likelihood.measure == "density":
        return dequantized(key_for(state, Purpose.DEQUANTIZE, state.step), to_float(images), shards)
    return to_float(images)


def codes_noise(program: Program, key_z: Key[Array, ""], batch: int, shards: int = 1) -> Float[Array, "k b z"]:
    """The noise that the objective is given: the own rows of the batch's. In latent dimensions that are not in use it
    is zero, unless the objective masks its codes itself."""
    vae, codes = program.vae, program.objective.codes
    # an axis of length one would make XLA lay out the codes otherwise, and move last bits
    shape = (batch * shards,) if codes == 1 else (codes, batch * shards)
    noise = own_rows(standard_noise(key_z, shape, vae.latent_dim), shards, axis=len(shape) - 1)
    noise = noise[None] if codes == 1 else noise
    return noise if getattr(program.objective, "masks_codes", False) else vae.mask_codes(noise)


def train_step(
    program: Program, state: TrainState, images: Stored, examples: int, shards: int = 1
) -> tuple[TrainState, Losses]:
    """One step of the optimiser on the batch's mean loss.

    Args:
        examples: of the training set.
    """
    program = at_step(program, state.step)
    images = seen_in_step(program, state, images, shards)

    def mean_loss(params):
        noise = codes_noise(program, key_for(state, Purpose.TRAIN_NOISE, state.step), len(images), shards)
        losses = program.objective(program.vae, params, images, noise, Context(examples))
        losses = jax.tree.map(jnp.mean, losses)
        return losses.loss, losses

    gradients, losses = jax.grad(mean_loss, has_aux=True)(state.params)
    if shards > 1:
        gradients, losses = lax.pmean((gradients, losses), DATA)
    refits, own = getattr(program.vae.likelihood, "refits", False), gradients.get("likelihood")
    if refits:  # what the optimiser does not set is in no norm and no momentum of it
        gradients = gradients | {"likelihood": jax.tree.map(jnp.zeros_like, own)}
    params, opt_state = program.optimiser.update(gradients, state.opt_state, state.params)
    if refits:
        refitted = program.vae.likelihood.refit(state.params["likelihood"], own, program.vae.shape)
        params = params | {"likelihood": refitted}
    return TrainState(state.step + 1, params, opt_state, state.key), losses


def steps_per_epoch(batch_size: int, images: int) -> int:
    """Whole batches in an epoch; the images left over take part in another epoch's permutation."""
    return images // batch_size


def given(program: Program, conditions: Any, rows: Int[Array, "b"]) -> Program:
    """The program with a model that is given the conditions of these rows; itself, where there are none."""
    if conditions is None:
        return program
    vae = program.vae.given(jax.tree.map(lambda stored: stored[rows], conditions))
    return dataclasses.replace(program, vae=vae)


def epoch_order(program: Program, state: TrainState, examples: int) -> Int[Array, "s b"]:
    """Which of the training examples each step of the next epoch sees: a fresh permutation, cut into batches."""
    steps = steps_per_epoch(program.batch_size, examples)
    key_order = key_for(state, Purpose.ORDER, state.step // steps)
    order = jax.random.permutation(key_order, examples)[: steps * program.batch_size]
    return order.reshape(steps, program.batch_size)


def train_steps(
    program: Program,
    state: TrainState,
    images: Stored,
    order: Int[Array, "s b"],
    examples: int,
    shards: int = 1,
    conditions: Any = None,
) -> tuple[TrainState, Losses]:
    """A step on each batch that `order` takes from the images; returns the losses of each step, [s].

    Args:
        examples: of the training set.
        conditions: of the images, as they are stored, if the model has one.
    """

    def body(state, indices):
        rows = own_rows(indices, shards)
        return train_step(given(program, conditions, rows), state, images[rows], examples, shards)

    return lax.scan(body, state, order)


def epoch_losses(losses: Losses) -> tuple[Losses, Int[Array, ""]]:
    """The running mean of an epoch's losses, [s], and how many come before the first that is not finite."""
    finite = jnp.isfinite(losses.loss)
    sound = jnp.where(finite.all(), len(finite), jnp.argmin(finite))
    return jax.tree.map(jnp.mean, losses), sound


def train_epoch(
    program: Program, state: TrainState, images: Stored, shards: int = 1, conditions: Any = None
) -> tuple[TrainState, Losses, Int[Array, ""]]:
    """One pass over a fresh permutation of the images.

    Returns the running mean of the training losses, and how many steps came before the first whose loss is not finite.
    """
    order = epoch_order(program, state, len(images))
    state, losses = train_steps(program, state, images, order, len(images), shards, conditions)
    return state, *epoch_losses(losses)


def evaluation_params(optimiser: Any, state: TrainState) -> Params:
    """The parameters that a run is evaluated with and keeps: those of the last step, or what its optimiser makes of
    them, such as averages over steps. Training goes on from the former."""
    own = getattr(optimiser, "evaluation_params", None)
    return own(state.params, state.opt_state) if own else state.params


def for_evaluation(program: Program, state: TrainState) -> tuple[Program, TrainState]:
    """With the numbers of the epoch's last step and `evaluation_params`."""
    return after_last_step(program), state._replace(params=evaluation_params(program.optimiser, state))


def evaluate(
    program: Program,
    state: TrainState,
    images: Stored,
    epoch: Int[Array, ""],
    shards: int = 1,
    conditions: Any = None,
) -> Losses:
    """Mean losses over `images`, each counted exactly once; see `for_evaluation`.

    The last batch is filled up with images of weight zero; where an example's loss depends on its batch, it is smaller.
    """
    program, state = for_evaluation(program, state)
    n = len(images)
    batch = min(EVALUATION_BATCH, n)
    left = n % batch if program.objective.coupled else 0
    batches = (n - left) // batch if program.objective.coupled else -(-n // batch)
    batches += -batches % shards
    indices = own_rows(jnp.arange(batches * batch).reshape(-1, batch), shards)
    key = key_for(state, Purpose.TEST_NOISE, epoch)

    def of(indices):
        rows = jnp.minimum(indices, n - 1)
        return _batch_losses(given(program, conditions, rows), state, indices, lambda: images[rows], key, n)

    def body(total, indices):
        return jax.tree.map(jnp.add, total, of(indices)), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of, indices[0]))
    total, _ = lax.scan(body, zeros, indices)
    if left:
        total = jax.tree.map(jnp.add, total, of(jnp.arange(n - left, n)))
    if shards > 1:
        total = lax.psum(total, DATA)
    return jax.tree.map(lambda t: t / n, total)


def add_losses(
    program: Program,
    state: TrainState,
    total: Losses,
    images: Stored,
    indices: Int[Array, "s b"],
    epoch: Any,
    n: int,
    conditions: Any = None,
) -> Losses:
    """`total` and the summed losses of some batches of the `n` images that `evaluate` would be given in one piece.

    Args:
        images: those of `indices`, one after another.
        indices: of the images of each batch among all; those from `n` on have weight zero.
        conditions: of these images, as they are stored, if the model has one.
    """
    program, state = for_evaluation(program, state)
    key = key_for(state, Purpose.TEST_NOISE, epoch)

    def body(total, of):
        rows = of - indices[0, 0]
        own = _batch_losses(given(program, conditions, rows), state, of, lambda: images[rows], key, n)
        return jax.tree.map(jnp.add, total, own), None

    total, _ = lax.scan(body, total, indices)
    return total


def _batch_losses(
    program: Program, state: TrainState, indices: Int[Array, "b"], batch: Callable[[], Stored], key: Any, n: int
) -> Losses:
    """Summed over a batch of images, whose `indices` are among all `n`."""
    noise = codes_noise(program, jax.random.fold_in(key, indices[0]), len(indices))
    losses = program.objective(program.vae, state.params, to_float(batch()), noise, Context(n))
    counts = indices < n
    return jax.tree.map(lambda values: jnp.where(counts, values, 0).sum(), losses)


def is_finite(state: TrainState) -> Bool[Array, ""]:
    """Whether all numbers that a run goes on from are finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.opt_state))]).all()


def reconstruct(vae: VAE, params: Params, images: Stored) -> Stored:
    """Means of the likelihood, decoded from the posterior means, stored as the images are."""
    z = vae.posterior.marginals(vae.encode(params, to_float(images))).mean
    return to_stored(vae.mean(params, z), images.dtype)


def to_stored(images: Examples, dtype: Any) -> Stored:
    """The inverse of `to_float`, to the nearest byte."""
    return jnp.rint(255 * jnp.clip(images, 0, 1)).astype(jnp.uint8) if dtype == jnp.uint8 else images
