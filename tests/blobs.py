"""Images that need neither files nor a network: a bright blob each, its place given by the label."""

from __future__ import annotations

import numpy as np

from jaxvae.data.dataset import Dataset


def blobs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """n images, bytes [n, 28, 28], and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.uint8) % 10
    y, x = np.mgrid[:28, :28]
    cy, cx = 9 + 10 * (labels // 5) + rng.normal(0, 0.7, n), 4 + 5 * (labels % 5) + rng.normal(0, 0.7, n)
    image = np.exp(-((y - cy[:, None, None]) ** 2 + (x - cx[:, None, None]) ** 2) / 8)
    return np.rint(255 * image).astype(np.uint8), labels


def small() -> Dataset:
    """Enough for shapes and sums: 60 training and 25 test images."""
    return Dataset("blobs", *blobs(60, 0), *blobs(25, 1))
