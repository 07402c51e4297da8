"""A dataset: images as bytes, perhaps with labels, in host memory, with a fingerprint.

In: arrays. Out: a `Dataset`, checked; and the same with black and white pixels.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from jaxvae.errors import DataError, quoted

FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
MAX_CLASSES = 1000  # of labels: what has more is no class
BINARIZATION = 2008  # key of the one binarisation that is drawn once


class Dataset(NamedTuple):
    """A train and a test split, as read."""

    name: str  # which data these are: every file and figure made from them says so
    train_images: np.ndarray  # uint8 [n, *shape]
    train_labels: np.ndarray | None  # integers [n], counted from 0; none where nobody has labelled the images
    test_images: np.ndarray
    test_labels: np.ndarray | None
    note: str = ""  # why these data stand in for MNIST, when they do

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""
        return self.train_images.shape[1:]

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Those of both splits, if both have some."""
        if self.train_labels is None or self.test_labels is None:
            return None
        return self.train_labels, self.test_labels

    @property
    def classes(self) -> int:
        """How many there are: one more than the largest label; 0 without labels."""
        return 1 + max(int(labels.max()) for labels in self.labels) if self.labels else 0

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape and bytes of the arrays, hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def first(self, train: int, test: int) -> Dataset:
        """The first images of each split, with their labels."""
        first = self._replace(train_images=self.train_images[:train], test_images=self.test_images[:test])
        if not self.labels:
            return first._replace(train_labels=None, test_labels=None)
        return first._replace(train_labels=self.labels[0][:train], test_labels=self.labels[1][:test])


def checked(dataset: Dataset) -> Dataset:
    """The dataset with NumPy's arrays, if they belong together; labels of one split alone are left out.

    Raises:
        DataError: they are no bytes, or none, their counts or shapes differ, or a label is negative.
    """
    if not isinstance(dataset, Dataset):
        raise DataError(f"a dataset must be a jaxvae.data.Dataset, not {quoted(dataset)}")
    given = {name: getattr(dataset, name) for name in FILES}
    dataset = dataset._replace(**{name: np.asarray(a) for name, a in given.items() if hasattr(a, "__array__")})
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        _check_array(dataset.name, f"{split} images", images, np.uint8, "uint8")
        if images.ndim < 2 or not images[:1].size:
            raise DataError(f"{dataset.name} has {split} images of shape {images.shape}; at least one image is needed")
        if labels is None:
            continue
        _check_array(dataset.name, f"{split} labels", labels, np.integer, "integers")
        if labels.ndim != 1:
            raise DataError(f"{dataset.name} has {split} labels of shape {labels.shape}; one for each image is needed")
        if len(images) != len(labels):
            raise DataError(f"{dataset.name} has {len(images)} {split} images but {len(labels)} labels")
        if not 0 <= labels.min() <= labels.max() < MAX_CLASSES:
            ends = f"{labels.min()} to {labels.max()}"
            raise DataError(f"{dataset.name} has {split} labels {ends}; they must be 0 to {MAX_CLASSES - 1}")
    if dataset.test_images.shape[1:] != dataset.shape:
        shapes = f"{dataset.shape} and {dataset.test_images.shape[1:]}"
        raise DataError(f"{dataset.name} has train and test images of shapes {shapes}; they must be the same")
    return dataset if dataset.labels else dataset._replace(train_labels=None, test_labels=None)


def _check_array(name: str, what: str, array: object, dtype: type, wanted: str) -> None:
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, dtype):
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"{name} has {what} of {kind}; they must be an array of {wanted}")


def binarized(dataset: Dataset, how: str) -> Dataset:
    """The images that runs see: black and white pixels, white with the grey level for probability, drawn once.

    Salakhutdinov & Murray 2008, section 5. The draws depend on an image's place alone: they are the same for every
    run, wherever it is trained.

    Args:
        how: `static`, both splits; `dynamic`, the test split, as training draws its own at each step; `none`, neither.
    """
    if how == "none":
        return dataset
    dataset = dataset._replace(test_images=_draw(dataset.test_images, stream=1))
    return dataset if how == "dynamic" else dataset._replace(train_images=_draw(dataset.train_images, stream=0))


def _draw(images: np.ndarray, stream: int) -> np.ndarray:
    """Bytes 0 and 255. Raw numbers of PCG64, whose stream NumPy keeps for good."""
    source, binary = np.random.PCG64([BINARIZATION, stream]), np.empty_like(images)
    for image, out in zip(images, binary, strict=True):
        raw = source.random_raw(image.size).reshape(image.shape) >> np.uint64(32)  # below 2³²
        np.multiply(raw * np.uint64(255) < image * np.uint64(2**32), np.uint8(255), out=out)
    return binary
