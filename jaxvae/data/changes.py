"""What runs see of a dataset: numbers standardised, bytes spread to where they have a density, pixels black and white.

In: a dataset. Out: the same with other examples; of those that stay in a file, changed when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from jaxvae.data.dataset import Dataset, Scaling, checked
from jaxvae.data.rows import Rows, changed, moments
from jaxvae.errors import DataError

BINARIZATION = 2008  # key of what is drawn once


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
    train, test = (
        changed(images, partial(_draw, stream=stream), np.uint8)
        for stream, images in enumerate((dataset.train_images, dataset.test_images))
    )
    return dataset._replace(train_images=train if how == "static" else dataset.train_images, test_images=test)


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
    if isinstance(images := dataset.train_images, Rows):
        mean, scale = moments(images, axis)
    else:
        mean, scale = (of(images, axis=axis, dtype=np.float64) for of in (np.mean, np.std))
    scale = np.where(scale > 1e-6 * np.abs(mean), scale, 1)  # below, rounding is all that varies
    return dataset._replace(scaling=Scaling(np.asarray(mean, np.float32), np.asarray(scale, np.float32)))


def scaled(dataset: Dataset) -> Dataset:
    """The numbers that runs see: standardised by the dataset's scaling, where it has one."""
    if dataset.scaling is None:
        return dataset
    scale = partial(_scale, **dataset.scaling._asdict())
    train, test = (changed(images, scale, np.float32) for images in (dataset.train_images, dataset.test_images))
    return dataset._replace(train_images=train, test_images=test, scaling=None)


def _scale(images: np.ndarray, places: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return (images - mean) / scale


def dequantized(dataset: Dataset) -> Dataset:
    """The images that runs with a density see: bytes as (byte + u) / 256 with u uniform in [0, 1), drawn once.

    A density of numbers that repeat can grow without limit; of these its mean logarithm is a lower bound of the bytes'
    log-probability less log 256 for each number (Theis et al. 2016, section 3.1). Other numbers stay as they are. The
    draws depend on an image's place alone.
    """
    if dataset.train_images.dtype != np.uint8:
        return dataset
    train, test = (
        changed(images, partial(_spread, stream=stream), np.float32)
        for stream, images in ((2, dataset.train_images), (3, dataset.test_images))
    )
    return dataset._replace(train_images=train, test_images=test)


def _spread(images: np.ndarray, places: np.ndarray, stream: int) -> np.ndarray:
    """Each byte somewhere between its level and the next one, float32 in [0, 1)."""
    out = np.empty(images.shape, np.float32)
    for image, raw, spread in zip(images, _raw(images, places, stream), out, strict=True):
        raw = raw >> np.uint64(48)  # below 2¹⁶: float32 holds the sum
        np.multiply(image * np.uint64(2**16) + raw, np.float32(2**-24), out=spread, casting="same_kind")
    return out


def _draw(images: np.ndarray, places: np.ndarray, stream: int) -> np.ndarray:
    """Bytes 0 and 255."""
    binary = np.empty_like(images)
    for image, raw, out in zip(images, _raw(images, places, stream), binary, strict=True):
        raw = raw >> np.uint64(32)  # below 2³²
        np.multiply(raw * np.uint64(255) < image * np.uint64(2**32), np.uint8(255), out=out)
    return binary


def _raw(images: np.ndarray, places: np.ndarray, stream: int) -> Iterator[np.ndarray]:
    """Raw numbers for the images at these places of PCG64, whose stream NumPy keeps for good."""
    source, size, next_place = np.random.PCG64([BINARIZATION, stream]), math.prod(images.shape[1:]), 0
    for place in places.tolist():
        if place != next_place:
            source.advance((place - next_place) * size % 2**128)
        next_place = place + 1
        yield source.random_raw(size).reshape(images.shape[1:])
