"""The compiled functions of a sweep: a run by itself, or lanes of several, shared among the devices of a mesh.

In: configurations and a mesh, which fix the program. Out: what the engine's functions give, for one state or for
stacked ones, whose lanes the devices share. Keys go in and come out as plain integers, which say nothing of devices.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jaxvae.config import Hypers, ModelConfig, TrainConfig
from jaxvae.training import engine, mesh
from jaxvae.training.engine import TrainState

HYPERS = Hypers(learning_rate=np.float32, beta=np.float32, latent_dim=np.int32)


@lru_cache(maxsize=64)
def train_epoch(model: ModelConfig, train: TrainConfig, lanes: int | None, images: int, on: Mesh) -> Any:
    """The compiled epoch, kept while the process lives; the arguments fix all shapes, so nothing compiles twice.

    Args:
        lanes: of all devices together; None for a run by itself.
        images: of the training set.
    """

    def shaped(leaf):
        if lanes is None:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=mesh.everywhere(on))
        return jax.ShapeDtypeStruct((lanes, *leaf.shape), leaf.dtype, sharding=mesh.stacked(on))

    state = jax.tree.map(shaped, state_shapes(model, train))
    hypers = jax.tree.map(shaped, _scalars())
    bytes_ = jax.ShapeDtypeStruct((images, 28, 28), np.uint8, sharding=mesh.everywhere(on))
    return _train_epoch.lower(model, train, lanes is not None, on, state, bytes_, hypers).compile()


# the highest level of optimisation gives the same bits after 4.8 s of compilation instead of 1.3
init = jax.jit(engine.init, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 2})


@partial(jax.jit, static_argnames=("model", "train", "vmapped", "on"), donate_argnames="state")
def _train_epoch(model: ModelConfig, train: TrainConfig, vmapped: bool, on: Mesh, state, images, hypers):
    def epoch(state, images, hypers):
        state = state._replace(key=jax.random.wrap_key_data(state.key))
        state, *rest = engine.train_epoch(model, train, state, images, hypers, on.shape[mesh.DATA])
        return state._replace(key=jax.random.key_data(state.key)), *rest

    return _over_lanes(epoch, vmapped, on, (0, None, 0))(state, images, hypers)


@partial(jax.jit, static_argnames=("model", "train", "vmapped", "on"))
def evaluate(model: ModelConfig, train: TrainConfig, vmapped: bool, on: Mesh, state, images, hypers, epoch):
    """Test losses, and whether the state is finite."""

    def evaluation(state, images, hypers, epoch):
        state = state._replace(key=jax.random.wrap_key_data(state.key))
        losses = engine.evaluate(model, train, state, images, hypers, epoch, on.shape[mesh.DATA])
        return losses, engine.is_finite(state)

    return _over_lanes(evaluation, vmapped, on, (0, None, 0, None))(state, images, hypers, epoch)


@partial(jax.jit, static_argnames=("model", "vmapped", "on"))
def reconstruct(model: ModelConfig, vmapped: bool, on: Mesh, params, images):
    return _over_lanes(partial(engine.reconstruct, model), vmapped, on, (0, None))(params, images)


def _over_lanes(function: Callable, vmapped: bool, on: Mesh, axes: tuple[int | None, ...]) -> Callable:
    """`function` for one lane; or for stacked ones, of which each device computes its own and asks no other for any."""
    if not vmapped:
        return function
    specs = tuple(PartitionSpec() if axis is None else PartitionSpec(mesh.RUNS) for axis in axes)
    lanes = jax.vmap(function, in_axes=axes)
    return jax.shard_map(lanes, mesh=on, in_specs=specs, out_specs=PartitionSpec(mesh.RUNS), check_vma=False)


# ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def state_shapes(model: ModelConfig, train: TrainConfig) -> TrainState:
    """Of a state as the programs take it."""
    shapes = jax.eval_shape(partial(engine.init, model, 0, train))
    return shapes._replace(key=jax.eval_shape(jax.random.key_data, shapes.key))


def _scalars() -> Hypers:
    return Hypers(*(jax.ShapeDtypeStruct((), dtype) for dtype in HYPERS))


def bytes_needed(program: Any) -> int:
    """Of a device's memory, for what goes in, what comes out and what lies in between."""
    told = program.memory_analysis()
    kept = told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes
    return kept + told.temp_size_in_bytes


@lru_cache(maxsize=64)
def bytes_expected(model: ModelConfig, train: TrainConfig) -> int:
    """Of memory for one of several lanes, before anything is compiled; rather too many.

    Its state, three more of it on the host, and a twelfth of all that a step computes: measured were 4 to 7 %, linear
    and conv, both precisions, d = 2 to 50, with and without importance samples (CPU, jax 0.10.2).
    """
    state = jax.tree.leaves(state_shapes(model, train))
    images = jax.ShapeDtypeStruct((train.batch_size, 28, 28), np.float32)
    shapes = jax.eval_shape(partial(engine.init, model, 0, train))
    step = jax.make_jaxpr(partial(engine.train_step, model, train))(shapes, images, _scalars())
    return 4 * sum(leaf.size * leaf.dtype.itemsize for leaf in state) + _computed(step.jaxpr) // 12


def _computed(jaxpr: Any) -> int:
    """Bytes of everything that a program computes on the way."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [getattr(value, "jaxpr", value) for value in equation.params.values()]
        inner = [value for value in inner if hasattr(value, "eqns")]
        shapes = [] if inner else [v.aval for v in equation.outvars if hasattr(v.aval, "shape")]
        total += sum(map(_computed, inner)) + sum(shape.size * shape.dtype.itemsize for shape in shapes)
    return total
