"""The compiled functions of a sweep: a run by itself, or lanes of several.

In: configurations, which fix the program. Out: what the engine's functions give, for one state or for stacked ones.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from jaxvae import engine
from jaxvae.config import Hypers, ModelConfig, TrainConfig

HYPERS = Hypers(learning_rate=np.float32, beta=np.float32, latent_dim=np.int32)


@lru_cache(maxsize=64)
def train_epoch(model: ModelConfig, train: TrainConfig, vmapped: bool, lanes: int, images: int, device: Any) -> Any:
    """The compiled epoch, kept while the process lives; the arguments fix all shapes, so nothing compiles twice."""
    there = jax.sharding.SingleDeviceSharding(device)

    def shaped(leaf):
        shape = (lanes, *leaf.shape) if vmapped else leaf.shape
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=there)

    state = jax.tree.map(shaped, jax.eval_shape(partial(engine.init, model, 0, train)))
    hypers = jax.tree.map(shaped, Hypers(*(jax.ShapeDtypeStruct((), dtype) for dtype in HYPERS)))
    bytes_ = jax.ShapeDtypeStruct((images, 28, 28), np.uint8, sharding=there)
    return _train_epoch.lower(model, train, vmapped, state, bytes_, hypers).compile()


# the highest level of optimisation gives the same bits after 4.8 s of compilation instead of 1.3
init = jax.jit(engine.init, static_argnums=(0, 2), compiler_options={"xla_backend_optimization_level": 2})


@partial(jax.jit, static_argnames=("model", "train", "vmapped"), donate_argnames="state")
def _train_epoch(model: ModelConfig, train: TrainConfig, vmapped: bool, state, images, hypers):
    epoch = partial(engine.train_epoch, model, train)
    epoch = jax.vmap(epoch, in_axes=(0, None, 0)) if vmapped else epoch
    return epoch(state, images, hypers)


@partial(jax.jit, static_argnames=("model", "train", "vmapped"))
def evaluate(model: ModelConfig, train: TrainConfig, vmapped: bool, state, images, hypers, epoch):
    evaluation = partial(engine.evaluate, model, train)
    evaluation = jax.vmap(evaluation, in_axes=(0, None, 0, None)) if vmapped else evaluation
    return evaluation(state, images, hypers, epoch)


@partial(jax.jit, static_argnames=("model", "vmapped"))
def reconstruct(model: ModelConfig, vmapped: bool, params, images):
    decoded = partial(engine.reconstruct, model)
    decoded = jax.vmap(decoded, in_axes=(0, None)) if vmapped else decoded
    return decoded(params, images)


def bytes_needed(program: Any) -> int:
    """Of memory, for what goes in, what comes out and what lies in between."""
    told = program.memory_analysis()
    kept = told.argument_size_in_bytes + told.output_size_in_bytes - told.alias_size_in_bytes
    return kept + told.temp_size_in_bytes
