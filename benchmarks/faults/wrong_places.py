"""Sound files and folders given where others are meant: the answer names what is meant and never speaks of damage.

In: a finished sweep, see `ground`. Out: a check for each way to mistake a folder, or to leave things in one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxvae
from benchmarks.faults import ground
from benchmarks.faults.checks import Check, refusal
from benchmarks.faults.ground import RUN
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.data import FILES
from jaxvae.results import read_results
from jaxvae.study.study import Study

WHAT = "sound folders recognised / misplaced"

HARM = "delete|damage|again|corrupt"  # advice that would cost a sound folder
NAME = RUN.name


def checks(sweep: Path) -> list[Check]:
    """Each check gets a copy of the finished sweep."""

    def refused(what: str, call: Callable[[Path], Any], says: str) -> Check:
        return unharmed(what, lambda folder: refusal(lambda: call(folder), says, HARM))

    def unharmed(what: str, test: Callable[[Path], str | None]) -> Check:
        return copied(what, lambda folder: test(folder) or _lost(sweep, folder / "sweep"))

    def copied(what: str, test: Callable[[Path], str | None]) -> Check:
        def failure(folder: Path) -> str | None:
            shutil.copytree(sweep, folder / "sweep")
            return test(folder)

        return Check(what, failure)

    return [
        refused("load: a checkpoint", lambda f: jaxvae.load(_run(f) / "checkpoints/1"), "epoch=1"),
        refused("load: the checkpoints", lambda f: jaxvae.load(_run(f) / "checkpoints"), f"load .*{NAME}"),
        refused("load: a file", lambda f: jaxvae.load(_run(f) / "config.json"), f"load .*{NAME}"),
        refused("load: a sweep", lambda f: jaxvae.load(f / "sweep"), f"holds 1; load .*{NAME}"),
        refused("load: what is above a sweep", jaxvae.load, "is no run"),
        refused("load: an empty folder", lambda f: jaxvae.load(_made(f / "sweep/figures")), "is no run"),
        refused("load: no such epoch", lambda f: jaxvae.load(_run(f), epoch=7), "there are: 0, 1"),
        refused("load: a run without checkpoints", _without_checkpoints, "holds no checkpoint yet"),
        refused(
            "report: a run's checkpoints", lambda f: read_results(_run(f) / "checkpoints"), "holds no finished sweep"
        ),
        refused("report: what is above a sweep", read_results, "holds no finished sweep"),
        refused("study: into a run", lambda f: _train(_run(f)), f"belongs to the run .*{NAME}"),
        refused("study: into checkpoints", lambda f: _train(_run(f) / "checkpoints"), "belongs to the run"),
        refused("study: into a checkpoint", lambda f: _train(_run(f) / "checkpoints/1"), "belongs to the run"),
        refused("study: a folder of other data", lambda f: _train(f / "sweep", limit=24), "dataset .* there"),
        refused("data: another's files", _as_kmnist, "of kmnist only the .gz files have known checksums"),
        unharmed("load: a link to a run", _through_link),
        unharmed("load: a path with dots", lambda f: _loaded(_run(f) / "checkpoints" / "../../" / NAME)),
        unharmed("load: beside what desktops leave", _with_strays),
        unharmed("study: into what is above a sweep", lambda f: _train(f) or _loaded(f / NAME)),
        copied("study: beside the user's own files", _own_files_stay),
    ]


def _run(folder: Path) -> Path:
    return folder / "sweep" / NAME


def _train(folder: Path, run: RunConfig = RUN, limit: int = 60) -> None:
    Study(folder, [run], ground.known().first(limit, 25)).train("loop", quiet=True)


def _loaded(folder: Path) -> str | None:
    found = jaxvae.load(folder).config
    return None if found == RUN else f"loaded {found.name}"


def _lost(before: Path, after: Path) -> str | None:
    """A file of the sweep that is no longer what it was."""
    for path in filter(Path.is_file, before.rglob("*")):
        twin = after / path.relative_to(before)
        if not twin.exists() or twin.read_bytes() != path.read_bytes():
            return f"{path.relative_to(before)} was changed or lost"
    return None


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _without_checkpoints(folder: Path) -> Any:
    other = shutil.copytree(_run(folder), folder / "other")
    shutil.rmtree(other / "checkpoints")
    return jaxvae.load(other)


def _as_kmnist(folder: Path) -> Any:
    for file in FILES.values():
        (folder / file.removesuffix(".gz")).write_bytes(ground.idx((1, 28, 28), bytes(784)))
    return data.load("kmnist", folder)


def _through_link(folder: Path) -> str | None:
    (folder / "link").symlink_to(_run(folder))
    return _loaded(folder / "link")


def _with_strays(folder: Path) -> str | None:
    for name in (".DS_Store", "Thumbs.db", "manifest.json~", "desktop.ini", "._history.json"):
        (_run(folder) / "checkpoints/1" / name).write_text("left here")
    return _loaded(_run(folder))


def _own_files_stay(folder: Path) -> str | None:
    """What a user puts beside checkpoints is not removed when training goes on."""
    place = _run(folder) / "checkpoints"
    (place / "notes.txt").write_text("the good one")
    _made(place / ".my-notes")
    shutil.copytree(place / "1", place / "1 (copy)")
    _train(folder / "sweep", replace(RUN, epochs=4))
    lost = {"notes.txt", ".my-notes", "1 (copy)"} - {*os.listdir(place)}
    return f"{sorted(lost)} were removed" if lost else None
