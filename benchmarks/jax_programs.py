"""What JAX's processes run: products, jaxvae's training and stock Flax's.

In: a task and the common settings. Out: a program, compiled at its first call, that leaves its state for the next.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import stock_flax
from benchmarks.contenders import Contender
from benchmarks.models import SHAPE, classic_run
from benchmarks.workers import Gemm, Program, Settings, Task
from jaxvae.models import resize
from jaxvae.nn.precision import matmul, read
from jaxvae.training import engine


def build(task: Task, settings: Settings) -> Program:
    if isinstance(task, Gemm):
        return gemm(task)
    if task.family == "stock Flax":
        return _stock(task, settings)
    return _vmapped(task, settings) if task.vmapped else _alone(task, settings)


def gemm(task: Gemm) -> Program:
    m, k, n = task.product
    rng = np.random.default_rng(0)
    a, b = (
        jax.jit(partial(read, task.precision))(rng.standard_normal(shape, np.float32)) for shape in ((m, k), (k, n))
    )
    multiply = jax.jit(matmul)

    def run() -> None:
        for _ in range(task.repeats):
            multiply(a, b).block_until_ready()

    return run


def _alone(task: Contender, settings: Settings) -> Program:
    program = classic_run(task.architecture, settings.latent_dim, task.precision, settings.batch).program(SHAPE)
    state = jax.jit(engine.init)(program, np.uint32(0))
    return _epochs(engine.train_epoch, program, state, settings.images_for(task.steps))


def _vmapped(task: Contender, settings: Settings) -> Program:
    """Models of several latent sizes as one program, padded to the largest, as a vmapped sweep trains them."""
    dims = task.latent_dims(settings.latent_dim)
    runs = [classic_run(task.architecture, dim, task.precision, settings.batch) for dim in dims]
    programs = [run.program(SHAPE, latent_dim=max(dims)) for run in runs]
    padded = jax.eval_shape(engine.init, programs[0], 0)
    states = [resize(engine.init(run.program(SHAPE), 0), padded) for run in runs]
    return _epochs(
        jax.vmap(engine.train_epoch, in_axes=(0, 0, None)),
        jax.tree.map(lambda *leaves: np.stack(leaves), *programs),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states),
        settings.images_for(task.steps),
    )


def _epochs(epoch, program: Any, state: Any, images: np.ndarray) -> Program:
    """Calls of a jitted epoch, the state of one donated to the next."""
    epoch = jax.jit(epoch, donate_argnums=1)
    program_there, images_there = jax.device_put((program, images))

    def run() -> None:
        nonlocal state
        state, *rest = epoch(program_there, state, images_there)
        jax.block_until_ready((state, rest))

    return run


def _stock(task: Contender, settings: Settings) -> Program:
    state = jax.jit(stock_flax.init, static_argnums=0)(settings.latent_dim, jax.random.key(0))
    images = jax.device_put(settings.images_for(task.steps))
    order = jnp.arange(len(images)).reshape(-1, settings.batch)
    step = partial(stock_flax.train_step, settings.latent_dim)

    @partial(jax.jit, donate_argnums=0)
    def scan(state, images, order):
        return jax.lax.scan(lambda state, indices: (step(state, images[indices]), None), state, order)[0]

    @partial(jax.jit, donate_argnums=0)
    def single(state, images, indices):
        return step(state, images[indices])

    def run() -> None:
        nonlocal state
        if "scan" in task.options:
            state = scan(state, images, order)
        else:
            for indices in order:
                state = single(state, images, indices)
        jax.block_until_ready(state)

    return run
