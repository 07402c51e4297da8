"""NumPy's own files: one array in an .npy, several by name in an .npz. Pickled objects are not loaded."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.data.reading import Found, Reading
from jaxvae.data.rows import is_large
from jaxvae.errors import DataError, reason
from jaxvae.system import as_path

NAMES = {  # what people call arrays of an .npz
    "examples": ("x_train", "train_images", "train_x", "x", "images", "data", "examples", "train", "arr_0"),
    "labels": ("y_train", "train_labels", "train_y", "y", "labels", "targets"),
    "test": ("x_test", "test_images", "test_x", "test"),
    "test_labels": ("y_test", "test_labels", "test_y"),
}


def read_npy(path: Path, reading: Reading) -> Found:
    """Examples, which stay in a file that is large; labels from the .npy that `reading.label` names, beside it or
    anywhere."""
    examples = _array(path, mapped=is_large(path.stat().st_size))
    if not reading.label:
        return Found(examples)
    beside = path.parent / reading.label
    return Found(examples, _array(beside if beside.exists() else as_path(reading.label)))


def _array(path: Path, mapped: bool = False) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; give the .npy file of labels") from None
    except (EOFError, ValueError) as error:
        raise DataError(f"{path} is no array of numbers that NumPy saved ({_why(error)})") from None


def read_npz(path: Path, reading: Reading) -> Found:
    """Arrays by the names that they usually have, or the only one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in stored.files}
    except (EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is no archive of arrays that NumPy saved ({_why(error)})") from None
    there = ", ".join(arrays) or "none"
    if reading.label and reading.label not in arrays:
        raise DataError(f"{path} has no array {reading.label} for labels; its arrays: {there}")
    labels = arrays.pop(reading.label) if reading.label else None
    by_name = {name.lower(): array for name, array in arrays.items()}
    found = {what: next((by_name[name] for name in names if name in by_name), None) for what, names in NAMES.items()}
    if found["examples"] is None and len(arrays) == 1:
        found["examples"] = next(iter(arrays.values()))
    if found["examples"] is None:
        raise DataError(f"{path} has no array named x, images or x_train; its arrays: {there}")
    return Found(**found | ({"labels": labels} if reading.label else {}))


def _why(error: Exception) -> str:
    return "it holds Python objects" if "allow_pickle" in str(error) else reason(error)
