"""A command watched while it runs: how long it takes, and how much memory all of its processes take together.

In: a command. Out: its wall time, its peak memory and, where it failed, its last words.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

# taking stock of three processes takes a few ms; to count shared pages once (PSS), five times a second, took a seventh
# of a core from a sweep that wanted both
INTERVAL_SECONDS = 1.0


class Watched(NamedTuple):
    seconds: float
    peak_bytes: int  # the most that the command and its descendants took at once, RSS, sampled
    failure: str | None  # the last line of stderr

    @property
    def peak_gib(self) -> float:
        return self.peak_bytes / 2**30


def watch(module: str, arguments: Sequence[str], folder: Path) -> Watched:
    """Runs `python -m module` with this Python, where this process is, to its end.

    What JAX compiles goes into the empty `folder`, not into the user's cache: a second run has no advantage.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        started = time.perf_counter()
        command = [sys.executable, "-m", module, *arguments]
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
        peak = 0
        try:
            while process.poll() is None:
                peak = max(peak, tree_bytes(process.pid))
                _wait(process)
        except BaseException:
            _end(process)
            raise
        seconds = time.perf_counter() - started
        stderr.seek(0)
        lines = stderr.read().strip().splitlines()
    words = lines[-1] if lines else "it said nothing"
    failure = f"{module} ended with status {process.returncode}: {words}" if process.returncode else None
    return Watched(seconds, peak, failure)


def tree_bytes(pid: int) -> int:
    """The resident memory (RSS) of a process and all its descendants; pages that they share count in each."""
    try:
        parent = psutil.Process(pid)
        return sum(map(_bytes, [parent, *parent.children(recursive=True)]))
    except psutil.Error:  # it has just ended
        return 0


def _bytes(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _wait(process: subprocess.Popen) -> None:
    try:
        process.wait(INTERVAL_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _end(process: subprocess.Popen) -> None:
    """Ends the command and what it has started."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        descendants = []
    process.terminate()
    process.wait()
    for descendant in descendants:
        if descendant.is_running():
            descendant.terminate()
