"""The embedded dataset: scikit-learn's handwritten digits, brought to MNIST's form and size.

In: nothing. Out: 60,000 training and 10,000 test images, 28×28 bytes, the same on every call. The two splits are made
from disjoint originals, so a model cannot meet a test digit's sibling in training.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

RECIPE = 1  # raised when the images change, so that cached ones are made again
SIZES = {"train": 60_000, "test": 10_000}
TEST_SHARE = 1 / 7


def make() -> dict[str, Any]:
    """`train_images`, `train_labels`, `test_images`, `test_labels` as uint8 (Alpaydin & Kaynak 1998, UCI optdigits)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch: Any = load_digits()
    originals, classes = enlarge(bunch.images / 16.0).astype(np.float32), bunch.target.astype(np.uint8)
    train, test = train_test_split(np.arange(len(classes)), test_size=TEST_SHARE, random_state=0, stratify=classes)
    arrays = {}
    for (split, size), members in zip(SIZES.items(), (train, test), strict=True):
        rng = np.random.default_rng([RECIPE, size])
        chosen = rng.permutation(np.resize(members, size))  # each original equally often, give or take one
        arrays[f"{split}_images"] = jitter(originals[chosen], rng)
        arrays[f"{split}_labels"] = classes[chosen]
    return arrays


def enlarge(images: np.ndarray) -> np.ndarray:
    """8×8 in [0, 1] → 28×28, digits 20 pixels high and centred by mass, as MNIST's are (LeCun et al. 1998)."""
    from scipy import ndimage

    zoomed: Any = ndimage.zoom(images, (1, 20 / 8, 20 / 8), order=3, mode="grid-constant", grid_mode=True)
    sharpened = np.clip((zoomed - 0.25) / 0.5, 0, 1)  # thin grey edges around a white stroke
    canvas = np.pad(sharpened, ((0, 0), (4, 4), (4, 4)))
    pixels = np.arange(28) - 13.5
    mass = canvas.sum((1, 2))
    shift = np.stack([canvas.sum(2) @ pixels, canvas.sum(1) @ pixels], 1) / mass[:, None]
    return np.stack([ndimage.shift(c, -s, order=1) for c, s in zip(canvas, shift, strict=True)])


def jitter(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small random affine map of each image: rotation ±10°, shear ±0.15, scale ±10 %, shift ±1.5 pixels."""
    from scipy import ndimage

    n = len(images)
    angle = rng.uniform(-1, 1, n) * np.deg2rad(10)
    shear = rng.uniform(-0.15, 0.15, n)
    scale = rng.uniform(0.9, 1.1, (n, 2))
    shift = rng.uniform(-1.5, 1.5, (n, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.stack([cos, shear * cos - sin, sin, shear * sin + cos], 1).reshape(n, 2, 2) / scale[:, None, :]
    grid = np.indices((28, 28)).reshape(2, -1) - 13.5
    moved = np.empty((n, 28, 28), np.uint8)

    def warp(start):
        part = slice(start, start + 500)  # a chunk stays in the processor's cache
        places = np.empty((3, len(images[part]), 28 * 28), np.float32)
        places[0] = np.arange(len(images[part]))[:, None]
        places[1:] = (maps[part] @ grid + shift[part, :, None] + 13.5).transpose(1, 0, 2)
        pixels = ndimage.map_coordinates(images[part], places, order=1)
        moved[part] = np.rint(np.clip(pixels, 0, 1) * 255).reshape(-1, 28, 28)

    with ThreadPoolExecutor() as pool:
        list(pool.map(warp, range(0, n, 500)))
    return moved
