"""Standard output, whatever its encoding and width.

In: what Python has opened. Out: the same, and a console for tables and progress.
"""

from __future__ import annotations

import io
import sys
from typing import Any


def escape_unencodable() -> None:
    """Letters that the console's encoding lacks are printed as Python would escape them, rather than not at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def console(width: int = 120, *, quiet: bool = False) -> Any:
    """A `rich.console.Console` on standard output, of this width where that is no terminal."""
    from rich.console import Console  # here, as a command's --help imports this module

    escape_unencodable()
    console = Console(highlight=False, markup=False, quiet=quiet)
    if not console.is_terminal:
        console.width = width
    return console
