"""Where epochs are computed: on the devices of a mesh, which work as one.

In: one epoch's work, a dataset. Out: what each run reports; states wait on the host until they are worked on again.

Of several processes that share a mesh, each gives its devices their lanes and takes its own lanes' states back. What is
small, the losses and whether they are finite, all of them come to know.
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxvae.config import Hypers, ModelConfig, RunConfig
from jaxvae.data import Dataset
from jaxvae.models import resize_latent
from jaxvae.objectives import Losses
from jaxvae.system import machine
from jaxvae.training import compiled as programs
from jaxvae.training import distributed as peers
from jaxvae.training import engine, mesh
from jaxvae.training.engine import TrainState


class Work(NamedTuple):
    """One epoch of runs that go through one program: a single run, or several vmapped."""

    runs: tuple[RunConfig, ...]
    state: Callable[[str], TrainState]  # by name, as the epoch before left it; for epoch 0 none is asked for
    epoch: int  # 0 makes fresh parameters and evaluates them; any other trains first
    lanes: int | None  # of the vmapped program, at least one for each run, the rest are idle; None: not vmapped
    idle: frozenset[str] = frozenset()  # names of runs that only keep the program the same: nothing is reported of them


class Epoch(NamedTuple):
    """What a run reports after each epoch, and once before training as epoch 0; host arrays."""

    run: RunConfig
    epoch: int
    state: TrainState | None  # none, as the pictures, where another process holds it
    train: Losses | None  # running means of the epoch; none before training
    test: Losses
    reconstructions: np.ndarray | None  # uint8 [n, 28, 28], of the sweep's probes if it has any
    seconds: float  # for training and evaluation, shared by the runs of a vmapped group
    diverged: int | None = None  # the optimiser step, from 1, whose loss or result is not finite, if there is one
    together: tuple[str, ...] = ()  # the run in each lane of the program, itself among them; an idle lane repeats one
    keeps: bool = True  # whether it is for this process to keep it: of several that hold the state one does


class TooMany(NamedTuple):
    """A group that is too large for the memory."""

    fit: int  # lanes that there is room for


class Numbers(NamedTuple):
    """What all processes come to know of a lane."""

    train: Losses  # zeros before training
    sound: Any  # steps before the first whose loss is not finite
    test: Losses
    finite: Any  # whether the state is


class DeviceWorker:
    """The devices of a mesh. Work is begun and goes on by itself until it is ready.

    Args:
        on: work that is not vmapped takes a mesh of one device.
        probes: images whose reconstructions each epoch reports, bytes [n, 28, 28]; or none.
        memory: bytes of a device that a vmapped group may take; default, what is free now.
    """

    def __init__(self, on: Mesh, dataset: Dataset, probes: np.ndarray | None, memory: int | None = None):
        self.mesh, self._shared = on, len({device.process_index for device in on.devices.flat}) > 1
        self._memory = memory or _free_memory(on, self._shared)
        self._fits: dict[Any, int] = {}  # by program, lanes that all processes have room for
        arrays = dataset.train_images, dataset.test_images, probes
        everywhere = mesh.everywhere(on)
        self._train_images, self._test_images, self._probes = jax.tree.map(lambda a: _put(a, everywhere), arrays)

    def begin(self, work: Work) -> None:
        self._work, self._started = work, time.perf_counter()
        self._results: tuple[Any, ...] | None = None
        config, model = work.runs[0].train, _model(work)
        self._lanes = work.lanes and -(-work.lanes // self._rows) * self._rows
        if self._too_many((model, config), programs.bytes_expected(model, config)):
            return
        images = len(self._train_images)
        program = programs.train_epoch(model, config, self._lanes, images, self.mesh)
        each = programs.bytes_needed(program) * self._rows / (self._lanes or 1)
        if self._too_many((model, config, self._lanes), each):
            return
        with peers.watched():
            state, hypers = self._on_devices(model)
            train, sound, pictures = None, None, None
            if work.epoch:
                state, train, sound = program(state, self._train_images, hypers)
            vmapped, epoch = self._lanes is not None, np.int32(work.epoch)
            test, finite = programs.evaluate(model, config, vmapped, self.mesh, state, self._test_images, hypers, epoch)
            if self._probes is not None:
                pictures = programs.reconstruct(model, vmapped, self.mesh, state.params, self._probes)
        self._results = state, train, sound, test, finite, pictures

    def ready(self) -> bool:
        return self._results is None or all(leaf.is_ready() for leaf in jax.tree.leaves(self._results[1:]))

    def reports(self) -> list[Epoch] | TooMany:
        """What the epoch brought, waiting for it if need be.

        Raises:
            PeerError: another process, with which the mesh is shared, was lost.
        """
        if self._results is None:
            return TooMany(self._fit)
        with peers.watched():
            results, work = jax.block_until_ready(self._results), self._work
            seconds = time.perf_counter() - self._started
            own, kept = ({0: jax.tree.map(np.asarray, results)}, {0}) if not self._lanes else _own_lanes(results)
            numbers = _known(own, self._lanes or 1, self._shared)
        steps = engine.steps_per_epoch(work.runs[0].train, len(self._train_images))
        together = tuple(run.name for run in self._in_lanes()) if self._lanes else ()
        reports = []
        for lane, run in enumerate(work.runs):
            if run.name in work.idle:
                continue
            state, *_, pictures = own.get(lane, (None, None))
            if state is not None:
                # the key is what it always was; it came as integers
                state = on_host(resize_latent(state, run.model.latent_dim)) if self._lanes else state
                state = state._replace(key=jax.random.wrap_key_data(state.key))
            told: Numbers = jax.tree.map(lambda leaf, lane=lane: leaf[lane], numbers)
            diverged = _diverged(told, work.epoch, steps)
            train = told.train if work.epoch else None
            what = run, work.epoch, state, train, told.test, pictures, seconds, diverged, together, lane in kept
            reports.append(Epoch(*what))
        return reports

    def close(self) -> None:
        pass

    @property
    def _rows(self) -> int:
        """Devices along the runs."""
        return self.mesh.shape[mesh.RUNS]

    def _too_many(self, program: Any, bytes_each: int | float) -> bool:
        """Whether a device has no room for its lanes; one lane is tried in any case."""
        if self._lanes is None or self._lanes == self._rows:
            return False
        if program not in self._fits:
            fit = max(1, int(self._memory / bytes_each)) * self._rows
            self._fits[program] = peers.smallest("fit", fit) if self._shared else fit
        self._fit = self._fits[program]
        return self._fit < self._lanes

    def _in_lanes(self) -> list[RunConfig]:
        """The run in each lane."""
        runs = self._work.runs
        return [*runs, *runs[-1:] * ((self._lanes or 1) - len(runs))]

    def _on_devices(self, model: ModelConfig) -> tuple[TrainState, Hypers]:
        """States and traced scalars: stacked, latent sizes padded to the model's, if vmapped."""
        work, runs = self._work, self._in_lanes()
        traced = (run.hypers(work.epoch) for run in runs)
        hypers = [Hypers(*(dtype(x) for dtype, x in zip(programs.HYPERS, scalars, strict=True))) for scalars in traced]
        lanes = self._lanes
        if lanes is None:
            return jax.tree.map(lambda leaf: _put(leaf, mesh.everywhere(self.mesh)), (self._state(runs[0]), hypers[0]))
        sharding = mesh.stacked(self.mesh)
        here = _lanes_here(sharding, lanes)
        states = {lane: self._state(runs[lane]) for lane in here if lane < len(work.runs)}
        if len(states) < len(here):  # the last run's may be in another process; for an idle lane any will do
            spare = next(iter(states.values()), None) or self._keyless(self._fresh(runs[-1]))
            states = {lane: states.get(lane, spare) for lane in here}
        # on the host, one after the other: no device has room for the lanes of all
        states = {lane: on_host(resize_latent(state, model.latent_dim)) for lane, state in states.items()}

        def stack(shape, of: Callable[[int], Any]):
            return jax.make_array_from_callback(
                (lanes, *shape), sharding, lambda index: np.stack([of(i) for i in range(lanes)[_first(index)]])
            )

        leaves, structure = jax.tree.flatten(programs.state_shapes(model, runs[0].train))
        rows = {lane: jax.tree.leaves(state) for lane, state in states.items()}
        state = [stack(leaf.shape, lambda lane, i=i: rows[lane][i]) for i, leaf in enumerate(leaves)]
        scalars = [stack((), lambda lane, i=i: hypers[lane][i]) for i in range(len(Hypers._fields))]
        return jax.tree.unflatten(structure, state), Hypers(*scalars)

    def _state(self, run: RunConfig) -> TrainState:
        """As the epoch before left it, or fresh; its key as integers."""
        state = self._work.state(run.name) if self._work.epoch else self._fresh(run)
        return self._keyless(state)

    @staticmethod
    def _keyless(state: TrainState) -> TrainState:
        return on_host(state._replace(key=jax.random.key_data(state.key)))

    def _fresh(self, run: RunConfig) -> TrainState:
        state = programs.init(run.model, np.uint32(run.seed), run.train)
        if run.train.output_bias == "zero":
            return state
        images = self._train_images.addressable_data(0)
        return engine.with_output_bias(state, engine.pixels(images).mean(0))


def on_host(tree: Any) -> Any:
    """`tree` with NumPy arrays for leaves; PRNG keys, which NumPy lacks, stay what they are."""

    def fetched(leaf):
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)

    return jax.tree.map(fetched, tree)


def _model(work: Work) -> ModelConfig:
    """What the program computes: the runs' model, with the largest of their latent sizes."""
    largest = max(run.model.latent_dim for run in work.runs)
    return dataclasses.replace(work.runs[0].model, latent_dim=largest)


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    """A copy, as a program may take its memory for its own."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: np.array(host[index]))


def _first(index: Any) -> slice:
    """Along the lanes, of an array's index."""
    return index[0]


def _lanes_here(sharding: NamedSharding, lanes: int) -> list[int]:
    """The lanes that this process's devices have."""
    parts = sharding.addressable_devices_indices_map((lanes,)).values()
    return sorted({lane for index in parts for lane in range(lanes)[_first(index)]})


def _own_lanes(results: Any) -> tuple[dict[int, Any], set[int]]:
    """By lane, what this process holds; and the lanes that are its to keep, where several hold the same."""

    def rows(leaf: jax.Array) -> dict[int, np.ndarray]:
        parts = {shard.index[0].start or 0: shard.data for shard in leaf.addressable_shards}
        held = {start: np.asarray(part) for start, part in parts.items()}
        return {start + i: np.asarray(row) for start, part in held.items() for i, row in enumerate(part)}

    leaves, structure = jax.tree.flatten(results)
    by_lane = [rows(leaf) for leaf in leaves]
    own = {lane: jax.tree.unflatten(structure, [leaf[lane] for leaf in by_lane]) for lane in by_lane[0]}
    first = [shard for shard in leaves[0].addressable_shards if shard.replica_id == 0]
    kept = {(shard.index[0].start or 0) + i for shard in first for i in range(len(shard.data))}
    return own, kept


def _known(own: Mapping[int, Any], lanes: int, shared: bool) -> Numbers:
    """The numbers of all lanes, [lanes] each, whichever process holds them."""
    table = _nothing(lanes)
    held = np.zeros(lanes, np.int32)
    for lane, (_, train, sound, test, finite, _) in own.items():
        numbers = Numbers(train or Losses._make(np.zeros(3)), 0 if sound is None else sound, test, finite)
        for column, value in zip(jax.tree.leaves(table), jax.tree.leaves(numbers), strict=True):
            column[lane] = value
        held[lane] = 1
    if not shared:
        return table
    everyones, holders = peers.gathered((table, held))
    return jax.tree.map(lambda column: column[holders.argmax(0), np.arange(lanes)], everyones)


def _nothing(lanes: int) -> Numbers:
    def losses() -> Losses:
        return Losses._make(np.zeros(lanes, np.float32) for _ in Losses._fields)

    return Numbers(losses(), np.zeros(lanes, np.int32), losses(), np.zeros(lanes, bool))


def _diverged(told: Numbers, epoch: int, steps: int) -> int | None:
    """The first step whose loss is not finite; the epoch's last one, if only what came of it is not."""
    if told.finite and np.isfinite([*told.train, *told.test]).all():
        return None
    return min((epoch - 1) * steps + int(told.sound) + 1, epoch * steps) if epoch else 0


def _free_memory(on: Mesh, shared: bool) -> int:
    """Bytes for each device of this process; on CPU the host's, which it may share with other processes."""
    own = [device for device in on.devices.flat if device.process_index == jax.process_index()]
    told = [device.memory_stats() for device in own]
    here = platform.node()
    beside = peers.everyones("host", here).count(here) if shared else 1
    if not all(told):  # none on CPU
        return machine.free_memory() // (len(own) * beside)
    return min(device["bytes_limit"] - device["bytes_in_use"] for device in told)
