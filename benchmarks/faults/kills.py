"""Sweeps killed at random moments and started again until they end; compared bit for bit with one that was not.

In: a number of kills, a folder to work in. Out: a tally.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.faults.tally import Tally
from benchmarks.faults.victim import MOMENTS
from jaxvae.runs import checkpoint
from jaxvae.runs.history import Progress
from jaxvae.system import machine

ROOT = Path(__file__).parents[2]
# operations that a run of the sweep below has at each moment, or seconds for which it trains: the range of draws
RANGES = {"checkpoint": 60, "metrics": 8, "tables": 8, "figures": 12, "data": 2, "epoch": 1.5}
TABLES = ("metrics.csv", "metrics.parquet", "means.csv", "claims.json", "digits.json")


class Kind(NamedTuple):
    """A sweep to be killed."""

    name: str
    arguments: tuple[str, ...]
    moments: tuple[str, ...] = (*MOMENTS, "epoch")  # killed at these in turn


BASE = ("--dataset", "digits", "--limit", "120", "--batch-size", "20", "--epochs", "3", "--precision", "float32")
KINDS = (
    Kind("looped", (*BASE, "--latent-dims", "2", "3", "--strategy", "loop", "--workers", "1")),
    Kind("vmapped", (*BASE, "--latent-dims", "2", "3", "--strategy", "vmap", "--workers", "1")),
    Kind("workers", (*BASE, "--latent-dims", "2", "--strategy", "loop", "--workers", "2")),
)
QUICK = Kind(  # the sweep of which tests have an undisturbed one
    "looped",
    (*BASE[:-2], "--architectures", "linear", "--latent-dims", "2", "3", "--workers", "1"),
    ("checkpoint", "epoch", "metrics", "figures"),
)


class Sweeps:
    """Runs sweeps, one after the other, each in a process of its own; use it as a context."""

    def __init__(self, folder: Path, cache: Path):
        self.log, self.cache = folder / "log.txt", cache
        environment = {  # too late for the command to set, as JAX is imported by then
            "JAX_COMPILATION_CACHE_DIR": str(cache / machine.own_cache_dir().name / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        environment |= os.environ | {"JAXVAE_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu"}
        for name in ("JAXVAE_DATA_DIR", "JAX_NUM_CPU_DEVICES"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "benchmarks.faults.victim"]
        self.server = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> Sweeps:
        return self

    def __exit__(self, *_) -> None:
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait()
        assert self.server.stdout
        self.server.stdout.close()

    def run(self, kind: Kind, out: Path, moment: str | None = None, count: float = 0) -> int:
        """The exit code; −9 if it was killed."""
        assert self.server.stdin
        assert self.server.stdout
        arguments = [*kind.arguments, "--out", str(out)]
        asked = {"moment": moment, "count": count, "arguments": arguments, "log": str(self.log)}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-300:]


def killed(kinds: tuple[Kind, ...], kills: int, folder: Path, cache: Path, undisturbed: Path | None = None) -> Tally:
    """Kills each kind of sweep so many times. A kill is survived if its sweep ends like one that was left alone.

    Args:
        cache: where data are prepared, under fire, and compiled programs are kept.
        undisturbed: the folder of the sweep that was left alone, where there already is one.
    """
    tally = Tally("kills survived / injected")
    draw, counts = random.Random(0), dict.fromkeys((*MOMENTS, "epoch"), 0)
    with Sweeps(folder, cache) as sweeps:
        for kind in kinds:
            whole = undisturbed or folder / kind.name / "whole"
            if not undisturbed and sweeps.run(kind, whole):
                raise RuntimeError(f"{kind.name} does not even run undisturbed: {sweeps.said()}")
            done = 0
            while done < kills:
                out = folder / kind.name / f"killed-after-{done}"
                before, code = done, -signal.SIGKILL
                while done < kills and code == -signal.SIGKILL:
                    moment = kind.moments[done % len(kind.moments)]
                    code = _kill(sweeps, kind, moment, draw, out)
                    done, counts[moment] = done + (code < 0), counts[moment] + (code < 0)
                if code in (0, -signal.SIGKILL):
                    code = sweeps.run(kind, out)
                failure = f"exit code {code}: {sweeps.said()}" if code else difference(whole, out)
                for _ in range(max(1, done - before) if failure else done - before):
                    tally.count(failure and f"{kind.name}: {failure}")
                if failure:
                    break
                shutil.rmtree(out)
    tally.remarks = ", ".join(f"{count} at {moment}" for moment, count in counts.items() if count)
    return tally


def _kill(sweeps: Sweeps, kind: Kind, moment: str, draw: random.Random, out: Path) -> int:
    count = draw.uniform(0, RANGES[moment]) if moment == "epoch" else draw.randint(1, int(RANGES[moment]))
    if moment == "data":
        (sweeps.cache / "digits.npz").unlink(missing_ok=True)
    return sweeps.run(kind, out, moment, count)


def difference(whole: Path, other: Path) -> str | None:
    """How two sweeps' folders differ in states, histories, tables or figures; None if in nothing but seconds."""
    runs = sorted(path.parent.name for path in whole.glob("*/config.json"))
    if runs != sorted(path.parent.name for path in other.glob("*/config.json")):
        return "other runs"
    for name in runs:
        kept = checkpoint.epochs(whole / name)
        if kept != checkpoint.epochs(other / name):
            return f"{name} has checkpoints {checkpoint.epochs(other / name)}, not {kept}"
        for epoch in kept:
            a, b = (checkpoint.read(folder / name, epoch) for folder in (whole, other))
            if not _same_states(a, b):
                return f"{name}: the state after epoch {epoch} differs"
        if _history(whole / name) != _history(other / name):
            return f"{name}: the metrics differ"
    tables = [whole / name for name in TABLES if (whole / name).exists()]
    for path in [*tables, *(whole / "figures").glob("*")]:
        twin = other / path.relative_to(whole)
        if not twin.exists() or path.read_bytes() != twin.read_bytes():
            return f"{path.relative_to(whole)} differs"
    if left := [path for path in other.rglob(".*") if path.name != "." and "state" not in path.parts]:
        return f"{left[0].relative_to(other)} was left behind"
    return None


def _same_states(a: Progress, b: Progress) -> bool:
    def arrays(progress: Progress) -> list[np.ndarray]:
        state = progress.state._replace(key=jax.random.key_data(progress.state.key))
        return [*map(np.asarray, jax.tree.leaves(state)), progress.reconstructions]

    return all(x.tobytes() == y.tobytes() for x, y in zip(arrays(a), arrays(b), strict=True))


def _history(run: Path) -> list[Any]:
    """A run's metrics, a row an epoch, but for the seconds that it took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
