"""A user's file or folder becomes a dataset.

In: a path, and how it is to be read. Out: a `Dataset`, whose test split is held out where the file has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from jaxvae.data import array_files, count_files, picture_folder, tables
from jaxvae.data.arrays import from_arrays
from jaxvae.data.dataset import Dataset
from jaxvae.data.reading import Found, Reading
from jaxvae.errors import DataError, quoted

READERS: dict[str, Callable[[Path, Reading], Found]] = {
    ".npy": array_files.read_npy,
    ".npz": array_files.read_npz,
    ".csv": tables.read_csv,
    ".parquet": tables.read_parquet,
    ".h5ad": count_files.read,
}
KINDS = f"a folder of pictures, or a file of the kind {', '.join(READERS)}"
OPTIONS = {"label": tuple(READERS), "size": (), "grey": ()}  # for which suffixes; folders of pictures have the others


def is_path(name: str) -> bool:
    """Whether this names a file or a folder, and no dataset."""
    return "/" in name or "\\" in name or name.startswith(("~", ".")) or Path(name).suffix in READERS


def read(path: Path, reading: Reading) -> Dataset:
    """The dataset in a file or folder.

    Raises:
        DataError: it is not there, of no known kind, damaged, or has no use for what `reading` says.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; give {KINDS}")
    suffix = path.suffix.lower()
    if not path.is_dir() and suffix not in READERS:
        raise DataError(f"{path} is none of what can be read; give {KINDS}")
    for name, suffixes in OPTIONS.items():
        if getattr(reading, name) and bool(suffixes) == path.is_dir():
            raise DataError(f"{name} is for {'files' if suffixes else 'folders of pictures'}; {path} is none")
    try:
        found = picture_folder.read(path, reading) if path.is_dir() else READERS[suffix](path, reading)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or quoted(error)})") from None
    dataset = from_arrays(
        found.examples, found.labels, test=found.test, test_labels=found.test_labels, name=_name(path)
    )
    given = {key: value for key, value in reading._asdict().items() if value}
    return dataset._replace(source={"name": path.resolve().as_posix(), **given})


def _name(path: Path) -> str:
    """What figures and folders call it: letters, digits and . _ + - of the path's own name."""
    own = path.resolve()
    return re.sub(r"[^\w.+-]+", "-", own.name if own.is_dir() else own.stem, flags=re.ASCII)[:60].strip("-") or "data"
