"""What a trained run is worth: all metrics that it has what is needed for, as records that say how each came about.

In: a loaded run, the dataset that it was trained on, a plan. Out: a `Report`: records, and what does not fit in one.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data import Dataset
from jaxvae.errors import InputError, Remedy
from jaxvae.evaluation import records
from jaxvae.evaluation.metrics import METRICS
from jaxvae.evaluation.records import Record
from jaxvae.evaluation.subject import Advance, Plan, Subject
from jaxvae.jax_settings import own_settings
from jaxvae.runs import Run
from jaxvae.training import compiled
from jaxvae.values import plain

WIDTH = 120  # of a report as text
COLLAPSED = 0.5  # share of inactive dimensions from which a model is said to have collapsed


class Report(NamedTuple):
    """An evaluated run."""

    records: list[Record]
    kl_per_dimension: list[float]  # nats, over the split; empty where dimensions are not independent
    digits: dict[str, Any]  # separation and confusion by class; empty without codes or labels
    remarks: list[str]  # what the numbers say, in words

    def __str__(self) -> str:
        """The numbers as a table, the KL of each dimension, and the remarks."""
        from rich.console import Console

        text = io.StringIO()
        output = Console(file=text, width=WIDTH, highlight=False, markup=False, color_system=None)
        output.print(records.table(self.records))
        if self.kl_per_dimension:
            largest_first = sorted(self.kl_per_dimension, reverse=True)
            output.print("KL per latent dimension, nats:", " ".join(f"{value:.2f}" for value in largest_first))
        for remark in self.remarks:
            output.print(remark)
        return text.getvalue().rstrip()

    __repr__ = __str__  # what a notebook shows


def data_of(run: Run, dataset: Dataset) -> Dataset:
    """The part of `dataset` that the run was trained and tested on.

    Raises:
        InputError: it is not that dataset.
    """
    about = run.trained_on
    part = dataset.first(about["train_images"], about["test_images"])._replace(scaling=run.scaling)
    if part.fingerprint != about["fingerprint"]:
        raise InputError(
            f"{run.folder} was trained on other data: {about['name']} {about['fingerprint'][:12]}, "
            f"not {part.name} {part.fingerprint[:12]}; {Remedy.CHECK_DATA}"
        )
    return part


def in_float32(run: Run) -> Run:
    """The run with its products in float32, as all runs are evaluated, whatever precision they were trained in."""
    return replace(run, config=replace(run.config, vae=run.config.vae.in_float32()))


class Evaluation:
    """Evaluates runs on one dataset after another; a classifier that reads digits is trained once for each."""

    def __init__(self, plan: Plan, advance: Advance = lambda what, done, total: None):
        plan = Plan(*map(plain, plan))
        plan.check()
        self.plan, self.advance = plan, advance
        self._readers: dict[str, Any] = {}

    @own_settings()
    def evaluate(self, run: Run, dataset: Dataset, conditions: Any = None) -> Report:
        """`dataset` is the whole one, grey, that the run's folder names.

        Args:
            conditions: see `Subject`. Likelihoods of a model with a condition are given that.

        Raises:
            InputError: it is another dataset, or the run's codes are not finite.
        """
        compiled.make_room()
        log_scale, run, given = run.log_scale, in_float32(run).in_trained_numbers(), data_of(run, dataset)
        seen = run.config.dataset_as_trained(given, drawn_once=True)
        subject = Subject(run, seen, self.plan, self.advance, self._readers, conditions)
        subject.codes  # noqa: B018 – refuses codes that are not finite before hours are spent
        found = []
        for name, metric in METRICS.items():
            if not all(map(subject.has, metric.needs)):
                continue
            for measured in metric.compute(subject):
                value, over_images, over_repeats, images = standard_errors(measured.values)
                found.append(Record(
                    name, value, over_images, over_repeats, metric.unit, measured.estimator, measured.samples,
                    measured.split or self.plan.split, images or len(subject.images),
                    measured.binarization or _kind(run, given), run.about["dataset"]["name"], given.fingerprint,
                    run.folder.as_posix(), run.vae.likelihood.measure if metric.of_likelihood else "",
                ))  # fmt: skip
        per_dimension = subject.kl_per_dimension
        return Report(
            found,
            [] if per_dimension is None else per_dimension.tolist(),
            subject.classes if all(map(subject.has, ("codes", "several images", "labels"))) else {},
            [*_remarks(subject), *_about_scale(log_scale)],
        )


def _kind(run: Run, dataset: Dataset) -> str:
    """What the numbers of the dataset's examples are to the run, a key of `records.PIXELS`."""
    if dataset.train_images.dtype != np.uint8:
        return "numbers"
    return "dequantised" if run.config.vae.likelihood.measure == "density" else run.config.binarize


def standard_errors(values: Any) -> tuple[float, float | None, float | None, int | None]:
    """Of values by image: their mean, its standard errors over images and over repeats, and how many images there are.

    A number of all images together has no standard error over them.
    """
    if np.ndim(values) == 0:
        return float(values), None, None, None
    rows = np.array(values, np.float64, ndmin=2, order="C")
    repeats, n = rows.shape
    over_images = float(rows.mean(0).std(ddof=1) / np.sqrt(n)) if n > 1 else None
    over_repeats = float(rows.mean(1).std(ddof=1) / np.sqrt(repeats)) if repeats > 1 else None
    return float(rows.mean()), over_images, over_repeats, n


def _about_scale(log_scale: float) -> list[str]:
    if not log_scale:
        return []
    than = f"{abs(log_scale):.2f} nats {'lower' if log_scale > 0 else 'higher'}"
    return [f"densities are of standardised numbers; of the numbers as given, log p(x) and its bounds are {than}"]


def _remarks(subject: Subject) -> list[str]:
    """Posterior collapse in words, where dimensions are inactive."""
    if not subject.has("several images") or subject.kl_per_dimension is None:
        return []
    active, kl = subject.active, subject.kl_per_dimension
    if not (inactive := int(np.sum(~active))):
        return []
    named = "posterior collapse" if inactive >= COLLAPSED * len(active) else "unused dimensions"
    left = f"{kl[~active].sum():.2f} of {kl.sum():.2f} nats"
    return [f"{named}: {inactive} of {len(active)} dimensions are inactive; they hold {left} of the rate"]
