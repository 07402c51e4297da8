"""Where epochs are computed: on a device of this process, or in a process of its own that keeps to a few cores.

In: one epoch's work, a dataset. Out: what each run reports; states wait on the host until they are worked on again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae import engine, interrupts, machine, programs
from jaxvae.config import Hypers, ModelConfig, RunConfig
from jaxvae.data import Dataset
from jaxvae.engine import TrainState
from jaxvae.machine import WorkerError
from jaxvae.model import resize_latent
from jaxvae.objectives import Losses


class Work(NamedTuple):
    """One epoch of runs that go through one program: a single run, or several vmapped."""

    runs: tuple[RunConfig, ...]
    states: tuple[TrainState, ...]  # as the epoch before left them; none for epoch 0
    epoch: int  # 0 makes fresh parameters and evaluates them; any other trains first
    vmapped: bool
    idle: frozenset[str] = frozenset()  # names of runs that only keep the program the same: nothing is reported of them


class Epoch(NamedTuple):
    """What a run reports after each epoch, and once before training as epoch 0; host arrays."""

    run: RunConfig
    epoch: int
    state: TrainState
    train: Losses | None  # running means of the epoch; none before training
    test: Losses
    reconstructions: np.ndarray | None  # uint8 [n, 28, 28], of the sweep's probes if it has any
    seconds: float  # for training and evaluation, shared by the runs of a vmapped group
    diverged: int | None = None  # the optimiser step, from 1, whose loss or result is not finite, if there is one
    together: tuple[str, ...] = ()  # names of all that were vmapped with it, itself among them


class DeviceWorker:
    """A device of this process. Work is begun and goes on by itself until it is ready.

    Args:
        probes: images whose reconstructions each epoch reports, bytes [n, 28, 28]; or none.
        memory: bytes that a vmapped group may take; default, what is free now.
    """

    def __init__(self, device: Any, dataset: Dataset, probes: np.ndarray | None, memory: int | None = None):
        self.device, self._memory = device, memory or _free_memory(device)
        arrays = dataset.train_images, dataset.test_images, probes
        self._train_images, self._test_images, self._probes = jax.device_put(arrays, device)

    def begin(self, work: Work) -> None:
        self._work, self._started = work, time.perf_counter()
        self._results: tuple[TrainState, Any, Any, Losses, Any] | None = None
        config = work.runs[0].train
        model, state, hypers = self._on_device(work)
        images = len(self._train_images)
        program = programs.train_epoch(model, config, work.vmapped, len(work.runs), images, self.device)
        if len(work.runs) > 1 and programs.bytes_needed(program) > self._memory:
            return
        train, sound, images = None, None, None
        if work.epoch:
            state, train, sound = program(state, self._train_images, hypers)
        test = programs.evaluate(model, config, work.vmapped, state, self._test_images, hypers, np.int32(work.epoch))
        if self._probes is not None:
            images = programs.reconstruct(model, work.vmapped, state.params, self._probes)
        self._results = state, train, sound, test, images

    def ready(self) -> bool:
        return self._results is None or all(leaf.is_ready() for leaf in jax.tree.leaves(self._results[1:]))

    def reports(self) -> list[Epoch]:
        """What the epoch brought, waiting for it if need be; nothing if the group is too large for the memory."""
        if self._results is None:
            return []
        results, work = jax.block_until_ready(self._results), self._work
        seconds = time.perf_counter() - self._started
        together = tuple(run.name for run in work.runs) if work.vmapped else ()
        reports = []
        for i, run in enumerate(work.runs):
            if run.name in work.idle:
                continue
            state, *rest = jax.tree.map(lambda leaf, i=i: leaf[i], results) if work.vmapped else results
            state = resize_latent(state, run.model.latent_dim) if work.vmapped else state
            state, train, sound, test, images = on_host((state, *rest))
            steps = engine.steps_per_epoch(run.train, len(self._train_images))
            diverged = _diverged(state, train, sound, test, steps)
            reports.append(Epoch(run, work.epoch, state, train, test, images, seconds, diverged, together))
        return reports

    def close(self) -> None:
        pass

    def _on_device(self, work: Work) -> tuple[ModelConfig, TrainState, Hypers]:
        """The group's model, its states and traced scalars: stacked, latent sizes padded to the largest, if vmapped."""
        states = work.states or tuple(map(self._fresh, work.runs))
        traced = (run.hypers(work.epoch) for run in work.runs)
        hypers = [Hypers(*(dtype(x) for dtype, x in zip(programs.HYPERS, scalars, strict=True))) for scalars in traced]
        model = work.runs[0].model
        if not work.vmapped:
            # copied, as the program takes the state's memory for its own
            return model, *jax.device_put((states[0], hypers[0]), self.device, may_alias=False)
        model = dataclasses.replace(model, latent_dim=max(run.model.latent_dim for run in work.runs))
        states = [resize_latent(state, model.latent_dim) for state in states]
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return model, *jax.device_put((state, jax.tree.map(lambda *h: np.stack(h), *hypers)), self.device)

    def _fresh(self, run: RunConfig) -> TrainState:
        state = programs.init(run.model, np.uint32(run.seed), run.train)
        if run.train.output_bias == "zero":
            return state
        return engine.with_output_bias(state, engine.pixels(self._train_images).mean(0))


class ProcessWorker:
    """A process with some of the machine's cores, on its one CPU device: computes as `DeviceWorker` does.

    Args:
        memory: bytes that a vmapped group may take there.
    """

    def __init__(self, cores: Sequence[int], dataset: Dataset, probes: np.ndarray | None, memory: int):
        self._first: Any = dataset, probes, memory  # not yet, as it would wait for the process to listen
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, tuple(cores)), daemon=True)
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def begin(self, work: Work) -> None:
        try:
            if self._first:
                self._pipe.send(self._first)
                self._first = None
            self._pipe.send(work)
        except OSError:
            raise self._ended() from None

    def ready(self) -> bool:
        return self._pipe.poll()

    def reports(self) -> list[Epoch]:
        """As `DeviceWorker.reports`.

        Raises:
            WorkerError: the process has ended.
            Exception: whatever went wrong there, its traceback noted.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ended(self) -> WorkerError:
        self._process.join(1)
        code = self._process.exitcode
        why = f"by signal {-code} ({signal.Signals(-code).name})" if code and code < 0 else f"with exit code {code}"
        short = ", perhaps because the machine ran out of memory" if code == -signal.SIGKILL else ""
        return WorkerError(f"a worker process was ended {why}{short}")


def process_workers(count: int, dataset: Dataset, probes: np.ndarray | None) -> list[ProcessWorker]:
    """`count` processes that share the machine's cores and free memory equally."""
    cores, memory = machine.cores(), machine.free_memory() // count
    shares = [cores[i::count] or [cores[i % len(cores)]] for i in range(count)]
    return [ProcessWorker(share, dataset, probes, memory) for share in shares]


def on_host(tree: Any) -> Any:
    """`tree` with NumPy arrays for leaves; PRNG keys, which NumPy lacks, stay what they are."""

    def fetched(leaf):
        return leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf)

    return jax.tree.map(fetched, tree)


def _serve(pipe: Any, cores: Sequence[int]) -> None:
    """A worker process: answers each work with its reports, or with what went wrong, until nobody asks any more."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["PJRT_NPROC"] = str(len(cores))  # threads of JAX's CPU client, where cores cannot be chosen
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 1)
    with contextlib.suppress(EOFError):
        worker = DeviceWorker(jax.local_devices()[0], *pipe.recv())
        while True:
            work = pipe.recv()
            try:
                worker.begin(work)
                answer: Any = worker.reports()
            except Exception as error:
                error.add_note(f"in a worker process:\n{traceback.format_exc()}")
                answer = error
            pipe.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def _interrupts_held():
    """A process started in here hears no signal to stop, which may be sent to all: the one who started it decides."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later, with the process, it would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupts.SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _diverged(
    state: TrainState, train: Losses | None, sound: np.ndarray | None, test: Losses, steps: int
) -> int | None:
    """The first step whose loss is not finite; the epoch's last one, if only what came of it is not."""
    if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.opt_state, train, test))):
        return None
    taken = int(state.step)
    return taken if sound is None else min(taken - steps + int(sound) + 1, taken)


def _free_memory(device: Any) -> int:
    told = device.memory_stats()  # none on CPU
    return told["bytes_limit"] - told["bytes_in_use"] if told else machine.free_memory()
