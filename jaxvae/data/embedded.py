"""Datasets that need neither files nor a network: one of each kind of data.

In: a name. Out: a `Dataset`, the same on every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxvae.data import counts, digits
from jaxvae.data.arrays import from_arrays
from jaxvae.data.cache import cached, keep
from jaxvae.data.dataset import Dataset

SIDE = 32  # of a patch
TRAIN_STRIDE, TEST_STRIDE = 6, 8  # pixels from a patch to the next
TEST_WIDTH = 128  # of each photograph, from its right edge: no pixel of it is trained on


def digits_like_mnist() -> Dataset:
    """scikit-learn's digits in MNIST's form and size, 28×28; what stands in for MNIST."""
    origin = f"digits recipe {digits.RECIPE}"
    return cached("digits", origin) or keep(Dataset("digits", **digits.make()), origin)


def digits8() -> Dataset:
    """1,797 handwritten digits, 8×8 with 17 grey levels (Alpaydin & Kaynak 1998), as bytes."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return from_arrays(np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target, name="digits8")


def photos() -> Dataset:
    """Patches, 32×32 in colour, of scikit-learn's two photographs: a temple and a flower."""
    from sklearn.datasets import load_sample_image

    names = "temple", "flower"
    train, test = [], []
    for name in ("china.jpg", "flower.jpg"):
        photograph = np.asarray(load_sample_image(name))
        train.append(_patches(photograph[:, :-TEST_WIDTH], TRAIN_STRIDE))
        test.append(_patches(photograph[:, -TEST_WIDTH:], TEST_STRIDE))
    order, labels = np.random.default_rng(0), [np.repeat([0, 1], list(map(len, split))) for split in (train, test)]
    shuffled = [order.permutation(len(own)) for own in labels]
    images = [np.concatenate(split)[own] for split, own in zip((train, test), shuffled, strict=True)]
    labels = [own[mixed].astype(np.uint8) for own, mixed in zip(labels, shuffled, strict=True)]
    return Dataset("photos", images[0], labels[0], images[1], labels[1], class_names=names)


def _patches(photograph: np.ndarray, stride: int) -> np.ndarray:
    """[n, 32, 32, 3], from left to right and from top to bottom."""
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (SIDE, SIDE), axis=(0, 1))
    return np.moveaxis(windows[::stride, ::stride], 2, -1).reshape(-1, SIDE, SIDE, 3)


def cancer() -> Dataset:
    """30 measurements of 569 tumours (Wolberg et al. 1995), which are benign or malignant."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer()
    return from_arrays(bunch.data, bunch.target_names[bunch.target], name="cancer")


def counts_of_cells() -> Dataset:
    """Simulated counts of 50 genes in cells of four groups, see `jaxvae.data.counts`."""
    return Dataset("counts", **counts.make())


EMBEDDED: dict[str, Callable[[], Dataset]] = {
    "digits": digits_like_mnist,
    "digits8": digits8,
    "photos": photos,
    "cancer": cancer,
    "counts": counts_of_cells,
}
