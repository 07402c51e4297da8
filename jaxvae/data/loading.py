"""The name of a dataset, or the folder that holds it, becomes arrays in memory.

In: `mnist`, `fashion_mnist`, `kmnist`, `digits` or `auto`. Out: a `Dataset`, always in the order of the IDX files.
"""

from __future__ import annotations

import os

from jaxvae.data import digits, published
from jaxvae.data.cache import cached, keep
from jaxvae.data.dataset import Dataset
from jaxvae.errors import AbsentError, DataError, is_whole, quoted
from jaxvae.system import as_path
from jaxvae.values import Whole, plain

PUBLISHED = ("mnist", "fashion_mnist", "kmnist")
NAMES = ("auto", *PUBLISHED, "digits")


def load(name: str = "auto", data_dir: str | os.PathLike | None = None, *, limit: Whole | None = None) -> Dataset:
    """The dataset `name`, from disk or network, kept as one array file in the user's cache.

    Args:
        name: `mnist`, `fashion_mnist` or `kmnist`; `digits`, which needs neither files nor network; `auto`, MNIST
            where it can be had and `digits` (with a `note` that says why) where it cannot.
        data_dir: folder with `<name>/` holding either the four published `.gz` files, which for MNIST may be unzipped,
            or a copy that tensorflow-datasets prepared as array_record; default `$JAXVAE_DATA_DIR`, else
            tensorflow-datasets' own folder, else a download.
        limit: keep the first `limit` training images and a sixth as many test images.

    Raises:
        DataError: the data cannot be had or are damaged; one line that says what to do.
    """
    name, limit = plain(name), plain(limit)
    if not isinstance(name, str) or name not in NAMES:
        raise DataError(f"unknown dataset {quoted(name)}: choose one of {', '.join(NAMES)}")
    if limit is not None and not is_whole(limit, at_least=6):
        raise DataError(f"limit must be at least 6 images (a sixth as many are tested on), not {quoted(limit)}")
    data_dir = data_dir if data_dir is not None else os.environ.get("JAXVAE_DATA_DIR") or None
    folder = None if data_dir is None else as_path(data_dir)
    if name == "auto":
        try:
            dataset = published.find("mnist", folder)
        except AbsentError as absent:
            dataset = _digits()._replace(note=f"MNIST is not at hand: {absent}")
    else:
        dataset = _digits() if name == "digits" else published.find(name, folder)
    return dataset if limit is None else dataset.first(limit, limit // 6)


def _digits() -> Dataset:
    origin = f"digits recipe {digits.RECIPE}"
    return cached("digits", origin) or keep(Dataset("digits", **digits.make()), origin)
