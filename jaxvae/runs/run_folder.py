"""A run's folder: what says that it is one, and what is trained there on what.

In: a run's configuration, its data. Out: config.json, sealed; from it both, or what a folder is that is no run's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxvae.config import RunConfig, differences
from jaxvae.errors import CheckpointError, InputError, Remedy, quoted, reason
from jaxvae.formats import FORMAT, OLD_SHAPE, old_name
from jaxvae.runs import manifest


def write_config(folder: Path, config: RunConfig, about: dict[str, Any]) -> None:
    """`about` says on which data, with which versions and on which device the run is trained."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(folder / "config.json", manifest.seal({"format": FORMAT, "config": config.to_json(), **about}))


def read_config(folder: Path, parts: Iterable[type] = ()) -> tuple[RunConfig, dict[str, Any]]:
    """A run's configuration, and all that its `config.json` says.

    Args:
        parts: that the configuration may name beside the registered ones.

    Raises:
        CheckpointError: no such folder, no or damaged `config.json`, another format; or a folder within or around
            a run's, says which is the run's.
    """
    path = folder / "config.json"
    try:
        if meant := _meant(folder):
            raise CheckpointError(f"{folder} is {meant}")
        text = path.read_bytes().decode()  # as it is: `read_text` would hide a changed end of a line
        content = json.loads(text)
        check_format(path, content["format"])
        if content["format"] > 1 or "sha256" in content:
            content = manifest.unseal(text)
        if not isinstance(content.get("dataset", {}), dict):
            raise TypeError(f"its dataset is {quoted(content['dataset'])}")
        return RunConfig.from_json(content["config"], parts), content
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no run: it has no config.json; {Remedy.STUDY} trains runs") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    except InputError as error:
        raise CheckpointError(str(error) if isinstance(error, CheckpointError) else f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"is damaged or not of a run ({reason(error)})"
        raise CheckpointError(f"{path} {what}; if it is a run's, move {folder} aside to train that again") from None


def _meant(folder: Path) -> str:
    """What a folder is that is no run's but lies in one, or holds some, and which to load; empty for any other."""
    here = folder.absolute()
    above, two_above = (os.path.normpath(folder.joinpath(*[".."] * levels)) for levels in (1, 2))
    if here.name == "config.json" and here.is_file():
        return f"a file of the run {above}; load {above}"
    if here.name == "checkpoints" and _is_run(here.parent):
        return f"where the run {above} has its checkpoints; load {above}"
    if here.parent.name == "checkpoints" and here.name.isdecimal() and _is_run(here.parent.parent):
        return f"a checkpoint of the run {two_above}; load {two_above}, epoch={here.name}"
    if (here / "config.json").exists() or not here.is_dir():
        return ""
    runs = sorted(path.name for path in here.iterdir() if _is_run(path))
    return f"no run, but holds {len(runs)}; load one of them, such as {folder / runs[0]}" if runs else ""


def run_around(folder: Path) -> Path | None:
    """The run whose folder this is, or in whose checkpoints it lies; none for a sweep's folder and any other."""
    here = folder.absolute()
    around = [here, *(above for above in here.parents[:2] if (above / "checkpoints") in (here, here.parent))]
    return next((path for path in around if _is_run(path)), None)


def _is_run(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "checkpoints").is_dir()


def folder_of(sweep: Path, run: RunConfig) -> Path:
    """Where a sweep's folder has a run: under its name, or under the one that an earlier version gave it, which did not
    tell apart all that names do now; or the folder itself, if it is a run's."""
    if _is_run(sweep):
        return sweep
    new, old = sweep / run.name, sweep / old_name(run)
    if old == new or new.exists() or not (old / "config.json").is_file():
        return new
    there, about = read_config(old)
    return old if about["format"] < FORMAT and not differences(there, run) else new


def shape_of(about: dict[str, Any]) -> tuple[int, ...]:
    """Of an example that the run was trained on."""
    return tuple((about.get("dataset") or {}).get("shape", OLD_SHAPE))


def check_format(path: Path, found: Any) -> None:
    if found not in range(1, FORMAT + 1):
        what = f"{path} has format {quoted(found)}"
        raise CheckpointError(f"{what}; this version of jaxvae reads 1 to {FORMAT}, a later one may read it")
