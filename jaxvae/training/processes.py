"""Processes of this machine that each keep to a few of its cores, and compute there as `DeviceWorker` does.

In: one epoch's work, a dataset. Out: what each run reports, or one line on how the process ended.

A process imports the program that it was started by only if that defines parts of the runs; so it does not matter how
other programs are written, or whether they lie in a file.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.reduction import ForkingPickler
from typing import Any

import jax

from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import ConfigError, WorkerError
from jaxvae.jax_settings import own_settings
from jaxvae.system import interrupts, machine
from jaxvae.training.conditions import Probes
from jaxvae.training.devices import DeviceWorker, Epoch, TooMany, Work, on_host
from jaxvae.training.mesh import run_mesh

UNGUARDED = 77  # exit code of a process in which the program that it imports asks for processes in turn


class ProcessWorker:
    """A process with some of the machine's cores, on its one CPU device: computes as `DeviceWorker` does.

    Args:
        memory: bytes that a vmapped group may take there.
        with_main: whether it imports the program that this process was started by.
    """

    def __init__(
        self,
        cores: Sequence[int],
        dataset: Dataset,
        probes: Probes | None,
        memory: int,
        with_main: bool = False,
        held_out: Dataset | None = None,
    ):
        self._first: Any = dataset, probes, memory, held_out  # not yet, as it would wait for the process to listen
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, tuple(cores)), daemon=True)
        with _interrupts_held(), contextlib.nullcontext() if with_main else _without_main():
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

    def _ended(self) -> WorkerError | ConfigError:
        self._process.join(1)
        code = self._process.exitcode
        if code == UNGUARDED:
            return ConfigError(
                "worker processes import this program to find the parts that it defines, and it starts them again; "
                'put what it does under `if __name__ == "__main__":`'
            )
        why = f"by signal {-code} ({signal.Signals(-code).name})" if code and code < 0 else f"with exit code {code}"
        short = ", perhaps because the machine ran out of memory" if code == -9 else ""
        return WorkerError(f"a worker process was ended {why}{short}")


def process_workers(
    count: int,
    dataset: Dataset,
    probes: Probes | None,
    runs: Sequence[RunConfig] = (),
    held_out: Dataset | None = None,
) -> list[ProcessWorker]:
    """`count` processes that share the machine's cores and free memory equally, and know the parts of `runs`."""
    cores, memory = machine.cores(), machine.free_memory() // count
    shares = [cores[i::count] or [cores[i % len(cores)]] for i in range(count)]
    with_main = _defined_in_main(runs)
    return [ProcessWorker(share, dataset, probes, memory, with_main, held_out) for share in shares]


def check_processes(runs: Sequence[RunConfig]) -> None:
    """Ends a worker process that is still importing the program, which asks for worker processes at once.

    Raises:
        ConfigError: no process can be started here, or none could find the parts of `runs`.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(UNGUARDED)
    if multiprocessing.current_process().daemon:
        raise ConfigError("workers must be 1 in a process of a pool, which may start none itself")
    if _defined_in_main(runs) and not os.path.isfile(getattr(sys.modules["__main__"], "__file__", "")):
        raise ConfigError(
            "workers must be 1, as worker processes cannot find parts that are defined in a notebook or on standard "
            "input; or define them in a module and import it"
        )


def _defined_in_main(runs: Sequence[RunConfig]) -> bool:
    """Whether the program that was started, rather than a module, defines parts of the runs."""
    return b"__main__" in bytes(ForkingPickler.dumps(tuple(runs)))


@contextlib.contextmanager
def _without_main():
    """A process started in here does not import the program that this one was started by."""
    main = sys.modules["__main__"]
    hidden = {name: vars(main).pop(name) for name in ("__file__", "__spec__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


@own_settings()
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
