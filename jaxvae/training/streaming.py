"""An epoch over examples that stay in their file: chunks of them go to the device, the next one gathered on a thread
while the device computes.

In: a program and a state, rows of a file. Out: what the compiled functions give of examples that are all on the device:
each step sees the same batch, so states are the same.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxvae.config import Program
from jaxvae.data import Dataset, Examples
from jaxvae.jax_settings import own_settings
from jaxvae.objectives import Losses
from jaxvae.training import compiled, engine
from jaxvae.training.conditions import GivenConditions
from jaxvae.training.engine import TrainState
from jaxvae.training.lanes import Computed
from jaxvae.training.mesh import replicated

CHUNK = 16 * 2**20  # bytes of examples; up to three chunks are there at a time
STARTING = 256 * 2**20  # bytes of the examples that starting values are computed from

Chunk = TypeVar("Chunk")


class Stopped(Exception):
    """Nobody waits for the epoch any more."""


class Stream:
    """Computes epochs of one run after another on the one device of a mesh, in a thread of its own."""

    def __init__(self, mesh: Mesh, dataset: Dataset, conditions: GivenConditions, held_out: Dataset | None):
        self._sharding, self._dataset, self._conditions = replicated(mesh), dataset, conditions
        self._held_out = held_out
        self._how = False, mesh
        self._thread, self._stopped = ThreadPoolExecutor(1), threading.Event()

    def begin(self, program: Program, state: TrainState, epoch: int, probes: jax.Array | None) -> Any:
        """A future of what `DeviceWorker.begin` computes of a single run, `Computed`."""
        return self._thread.submit(self._epoch, program, state, epoch, probes)

    def close(self) -> None:
        """Waits until the device has computed the chunk that it is at."""
        self._stopped.set()
        self._thread.shutdown()

    @own_settings()
    def _epoch(self, program: Program, state: TrainState, epoch: int, probes: jax.Array | None) -> Computed:
        train, sound, validation, stops, pictures = [None] * 5
        given = self._conditions.of(program.vae.condition)
        if epoch:
            state, train, sound = self._train(program, state, given.train)
        test, finite = self._evaluate(program, state, epoch, self._dataset.test_images, given.test)
        if self._held_out is not None:
            losses, _ = self._evaluate(program, state, epoch, self._held_out.test_images, given.validation)
            state, validation, stops = compiled.note_losses(program, state, losses, np.int32(epoch))
        if probes is not None:
            params = engine.evaluation_params(program.optimiser, state)
            pictures = compiled.reconstruct(*self._how, program, params, probes, given.probes)
        return jax.block_until_ready(Computed(state, train, sound, test, finite, validation, stops, pictures))

    def _train(self, program: Program, state: TrainState, conditions: Any) -> tuple[TrainState, Losses, Any]:
        """As `engine.train_epoch`."""
        images, losses = self._dataset.train_images, []
        split = len(images), engine.context_of(program, conditions, len(images)).labelled
        order = np.asarray(compiled.epoch_order(program, state, len(images)))

        def gathered(part: np.ndarray) -> tuple[jax.Array, jax.Array, Any]:
            """A chunk's images as they lie in the file, where among them each batch has its own, and conditions."""
            places, order = np.unique(part, return_inverse=True)
            order = self._put(order.reshape(part.shape).astype(np.int32))
            return self._put(images[places]), order, _rows(conditions, places)

        for chunk, own_order, own in self._ahead(gathered, _split(order, images)):
            state, of_chunk = compiled.train_steps(program, state, chunk, own_order, *split, own)
            losses.append(jax.block_until_ready(of_chunk))
        return state, *compiled.epoch_losses(jax.tree.map(lambda *parts: jnp.concatenate(parts), *losses))

    def _evaluate(
        self, program: Program, state: TrainState, epoch: int, images: Examples, conditions: Any
    ) -> tuple[Losses, Any]:
        """As `compiled.evaluate`."""
        n, count = len(images), np.int32(epoch)
        split = n, engine.context_of(program, conditions, n).labelled
        batch = min(engine.EVALUATION_BATCH, n)
        left = n % batch if program.objective.coupled else 0
        batches = np.arange(-(-(n - left) // batch) * batch, dtype=np.int32).reshape(-1, batch)
        parts = [*_split(batches, images), *([np.arange(n - left, n, dtype=np.int32)[None]] if left else [])]

        def gathered(part: np.ndarray) -> tuple[jax.Array, jax.Array, Any]:
            places = np.minimum(part.ravel(), n - 1)
            return self._put(images[places]), self._put(part), _rows(conditions, places)

        total = self._put(compiled.no_losses(compiled.abstract(program)))
        for chunk, indices, own in self._ahead(gathered, parts):
            of_chunk = compiled.add_losses(program, state, total, chunk, indices, count, *split, own)
            total = jax.block_until_ready(of_chunk)
        return compiled.mean_losses(state, total, n)

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self._sharding)

    def _ahead(self, gathered: Callable[[np.ndarray], Chunk], parts: Iterable[np.ndarray]) -> Iterator[Chunk]:
        """What is gathered of each part, while the next one is under way."""
        waiting = []
        with ThreadPoolExecutor(1) as pool:
            for part in parts:
                waiting.append(pool.submit(own_settings()(gathered), part))
                if len(waiting) > 1:
                    yield self._unless_stopped(waiting.pop(0).result())
            yield self._unless_stopped(waiting.pop(0).result())

    def _unless_stopped(self, chunk: Chunk) -> Chunk:
        if self._stopped.is_set():
            raise Stopped
        return chunk


def _rows(conditions: Any, places: np.ndarray) -> Any:
    return jax.tree.map(lambda stored: stored[places], conditions)


def _split(batches: np.ndarray, images: Examples) -> list[np.ndarray]:
    """Batches [s, b] in parts of a chunk each, all of one number of batches or one fewer: two programs at most."""
    size = batches.shape[1] * math.prod(images.shape[1:]) * images.dtype.itemsize
    return np.array_split(batches, -(-len(batches) // max(1, CHUNK // size)))


def in_words(dataset: Dataset) -> str:
    """How its examples reach the runs, if they stay in a file; else empty."""
    if not dataset.on_disk:
        return ""
    chunks = f"{dataset.name} stays in its file, and each run is given chunks of {CHUNK // 2**20} MiB in its own order"
    return f"{chunks}: runs are looped, not vmapped"


def starting_examples(images: Any) -> Any:
    """The first examples, as many as 256 MiB hold: what a model begins with is computed from these, whether they are in
    memory or stay in a file."""
    return images[: max(1, STARTING * len(images) // images.nbytes)]
