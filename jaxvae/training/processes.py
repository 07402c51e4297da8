"""Processes of this machine that each keep to a few of its cores, and compute there as `DeviceWorker` does.

In: one epoch's work, a dataset. Out: what each run reports, or one line on how the process ended.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from multiprocessing import resource_tracker
from typing import Any

import jax
import numpy as np

from jaxvae.data import Dataset
from jaxvae.errors import WorkerError
from jaxvae.system import interrupts, machine
from jaxvae.training.devices import DeviceWorker, Epoch, TooMany, Work, on_host
from jaxvae.training.mesh import run_mesh


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
            states = on_host({run.name: work.state(run.name) for run in work.runs if work.epoch})
            self._pipe.send(work._replace(state=states.__getitem__))
        except OSError:
            raise self._ended() from None

    def ready(self) -> bool:
        return self._pipe.poll()

    def reports(self) -> list[Epoch] | TooMany:
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


def _serve(pipe: Any, cores: Sequence[int]) -> None:
    """A worker process: answers each work with its reports, or with what went wrong, until nobody asks any more."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["PJRT_NPROC"] = str(len(cores))  # threads of JAX's CPU client, where cores cannot be chosen
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 1)
    with contextlib.suppress(EOFError):
        worker = DeviceWorker(run_mesh(jax.local_devices()), *pipe.recv())
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
