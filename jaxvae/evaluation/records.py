"""A measured number with everything that it depends on, and tables of such numbers that may be compared.

In: values and how they came about. Out: records, their JSON, and tables; numbers that differ in kind are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxvae.errors import InputError, shown

if TYPE_CHECKING:
    from rich.table import Table

# what each metric says, in a line; the order of tables
METRICS = {
    "ELBO": "evidence lower bound, mean over the codes drawn: minus rate minus distortion",
    "rate": "KL(q(z|x) ‖ p(z)), exact: nats that a code costs",
    "distortion": "−E log p(x|z), mean over the codes drawn: nats that a code leaves to the pixels",
    "L_K": "importance-weighted bound on log p(x) from K codes; rises to log p(x) with K (Burda et al. 2016)",
    "effective sample size": "of the K weights behind L_K: near K if q is the posterior, near 1 if L_K is loose",
    "AIS": "log p(x) by annealed importance sampling, a lower bound in expectation (Neal 2001; Wu et al. 2017)",
    "AIS above L_K": "what annealing finds more than L_K of the largest K, image by image",
    "AIS acceptance": "share of Hamiltonian proposals accepted; 0.65 is aimed at",
    "simulated, AIS": "the same for images drawn from the model: the lower end of the bracket",
    "simulated, reverse AIS": "chains from the codes those images were drawn with: the upper end (Grosse et al. 2015)",
    "bracket": "upper minus lower end: what AIS may be wrong by, on images of the model's own",
    "active units": "latent dimensions whose posterior mean varies by more than 0.01 (Burda et al. 2016)",
    "collapsed units": "the other dimensions: q(z|x) says nothing about x there, which is posterior collapse",
    "mutual information": "of image and code, I(n; z) over the split; at most log of its size (Hoffman & Johnson 2016)",
    "marginal KL": "KL(q(z) ‖ p(z)) of the aggregate posterior: rate minus mutual information (Hoffman & Johnson 2016)",
    "Fréchet distance": "2-Wasserstein distance between normals with the moments of q(z) and of the prior",
    "nearest neighbours": "accuracy of the 10 nearest training codes' vote on a test image's digit",
    "linear probe": "accuracy of logistic regression from codes to digits, fitted on the training split",
    "purity": "share of a code's 10 nearest neighbours, within the split, that show the same digit",
    "silhouette": "mean silhouette of codes grouped by digit, from −1 to 1 (Rousseeuw 1987)",
    "reading": "share of reconstructions that a classifier trained on originals reads as the image's digit",
    "reading of originals": "the same classifier's accuracy on the original images",
}  # fmt: skip
OF_SAMPLES = ("L_K", "effective sample size")  # whose numbers say nothing without their K
PIXELS = {
    "none": "grey pixels", "dynamic": "binarised pixels", "static": "binarised pixels",
    "simulated": "the model's own pixels",
}  # fmt: skip
KIND = (
    "estimator",
    "samples",
    "split",
    "images",
    "binarization",
    "dataset",
    "fingerprint",
)  # must agree in a table row


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

    @property
    def label(self) -> str:
        if self.metric in OF_SAMPLES:
            return f"{self.metric}, K = {self.samples:,}"
        return self.metric


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
        raise InputError(f"not a record of this version of jaxvae ({shown(record.metric)}); evaluate the run again")
    return record


def _sound(record: Record) -> bool:
    from jaxvae.config import is_whole

    errors = [error for error in (record.standard_error, record.standard_error_repeats) if error is not None]
    texts = record.metric, record.unit, record.estimator, record.split, record.dataset, record.fingerprint, record.run
    samples = is_whole(record.samples, 1) or (record.samples is None and record.metric not in OF_SAMPLES)
    return (
        all(isinstance(text, str) for text in (*texts, record.binarization))
        and all(isinstance(number, float) or is_whole(number, -(2**53), 2**53) for number in (record.value, *errors))
        and record.metric in METRICS
        and record.binarization in PIXELS
        and is_whole(record.images, 1)
        and samples
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
    from rich.table import Table

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
    drawn = Table(title=title, title_justify="left", caption="in brackets: standard error over images")
    drawn.add_column("")
    names = [PurePath(run).name for run in runs]
    for run, name in zip(runs, names, strict=True):
        drawn.add_column(name if names.count(name) == 1 else run, justify="right")
    drawn.add_column("unit")
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
