"""The report's table of runs: a column for each number that there is, with what it means.

In: results and evaluations. Out: columns, with a cell for each run or, of many runs, for each setting.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvae.config import RunConfig
from jaxvae.errors import CheckpointError, reason
from jaxvae.evaluation import METRICS, Record, records
from jaxvae.results import Results, Setting, mean, read_json
from jaxvae.runs import run_folder


def number(value: float | int | None, digits: int = 2) -> str:
    """With thousands separated and a true minus sign; a dash for what is missing, a word for what is not finite."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if abs(value) >= 1e9:
        return f"{value:.2e}".replace("-", "−")
    return f"{0 if abs(value) < 0.5 * 10**-digits else value:,.{digits}f}".replace("-", "−")


def read_evaluations(folder: Path, configs: Sequence[RunConfig], fingerprint: str) -> dict[str, list[Record]]:
    """Records of each run that was evaluated as it is now: in the sweep's evaluation.json, then in its own folder's.

    Raises:
        CheckpointError: such a file is damaged.
    """
    of_sweep = _evaluations_in(folder / "evaluation.json")
    by_run = {}
    for run in configs:
        of_run = _evaluations_in(run_folder.folder_of(folder, run) / "evaluation.json")
        current = [record for found in (of_sweep, of_run) for record in found.get((run, run.epochs), [])]
        by_run[run.name] = [record for record in current if record.fingerprint == fingerprint]
    return by_run


def _evaluations_in(path: Path) -> dict[tuple[RunConfig, int], list[Record]]:
    """Records in a file by configuration and epoch; those that do not say what they are of are left out."""
    found: dict[tuple[RunConfig, int], list[Record]] = {}
    try:
        content = read_json(path) or {"evaluations": []}
        for one in content.get("evaluations", [content]):
            if "config" in one:
                own = found.setdefault((RunConfig.from_json(one["config"]), one["epoch"]), [])
                own += [records.from_json(record) for record in one["records"]]
        return found
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({reason(error)}); evaluate the run again") from None


class Column(NamedTuple):
    """A column of the table of runs, or of settings."""

    title: str
    unit: str
    meaning: str
    cells: dict[str, tuple[float | int, str]]  # by run or setting: the value to sort by, and how it is written
    places: int = 2  # behind the point


def columns(results: Results, evaluations: Mapping[str, Sequence[Record]]) -> list[Column]:
    """The columns that there are numbers for."""

    def column(title: str, unit: str, meaning: str, values: Mapping[str, float | int], places: int = 2) -> Column:
        return Column(title, unit, meaning, {name: (v, number(v, places)) for name, v in values.items()}, places)

    def of_finals(quantity: str) -> dict[str, float | int]:
        return {name: getattr(final, quantity) for name, final in results.finals.items()}

    one_code = f"−E log p(x|z), one code an {results.words.example}: nats that a code leaves to its numbers"
    table = [
        column("parameters", "", "", of_finals("parameters"), 0),
        column("reconstruction", "nats", one_code, of_finals("reconstruction")),
        column("KL", "nats", METRICS["rate"].meaning, of_finals("kl")),
        column("−ELBO", "nats", "reconstruction plus KL", of_finals("negative_elbo")),
        *evaluation_columns(evaluations),
    ]
    if results.digits:
        counts = {name: np.asarray(record["confusion"]) for name, record in results.digits["runs"].items()}
        shares = {name: 100 * float(np.trace(n)) / max(1, int(n.sum())) for name, n in counts.items()}
        table.append(column("classifier accuracy", "on reconstructions, %", METRICS["reading"].meaning, shares, 1))
    seconds = {outcome.config.name: round(outcome.seconds, 1) for outcome in results.outcomes}
    table.append(column("training", "s", "seconds of training and testing", seconds, 1))
    return over_seeds(table, results.settings) if results.too_many else table


def over_seeds(table: Sequence[Column], settings: Sequence[Setting]) -> list[Column]:
    """The same columns with a cell a setting: the mean over seeds that did not diverge, half of its 95 % interval."""
    counts = {setting.config.name: len(setting.finite) for setting in settings}
    cells: dict[str, tuple[float | int, str]] = {name: (count, str(count)) for name, count in counts.items()}
    seeds = Column("seeds", "", "number of runs that the means are over", cells, 0)
    return [seeds, *(_over_seeds(column, settings) for column in table)]


def _over_seeds(column: Column, settings: Sequence[Setting]) -> Column:
    cells = {}
    for setting in settings:
        values = [float(column.cells[final.name][0]) for final in setting.finite if final.name in column.cells]
        if values:
            centre, interval = mean(values, 9)
            spread = (interval[1] - interval[0]) / 2 if interval else 0
            half = f" ± {number(spread, column.places)}" if spread else ""
            cells[setting.config.name] = centre, number(centre, column.places) + half
    return column._replace(cells=cells)


def evaluation_columns(evaluations: Mapping[str, Sequence[Record]]) -> list[Column]:
    """Columns from evaluations; each holds numbers of one kind only, the kind that most runs have."""
    table = []
    for metric in METRICS.values():
        rows = [(name, _kind(r), r) for name, own in evaluations.items() for r in own if r.metric == metric.name]
        if not rows or metric.column is None:
            continue
        title, unit, scale, places = metric.column
        counts = Counter(kind for _, kind in {(name, kind) for name, kind, _ in rows})
        common = max(counts, key=lambda kind: (counts[kind], kind.samples or 0))
        cells = {}
        for name, kind, record in rows:
            if kind == common:
                error, value = record.standard_error, scale * record.value
                spread = "" if error is None else f" ± {number(abs(scale) * error, places)}"
                cells[name] = value, number(value, places) + spread
        table.append(Column(title, unit.format(common.samples), metric.meaning, cells, places))
    return table


def _kind(record: Record) -> Record:
    """What must agree for records to stand in one column."""
    return record._replace(value=0.0, standard_error=None, standard_error_repeats=None, run="")
