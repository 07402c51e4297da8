"""Labels of any kind become classes counted from 0, with their names, or numbers.

In: what a user has beside examples: whole numbers, real numbers, texts, categories. Out: arrays that a `Dataset` holds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxvae.data.dataset import MAX_CLASSES, UNKNOWN
from jaxvae.errors import DataError


def coded(name: str, train: Any, test: Any) -> tuple[Any, Any, tuple[str, ...]]:
    """Labels of both splits as a dataset holds them, and the names of the classes; no names where there are none.

    Whole numbers from 0 to 999 are classes as they are. Texts, and whole numbers of which some are larger, are counted
    in their order. Of other numbers, and of more than a thousand different whole ones, no classes are made: these are
    float32 numbers, which figures are coloured by. A class that is missing, or −1, is `UNKNOWN`.

    Args:
        name: of the dataset, for errors.
        train, test: arrays [n], or None.

    Raises:
        DataError: a number is missing, no label is there at all, or there are more than a thousand different texts.
    """
    given = [labels for labels in (train, test) if isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.size]
    if not given:
        return train, test, ()
    labels = np.concatenate([each.astype(object) if each.dtype.kind in "OUST" else each for each in given])
    missing = np.array([_is_missing(one) for one in labels]) if labels.dtype.kind == "O" else labels != labels
    if missing.all() or (labels.dtype.kind == "i" and (labels == UNKNOWN).all()):
        raise DataError(f"{name} has no label in any row; give none")
    known, names = _coded(name, labels[~missing])
    if missing.any():
        if known.dtype.kind == "f":
            raise DataError(f"{name} has labels that are not finite numbers; leave those rows out")
        labels = np.full(len(labels), UNKNOWN, np.int64)
        labels[~missing] = known
    else:
        labels = known
    parts = iter(np.split(labels, np.cumsum([len(each) for each in given])[:-1]))
    train, test = (next(parts) if any(each is one for one in given) else each for each in (train, test))
    return train, test, names


def _coded(name: str, labels: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of which none is missing, and the names of the classes."""
    if labels.dtype.kind == "O" and all(isinstance(label, bool | int | float | np.number) for label in labels):
        labels = np.asarray(labels.tolist())
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(f"{name} has labels that are not finite numbers; leave those rows out")
    if labels.dtype.kind == "f" and (labels == np.rint(labels)).all() and np.abs(labels).max() < 2**53:
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "b":
        return labels.astype(np.uint8), ()
    if labels.dtype.kind in "iu" and labels.min() >= UNKNOWN and labels.max() >= MAX_CLASSES:
        different = np.unique(labels[labels != UNKNOWN])
        if len(different) <= MAX_CLASSES:
            codes = np.searchsorted(different, labels)
            return np.where(labels == UNKNOWN, UNKNOWN, codes), tuple(map(str, different))
        return labels.astype(np.float32) if labels.min() >= 0 else labels, ()
    if labels.dtype.kind == "O":
        texts = np.array([str(label) for label in labels])
        different, labels = np.unique(texts, return_inverse=True)
        if len(different) > MAX_CLASSES:
            raise DataError(f"{name} has {len(different):,} different labels; classes are at most {MAX_CLASSES:,}")
        return labels, tuple(map(str, different))
    return labels, ()


def _is_missing(label: Any) -> bool:
    """Whether it is what Python, NumPy, pandas or a table's empty field have for no value."""
    return label is None or type(label).__name__ in ("NAType", "NaTType") or label == "" or label != label
