"""The report's table of runs: a column for each number that there is, with what it means.

In: a sweep's configurations, its final losses, its readings of digits and its evaluations. Out: columns, a cell a run.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvae.config import RunConfig
from jaxvae.errors import CheckpointError, reason
from jaxvae.evaluation import Record, records
from jaxvae.results import Setting, mean


def number(value: float | int | None, digits: int = 2) -> str:
    """With thousands separated and a true minus sign; a dash for what is missing, a word for what is not finite."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if abs(value) >= 1e9:
        return f"{value:.2e}".replace("-", "−")
    return f"{0 if abs(value) < 0.5 * 10**-digits else value:,.{digits}f}".replace("-", "−")


def read_json(path: Path) -> Any:
    """A file's content, None if there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def evaluated(folder: Path, configs: Sequence[RunConfig], fingerprint: str) -> dict[str, list[Record]]:
    """Records of each run that was evaluated as it is now: in the sweep's evaluation.json, then in its own folder's.

    Raises:
        CheckpointError: such a file is damaged.
    """
    together: dict[tuple[RunConfig, int], list[Record]] = {}
    for config, epoch, told in _evaluations_in(folder / "evaluation.json"):
        together.setdefault((config, epoch), []).extend(told)
    found = {}
    for run in configs:
        own = _evaluations_in(folder / run.name / "evaluation.json")
        kept = [record for config, epoch, told in own if (config, epoch) == (run, run.epochs) for record in told]
        kept = [*together.get((run, run.epochs), []), *kept]
        found[run.name] = [record for record in kept if record.fingerprint == fingerprint]
    return found


def _evaluations_in(path: Path) -> list[tuple[RunConfig, int, list[Record]]]:
    """Configuration, epoch and records of each evaluated run in a file; those that do not say what they are of are
    left out."""
    try:
        content = read_json(path) or {"evaluations": []}
        contents = [told for told in content.get("evaluations", [content]) if "config" in told]
        return [
            (RunConfig.from_json(told["config"]), told["epoch"], [records.from_json(one) for one in told["records"]])
            for told in contents
        ]
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({reason(error)}); evaluate the run again") from None


class Column(NamedTuple):
    """A column of the table of runs, or of settings."""

    title: str
    unit: str
    meaning: str
    cells: dict[str, tuple[float | int, str]]  # by run or setting: the value to sort by, and how it is written
    places: int = 2  # behind the point


def columns(
    configs: Sequence[RunConfig],
    finals: Mapping[str, dict[str, Any]],
    digits: dict[str, Any] | None,
    evaluated: Mapping[str, Sequence[Record]],
) -> list[Column]:
    """The columns that there are numbers for.

    Args:
        finals: by run, its entry of sweep.json's results.
        digits: the content of digits.json.
    """

    def column(title, unit, meaning, value, places=2) -> Column:
        values = {run.name: value(finals[run.name]) for run in configs}
        return Column(title, unit, meaning, {name: (v, number(v, places)) for name, v in values.items()}, places)

    drawn = "−E log p(x|z), one code an image: nats that a code leaves to the pixels"
    made = [
        column("parameters", "", "", lambda row: row["parameters"], 0),
        column("reconstruction", "nats", drawn, lambda row: row["reconstruction"]),
        column("KL", "nats", records.METRICS["rate"], lambda row: row["kl"]),
        column("−ELBO", "nats", "reconstruction plus KL", lambda row: row["reconstruction"] + row["kl"]),
        *_evaluations(evaluated),
    ]
    if digits:
        made.append(Column("read rightly", "%", records.METRICS["reading"], _readings(digits), 1))
    made.append(column("training", "s", "seconds of training and testing", lambda row: row["seconds"], 1))
    return made


def over_seeds(table: Sequence[Column], settings: Sequence[Setting]) -> list[Column]:
    """The same columns with a cell a setting: the mean over seeds that did not diverge, half of its 95 % interval."""
    seeds = {setting.config.name: setting.seeds - len(setting.diverged) for setting in settings}
    counted = Column("seeds", "", "of which the means are", {name: (n, str(n)) for name, n in seeds.items()}, 0)
    return [counted, *(_over_seeds(column, settings) for column in table)]


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


def _readings(digits: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Per cent of each run's reconstructions that are read as what they should be."""
    counts = {name: np.asarray(told["confusion"]) for name, told in digits["runs"].items()}
    shares = {name: 100 * float(np.trace(n)) / max(1, int(n.sum())) for name, n in counts.items()}
    return {name: (share, number(share, 1)) for name, share in shares.items()}


def _evaluations(evaluated: Mapping[str, Sequence[Record]]) -> list[Column]:
    """Columns from evaluations; each holds numbers of one kind only, the kind that most runs have."""
    made = []
    for metric, title, unit, scale, places in (
        ("L_K", "−log p(x)", "K = {:,}, nats", -1, 2),
        ("active units", "active units", "", 1, 0),
        ("nearest neighbours", "nearest neighbours", "%", 100, 1),
    ):
        found = [(name, _kind(r), r) for name, kept in evaluated.items() for r in kept if r.metric == metric]
        if not found:
            continue
        counts = Counter(kind for _, kind in {(name, kind) for name, kind, _ in found})
        common = max(counts, key=lambda kind: (counts[kind], kind.samples or 0))
        cells = {}
        for name, kind, record in found:
            if kind == common:
                error, value = record.standard_error, scale * record.value
                spread = "" if error is None else f" ± {number(abs(scale) * error, places)}"
                cells[name] = value, number(value, places) + spread
        made.append(Column(title, unit.format(common.samples), records.METRICS[metric], cells, places))
    return made


def _kind(record: Record) -> Record:
    """What must agree for records to stand in one column."""
    return record._replace(value=0.0, standard_error=None, standard_error_repeats=None, run="")
