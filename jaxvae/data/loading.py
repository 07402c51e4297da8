"""The name of a dataset, or the path of a user's own, becomes arrays in memory.

In: a name such as `mnist`, or a path. Out: a `Dataset`; a published one always in the order of its files.
"""

from __future__ import annotations

import os
from pathlib import Path

from jaxvae.data import files, prepared, published
from jaxvae.data.dataset import Dataset
from jaxvae.data.embedded import EMBEDDED
from jaxvae.data.reading import Reading
from jaxvae.errors import AbsentError, DataError, is_whole, quoted
from jaxvae.system import as_path
from jaxvae.values import Whole, plain

PUBLISHED = ("mnist", "fashion_mnist", "kmnist")
NAMES = ("auto", *PUBLISHED, *EMBEDDED)


def load(
    name: str | os.PathLike = "auto",
    data_dir: str | os.PathLike | None = None,
    *,
    limit: Whole | None = None,
    label: str | None = None,
    size: str | Whole | None = None,
    grey: bool = False,
) -> Dataset:
    """The dataset of this name or at this path.

    Args:
        name: a path: an `.npy` or `.npz` of arrays, a `.csv` or `.parquet` table of numbers, an `.h5ad` of counts, or a
            folder of pictures whose sub-folders are classes; a tenth of the examples is held out to test on, unless an
            `.npz` has `x_test` or a folder has `train` and `test`. The examples of an `.npy` larger than 8 GiB, or than
            a quarter of the free memory, stay in the file and are read in chunks.
            Or a name: `mnist`, `fashion_mnist` or `kmnist`; `digits`, `digits8`, `photos`, `cancer` or `counts`,
            which need neither files nor network; `auto`, MNIST where it can be had and `digits` (with a `note` that
            says why) where it cannot; or that of any images that tensorflow-datasets prepared as array_record.
        data_dir: folder with `<name>/` holding either the four published `.gz` files, which for MNIST may be unzipped,
            or a copy that tensorflow-datasets prepared as array_record; default `$JAXVAE_DATA_DIR`, else
            tensorflow-datasets' own folder, else a download.
        limit: keep the first `limit` training examples and a sixth as many test examples.
        label: what has the labels: the column of a table, the array of an `.npz`, an `.npy` beside an `.npy`.
        size: pixels that pictures of a folder are scaled to: 32 or, height first, "48x64".
        grey: whether pictures of a folder lose their colours.

    Raises:
        DataError: the data cannot be had or are damaged; one line that says what to do.

    Example:
        >>> load("digits8", limit=600).train_images.shape
        (600, 8, 8)
    """
    limit, size = plain(limit), plain(size)
    if limit is not None and not is_whole(limit, at_least=6):
        raise DataError(f"limit must be at least 6 examples (a sixth as many are tested on), not {quoted(limit)}")
    name = plain(name)
    if not isinstance(name, str | os.PathLike):
        raise DataError(f"unknown dataset {quoted(name)}: give a name or a path")
    dataset = _found(name, data_dir, Reading(label, None if size is None else str(size), grey))
    return dataset if limit is None else dataset.first(limit, limit // 6)


def _found(name: str | os.PathLike, data_dir: str | os.PathLike | None, reading: Reading) -> Dataset:
    if isinstance(name, os.PathLike) or (name not in NAMES and files.is_path(name)):
        return files.read(as_path(name), reading)
    if given := next((key for key, value in reading._asdict().items() if value), None):
        raise DataError(f"{given} is for a file or folder of your own; {quoted(name)} is a name of a dataset")
    data_dir = data_dir if data_dir is not None else os.environ.get("JAXVAE_DATA_DIR") or None
    folder = None if data_dir is None else as_path(data_dir)
    if name == "auto":
        try:
            return published.find("mnist", folder)
        except AbsentError as absent:
            return EMBEDDED["digits"]()._replace(note=f"MNIST is not at hand: {absent}")
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if name in PUBLISHED:
        return published.find(name, folder)
    if found := prepared.find(name, folder):
        return found
    there = f"; or ./{name}, which is a path" if name and Path(name).exists() else ""
    raise DataError(f"unknown dataset {quoted(name)}: choose one of {', '.join(NAMES)}, or {files.KINDS}{there}")
