"""Any dataset of images that tensorflow-datasets has prepared on this disk, read without TensorFlow.

In: its name, perhaps with a configuration, and a folder. Out: a `Dataset`, in the order in which it was written.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.data.arrays import from_arrays
from jaxvae.data.dataset import Dataset
from jaxvae.errors import DataError
from jaxvae.system import as_path

NAME = re.compile(r"[a-z0-9_]+(/[\w.-]+)?", re.ASCII)
TEST_SPLITS = ("test", "validation")


def newest(name: str, folder: Path) -> Path | None:
    """The newest version of the dataset that was prepared in a format readable without TensorFlow."""
    folders = {path.parent for path in folder.glob(f"{name}/*/*.array_record*")}
    versions = {path for path in folders if re.fullmatch(r"\d+\.\d+\.\d+", path.name)}
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def own_folder() -> Path:
    """Where tensorflow-datasets prepares datasets, if it is not told otherwise."""
    from tensorflow_datasets.core.constants import DATA_DIR

    return as_path(os.environ.get("TFDS_DATA_DIR") or DATA_DIR)


def examples(name: str, folder: Path, split: str) -> list[Any]:
    """The examples of a split, each a dictionary of arrays, in the order in which they were written.

    Raises:
        DataError: the copy is damaged.
    """
    import tensorflow_datasets as tfds

    logged = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what is wrong is said once, by the exception
    try:
        return list(tfds.data_source(name, data_dir=folder, split=split))  # type: ignore[arg-type]
    except Exception as error:  # whatever array_record, protobuf or Pillow say of damaged files
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{folder / name}: the copy prepared by tensorflow-datasets cannot be read ({first}); prepare it again"
        ) from None
    finally:
        logging.disable(logged)


def find(name: str, folder: Path | None) -> Dataset | None:
    """The dataset, if it is prepared in `folder`, or by default where tensorflow-datasets has its own; else None.

    Raises:
        DataError: it is damaged, or has no images of one size.
    """
    if not NAME.fullmatch(name):
        return None
    folder = own_folder() if folder is None else folder
    if (version := newest(name, folder)) is None:
        return None
    import tensorflow_datasets as tfds

    info = tfds.builder_from_directory(version).info
    features: Any = info.features or {}
    if "image" not in features:
        raise DataError(f"{version} has no images; its examples have {', '.join(features) or 'nothing'}")
    splits = ["train", *[split for split in TEST_SPLITS if split in info.splits][:1]]
    if "train" not in info.splits:
        raise DataError(f"{version} has no split train; it has {', '.join(info.splits)}")
    read = [examples(name, folder, split) for split in splits]
    images = [_stacked(version, [example["image"] for example in split]) for split in read]
    labels: list[Any] = [None, None]
    if "label" in features:
        labels = [np.asarray([example["label"] for example in split]) for split in read]
    test = {"test": images[1], "test_labels": labels[1]} if len(splits) > 1 else {}
    dataset = from_arrays(images[0], labels[0], **test, name=name.replace("/", "-"))
    names = getattr(features.get("label"), "names", None) or ()
    numbered = all(one == str(i) for i, one in enumerate(names))
    return dataset._replace(class_names=() if numbered else tuple(names), source={"name": name})


def _stacked(version: Path, images: list[np.ndarray]) -> np.ndarray:
    """[n, h, w] of grey images, else [n, h, w, channels]."""
    if len(shapes := {image.shape for image in images}) != 1:
        two = " and ".join(str(list(shape)) for shape in sorted(shapes)[:2])
        raise DataError(
            f"{version} has images of several sizes, such as {two}; scale them and give a folder of pictures"
        )
    stacked = np.stack(images)
    return stacked[..., 0] if stacked.shape[-1] == 1 else stacked
