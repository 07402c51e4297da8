"""Training as pure functions: a state, one step, one epoch, one exact evaluation.

In: a program (model, objective, optimiser and their numbers), a state, the dataset on the device, as stored, for a
model with a condition those of the examples beside it. Out: the next state and mean losses. Where a run's batch is
shared among `shards` devices, each of them computes its part and all have the same state; everything drawn for a batch
is drawn whole on each device, which keeps its own rows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, Integer, Key

from jaxvae.config import Program
from jaxvae.models import VAE, Params
from jaxvae.objectives import Context, Losses
from jaxvae.schedules import after_last_step, at_step
from jaxvae.training.draws import Purpose, codes_noise, key_for
from jaxvae.training.mesh import DATA, own_rows
from jaxvae.training.pixels import Examples, Stored, binarized, dequantized, to_float, to_stored

EVALUATION_BATCH = 100


class TrainState(NamedTuple):
    """All that a run needs to go on."""

    step: Int[Array, "..."]  # optimiser steps taken
    params: Params
    opt_state: Any  # what the optimiser carries
    key: Key[Array, "..."]  # the root key
    watch: Any = None  # of a run that may stop early, see `jaxvae.stopping.Watch`


def init(program: Program, seed: int | Integer[Array, ""]) -> TrainState:
    """The state before the first step."""
    key = jax.random.key(seed)
    params = program.vae.init(jax.random.fold_in(key, Purpose.INIT))
    watch = program.stopping.init(params) if program.stopping else None
    return TrainState(jnp.zeros((), jnp.int32), params, program.optimiser.init(params), key, watch)


def seen_in_step(program: Program, state: TrainState, images: Stored, shards: int = 1) -> Examples:
    """What the model sees of a batch: black and white pixels, or bytes under a density dequantised, both drawn anew at
    each step; else what is stored."""
    if program.binarize == "dynamic":
        return binarized(key_for(state, Purpose.BINARIZE, state.step), to_float(images), shards)
    if images.dtype == jnp.uint8 and program.vae.likelihood.measure == "density":
        return dequantized(key_for(state, Purpose.DEQUANTIZE, state.step), to_float(images), shards)
    return to_float(images)


def train_step(
    program: Program, state: TrainState, images: Stored, context: Context, shards: int = 1
) -> tuple[TrainState, Losses]:
    """One step of the optimiser on the batch's mean loss.

    Args:
        context: of the training set.
    """
    program = at_step(program, state.step)
    images = seen_in_step(program, state, images, shards)

    def mean_loss(params):
        noise = codes_noise(program, key_for(state, Purpose.TRAIN_NOISE, state.step), len(images), shards)
        losses = program.objective(program.vae, params, images, noise, context)
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
    return state._replace(step=state.step + 1, params=params, opt_state=opt_state), losses


def steps_per_epoch(batch_size: int, images: int) -> int:
    """Whole batches in an epoch; the images left over take part in another epoch's permutation."""
    return images // batch_size


def given(program: Program, conditions: Any, rows: Int[Array, "b"]) -> Program:
    """The program with a model that is given the conditions of these rows; itself, where there are none."""
    if conditions is None:
        return program
    vae = program.vae.given(jax.tree.map(lambda stored: stored[rows], conditions))
    return dataclasses.replace(program, vae=vae)


def context_of(program: Program, conditions: Any, examples: int) -> Context:
    """What the objective may know of a split: how many examples it has and, of a model that reads classes, how many of
    them have one."""
    condition = program.vae.condition
    reads = conditions is not None and getattr(condition, "network", None) is not None
    return Context(examples, condition.known(conditions).sum() if reads else None)


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
    context: Context,
    shards: int = 1,
    conditions: Any = None,
) -> tuple[TrainState, Losses]:
    """A step on each batch that `order` takes from the images; returns the losses of each step, [s].

    Args:
        context: of the training set.
        conditions: of the images, as they are stored, if the model has one.
    """

    def body(state, indices):
        rows = own_rows(indices, shards)
        return train_step(given(program, conditions, rows), state, images[rows], context, shards)

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
    context = context_of(program, conditions, len(images))
    state, losses = train_steps(program, state, images, order, context, shards, conditions)
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
    key, context = key_for(state, Purpose.TEST_NOISE, epoch), context_of(program, conditions, n)

    def of(indices):
        rows = jnp.minimum(indices, n - 1)
        return _batch_losses(given(program, conditions, rows), state, indices, lambda: images[rows], key, context)

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
    context: Context,
    conditions: Any = None,
) -> Losses:
    """`total` and the summed losses of some batches of the images that `evaluate` would be given in one piece.

    Args:
        context: of all those images.
        images: those of `indices`, one after another.
        indices: of the images of each batch among all; those beyond have weight zero.
        conditions: of these images, as they are stored, if the model has one.
    """
    program, state = for_evaluation(program, state)
    key = key_for(state, Purpose.TEST_NOISE, epoch)

    def body(total, of):
        rows = of - indices[0, 0]
        own = _batch_losses(given(program, conditions, rows), state, of, lambda: images[rows], key, context)
        return jax.tree.map(jnp.add, total, own), None

    total, _ = lax.scan(body, total, indices)
    return total


def _batch_losses(
    program: Program,
    state: TrainState,
    indices: Int[Array, "b"],
    batch: Callable[[], Stored],
    key: Any,
    context: Context,
) -> Losses:
    """Summed over a batch of images, whose `indices` are among all of the split."""
    noise = codes_noise(program, jax.random.fold_in(key, indices[0]), len(indices))
    losses = program.objective(program.vae, state.params, to_float(batch()), noise, context)
    counts = indices < context.examples
    return jax.tree.map(lambda values: jnp.where(counts, values, 0).sum(), losses)


def watched(
    program: Program, state: TrainState, losses: Losses, epoch: Int[Array, ""]
) -> tuple[TrainState, Bool[Array, ""]]:
    """The state that has taken note of an epoch's losses on the validation split, and whether the run stops there."""
    if program.stopping is None:
        return state, jnp.bool_(False)
    params = evaluation_params(program.optimiser, state)
    watch = program.stopping.update(state.watch, params, epoch, losses.loss)
    return state._replace(watch=watch), (epoch > 0) & program.stopping.stops(watch)


def final_params(optimiser: Any, state: TrainState) -> Params:
    """What a run ends with: `evaluation_params` of its last epoch, or of the best one, if it may stop early."""
    return evaluation_params(optimiser, state) if state.watch is None else state.watch.params


def is_finite(state: TrainState) -> Bool[Array, ""]:
    """Whether all numbers that a run goes on from are finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.opt_state))]).all()


def reconstruct(vae: VAE, params: Params, images: Stored) -> Stored:
    """Means of the likelihood, decoded from the posterior means, stored as the images are."""
    z = vae.posterior.marginals(vae.encode(params, to_float(images))).mean
    return to_stored(vae.mean(params, z), images.dtype)
