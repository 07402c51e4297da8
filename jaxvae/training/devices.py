"""Where epochs are computed: on the devices of a mesh, which work as one.

In: one epoch's work, a dataset. Out: what each run reports; states wait on the host until they are worked on again.

Of several processes that share a mesh, each gives its devices their lanes and takes its own lanes' states back. What is
small, the losses and whether they are finite, all of them come to know.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from jaxvae.config import Program, RunConfig
from jaxvae.data import Dataset
from jaxvae.models import resize
from jaxvae.objectives import Losses
from jaxvae.system import machine
from jaxvae.training import compiled, distributed, engine
from jaxvae.training.conditions import GivenConditions, Probes
from jaxvae.training.engine import TrainState
from jaxvae.training.lanes import Computed, Numbers, diverged_at, numbers_of_all, own_lanes
from jaxvae.training.mesh import RUNS, replicated, sharded_by_run
from jaxvae.training.streaming import Stream, starting_examples


class Work(NamedTuple):
    """One epoch of runs that go through one program: a single run, or several vmapped."""

    runs: tuple[RunConfig, ...]
    state: Callable[[str], TrainState]  # by name, as the epoch before left it; for epoch 0 none is asked for
    epoch: int  # 0 makes fresh parameters and evaluates them; any other trains first
    lanes: int | None  # of the vmapped program, at least one for each run, the rest are idle; None: not vmapped
    idle: frozenset[str] = frozenset()  # diverged runs: still computed, so that the program and its bits stay the same


class Epoch(NamedTuple):
    """What a run reports after each epoch, and once before training as epoch 0; host arrays."""

    run: RunConfig
    epoch: int
    state: TrainState | None  # none, like the reconstructions, where another process holds it
    train: Losses | None  # running means of the epoch; none before training
    test: Losses
    reconstructions: np.ndarray | None  # stored as the images are, [n, *shape], of the sweep's probes if it has any
    seconds: float  # for training and evaluation, shared by the runs of a vmapped group
    diverged: int | None = None  # the optimiser step, from 1, whose loss or result is not finite, if there is one
    validation: Losses | None = None  # on the examples that are held out, if some are
    stopped: bool = False  # whether the run ends with this epoch, though it is not its last
    lane_runs: tuple[str, ...] = ()  # the run in each lane of the program, itself among them; an idle lane repeats one
    keeps: bool = True  # whether it is for this process to keep it: of several that hold the state one does

    @property
    def ended(self) -> bool:
        """Whether no epoch follows, though others were asked for."""
        return self.stopped or self.diverged is not None


class TooMany(NamedTuple):
    """A group that is too large for the memory."""

    fit: int  # lanes that there is room for


class DeviceWorker:
    """The devices of a mesh. Work is begun and goes on by itself until it is ready.

    Args:
        mesh: work that is not vmapped takes a mesh of one device.
        probes: see `jaxvae.training.train`.
        memory: bytes of a device that a vmapped group may take; default, what is free now.
        held_out: a dataset whose test split runs are validated on, if they are.
    """

    def __init__(
        self,
        mesh: Mesh,
        dataset: Dataset,
        probes: Probes | None,
        memory: int | None = None,
        held_out: Dataset | None = None,
    ):
        self.mesh, self._shared = mesh, len({device.process_index for device in mesh.devices.flat}) > 1
        self._memory = memory or _free_memory(mesh, self._shared)
        self._fits: dict[Any, int] = {}  # by program, lanes that all processes have room for
        self._shape = dataset.shape
        self._conditions = GivenConditions(dataset, probes, lambda array: _put(array, replicated(mesh)), held_out)
        if isinstance(probes, Dataset):
            probes = np.concatenate([probes.train_images, probes.test_images])
        self._stream = Stream(mesh, dataset, self._conditions, held_out) if dataset.on_disk else None
        splits: Any = dataset.train_images, dataset.test_images, held_out and held_out.test_images
        splits = splits if self._stream else [None if a is None else _put(a, replicated(mesh)) for a in splits]
        self._train_images, self._test_images, self._held_out = splits
        self._probes = None if probes is None else _put(probes, replicated(mesh))

    def begin(self, work: Work) -> None:
        self._work, self._started = work, time.perf_counter()
        self._results: Computed | Future | None = None
        self._lanes = work.lanes and -(-work.lanes // self._rows) * self._rows
        self._latent_dim = max(run.latent_dim for run in work.runs)
        program = compiled.abstract(self._program(work.runs[0]))
        if self._stream:
            self._results = self._stream.begin(*self._on_devices(program), work.epoch, self._probes)
            return
        lanes = self._lanes or 1
        several = lanes > self._rows  # one on each device is tried in any case
        if several and self._too_many(lanes, program, compiled.bytes_expected(program)):
            return
        shape, dtype = self._train_images.shape, self._train_images.dtype
        given = self._conditions.of(work.runs[0].vae.condition)
        how = self.mesh, compiled.abstract(given.train)
        train_epoch = compiled.train_epoch(program, self._lanes, shape, dtype, *how)
        each = compiled.bytes_needed(train_epoch) * self._rows / lanes
        if several and self._too_many(lanes, (program, lanes), each):
            return
        with distributed.raise_on_lost_peer():
            program, state = self._on_devices(program)
            train, sound, validation, stops, pictures = [None] * 5
            if work.epoch:
                state, train, sound = train_epoch(program, state, self._train_images, given.train)
            how, epoch = (self._lanes is not None, self.mesh, program), np.int32(work.epoch)
            test, finite = compiled.evaluate(*how, state, self._test_images, epoch, given.test)
            if self._held_out is not None:
                state, validation, stops = compiled.validate(*how, state, self._held_out, epoch, given.validation)
            if self._probes is not None:
                params = engine.evaluation_params(program.optimiser, state)
                pictures = compiled.reconstruct(*how, params, self._probes, given.probes)
        self._results = Computed(state, train, sound, test, finite, validation, stops, pictures)

    def ready(self) -> bool:
        if isinstance(self._results, Future):
            return self._results.done()
        return self._results is None or all(leaf.is_ready() for leaf in jax.tree.leaves(self._results[1:]))

    def reports(self) -> list[Epoch] | TooMany:
        """What the epoch brought, waiting for it if need be.

        Raises:
            PeerError: another process, with which the mesh is shared, was lost.
            DataError: the file that examples stay in cannot be read, or has been changed.
        """
        if self._results is None:
            return TooMany(self._fit)
        if isinstance(self._results, Future):
            self._results = self._results.result()
        with distributed.raise_on_lost_peer():
            results, work = jax.block_until_ready(self._results), self._work
            seconds = time.perf_counter() - self._started
            assert isinstance(results, Computed)
            own, kept = ({0: jax.tree.map(np.asarray, results)}, {0}) if not self._lanes else own_lanes(results)
            numbers = numbers_of_all(own, self._lanes or 1, self._shared)
        steps = engine.steps_per_epoch(work.runs[0].batch_size, len(self._train_images))
        lane_runs = tuple(run.name for run in self._in_lanes()) if self._lanes else ()
        reports = []
        for lane, run in enumerate(work.runs):
            if run.name in work.idle:
                continue
            state, pictures = (own[lane].state, own[lane].reconstructions) if lane in own else (None, None)
            if state is not None:
                # the key is what it always was; it came as integers
                state = self._resized(state, run.latent_dim) if self._lanes else state
                state = state._replace(key=jax.random.wrap_key_data(state.key))
            of_lane: Numbers = jax.tree.map(lambda leaf, lane=lane: leaf[lane], numbers)
            diverged = diverged_at(of_lane, work.epoch, steps)
            train = of_lane.train if work.epoch else None
            validation = None if self._held_out is None else of_lane.validation
            what = run, work.epoch, state, train, of_lane.test, pictures, seconds, diverged, validation
            reports.append(Epoch(*what, bool(of_lane.stops), lane_runs, lane in kept))
        return reports

    def close(self) -> None:
        if self._stream:
            self._stream.close()

    @property
    def _rows(self) -> int:
        """Devices along the runs."""
        return self.mesh.shape[RUNS]

    def _too_many(self, lanes: int, program: Any, bytes_each: int | float) -> bool:
        """Whether the devices have no room for so many lanes."""
        if program not in self._fits:
            fit = max(1, int(self._memory / bytes_each)) * self._rows
            self._fits[program] = min(distributed.all_gather("fit", fit)) if self._shared else fit
        self._fit = self._fits[program]
        return self._fit < lanes

    def _in_lanes(self) -> list[RunConfig]:
        """The run in each lane."""
        runs = self._work.runs
        return [*runs, *runs[-1:] * ((self._lanes or 1) - len(runs))]

    def _program(self, run: RunConfig) -> Program:
        """Its numbers in the work's epoch, padded to the largest of the runs' latent sizes."""
        steps = engine.steps_per_epoch(run.batch_size, len(self._train_images))
        return run.program(self._shape, self._work.epoch, self._latent_dim, steps)

    def _resized(self, state: TrainState, latent_dim: int) -> TrainState:
        program = self._work.runs[0].program(self._shape, latent_dim=latent_dim)
        return on_host(resize(state, compiled.state_shapes(compiled.abstract(program))))

    def _on_devices(self, program: Program) -> tuple[Program, TrainState]:
        """Numbers and states: stacked, latent sizes padded to the program's, if vmapped."""
        runs, lanes = self._in_lanes(), self._lanes
        programs = [self._program(run) for run in runs]
        if lanes is None:
            one = programs[0], self._state(runs[0], self._work.epoch)
            return jax.tree.map(lambda leaf: _put(leaf, replicated(self.mesh)), one)
        sharding = sharded_by_run(self.mesh)
        slices: Any = sharding.addressable_devices_indices_map((lanes,)).values()
        here = sorted({lane for (part,) in slices for lane in range(lanes)[part]})
        states = {lane: self._state(runs[lane], self._work.epoch) for lane in here if lane < len(self._work.runs)}
        if len(states) < len(here):  # the last run's may be in another process; for an idle lane any will do
            spare = next(iter(states.values()), None) or self._state(runs[-1], 0)
            states = {lane: states.get(lane, spare) for lane in here}
        # on the host, one after the other: no device has room for the lanes of all
        states = {lane: self._resized(state, self._latent_dim) for lane, state in states.items()}

        def stack(shape, of: Callable[[int], Any]):
            def rows(index: Any) -> np.ndarray:
                return np.stack([of(lane) for lane in range(lanes)[index[0]]])

            return jax.make_array_from_callback((lanes, *shape), sharding, rows)

        leaves, structure = jax.tree.flatten(compiled.state_shapes(program))  # type: ignore[arg-type]
        by_lane = {lane: jax.tree.leaves(state) for lane, state in states.items()}
        state = [stack(leaf.shape, lambda lane, i=i: by_lane[lane][i]) for i, leaf in enumerate(leaves)]
        numbers = jax.tree.map(lambda *each: stack(np.shape(each[0]), lambda lane: each[lane]), *programs)
        return numbers, jax.tree.unflatten(structure, state)

    def _state(self, run: RunConfig, epoch: int) -> TrainState:
        """As the epoch before left it, or fresh for epoch 0; its key as integers."""
        state = self._work.state(run.name) if epoch else self._fresh(run)
        return on_host(state._replace(key=jax.random.key_data(state.key)))

    def _fresh(self, run: RunConfig) -> TrainState:
        program = run.program(self._shape)
        state = compiled.init(program, np.uint32(run.seed))
        if not program.vae.starts_from_data:
            return state
        images: Any = self._train_images
        first = starting_examples(images if self._stream else images.addressable_data(0))
        params = program.vae.with_data(state.params, engine.to_float(jnp.asarray(first)))
        return state._replace(params=params, opt_state=program.optimiser.init(params))


def on_host(tree: Any) -> Any:
    """`tree` with NumPy arrays for leaves; PRNG keys, which NumPy lacks, stay what they are."""

    def fetched(leaf):
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)

    return jax.tree.map(fetched, tree)


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    """A copy, as a program may take its memory for its own."""
    host = np.asarray(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: np.array(host[index]))


def _free_memory(mesh: Mesh, shared: bool) -> int:
    """Bytes for each device of this process; on CPU the host's, which it may share with other processes."""
    own = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    stats = [device.memory_stats() for device in own]
    here = platform.node()
    beside = distributed.all_gather("host", here).count(here) if shared else 1
    if not all(stats):  # none on CPU
        return machine.free_memory() // (len(own) * beside)
    return min(device["bytes_limit"] - device["bytes_in_use"] for device in stats)
