"""A measured number with everything that it depends on, and tables of such numbers that may be compared.

In: values and how they came about. Out: records, their JSON, and tables; numbers that differ in kind are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxvae.errors import InputError, is_whole, quoted
from jaxvae.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from rich.table import Table

PIXELS = {
    "none": "grey pixels", "dynamic": "binarised pixels", "static": "binarised pixels",
    "simulated": "the model's own pixels",
}  # fmt: skip
# what must agree in a table row
KIND = ("estimator", "samples", "split", "images", "binarization", "dataset", "fingerprint", "measure")


class Record(NamedTuple):
    """One reported number."""

    metric: str  # a key of METRICS
    value: float
    standard_error: float | None  # over images
    standard_error_repeats: float | None  # over repeated draws, if there were any
    unit: str
    estimator: str
    samples: int | None  # K, or the number of chains
    split: str
    images: int
    binarization: str
    dataset: str
    fingerprint: str  # of the dataset before binarisation
    run: str  # its folder
    measure: str = ""  # see `jaxvae.models.Likelihood`; none where the number does not depend on it

    @property
    def label(self) -> str:
        return f"{self.metric}, K = {self.samples:,}" if METRICS[self.metric].of_samples else self.metric


def from_json(data: Any) -> Record:
    """The record that `_asdict` wrote.

    Raises:
        InputError: it has other fields, values of another kind, or a metric that is not known.
    """
    try:
        record = Record(**data)
    except TypeError as error:
        raise InputError(f"not a record of this version of jaxvae ({error}); evaluate the run again") from None
    if not _sound(record):
        raise InputError(f"not a record of this version of jaxvae ({quoted(record.metric)}); evaluate the run again")
    if "measure" not in data and METRICS[record.metric].of_likelihood:  # when there was Bernoulli alone
        return record._replace(measure="cross-entropy")
    return record


def _sound(record: Record) -> bool:
    errors = [error for error in (record.standard_error, record.standard_error_repeats) if error is not None]
    texts = record.metric, record.unit, record.estimator, record.split, record.dataset, record.fingerprint, record.run
    return (
        all(isinstance(text, str) for text in (*texts, record.binarization, record.measure))
        and all(isinstance(number, float) or is_whole(number, -(2**53), 2**53) for number in (record.value, *errors))
        and record.metric in METRICS
        and record.binarization in PIXELS
        and is_whole(record.images, 1)
        and (is_whole(record.samples, 1) or (record.samples is None and not METRICS[record.metric].of_samples))
    )


def check_comparable(records: Sequence[Record]) -> None:
    """Refuses to put numbers of different kinds side by side.

    Raises:
        InputError: records of one metric differ in binarisation, split, estimator or data; says which and how.
    """
    first: dict[str, Record] = {}
    for record in records:
        other = first.setdefault(record.label, record)
        if differing := [name for name in KIND if getattr(record, name) != getattr(other, name)]:
            how = "; ".join(f"{name} {_short(other, name)} against {_short(record, name)}" for name in differing)
            raise InputError(f"{record.label} of {other.run} and of {record.run} cannot be compared: {how}")


def _short(record: Record, name: str) -> str:
    return str(getattr(record, name))[:40]


def table(records: Sequence[Record]) -> Table:
    """A row a metric, a column a run; standard errors over images in brackets.

    Raises:
        InputError: see `check_comparable`.
    """
    from rich.table import Column, Table

    check_comparable(records)
    if not records:
        raise InputError("there is no record to put into a table; evaluate the runs again")
    one = records[0]
    most = max(record.images for record in records)
    runs = list(dict.fromkeys(record.run for record in records))
    by_row: dict[str, dict[str, Record]] = {}
    for record in sorted(records, key=lambda record: (list(METRICS).index(record.metric), record.samples or 0)):
        few = f" ({record.images:,} images)" if record.images < most else ""
        by_row.setdefault(record.label + few, {})[record.run] = record
    title = f"{most:,} {one.split} images of {one.dataset}, {PIXELS[one.binarization]} (binarize {one.binarization})"
    names = [PurePath(run).name for run in runs]
    headings = [name if names.count(name) == 1 else run for run, name in zip(runs, names, strict=True)]
    columns = "", *(Column(heading, justify="right") for heading in headings), "unit"
    drawn = Table(*columns, title=title, title_justify="left", caption="in brackets: standard error over images")
    for label, row in by_row.items():
        unit = next(iter(row.values())).unit
        drawn.add_row(label, *(_shown(row.get(run)) for run in runs), unit)
    return drawn


def _shown(record: Record | None) -> str:
    if record is None:
        return "–"
    if record.unit == "dimensions":
        return f"{record.value:.0f}"
    digits = 2 if record.unit == "nats" else 1 if record.unit == "codes" else 3
    error = "" if record.standard_error is None else f" ({record.standard_error:.{digits}f})"
    return f"{record.value:.{digits}f}{error}"
