"""Labels of any kind become classes counted from 0, with their names, or numbers.

In: what a user has beside examples: whole numbers, real numbers, texts, categories. Out: arrays that a `Dataset` holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxvae.data.dataset import MAX_CLASSES
from jaxvae.errors import DataError


def coded(name: str, train: Any, test: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Labels of both splits as a dataset holds them, and the names of the classes; no names where there are none.

    Whole numbers from 0 to 999 are classes as they are. Texts, and whole numbers of which some are larger, are counted
    in their order. Of other numbers, and of more than a thousand different whole ones, no classes are made: these are
    float32 numbers, which figures are coloured by.

    Args:
        name: of the dataset, for errors.
        train, test: arrays [n], or None.

    Raises:
        DataError: a label is missing, or there are more than a thousand different texts.
    """
    given = [labels for labels in (train, test) if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.size]
    if not given:
        return train, test, ()
    labels = np.concatenate([each.astype(object) if each.dtype.kind in "OUST" else each for each in given])
    if labels.dtype.kind == "O":
        if missing := [i for i, label in enumerate(labels) if _is_missing(label)]:
            raise DataError(f"{name} has no label in {len(missing):,} rows, the first is {missing[0]}; leave those out")
        if all(isinstance(label, bool | int | float | np.number) for label in labels):
            labels = np.asarray(labels.tolist())
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(f"{name} has labels that are not finite numbers; leave those rows out")
    if labels.dtype.kind == "f" and (labels == np.rint(labels)).all() and np.abs(labels).max() < 2**53:
        labels = labels.astype(np.int64)
    names: tuple[str, ...] = ()
    if labels.dtype.kind == "b":
        labels = labels.astype(np.uint8)
    elif labels.dtype.kind in "iu" and labels.min() >= 0 and labels.max() >= MAX_CLASSES:
        different = np.unique(labels)
        many = len(different) > MAX_CLASSES
        labels = labels.astype(np.float32) if many else np.searchsorted(different, labels)
        names = () if many else tuple(map(str, different))
    elif labels.dtype.kind == "O":
        texts = np.array([str(label) for label in labels])
        different, labels = np.unique(texts, return_inverse=True)
        if len(different) > MAX_CLASSES:
            raise DataError(f"{name} has {len(different):,} different labels; classes are at most {MAX_CLASSES:,}")
        names = tuple(map(str, different))
    parts = iter(np.split(labels, np.cumsum([len(each) for each in given])[:-1]))
    train, test = (next(parts) if any(each is one for one in given) else each for each in (train, test))
    return train, test, names


def _is_missing(label: Any) -> bool:
    """Whether it is what Python, NumPy, pandas or a table's empty field have for no value."""
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label == "" or label != label
