"""What results say of the data that they are of, and the images that are followed through the training.

In: a dataset. Out: its description with versions and device; its probes.
"""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from jaxvae import __version__
from jaxvae.data import Dataset
from jaxvae.jax_settings import local_devices

UNLABELLED_PROBES = 10  # images that are followed where no labels say which are the first of each class
MAX_FOLLOWED_CLASSES = 20  # of more, the first


def about(dataset: Dataset) -> dict[str, Any]:
    """Data, versions and device: what every result carries with it."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    device = local_devices()[0]
    data = {
        "name": dataset.name,
        "note": dataset.note,
        "fingerprint": dataset.fingerprint,
        "train_images": len(dataset.train_images),
        "test_images": len(dataset.test_images),
        "shape": list(dataset.shape),
    }
    if dataset.train_images.dtype != np.uint8:
        data |= {"dtype": str(dataset.train_images.dtype)}
    if dataset.class_names:
        data |= {"class_names": list(dataset.class_names)}
    if dataset.source:
        data |= {"source": dict(dataset.source)}
    if dataset.scaling:
        data |= {"scaling": {name: values.tolist() for name, values in dataset.scaling._asdict().items()}}
    return {
        "dataset": data if dataset.labels else data | {"labels": False},
        "versions": {"jaxvae": __version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
    }


def probes(dataset: Dataset) -> np.ndarray:
    """The images whose reconstructions are followed, [split (train, test), n, *shape]: the first of each class, of at
    most `MAX_FOLLOWED_CLASSES`, or without labels the first `UNLABELLED_PROBES`."""
    splits = dataset.train_images, dataset.test_images
    if dataset.labels:
        firsts = (np.unique(labels, return_index=True)[1] for labels in dataset.labels)
        images = [split[first[:MAX_FOLLOWED_CLASSES]] for split, first in zip(splits, firsts, strict=True)]
    else:
        images = [split[:UNLABELLED_PROBES] for split in splits]
    n = min(map(len, images))
    return np.stack([split[:n] for split in images])
