"""Which conditions the figures of a model with a condition are drawn with, and how their titles say so.

In: a run, its dataset. Out: conditions, as they are stored, and words; None and no words without a condition.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxvae.data import Dataset
from jaxvae.models import conditions_of
from jaxvae.results import MAX_FOLLOWED_CLASSES
from jaxvae.runs import Run


def of_test(run: Run, dataset: Dataset, n: int | None = None) -> Any:
    """Those of the test examples, or of the first n."""
    return jax.tree.map(lambda rows: rows[:n], conditions_of(run.config.vae.condition, dataset)[1])


def of_samples(run: Run, dataset: Dataset, rows: int, columns: int) -> tuple[Any, int, str]:
    """For a mosaic: a row for each class, where the condition is one, else those of test examples; and how many."""
    condition = run.config.vae.condition
    if condition is None:
        return None, rows * columns, ""
    if classes := min(getattr(condition, "classes", 0), MAX_FOLLOWED_CLASSES):
        return np.repeat(np.arange(classes), columns), classes * columns, ", a row for each class"
    indices = np.arange(rows * columns) % len(dataset.test_images)
    return _test_rows(run, dataset, indices), len(indices), ", given the conditions of test examples"


def classes(run: Run, dataset: Dataset) -> list[str]:
    """What the classes are called that the run can be given, of many the first; none of a run without such a
    condition."""
    count = min(getattr(run.config.vae.condition, "classes", 0), MAX_FOLLOWED_CLASSES)
    return [dataset.class_names[label] if dataset.class_names else str(label) for label in range(count)]


def one_for_all(run: Run, dataset: Dataset, n: int) -> tuple[Any, str]:
    """The first class for each of n codes, where the condition is a class, else the first test example's."""
    condition = run.config.vae.condition
    if condition is None:
        return None, ""
    if getattr(condition, "classes", 0):
        return np.zeros(n, int), f", given the class {dataset.class_names[0] if dataset.class_names else 0}"
    return _test_rows(run, dataset, np.zeros(n, int)), ", given the condition of the first test example"


def _test_rows(run: Run, dataset: Dataset, indices: np.ndarray) -> Any:
    return jax.tree.map(lambda rows: rows[indices], of_test(run, dataset))
