"""What a trained run is worth: all metrics that it has what is needed for, as records that say how each came about.

In: a loaded run, the dataset that it was trained on, a plan. Out: a `Report`: records, and what does not fit in one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data import Dataset
from jaxvae.errors import InputError, Remedy, is_whole
from jaxvae.evaluation.metrics import METRICS
from jaxvae.evaluation.records import Record
from jaxvae.evaluation.subject import Advance, Plan, Subject
from jaxvae.jax_settings import own_settings
from jaxvae.runs import Run
from jaxvae.values import plain

COLLAPSED = 0.5  # share of inactive dimensions from which a model is said to have collapsed


class Report(NamedTuple):
    """An evaluated run."""

    records: list[Record]
    kl_per_dimension: list[float]  # nats, over the split; empty where dimensions are not independent
    digits: dict[str, Any]  # separation and confusion by class; empty without codes or labels
    remarks: list[str]  # what the numbers say, in words


def data_of(run: Run, dataset: Dataset) -> Dataset:
    """The part of `dataset` that the run was trained and tested on.

    Raises:
        InputError: it is not that dataset.
    """
    about = run.about.get("dataset")
    if not about:
        raise InputError(f"{run.folder / 'config.json'} does not say which data the run was trained on")
    n, m = about.get("train_images"), about.get("test_images")
    if not (is_whole(n, 1) and is_whole(m, 1) and isinstance(about.get("fingerprint"), str)):
        raise InputError(f"{run.folder / 'config.json'} does not say how many images the run was trained on, and which")
    part = dataset.first(n, m)
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
    def evaluate(self, run: Run, dataset: Dataset) -> Report:
        """`dataset` is the whole one, grey, that the run's folder names.

        Raises:
            InputError: it is another dataset, or the run's codes are not finite.
        """
        run, given = in_float32(run).in_trained_numbers(), data_of(run, dataset)
        seen = run.config.dataset_as_trained(given, drawn_once=True)
        subject = Subject(run, seen, self.plan, self.advance, self._readers)
        subject.codes  # noqa: B018 – refuses codes that are not finite before hours are spent
        records = []
        for name, metric in METRICS.items():
            if not all(map(subject.has, metric.needs)):
                continue
            for measured in metric.compute(subject):
                value, over_images, over_repeats, images = standard_errors(measured.values)
                records.append(Record(
                    name, value, over_images, over_repeats, metric.unit, measured.estimator, measured.samples,
                    measured.split or self.plan.split, images or len(subject.images),
                    measured.binarization or run.config.binarize, run.about["dataset"]["name"], given.fingerprint,
                    run.folder.as_posix(), run.vae.likelihood.measure if metric.of_likelihood else "",
                ))  # fmt: skip
        per_dimension = subject.kl_per_dimension
        return Report(
            records,
            [] if per_dimension is None else per_dimension.tolist(),
            subject.classes if all(map(subject.has, ("codes", "several images", "labels"))) else {},
            _remarks(subject),
        )


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
