"""A dataset: examples of any shape, perhaps with labels, in host memory, with a fingerprint.

In: arrays. Out: a `Dataset`, checked; and the same with black and white pixels.

Examples are bytes (uint8), which models see as numbers in [0, 1], or float32, which they see as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxvae.errors import MAX_FLOAT32, DataError, quoted

FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
MAX_CLASSES = 1000  # of labels: what has more is no class
BINARIZATION = 2008  # key of what is drawn once
EXACT = 2**24  # whole numbers beyond are rounded by float32


class Scaling(NamedTuple):
    """What was taken from the numbers of examples, and what they were then divided by."""

    mean: np.ndarray  # float32 [*shape], or of pictures one number
    scale: np.ndarray


class Dataset(NamedTuple):
    """A train and a test split, as read."""

    name: str  # which data these are: every file and figure made from them says so
    train_images: np.ndarray  # uint8 or float32, [n, *shape]
    train_labels: np.ndarray | None  # [n], classes counted from 0, or float32 numbers; none where nobody has labelled
    test_images: np.ndarray
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
        """The classes of both splits' examples, if both have some."""
        return self._labels("iu")

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What both splits' examples are labelled by, if these are numbers and no classes."""
        return self._labels("f")

    def _labels(self, kinds: str) -> tuple[np.ndarray, np.ndarray] | None:
        both = self.train_labels, self.test_labels
        return both if all(one is not None and one.dtype.kind in kinds for one in both) else None  # type: ignore[return-value]

    @property
    def classes(self) -> int:
        """How many there are: one more than the largest label; 0 without classes."""
        return 1 + max(int(labels.max()) for labels in self.labels) if self.labels else 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape and bytes of arrays, the type of what is float32, scaling and conditions, hexadecimal."""
        digest = hashlib.sha256()
        arrays = self.train_images, self.train_labels, self.test_images, self.test_labels
        for array in (*arrays, *(self.scaling or ()), *(self.conditions or ())):
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(b"float32" if array.dtype == np.float32 else b"")
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def first(self, train: int, test: int) -> Dataset:
        """The first images of each split, with their labels and conditions."""
        return self.rows(slice(train), slice(test))

    def rows(self, train: Any, test: Any) -> Dataset:
        """These images of each split, with their labels and conditions.

        Args:
            train, test: what an array takes between brackets: a slice, or whole numbers.
        """
        rows = self._replace(train_images=self.train_images[train], test_images=self.test_images[test])
        if self.conditions:
            rows = rows._replace(conditions=(self.conditions[0][train], self.conditions[1][test]))
        labels = self.labels or self.numbers or (None, None)
        of_train, of_test = (own if own is None else own[at] for own, at in zip(labels, (train, test), strict=True))
        return rows._replace(train_labels=of_train, test_labels=of_test)


def checked(dataset: Dataset) -> Dataset:
    """The dataset with NumPy's arrays, if they belong together; labels of one split alone are left out.

    Numbers other than bytes become float32.

    Raises:
        DataError: examples are no numbers, not finite, too large, or none; their counts or shapes differ, or those of
            one split are bytes and of the other not; a label is negative or not finite; likewise conditions.
    """
    if not isinstance(dataset, Dataset):
        raise DataError(f"a dataset must be a jaxvae.data.Dataset, not {quoted(dataset)}")
    given = {name: getattr(dataset, name) for name in FILES}
    dataset = dataset._replace(**{name: np.asarray(a) for name, a in given.items() if hasattr(a, "__array__")})
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        images = _as_numbers(dataset.name, f"{split} images", images)
        dataset = dataset._replace(**{f"{split}_images": images})
        if images.ndim < 2 or not images[:1].size:
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
    return dataset if dataset.labels or dataset.numbers else dataset._replace(train_labels=None, test_labels=None)


def _as_conditions(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, size] of both splits, also of one number for each example."""
    name, given = dataset.name, dataset.conditions
    if not isinstance(given, tuple) or len(given) != 2:
        raise DataError(f"{name} has conditions {quoted(given)}; they must be those of both splits, (train, test)")
    found = []
    for split, array in zip(("train", "test"), given, strict=True):
        array = _as_numbers(name, f"{split} conditions", np.asarray(array) if hasattr(array, "__array__") else array)
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
    if not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
        ends = f"{labels.min()} to {labels.max()}"
        raise DataError(f"{name} has {split} labels {ends}; classes must be 0 to {MAX_CLASSES - 1}")
    return labels


def _as_numbers(name: str, what: str, array: object) -> np.ndarray:
    """Bytes as they are, any other real numbers as float32."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"{name} has {what} of {kind}; they must be an array of real numbers")
    if array.dtype in (np.uint8, np.bool_) or not array.size:
        return array if array.dtype == np.uint8 else array.astype(np.float32)
    if wrong := int((~np.isfinite(array)).sum()):
        raise DataError(f"{name} has {what} of which {wrong:,} numbers are not finite; fill them or leave rows out")
    largest = max(abs(array.max().item()), abs(array.min().item()))
    if array.dtype.kind in "ui" and largest > EXACT:
        raise DataError(f"{name} has {what} up to {largest:,}; whole numbers beyond {EXACT:,} are not exact in float32")
    if largest >= MAX_FLOAT32:
        raise DataError(f"{name} has {what} up to {largest:g}; they must be below {MAX_FLOAT32:g}")
    return array.astype(np.float32, copy=False)


def binarized(dataset: Dataset, how: str) -> Dataset:
    """The images that runs see: black and white pixels, white with the grey level for probability, drawn once.

    Salakhutdinov & Murray 2008, section 5. The draws depend on an image's place alone: they are the same for every
    run, wherever it is trained.

    Args:
        how: `static`, both splits; `dynamic`, the test split, as training draws its own at each step; `none`, neither.

    Raises:
        DataError: the images are no bytes.
    """
    if how == "none":
        return dataset
    if (kind := dataset.train_images.dtype) != np.uint8:
        raise DataError(f"{dataset.name} has images of {kind}; only grey levels, uint8, can be binarised")
    dataset = dataset._replace(test_images=_draw(dataset.test_images, stream=1))
    return dataset if how == "dynamic" else dataset._replace(train_images=_draw(dataset.train_images, stream=0))


def standardized(dataset: Dataset) -> Dataset:
    """The dataset with the scaling that gives its training split mean 0 and standard deviation 1: of vectors each
    column by itself, of pictures all numbers together. Columns that do not vary become 0.

    Raises:
        DataError: examples are bytes, which stand for [0, 1] already.
    """
    dataset = checked(dataset)
    if dataset.train_images.dtype == np.uint8:
        raise DataError(f"{dataset.name} has bytes, which stand for [0, 1] and are not standardised")
    axis = 0 if len(dataset.shape) == 1 else None
    mean, scale = (of(dataset.train_images, axis=axis, dtype=np.float64) for of in (np.mean, np.std))
    scale = np.where(scale > 1e-6 * np.abs(mean), scale, 1)  # below, rounding is all that varies
    return dataset._replace(scaling=Scaling(np.asarray(mean, np.float32), np.asarray(scale, np.float32)))


def scaled(dataset: Dataset) -> Dataset:
    """The numbers that runs see: standardised by the dataset's scaling, where it has one."""
    if dataset.scaling is None:
        return dataset
    mean, scale = dataset.scaling
    train, test = ((images - mean) / scale for images in (dataset.train_images, dataset.test_images))
    return dataset._replace(train_images=train, test_images=test, scaling=None)


def dequantized(dataset: Dataset) -> Dataset:
    """The images that runs with a density see: bytes as (byte + u) / 256 with u uniform in [0, 1), drawn once.

    A density of numbers that repeat can grow without limit; of these its mean logarithm is a lower bound of the bytes'
    log-probability less log 256 for each number (Theis et al. 2016, section 3.1). Other numbers stay as they are. The
    draws depend on an image's place alone.
    """
    if dataset.train_images.dtype != np.uint8:
        return dataset
    train, test = (_spread(images, stream) for stream, images in ((2, dataset.train_images), (3, dataset.test_images)))
    return dataset._replace(train_images=train, test_images=test)


def _spread(images: np.ndarray, stream: int) -> np.ndarray:
    """Each byte somewhere between its level and the next one, float32 in [0, 1)."""
    source, out = np.random.PCG64([BINARIZATION, stream]), np.empty(images.shape, np.float32)
    for image, spread in zip(images, out, strict=True):
        raw = source.random_raw(image.size).reshape(image.shape) >> np.uint64(48)  # below 2¹⁶: float32 holds the sum
        np.multiply(image * np.uint64(2**16) + raw, np.float32(2**-24), out=spread, casting="same_kind")
    return out


def _draw(images: np.ndarray, stream: int) -> np.ndarray:
    """Bytes 0 and 255. Raw numbers of PCG64, whose stream NumPy keeps for good."""
    source, binary = np.random.PCG64([BINARIZATION, stream]), np.empty_like(images)
    for image, out in zip(images, binary, strict=True):
        raw = source.random_raw(image.size).reshape(image.shape) >> np.uint64(32)  # below 2³²
        np.multiply(raw * np.uint64(255) < image * np.uint64(2**32), np.uint8(255), out=out)
    return binary
