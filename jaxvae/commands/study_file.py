"""A study's runs from a file, for what no grid of options can say.

In: a JSON list of run configurations, or a Python file that defines `runs`. Out: the runs, or what is wrong.

A Python study is a program, which whoever gives the command runs as any other script. It is the one file that is run:
the library runs nothing that it reads.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jaxvae.errors import ConfigError, InputError, quoted, reason
from jaxvae.system import as_path

if TYPE_CHECKING:
    from jaxvae.config import RunConfig


def read_runs(path: str | Path) -> list[RunConfig]:
    """The runs of a study.

    A file whose name ends in `.py` is run, and its `runs` taken; any other is JSON, whose objects may leave out what
    has a default: `[{"vae": {"part": "vae", "latent_dim": 2, "encoder": {"part": "network/mlp"}}, "epochs": 5}]`.

    Raises:
        InputError: the file cannot be read, or is no such list; a run is none, or has the name of another.
    """
    path = as_path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; --study takes a JSON or Python file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    runs = _from_python(path, content) if path.suffix == ".py" else _from_json(path, content)
    if not runs:
        raise InputError(f"{path} holds no runs: its list is empty")
    places: dict[str, int] = {}
    for i, run in enumerate(runs, 1):
        if (first := places.setdefault(run.name, i)) != i:
            raise InputError(
                f"{path}: runs {first} and {i} are both named {run.name}, as they differ in nothing but their epochs, "
                "if at all"
            )
    return runs


def _from_json(path: Path, content: bytes) -> list[RunConfig]:
    from jaxvae.config import RunConfig

    try:
        entries = json.loads(content, object_pairs_hook=_object)
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path} is no JSON ({reason(error)})") from None
    if not isinstance(entries, list):
        raise InputError(f"{path} must hold a list of run configurations, not {quoted(entries)}")
    runs = []
    for i, entry in enumerate(entries, 1):
        try:
            runs.append(RunConfig.from_json(entry))
        except ConfigError as error:
            raise InputError(f"{path}, run {i} of {len(entries)}: {str(error).removeprefix('run: ')}") from None
    return runs


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{quoted(twice[0])} is given twice")
    return dict(pairs)


def _from_python(path: Path, content: bytes) -> list[RunConfig]:
    from jaxvae.config import RunConfig
    from jaxvae.parts import REGISTERED

    module, importable = _module_of(path)
    scope = vars(module)
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), scope)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}{_line(error, str(path))} cannot be run ({reason(error)})") from None
    if "runs" not in scope:
        raise InputError(f"{path} does not define `runs`, a list of RunConfig")
    runs = scope["runs"]
    if not isinstance(runs, list | tuple):
        raise InputError(f"{path}: `runs` must be a list of RunConfig, not {quoted(runs)}")
    for i, run in enumerate(runs, 1):
        if not isinstance(run, RunConfig):
            raise InputError(f"{path}, run {i} of {len(runs)} must be a RunConfig, not {quoted(run)}")
    if not importable and any(cls.__module__ == module.__name__ for cls in REGISTERED.values()):
        raise InputError(f"{path} defines parts, and Python cannot import it as {path.stem}; rename the file")
    return [*runs]


def _module_of(path: Path) -> tuple[ModuleType, bool]:
    """A module for the file to run in, and whether Python can import it by its name.

    Worker processes do so when they are sent a part that the file defines. It fails if another module has that name.
    """
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # which worker processes inherit
    importlib.invalidate_caches()
    spec = PathFinder.find_spec(path.stem)
    importable = spec is not None and spec.origin == str(path.resolve())
    module = ModuleType(path.stem if importable else f"study {path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    return module, importable


def _line(error: BaseException, name: str) -> str:
    """Where in the file an error came up, the innermost place."""
    if isinstance(error, SyntaxError) and error.filename == name and error.lineno:
        return f", line {error.lineno},"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return f", line {lines[-1]}," if lines else ""
