"""Sound things that are out of the ordinary: each must go as usual, or be answered in the one line that it deserves.

In: a folder to work in, checks. Out: a tally.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.faults.tally import Tally
from jaxvae.errors import InputError


class Check(NamedTuple):
    """Something to try in a folder of its own."""

    what: str
    failure: Callable[[Path], str | None]  # what went wrong; None if nothing did


def failure(check: Check, folder: Path) -> str | None:
    """What goes wrong in a check, whatever it is; `folder` is made for it."""
    folder.mkdir(parents=True)
    try:
        return check.failure(folder)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"


def tallied(what: str, checks: Sequence[Check], folder: Path, together: int = 1) -> Tally:
    """Tries each check, so many at a time after the first."""
    tally, folders = Tally(what), [folder / str(i) for i in range(len(checks))]
    with ThreadPoolExecutor(together) as pool:
        found = [failure(checks[0], folders[0]), *pool.map(failure, checks[1:], folders[1:])]
    for check, line in zip(checks, found, strict=True):
        tally.count(line and f"{check.what}: {line}")
    return tally


def refusal(call: Callable[[], Any], says: str, never: str = "$^") -> str | None:
    """What is wrong with the answer of a call that is to be refused in a line of this pattern, without the other."""
    try:
        returned = call()
    except InputError as error:
        line = str(error)
        if not re.search(says, line):
            return f"said {line!r}, which has no {says!r}"
        return f"said {line!r}" if re.search(never, line) else None
    return f"returned {returned!r}"
