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

PROBES = 10  # examples that are followed where there are fewer classes, or none
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
    if dataset.unlabelled:
        data |= {"unlabelled": dataset.unlabelled}
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


def probe_dataset(dataset: Dataset) -> Dataset:
    """The examples whose reconstructions are followed, with labels and conditions: the first of each class, of at most
    `MAX_FOLLOWED_CLASSES`; of fewer than ten classes the first few of each, without classes the first ten."""
    if dataset.labels:
        rows = [_firsts(labels) for labels in dataset.labels]
    else:
        rows = [np.arange(min(PROBES, len(split))) for split in (dataset.train_images, dataset.test_images)]
    n = min(map(len, rows))
    return dataset.rows(*(of_split[:n] for of_split in rows))


def probes(dataset: Dataset) -> np.ndarray:
    """The images of `probe_dataset`, [split (train, test), n, *shape]."""
    found = probe_dataset(dataset)
    return np.stack([found.train_images, found.test_images])


def _firsts(labels: np.ndarray) -> np.ndarray:
    """Where the first examples of each class are, class by class."""
    classes = np.unique(labels[labels >= 0])[:MAX_FOLLOWED_CLASSES]
    each = max(1, PROBES // len(classes))
    return np.concatenate([np.flatnonzero(labels == label)[:each] for label in classes])
