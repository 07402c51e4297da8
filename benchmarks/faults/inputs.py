"""Bad inputs to every command and loader: each is to be refused in one clear line, with nothing written.

In: a folder to work in. Out: what came of each case; a case held if it ended with exit code 2, or an `InputError` from
a function, in one line that says what is expected of it, and if no file or folder around it was changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults import bad_files, bad_flags, bad_parts, bad_tables, bad_values, ground
from benchmarks.faults.ground import Case, Command
from benchmarks.faults.tally import Tally
from jaxvae.errors import InputError, quoted

CASES: list[Case] = [
    *bad_flags.CASES, *bad_parts.CASES, *bad_files.CASES, *bad_tables.CASES, *bad_values.CASES,
]  # fmt: skip


class Outcome(NamedTuple):
    """What came of a case."""

    case: Case
    failure: str | None  # why it was not refused as it should be; None if it was

    @property
    def answered(self) -> bool:
        return self.failure is None


def tallied(folder: Path, cases: list[Case] = CASES) -> Tally:
    tally = Tally("bad inputs refused / tried")
    for outcome in tried(folder, cases):
        tally.count(outcome.failure and f"{outcome.case.what}: {outcome.failure}")
    return tally


def tried(folder: Path, cases: list[Case] = CASES) -> list[Outcome]:
    make_ground(folder / "ground")
    return [outcome(case, folder / "ground", folder / "tried") for case in cases]


def make_ground(folder: Path) -> None:
    """What all cases share: a cache and a finished sweep."""
    folder.mkdir(parents=True)
    with _place(folder, folder):
        ground.keep_known()
        ground.make_sweep(folder / "sweep")


def outcome(case: Case, shared: Path, folder: Path) -> Outcome:
    """What comes of a case in `folder`, which is made for it and removed."""
    folder.mkdir()
    try:
        with _place(shared, folder):
            shutil.copytree(shared / "sweep", folder / "sweep", symlinks=True)
            call = case.prepare(folder)
            before = _listing(folder)
            code, said = _answer(call)
            return Outcome(case, _failure(case, code, said, _changes(before, _listing(folder))))
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _place(shared: Path, folder: Path):
    """Commands are given in `folder`, find no data but those in the shared cache, and leave the environment alone."""
    before = dict(os.environ)
    os.environ |= {"JAXVAE_CACHE_DIR": str(shared / "cache"), "TFDS_DATA_DIR": str(shared / "none")}
    os.environ.pop("JAXVAE_DATA_DIR", None)
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _answer(call: Callable[[], Any]) -> tuple[Any, str]:
    """The exit code and what was said, on standard error or as the message of an `InputError`."""
    printed = io.StringIO()
    logging.getLogger().addHandler(logged := logging.StreamHandler(printed))  # a warning is a line, too
    try:
        return _called(call, printed)
    finally:
        logging.getLogger().removeHandler(logged)


def _called(call: Callable[[], Any], printed: io.StringIO) -> tuple[Any, str]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
        try:
            code = call()
        except SystemExit as ended:  # argparse's way
            code = ended.code
        except InputError as error:
            if isinstance(call, Command):
                return 1, traceback.format_exc()
            return 2, f"{printed.getvalue()}error: {error}\n"
        except Exception:
            return 1, traceback.format_exc()
    return code, printed.getvalue()


def _failure(case: Case, code: Any, said: str, changes: list[str]) -> str | None:
    if "Traceback" in said:
        return f"a traceback: {said.splitlines()[-1]}"
    if not isinstance(code, int) or code != 2:
        return f"ended with {quoted(code)} and said {said!r}"
    if said.count("\n") != 1 or not said.startswith("error: ") or not said.strip().isprintable():
        return f"said no single line: {said!r}"
    if not re.search(case.says, said):
        return f"said {said!r}, which has no {case.says!r}"
    return f"changed {', '.join(changes)}" if changes else None


def _listing(folder: Path) -> dict[str, str]:
    """All that is in a folder, with a checksum of its content."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            if path.is_symlink():
                found[str(path)] = f"link to {os.readlink(path)}"
            else:
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


def _changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
