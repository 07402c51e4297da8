"""Processes that hold the contenders' programs, idle while it is another's turn.

In: the kind of a process, the cores it is pinned to, and what to build. Out: seconds for a call of a program.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np

from benchmarks.contenders import Contender
from benchmarks.products import Product
from jaxvae.errors import InputError

PATIENCE_SECONDS = 5.0  # for a process to end by itself
KINDS = {"jax": "benchmarks.jax_programs", "pytorch": "benchmarks.pytorch_programs"}


class Gemm(NamedTuple):
    """A product, done `repeats` times."""

    precision: str
    product: Product
    repeats: int


class Settings(NamedTuple):
    """What all contenders have in common."""

    latent_dim: int
    batch: int
    images: np.ndarray  # uint8 [n, *shape]
    device: str = "cpu"  # or "gpu"

    def images_for(self, steps: int) -> np.ndarray:
        """As many images as `steps` steps take, from the beginning again where there are too few."""
        return np.resize(self.images, (steps * self.batch, *self.images.shape[1:]))


Task = Contender | Gemm
Program = Callable[[], None]  # one call; returns when all is done


class Unavailable(Exception):
    """A program that cannot be built or run here; the message is one line."""


class Workers:
    """Processes of one kind, one for each set of cores, that run the same program at once.

    Raises:
        InputError: the kind's libraries cannot be imported.
    """

    def __init__(self, kind: str, cores: Sequence[list[int]], settings: Settings):
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for own in cores:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, kind, own, settings), daemon=True)
            process.start()
            theirs.close()  # so that a process that dies ends the pipe
            self._pipes.append(ours)
            self._processes.append(process)
        try:
            self._all_do(None)
        except Unavailable as reason:
            raise InputError(f"a process for {kind} cannot start: {reason}") from None

    def seconds(self, task: Task) -> float:
        """Wall time of one call, until the last process has ended it; the first call of a task builds it.

        Raises:
            Unavailable: it could not be built or run.
        """
        started = time.perf_counter()
        self._all_do(task)
        return time.perf_counter() - started

    def _all_do(self, task: Task | None) -> None:
        try:
            for pipe in self._pipes:
                pipe.send(task)
            failures = [pipe.recv() for pipe in self._pipes]
        except (EOFError, OSError):
            raise Unavailable("its process has died") from None
        if reason := next(filter(None, failures), None):
            raise Unavailable(reason)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()  # an idle process ends by itself
        for process in self._processes:
            process.join(PATIENCE_SECONDS)
            process.terminate()
            process.join()


def _serve(pipe: Connection, kind: str, cores: list[int], settings: Settings) -> None:
    """Answers each task with None, or with the line that says why it failed; no task is to import, and be ready."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and ends this
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before a library counts the cores
    os.environ["OMP_NUM_THREADS"] = str(len(cores))
    os.environ["JAX_PLATFORMS"] = {"cpu": "cpu", "gpu": "cuda"}[settings.device]
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the GPU's memory is PyTorch's too
    os.environ.pop("JAX_NUM_CPU_DEVICES", None)  # a training step is compared on one device
    programs: dict[Task, Program] = {}
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has closed the pipe
        while True:
            task: Task | None = pipe.recv()
            failure = None
            try:
                module = importlib.import_module(KINDS[kind])
                if task is not None:
                    if task not in programs:
                        programs[task] = module.build(task, settings)
                    programs[task]()
            except Exception as error:  # whatever a library raises: the others go on
                failure = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            pipe.send(failure)
