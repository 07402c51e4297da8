"""A dataset: examples of any shape, perhaps with labels, in host memory, with a fingerprint.

In: arrays, or rows of a file. Out: a `Dataset`, checked.

Examples are bytes (uint8), which models see as numbers in [0, 1], or float32, which they see as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxvae.data.rows import Examples, Rows, array_or_rows, blocks, first_examples
from jaxvae.errors import MAX_FLOAT32, DataError, quoted

FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
MAX_CLASSES = 1000  # of labels: what has more is no class
UNKNOWN = -1  # label of a training example whose class is not known, as in `sklearn.semi_supervised`
EXACT = 2**24  # whole numbers beyond are rounded by float32


class Scaling(NamedTuple):
    """What was taken from the numbers of examples, and what they were then divided by."""

    mean: np.ndarray  # float32 [*shape], or of pictures one number
    scale: np.ndarray


class Dataset(NamedTuple):
    """A train and a test split, as read."""

    name: str  # which data these are: every file and figure made from them says so
    train_images: Examples  # uint8 or float32, [n, *shape]
    train_labels: np.ndarray | None  # [n], classes from 0, −1 where one is not known, or float32 numbers; or none
    test_images: Examples
    test_labels: np.ndarray | None
    note: str = ""  # why these data stand in for MNIST, when they do
    scaling: Scaling | None = None  # what runs see is standardised by; the arrays are as they were given
    class_names: tuple[str, ...] = ()  # of the classes 0, 1, 2 …; none where their numbers are what they are called
    source: Mapping[str, Any] | None = None  # arguments with which `jaxvae.data.load` reads it again, if it is a file
    conditions: tuple[np.ndarray, np.ndarray] | None = None  # of both splits, float32 [n, size]: beside each example

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""
        return self.train_images.shape[1:]

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The classes of both splits' examples, if both have some; −1 where that of a training example is not known."""
        return self._labels("iu")

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What both splits' examples are labelled by, if these are numbers and no classes."""
        return self._labels("f")

    def _labels(self, kinds: str) -> tuple[np.ndarray, np.ndarray] | None:
        both = self.train_labels, self.test_labels
        return both if all(one is not None and one.dtype.kind in kinds for one in both) else None  # type: ignore[return-value]

    @property
    def labelled(self) -> np.ndarray:
        """Which training examples have a class, bool [n]."""
        return self.labels[0] >= 0 if self.labels else np.zeros(len(self.train_images), bool)

    @property
    def unlabelled(self) -> int:
        """How many training examples lack a class, where others have one."""
        return int((~self.labelled).sum()) if self.labels else 0

    @property
    def classes(self) -> int:
        """How many there are: one more than the largest label; 0 without classes."""
        return 1 + max(int(labels.max()) for labels in self.labels) if self.labels else 0

    @property
    def on_disk(self) -> bool:
        """Whether examples stay in a file, of which they are read when they are needed."""
        return any(isinstance(split, Rows) for split in (self.train_images, self.test_images))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape and bytes of arrays, the type of what is float32, scaling and conditions, hexadecimal."""
        arrays = self.train_images, self.train_labels, self.test_images, self.test_labels
        arrays = *arrays, *(self.scaling or ()), *(self.conditions or ())
        if not self.on_disk:
            return _digest(arrays)
        known = _digest([array.identity if isinstance(array, Rows) else array for array in arrays])
        if known not in FINGERPRINTS:
            FINGERPRINTS[known] = _digest(arrays)
        return FINGERPRINTS[known]

    def first(self, train: int, test: int) -> Dataset:
        """The first images of each split, with their labels and conditions."""
        images = first_examples(self.train_images, train), first_examples(self.test_images, test)
        return self.beside(*images, slice(train), slice(test))

    def rows(self, train: Any, test: Any) -> Dataset:
        """These images of each split, with their labels and conditions.

        Args:
            train, test: what an array takes between brackets: a slice, or whole numbers.
        """
        return self.beside(self.train_images[train], self.test_images[test], train, test)

    def beside(self, train_images: Any, test_images: Any, train: Any, test: Any) -> Dataset:
        """These images, with the labels and conditions of these rows."""
        rows = self._replace(train_images=train_images, test_images=test_images)
        if self.conditions:
            rows = rows._replace(conditions=(self.conditions[0][train], self.conditions[1][test]))
        labels = self.labels or self.numbers or (None, None)
        of_train, of_test = (own if own is None else own[at] for own, at in zip(labels, (train, test), strict=True))
        return rows._replace(train_labels=of_train, test_labels=of_test)._with_useful_labels()

    def _with_useful_labels(self) -> Dataset:
        """Without labels where those of a split are missing, or no training example has one."""
        none = self.unlabelled and not self.labelled.any()
        useful = (self.labels or self.numbers) and not none
        return self if useful else self._replace(train_labels=None, test_labels=None)


FINGERPRINTS: dict[str, str] = {}  # by what says which rows of which file: these are read for it once


def _digest(arrays: Sequence[Examples | None]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(str(array.shape).encode())
            digest.update(b"float32" if array.dtype == np.float32 else b"")
            for block in blocks(array):
                digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def checked(dataset: Dataset) -> Dataset:
    """The dataset with NumPy's arrays, or of memory maps their rows, if they belong together; labels of one split alone
    are left out, and those of which no training example has one.

    Numbers other than bytes become float32.

    Raises:
        DataError: examples are no numbers, not finite, too large, or none; their counts or shapes differ, or those of
            one split are bytes and of the other not; a label is not finite, or negative but for −1, a class that is
            not known, in the training split; likewise conditions.
    """
    if not isinstance(dataset, Dataset):
        raise DataError(f"a dataset must be a jaxvae.data.Dataset, not {quoted(dataset)}")
    given = {name: getattr(dataset, name) for name in FILES}
    arrays = {name: a for name, a in given.items() if hasattr(a, "__array__") and not isinstance(a, Rows)}
    held = {name: array_or_rows(dataset.name, a) if "images" in name else np.asarray(a) for name, a in arrays.items()}
    dataset = dataset._replace(**held)
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        images = _as_numbers(dataset.name, f"{split} images", images)
        dataset = dataset._replace(**{f"{split}_images": images})
        if images.ndim < 2 or 0 in images.shape:
            raise DataError(f"{dataset.name} has {split} images of shape {images.shape}; at least one image is needed")
        if labels is None:
            continue
        dataset = dataset._replace(**{f"{split}_labels": _as_labels(dataset.name, split, labels, len(images))})
    if dataset.test_images.shape[1:] != dataset.shape:
        shapes = f"{dataset.shape} and {dataset.test_images.shape[1:]}"
        raise DataError(f"{dataset.name} has train and test images of shapes {shapes}; they must be the same")
    if dataset.test_images.dtype != dataset.train_images.dtype:
        kinds = f"{dataset.train_images.dtype} and {dataset.test_images.dtype}"
        raise DataError(f"{dataset.name} has train and test images of {kinds}; only bytes stand for numbers in [0, 1]")
    if dataset.conditions is not None:
        dataset = dataset._replace(conditions=_as_conditions(dataset))
    return dataset._with_useful_labels()


def _as_conditions(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, size] of both splits, also of one number for each example."""
    name, given = dataset.name, dataset.conditions
    if not isinstance(given, tuple) or len(given) != 2:
        raise DataError(f"{name} has conditions {quoted(given)}; they must be those of both splits, (train, test)")
    found = []
    for split, array in zip(("train", "test"), given, strict=True):
        given_numbers = np.asarray(array) if hasattr(array, "__array__") else array
        array = np.asarray(_as_numbers(name, f"{split} conditions", given_numbers))
        array = array.astype(np.float32, copy=False).reshape(len(array), -1) if array.ndim in (1, 2) else array
        examples = len(getattr(dataset, f"{split}_images"))
        if array.ndim != 2 or not array.size:
            raise DataError(f"{name} has {split} conditions of shape {array.shape}; they must be [{examples}, size]")
        if len(array) != examples:
            raise DataError(f"{name} has {examples} {split} examples but {len(array)} conditions")
        found.append(array)
    train, test = found
    if train.shape[1] != test.shape[1]:
        sizes = f"{train.shape[1]} and {test.shape[1]}"
        raise DataError(f"{name} has train and test conditions of {sizes} numbers; they must be the same")
    return train, test


def _as_labels(name: str, split: str, labels: object, examples: int) -> np.ndarray:
    """Classes as they are, numbers as float32."""
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iuf":
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise DataError(f"{name} has {split} labels of {kind}; they must be an array of numbers")
    if labels.ndim != 1:
        raise DataError(f"{name} has {split} labels of shape {labels.shape}; one for each example is needed")
    if len(labels) != examples:
        raise DataError(f"{name} has {examples} {split} examples but {len(labels)} labels")
    if labels.dtype.kind == "f":
        if not (np.abs(labels) < MAX_FLOAT32).all():
            raise DataError(f"{name} has {split} labels that are not finite numbers below {MAX_FLOAT32:g}")
        return labels.astype(np.float32, copy=False)
    unknown = labels == UNKNOWN
    if split == "test" and unknown.any():
        rows = f"{unknown.sum():,} of {examples:,} test examples, the first is {unknown.argmax()}"
        raise DataError(f"{name} has no label of {rows}; only training examples may lack one: label or leave them out")
    if not UNKNOWN <= labels.min() <= labels.max() < MAX_CLASSES:
        ends = f"{labels.min()} to {labels.max()}"
        raise DataError(f"{name} has {split} labels {ends}; classes must be 0 to {MAX_CLASSES - 1}")
    if np.array_equal(np.unique(labels), [UNKNOWN, 1]):
        raise DataError(f"{name} has {split} labels −1 and 1, of which −1 is no class; give two classes as 0 and 1")
    return labels


def _as_numbers(name: str, what: str, array: object) -> Examples:
    """Bytes as they are, any other real numbers as float32."""
    if isinstance(array, Rows):
        if array.known and array.source.dtype not in (np.uint8, np.bool_):
            low, high, _, not_finite = array.known
            _check_numbers(name, what, array.source.dtype, not_finite, low, high)
        return array
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"{name} has {what} of {kind}; they must be an array of real numbers")
    if array.dtype in (np.uint8, np.bool_) or not array.size:
        return array if array.dtype == np.uint8 else array.astype(np.float32)
    wrong = int((~np.isfinite(array)).sum())
    _check_numbers(name, what, array.dtype, wrong, array.min().item(), array.max().item())
    return array.astype(np.float32, copy=False)


def _check_numbers(name: str, what: str, dtype: np.dtype, not_finite: int, low: Any, high: Any) -> None:
    if not_finite:
        raise DataError(
            f"{name} has {what} of which {not_finite:,} numbers are not finite; fill them or leave rows out"
        )
    largest = max(abs(high), abs(low))
    if dtype.kind in "ui" and largest > EXACT:
        raise DataError(f"{name} has {what} up to {largest:,}; whole numbers beyond {EXACT:,} are not exact in float32")
    if largest >= MAX_FLOAT32:
        raise DataError(f"{name} has {what} up to {largest:g}; they must be below {MAX_FLOAT32:g}")
