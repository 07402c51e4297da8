"""The compiled functions of a sweep: a run by itself, or lanes of several, shared among the devices of a mesh.

In: a program and a mesh. Out: what the engine's functions give, for one state or for stacked ones, whose lanes the
devices share. Keys go in and come out as plain integers, which say nothing of devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvae.config import Program
from jaxvae.objectives import Context
from jaxvae.schedules import after_last_step
from jaxvae.system import machine
from jaxvae.training import engine
from jaxvae.training.engine import TrainState
from jaxvae.training.mesh import DATA, RUNS, replicated, sharded_by_run


def abstract(tree: Any, lanes: int | None = None, sharding: NamedSharding | None = None) -> Any:
    """Shapes and types of a tree's leaves, for so many lanes; hashable where the tree is."""
    axis = () if lanes is None else (lanes,)

    def one(leaf):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        return jax.ShapeDtypeStruct((*axis, *np.shape(leaf)), dtype, sharding=sharding)

    return jax.tree.map(one, tree)


@lru_cache(maxsize=64)
def train_epoch(
    program: Program, lanes: int | None, images: tuple[int, ...], dtype: Any, mesh: Mesh, conditions: Any = None
) -> Any:
    """The compiled epoch, kept while the process lives; the arguments fix all shapes, so nothing compiles twice.

    Args:
        program: as `abstract` makes it, for a run by itself.
        lanes: of all devices together; None for a run by itself.
        images: shape of the training set.
        dtype: in which it is stored.
        conditions: shapes of its conditions, as `abstract` makes them, where the model has one.
    """
    make_room()
    by_run = replicated(mesh) if lanes is None else sharded_by_run(mesh)
    state = abstract(state_shapes(program), lanes, by_run)  # type: ignore[arg-type]
    examples = jax.ShapeDtypeStruct(images, dtype, sharding=replicated(mesh))
    given = abstract(program, lanes, by_run), state, examples, abstract(conditions, sharding=replicated(mesh))
    return _train_epoch.lower(lanes is not None, mesh, *given).compile()


# the highest level of optimisation gives the same bits after 4.8 s of compilation instead of 1.3
init = jax.jit(engine.init, compiler_options={"xla_backend_optimization_level": 2})


@partial(jax.jit, static_argnames=("vmapped", "mesh"), donate_argnames="state")
def _train_epoch(vmapped: bool, mesh: Mesh, program: Program, state, images, conditions):
    def epoch(program, state, images, conditions):
        state = state._replace(key=jax.random.wrap_key_data(state.key))
        state, *rest = engine.train_epoch(program, state, images, mesh.shape[DATA], conditions)
        return state._replace(key=jax.random.key_data(state.key)), *rest

    return _over_lanes(epoch, vmapped, mesh, (0, 0, None, None))(program, state, images, conditions)


@partial(jax.jit, static_argnames=("vmapped", "mesh"))
def evaluate(vmapped: bool, mesh: Mesh, program: Program, state, images, epoch, conditions=None):
    """Test losses, and whether the state is finite."""

    def evaluation(program, state, images, epoch, conditions):
        state = state._replace(key=jax.random.wrap_key_data(state.key))
        losses = engine.evaluate(program, state, images, epoch, mesh.shape[DATA], conditions)
        return losses, engine.is_finite(state)

    return _over_lanes(evaluation, vmapped, mesh, (0, 0, None, None, None))(program, state, images, epoch, conditions)


@partial(jax.jit, static_argnames=("vmapped", "mesh"))
def validate(vmapped: bool, mesh: Mesh, program: Program, state, images, epoch, conditions=None):
    """The state after a look at the validation split, losses there, and whether the run stops."""

    def validation(program, state, images, epoch, conditions):
        losses = engine.evaluate(program, _with_key(state), images, epoch, mesh.shape[DATA], conditions)
        return note_losses(program, state, losses, epoch)

    return _over_lanes(validation, vmapped, mesh, (0, 0, None, None, None))(program, state, images, epoch, conditions)


@jax.jit
def note_losses(program: Program, state: TrainState, losses, epoch):
    state, stops = engine.watched(program, state, losses, epoch)
    return state, losses, stops


@partial(jax.jit, static_argnames=("vmapped", "mesh"))
def reconstruct(vmapped: bool, mesh: Mesh, program: Program, params, images, conditions=None):
    def reconstruction(program, params, images, conditions):
        return engine.reconstruct(after_last_step(program).vae.given(conditions), params, images)

    return _over_lanes(reconstruction, vmapped, mesh, (0, 0, None, None))(program, params, images, conditions)


# ── a chunk at a time, of examples that are not all on the device ────────────────────────────────────────────────────


@partial(jax.jit, static_argnames="examples")
def epoch_order(program: Program, state: TrainState, examples: int) -> Any:
    return engine.epoch_order(program, _with_key(state), examples)


@partial(jax.jit, static_argnames="examples", donate_argnames="state")
def train_steps(program: Program, state: TrainState, images, order, examples: int, labelled, conditions) -> Any:
    context = Context(examples, labelled)
    state, losses = engine.train_steps(program, _with_key(state), images, order, context, conditions=conditions)
    return state._replace(key=jax.random.key_data(state.key)), losses


epoch_losses = jax.jit(engine.epoch_losses)


@lru_cache(maxsize=64)
def no_losses(program: Program) -> Any:
    """Zeros for `add_losses` to begin with; `program` as `abstract` makes it."""
    images = jax.ShapeDtypeStruct((program.batch_size, *program.vae.shape), np.float32)
    step = partial(engine.train_step, context=Context(program.batch_size))
    shapes = jax.eval_shape(step, _given_shapes(program), jax.eval_shape(engine.init, program, 0), images)[1]
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


@partial(jax.jit, static_argnames="examples")
def add_losses(
    program: Program, state: TrainState, total, images, indices, epoch, examples: int, labelled, conditions
) -> Any:
    context = Context(examples, labelled)
    return engine.add_losses(program, _with_key(state), total, images, indices, epoch, context, conditions)


@partial(jax.jit, static_argnames="examples")
def mean_losses(state: TrainState, total, examples: int) -> Any:
    """Test losses, and whether the state is finite, as `evaluate` has them."""
    return jax.tree.map(lambda t: t / examples, total), engine.is_finite(state)


def _with_key(state: TrainState) -> TrainState:
    return state._replace(key=jax.random.wrap_key_data(state.key))


# ── lanes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _over_lanes(function: Callable, vmapped: bool, mesh: Mesh, axes: tuple[int | None, ...]) -> Callable:
    """`function` for one lane; or for stacked ones, of which each device has its own. Devices do not communicate."""
    if not vmapped:
        return function
    specs = tuple(PartitionSpec() if axis is None else PartitionSpec(RUNS) for axis in axes)
    lanes = jax.vmap(function, in_axes=axes)
    return jax.shard_map(lanes, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(RUNS), check_vma=False)


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_room() -> None:
    """Forgets what was compiled, before it is more than a process can hold; what is called again is compiled again.

    On a CPU, a program takes some hundreds of memory maps: 120 models fitted in one process would be its end.
    """
    if machine.memory_maps_run_out():
        train_epoch.cache_clear()
        jax.clear_caches()


@lru_cache(maxsize=64)
def state_shapes(program: Program) -> TrainState:
    """Of a state as the programs take it; `program` as `abstract` makes it."""
    shapes = jax.eval_shape(engine.init, program, 0)
    return shapes._replace(key=jax.eval_shape(jax.random.key_data, shapes.key))


def bytes_needed(compiled: Any) -> int:
    """Of a device's memory, for what goes in, what comes out and what lies in between."""
    analysis = compiled.memory_analysis()
    kept = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return kept + analysis.temp_size_in_bytes


@lru_cache(maxsize=64)
def bytes_expected(program: Program) -> int:
    """Of memory for one of several lanes, before anything is compiled; rather too many.

    Its state, three more of it on the host, and a twelfth of all that a step computes: measured were 3 to 7 %, linear
    and conv, both precisions, d = 2 to 50, with and without importance samples (CPU, jax 0.10.2).

    Args:
        program: as `abstract` makes it.
    """
    state = jax.tree.leaves(state_shapes(program))  # type: ignore[arg-type]
    images = jax.ShapeDtypeStruct((program.batch_size, *program.vae.shape), np.float32)
    shapes = jax.eval_shape(engine.init, program, 0)
    step = jax.make_jaxpr(partial(engine.train_step, context=Context(program.batch_size)))
    step = step(_given_shapes(program), shapes, images)
    return 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in state) + _computed(step.jaxpr) // 12


def _given_shapes(program: Program) -> Program:
    """With what the conditions of a batch are like, where the model has one."""
    if program.vae.condition is None:
        return program
    numbers = jax.ShapeDtypeStruct((program.batch_size, program.vae.condition.size), np.float32)
    return dataclasses.replace(program, vae=dataclasses.replace(program.vae, given_condition=numbers))


def _computed(jaxpr: Any) -> int:
    """Bytes of everything that a program computes on the way."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        inner = [value for value in inner if hasattr(value, "eqns")]
        shapes = [] if inner else [v.aval for v in equation.outvars if hasattr(v.aval, "shape")]
        total += sum(map(_computed, inner)) + sum(shape.size * shape.dtype.itemsize for shape in shapes)
    return total
