"""Many short runs in one process: what grows, what is left open, what is compiled again.

In: a number of runs, a folder to work in. Out: a tally whose entries are the things that must not grow.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import numpy as np
import psutil

from benchmarks.faults.tally import Tally
from jaxvae.data.dataset import Dataset
from jaxvae.runs import run as trained
from jaxvae.study.study import Study
from tests.classic import classic

WARM = 10  # runs after which nothing should grow any more
GROWTH = 0.05  # of memory, that is still taken for noise


class Usage(NamedTuple):
    """What a process holds."""

    memory: int  # resident bytes
    threads: int
    files: int
    temporary: int  # entries of its temporary folder
    compiled: int  # programs so far


def soaked(runs: int, folder: Path, dataset: Dataset) -> Tally:
    """Trains, saves, loads and uses run after run, each with another seed in a folder of its own."""
    compiled: list[str] = []

    def count(event: str, duration_secs: float, **_) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    process, usages = psutil.Process(), []
    with _temporary_folder(folder / "temporary") as temporary:
        for seed in range(runs):
            _one(seed, folder, dataset)
            gc.collect()
            left = len(list(temporary.iterdir()))
            usages.append(Usage(process.memory_info().rss, _threads(), process.num_fds(), left, len(compiled)))
    jax.monitoring.unregister_event_duration_listener(count)
    settled = min(WARM, runs // 2)
    warm, last = usages[settled - 1], usages[-1]
    tally = Tally("kinds of leak absent / looked for")
    growth = last.memory / warm.memory - 1
    tally.count(f"memory grew by {growth:.1%}" if growth >= GROWTH else None)
    for name, limit in (("threads", 2), ("files", 0), ("temporary", 0), ("compiled", 0)):
        more = getattr(last, name) - getattr(warm, name)
        tally.count(f"{more} more {name} after run {runs} than after run {settled}" if more > limit else None)
    held = f"{last.memory / 1e6:.0f} MB, {last.threads} threads, {last.files} files open"
    tally.remarks = f"{runs} runs: memory {growth:+.1%} to {held}"
    return tally


@contextlib.contextmanager
def _temporary_folder(folder: Path):
    """One of this process's own, as others come and go in the system's."""
    folder.mkdir()
    with mock.patch.dict(os.environ, {"TMPDIR": str(folder)}), mock.patch.object(tempfile, "tempdir", str(folder)):
        yield folder


def _threads() -> int:
    """Threads of this process, but for TensorStore's pool, which grows by chance until it is as large as it may be.

    Other native pools grow by one or two, too; a thread that each run leaves behind is told from that.
    """
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return sum(name != "ts_pool_worker" for name in names)


def _one(seed: int, folder: Path, dataset: Dataset) -> None:
    config = classic(hidden=(8,), batch_size=20, epochs=1, seed=seed)
    Study(folder / "soak", [config], dataset).train("loop", quiet=True)
    run = trained.load(folder / "soak" / config.name)
    codes = run.encode(dataset.test_images).mean
    assert np.isfinite(run.decode(codes)).all()
    assert len(run.sample(jax.random.key(seed), 3)) == 3
    shutil.rmtree(folder / "soak")
