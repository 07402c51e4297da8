"""Faults on purpose, and what came of them: kills, damaged files, bad input, a long life.

    python -m benchmarks.faults                  everything; twenty minutes on two cores
    python -m benchmarks.faults --quick          a few of each, two minutes

Expect a table in which every fault was survived, found or answered; anything else is listed below it, and the exit code
is 1. docs/reliability.md says what is promised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from rich.table import Table

from benchmarks.faults.tally import Tally
from jaxvae.system import console


def parser() -> argparse.ArgumentParser:
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a few of each")
    return parser


def tallies(quick: bool, folder: Path):
    """Each kind of fault in turn, as soon as it has been tried."""
    from benchmarks.faults import checks, estimates, injuries, inputs, kills, odd_data, other_values, programs, soak
    from benchmarks.faults import user_settings, wrong_places  # isort: skip
    from tests.blobs import small

    kinds, count = ((kills.QUICK,), 2) if quick else (kills.KINDS, 24)
    yield kills.killed(kinds, count, _made(folder / "kills"), folder / "cache")
    yield injuries.injured(30 if quick else 400, _made(folder / "injuries"), small())
    yield inputs.tallied(_made(folder / "inputs"), inputs.CASES[:: 12 if quick else 1])
    sweep = folder / "inputs" / "ground" / "sweep"
    for kind in (other_values, estimates, wrong_places, odd_data, user_settings, programs):
        in_processes = kind in (user_settings, programs)
        some = slice(1 if in_processes or kind is odd_data else None) if quick else slice(None)
        yield checks.tallied(kind.WHAT, kind.checks(sweep)[some], folder / kind.__name__, 2 if in_processes else 1)
    yield soak.soaked(10 if quick else 100, _made(folder / "soak"), small())


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def show(tally: Tally, seconds: float, table: Table) -> None:
    held = f"{tally.held} / {tally.made}"
    table.add_row(tally.what, held if not tally.failures else f"{held}  ✗", f"{seconds:.0f}", tally.remarks)


def main(arguments: list[str] | None = None) -> int:
    options, output = parser().parse_args(arguments), console()
    table = Table("", "", "seconds", "", title="Faults injected on purpose", title_justify="left")
    failures = []
    with tempfile.TemporaryDirectory(prefix="jaxvae-faults-") as place:
        os.environ["JAXVAE_CACHE_DIR"] = str(Path(place) / "cache")
        started = time.perf_counter()
        for tally in tallies(options.quick, Path(place)):
            now = time.perf_counter()
            show(tally, now - started, table)
            output.print(f"{tally.what}: {tally.held} / {tally.made}")
            failures += [f"{tally.what}: {failure}" for failure in tally.failures]
            if not tally.made:
                failures.append(f"{tally.what}: nothing was tried")
            started = time.perf_counter()
    output.print(table)
    for failure in failures:
        output.print(failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
