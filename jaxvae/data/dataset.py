"""A dataset's name, or a folder that holds it, becomes uint8 arrays in host memory with labels and a fingerprint.

In: `mnist`, `fashion_mnist`, `kmnist`, `digits` or `auto`. Out: a `Dataset`, always in the order of the IDX files.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from jaxvae.errors import DataError, shown

PUBLISHED = ("mnist", "fashion_mnist", "kmnist")
NAMES = ("auto", *PUBLISHED, "digits")
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
CLASSES = 10
BINARIZATION = 2008  # key of the one binarisation that is drawn once


class Dataset(NamedTuple):
    """A train and a test split, as read."""

    name: str  # which data these are: every file and figure made from them says so
    train_images: np.ndarray  # uint8 [n, 28, 28]
    train_labels: np.ndarray  # uint8 [n]
    test_images: np.ndarray
    test_labels: np.ndarray
    note: str = ""  # why these data stand in for MNIST, when they do

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape and bytes of the four arrays, hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def checked(dataset: Dataset) -> Dataset:
    """The dataset itself, if its arrays belong together.

    Raises:
        DataError: they are no bytes, or none, their counts differ, images are not 28×28, or a label is no class.
    """
    if not isinstance(dataset, Dataset):
        raise DataError(f"a dataset must be a jaxvae.data.Dataset, not {shown(dataset)}")
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        for what, array, rank in (("images", images, 3), ("labels", labels, 1)):
            if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
                kind = getattr(array, "dtype", type(array).__name__)
                raise DataError(f"{dataset.name} has {split} {what} of {kind}; they must be a NumPy array of uint8")
            if array.ndim != rank or not len(array):
                wanted = f"{rank} dimensions are needed, and at least one {what[:-1]}"
                raise DataError(f"{dataset.name} has {split} {what} of shape {array.shape}; {wanted}")
        if len(images) != len(labels):
            raise DataError(f"{dataset.name} has {len(images)} {split} images but {len(labels)} labels")
        if images.shape[1:] != (28, 28):
            raise DataError(f"{dataset.name} has {split} images of {images.shape[1:]} pixels, not 28×28")
        if labels.max() >= CLASSES:
            raise DataError(f"{dataset.name} has a {split} label {labels.max()}; labels are 0 to {CLASSES - 1}")
    return dataset


def binarized(dataset: Dataset, how: str) -> Dataset:
    """The images that runs see: black and white pixels, white with the grey level for probability, drawn once.

    Salakhutdinov & Murray 2008, section 5. The draws depend on an image's place alone: they are the same for every
    run, wherever it is trained.

    Args:
        how: `static`, both splits; `dynamic`, the test split, as training draws its own at each step; `none`, neither.
    """
    if how == "none":
        return dataset
    dataset = dataset._replace(test_images=_drawn(dataset.test_images, stream=1))
    return dataset if how == "dynamic" else dataset._replace(train_images=_drawn(dataset.train_images, stream=0))


def _drawn(images: np.ndarray, stream: int) -> np.ndarray:
    """Bytes 0 and 255. Raw numbers of PCG64, whose stream NumPy keeps for good."""
    source, drawn = np.random.PCG64([BINARIZATION, stream]), np.empty_like(images)
    for image, out in zip(images, drawn, strict=True):
        raw = source.random_raw(image.size).reshape(image.shape) >> np.uint64(32)  # below 2³²
        np.multiply(raw * np.uint64(255) < image * np.uint64(2**32), np.uint8(255), out=out)
    return drawn
