"""Run folders damaged at random: a flipped bit, a cut, a missing, a swapped or a foreign file.

In: a number of injuries, a folder to work in. Out: a tally; an injury counts as found if it is one line that
names the file, loading the run refuses it, and a sweep takes the checkpoint before it or stops.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.tally import Tally
from jaxvae.config import RunConfig
from jaxvae.data.dataset import Dataset
from jaxvae.errors import CheckpointError
from jaxvae.runs import run as trained
from jaxvae.study import resume
from jaxvae.study.study import Study
from tests.classic import classic

EPOCHS = 3


def runs() -> list[RunConfig]:
    """Models as small as can be: what is damaged is their folders."""
    return [classic(hidden=(2,), batch_size=20, epochs=EPOCHS, seed=seed) for seed in range(2)]


def injured(injuries: int, folder: Path, dataset: Dataset, seed: int = 0) -> Tally:
    tally, draw, kinds = Tally("injuries found / made"), random.Random(seed), [flip, cut, remove, swap, foreign]
    sound = folder / "sound"
    study = Study(sound, runs(), dataset)
    study.train("loop", quiet=True)
    counts = dict.fromkeys(kinds, 0)
    for i in range(injuries):
        kind, hurt = kinds[i % len(kinds)], folder / "hurt"
        shutil.rmtree(hurt, ignore_errors=True)
        shutil.copytree(sound, hurt)
        path = kind(hurt / runs()[0].name, draw)
        counts[kind] += 1
        what = f"{kind.__name__} {path.relative_to(hurt)}"
        failure = overlooked(hurt, path, study)
        tally.count(failure and f"{what}: {failure}")
    tally.remarks = ", ".join(f"{count} × {kind.__name__}" for kind, count in counts.items())
    return tally


def overlooked(folder: Path, path: Path, study: Study) -> str | None:
    """What is wrong with how an injury to the first run's file was met; None if nothing is."""
    run = study.runs[0]
    messages: list[str] = []
    in_checkpoint, repairable = "checkpoints" in path.parts, path.name == "metrics.jsonl"
    try:
        trained.load(folder / run.name)
        if not repairable:
            return "loaded as if nothing were wrong"
    except CheckpointError as error:
        messages.append(str(error))
    try:
        progress = resume.past_of_runs(folder, study.runs, study.about, messages.append)
        if not in_checkpoint and not repairable:
            return "went on as if nothing were wrong"
        if progress[run.name].epoch != EPOCHS - in_checkpoint:
            return f"went on from epoch {progress[run.name].epoch}"
    except CheckpointError as error:
        messages.append(str(error))
        if in_checkpoint or repairable:
            return f"stopped: {error}"
    names = {path.name} if path.name != "manifest.json" else {path.name, "config.json"}  # a manifest of another run
    if len(messages) != 2 - repairable or not all(
        "\n" not in line and any(n in line for n in names) for line in messages
    ):
        return f"was reported so: {messages}"
    return None


# ── injuries: each damages a file of a run's folder and returns its path ─────────────────────────────────────────────


def _any_file(run: Path, draw: random.Random) -> Path:
    """Of the newest checkpoint, or of those beside it."""
    newest = run / "checkpoints" / str(EPOCHS)
    return draw.choice(sorted(path for path in [*run.glob("*"), *newest.rglob("*")] if path.is_file()))


def flip(run: Path, draw: random.Random) -> Path:
    path = _any_file(run, draw)
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    return path


def cut(run: Path, draw: random.Random) -> Path:
    path = _any_file(run, draw)
    with path.open("r+b") as file:
        file.truncate(draw.randrange(path.stat().st_size))
    return path


def remove(run: Path, draw: random.Random) -> Path:
    path = _any_file(run, draw)
    path.unlink()
    return path


def swap(run: Path, draw: random.Random) -> Path:
    """With another file of the same run that says something else."""
    path = _any_file(run, draw)
    return _replace(path, lambda other: other != path, sorted(run.rglob("*")), draw)


def foreign(run: Path, draw: random.Random) -> Path:
    """By the file of the same name from another run: a wrong configuration, other weights."""
    path = _any_file(run, draw)
    others = sorted(run.parent.glob("*"))
    found = [p for other in others if other != run for p in other.rglob(path.name)]
    return _replace(path, lambda other: True, found, draw)


def _replace(path: Path, fits: Callable[[Path], bool], others: list[Path], draw: random.Random) -> Path:
    content = path.read_bytes()
    others = [other for other in others if other.is_file() and fits(other) and other.read_bytes() != content]
    if not others:  # the same in both runs, or named by its content
        path.unlink()
        return path
    other = draw.choice(others)
    path.write_bytes(other.read_bytes())
    return path
