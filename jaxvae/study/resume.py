"""What a sweep's folder already has: how far its runs are, and whether other runs may go on there.

In: a folder, runs, what they are trained on. Out: each run's progress, from its newest sound checkpoint; or why not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from jaxvae import results
from jaxvae.config import RunConfig
from jaxvae.errors import CheckpointError, Remedy
from jaxvae.formats import is_old, old_name
from jaxvae.models import AUTOMATIC, automatic_precision
from jaxvae.runs import Past, Progress, checkpoint, metrics_lines, run_folder
from jaxvae.training import ahead, distributed

MAX_NAMED_RUNS = 5  # in a message
ANEW = f"{Remedy.START_ANEW}, or {Remedy.ANOTHER_FOLDER}"


def settle_precision(runs: Sequence[RunConfig], folder: Path | None) -> list[RunConfig]:
    """`runs` in the precision that suits the machine best; those begun in `folder` keep theirs, and lend it.

    Of several processes, the first one's machine decides.
    """
    settled = distributed.broadcast_from_first("precision", lambda: _precisions(runs, folder))
    return [_in_precision(run, settled.get(run.name, settled[run.architecture])) for run in runs]


def _precisions(runs: Sequence[RunConfig], folder: Path | None) -> dict[str, str]:
    """By architecture, and by run where that has been begun."""
    precisions: dict[str, str] = {}
    for run in runs:
        folders = [folder / name for name in (run.name, old_name(run))] if folder else []
        if begun := [own for own in folders if checkpoint.epochs(own)]:
            there, _ = run_folder.read_config(begun[0])
            precisions[run.name] = precisions[run.architecture] = there.precision
    for run in runs:
        if run.architecture not in precisions:
            precisions[run.architecture] = automatic_precision(run.vae.encoder)
    return precisions


def _in_precision(run: RunConfig, precision: str) -> RunConfig:
    """The run in a precision that a machine chose, which does not count in its name."""
    return replace(run, vae=replace(run.vae, precision=AUTOMATIC + precision))


def past_of_runs(
    folder: Path, runs: Sequence[RunConfig], about: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Past]:
    """The past of each run that has been begun, by name.

    Args:
        about: the data that the runs are to be trained on, as in `jaxvae.results.about`.
        say: prints a line: warnings of damaged checkpoints, and what is taken in their place.

    Raises:
        CheckpointError: the folder holds runs that differ from these, results that would be lost, no sound checkpoint
            of a run that has some, or links that lead out of it.
    """
    folders = {run.name: run_folder.folder_of(folder, run) for run in runs}
    _check_links(folder, folders.values())
    adopted = {own for name, own in folders.items() if own.name != name}
    begun = [run for run in runs if folders[run.name].name != run.name or folders[run.name] not in adopted]
    progress = {run.name: own for run in begun if (own := _newest_sound(folders[run.name], run, about, say))}
    _check_results(folder, runs, about)
    for name, own in folders.items():
        if own.name != name:
            own.rename(folder / name)
            say(f"{own} was begun by an earlier version and is called {name} now")
    return _with_new_names(progress, runs)


def _with_new_names(progress: Mapping[str, Past], runs: Sequence[RunConfig]) -> dict[str, Past]:
    """The same, with the names of today in groups that an earlier version trained; equal groups become one tuple, as
    each is as long as there are runs in it."""
    names: dict[Any, dict[str, str]] = {}  # by what lanes of one program have in common, from old to new
    for run in runs:
        names.setdefault(run.structure, {})[old_name(run)] = run.name
    groups: dict[tuple[str, ...], tuple[str, ...]] = {}
    renamed = {}
    for run in runs:
        if own := progress.get(run.name):
            if own.lane_runs not in groups:
                now = names[run.structure]
                groups[own.lane_runs] = tuple(now.get(name, name) for name in own.lane_runs)
            renamed[run.name] = own._replace(lane_runs=groups[own.lane_runs])
    return renamed


def with_companions(folder: Path, runs: Sequence[RunConfig], progress: Mapping[str, Past]) -> dict[str, Past]:
    """The same, but runs of one vmapped group that stand an epoch apart all go on from the earlier one.

    Their last epoch was not saved of all when they were stopped; without the others, its bits would not be the same.
    """
    behind = {name: own.epoch for name, own in progress.items()}
    groups = {name: own.lane_runs for name, own in progress.items()}
    again = dict(progress)
    for name in ahead(runs, behind, groups, [name for name, own in progress.items() if own.ended]):
        if behind[name] == 0:
            del again[name]
        elif behind[name] - 1 in checkpoint.epochs(folder / name):
            again[name] = checkpoint.read(folder / name, behind[name] - 1).past
    return again


def _newest_sound(folder: Path, run: RunConfig, about: Mapping[str, Any], say: Callable[[str], None]) -> Past | None:
    epochs = checkpoint.epochs(folder)
    if not epochs:
        return None
    there, origin = run_folder.read_config(folder)
    if conflicts := checkpoint.conflicts(there, origin, run, about):
        raise CheckpointError(f"{folder / 'config.json'} is another run's ({'; '.join(conflicts)}); {ANEW}")
    damage = None
    for epoch in reversed(epochs):
        try:
            progress = checkpoint.read(folder, epoch)
        except CheckpointError as error:
            damage = damage or error
            continue
        if epoch > run.epochs:
            raise CheckpointError(f"{folder} holds another run (epochs {epoch} there, {run.epochs} now); {ANEW}")
        if damage:
            say(f"warning: {damage}; {run.name} goes on from epoch {epoch}")
        if not _agrees(folder / checkpoint.METRICS, progress):
            say(f"warning: {folder / checkpoint.METRICS} is damaged or missing; it is written anew")
        return progress.past
    raise CheckpointError(
        f"{damage}; {run.name} has no sound checkpoint: move {folder} aside to train it from the beginning"
    )


def _agrees(metrics: Path, progress: Progress) -> bool:
    """Whether metrics.jsonl is what belongs to a checkpoint, to the one before it, or to one after it.

    Before: the run was killed in between. After: it is damaged, and this one taken in its place.
    """
    try:
        text = metrics.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except ValueError:
        return False
    lines = metrics_lines(progress)
    return text.startswith("".join(lines)) or text == "".join(lines[:-1])


def _check_links(folder: Path, run_folders: Collection[Path]) -> None:
    """Refuses links within the folder that lead out of it, where a sweep would write and remove files."""
    for path in [*run_folders, *(own / "checkpoints" for own in run_folders), folder / "figures"]:
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(
                f"{path} is a link out of {folder}, to {path.resolve()}; make it a folder, or {Remedy.ANOTHER_FOLDER}"
            )


def _check_results(folder: Path, runs: Sequence[RunConfig], about: Mapping[str, Any]) -> None:
    """Refuses a folder whose results these runs would write over with others.

    Results without their checkpoints, as a clone has them, may come again in another precision.
    """
    earlier = results.read_sweep(folder)
    if not earlier:
        return
    there, origin = earlier
    name = old_name if is_old(origin["runs"][0]) else attrgetter("name")
    now: dict[str, list[RunConfig]] = {}
    for run in runs:
        now.setdefault(name(run), []).append(run)

    def continues(new: RunConfig, run: RunConfig) -> bool:
        same = not checkpoint.conflicts(_in_precision(run, new.precision), origin, new, about)
        return same and new.epochs >= run.epochs

    if names := [run.name for run in there if not any(continues(new, run) for new in now.get(name(run), []))]:
        more = f" and {len(names) - MAX_NAMED_RUNS:,} more" if names[MAX_NAMED_RUNS:] else ""
        some = ", ".join(names[:MAX_NAMED_RUNS]) + more
        raise CheckpointError(f"{folder} holds results that this sweep lacks or would change ({some}); {ANEW}")
