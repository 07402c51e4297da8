"""Prepared datasets, kept as one array file each in the user's cache.

In: a dataset and where it came from. Out: the same arrays, if the file is sound and came from there.
"""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np

from jaxvae.data.dataset import FILES, Dataset
from jaxvae.errors import DataError
from jaxvae.system import cache_dir, writable


def cached(name: str, origin: str | None) -> Dataset | None:
    """The prepared arrays, if they are sound and come from `origin` (None: from wherever)."""
    try:
        with np.load(cache_dir() / f"{name}.npz", allow_pickle=False) as stored:
            arrays: dict[str, Any] = {key: stored[key] for key in FILES}
            dataset = Dataset(name, **arrays)
            sound = str(stored["fingerprint"]) == dataset.fingerprint
            return dataset if sound and origin in (None, str(stored["origin"])) else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent or damaged: made again from its origin


def keep(dataset: Dataset, origin: str) -> Dataset:
    path = writable(cache_dir()) / f"{dataset.name}.npz"
    part = path.with_name(f".{path.name}.{os.getpid()}.npz")
    arrays = {key: getattr(dataset, key) for key in FILES}
    try:
        np.savez(part, **arrays, fingerprint=np.array(dataset.fingerprint), origin=np.array(origin))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); set JAXVAE_CACHE_DIR to a writable folder"
        ) from None
    return dataset
