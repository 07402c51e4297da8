"""A dataset's name, or a folder that holds it, becomes uint8 arrays in host memory with labels and a fingerprint.

In: `mnist`, `fashion_mnist`, `kmnist`, `digits` or `auto`. Out: a `Dataset`, always in the order of the IDX files.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import socket
import struct
import threading
import urllib.parse
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvae.config import InputError

PUBLISHED = ("mnist", "fashion_mnist", "kmnist")
NAMES = ("auto", *PUBLISHED, "digits")
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
CLASSES = 10
PREFLIGHT_SECONDS = 4.0


class DataError(InputError):
    """A dataset that cannot be had, or files that are not what they should be."""


class Dataset(NamedTuple):
    """A train and a test split, as read."""

    name: str  # which data these are: every file and figure made from them says so
    train_images: np.ndarray  # uint8 [n, 28, 28]
    train_labels: np.ndarray  # uint8 [n]
    test_images: np.ndarray
    test_labels: np.ndarray
    note: str = ""  # why these data stand in for MNIST, when they do

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shape and bytes of the four arrays, hexadecimal."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(name: str = "auto", data_dir: str | os.PathLike | None = None, *, limit: int | None = None) -> Dataset:
    """The dataset `name`, from disk or network, kept as one array file in the user's cache.

    Args:
        name: `mnist`, `fashion_mnist` or `kmnist`; `digits`, which needs neither files nor network; `auto`, MNIST
            where it can be had and `digits` (with a `note` that says why) where it cannot.
        data_dir: folder with `<name>/` holding either the four published `.gz` files or a copy that
            tensorflow-datasets prepared as array_record; default `$JAXVAE_DATA_DIR`, else tensorflow-datasets' own
            folder, else a download.
        limit: keep the first `limit` training images and a sixth as many test images.

    Raises:
        DataError: the data cannot be had or are damaged; one line that says what to do.
    """
    if name not in NAMES:
        raise DataError(f"unknown dataset {name!r}: choose one of {', '.join(NAMES)}")
    if limit is not None and limit < 6:
        raise DataError(f"limit must be at least 6 images (a sixth as many are tested on), not {limit}")
    data_dir = data_dir or os.environ.get("JAXVAE_DATA_DIR") or None
    folder = Path(data_dir).expanduser() if data_dir else None
    if name == "auto":
        try:
            dataset = _published("mnist", folder)
        except _AbsentError as absent:
            dataset = _digits()._replace(note=f"MNIST is not at hand: {absent}")
    else:
        dataset = _digits() if name == "digits" else _published(name, folder)
    if limit is None:
        return dataset
    n, m = limit, limit // 6
    return dataset._replace(
        train_images=dataset.train_images[:n],
        train_labels=dataset.train_labels[:n],
        test_images=dataset.test_images[:m],
        test_labels=dataset.test_labels[:m],
    )


def cache_dir() -> Path:
    """Where prepared arrays are kept: `$JAXVAE_CACHE_DIR`, else `jaxvae` in the user's cache folder."""
    if folder := os.environ.get("JAXVAE_CACHE_DIR"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxvae"


class _AbsentError(DataError):
    """The data are nowhere to be had, as opposed to had and damaged."""


# ── where a published dataset is found ───────────────────────────────────────────────────────────────────────────────


def _published(name: str, folder: Path | None) -> Dataset:
    if folder is not None:
        return _from_folder(name, folder)
    if cached := _cached(name, origin=None):
        return cached
    import tensorflow_datasets as tfds

    own = Path(os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR).expanduser()
    if _prepared_version(name, own):
        return _from_folder(name, own)
    return _cache(_read_idx_files(name, _downloaded(name)), origin="download")


def _from_folder(name: str, folder: Path) -> Dataset:
    place = folder / name
    try:
        present = sorted(entry.name for entry in place.iterdir())
    except FileNotFoundError:
        raise _AbsentError(
            f"{place} does not exist; put the four {name} .gz files there, or choose another --data-dir"
        ) from None
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}); check the folder given as --data-dir") from None
    version = _prepared_version(name, folder)
    if version is None and not any(file in present for file in FILES.values()):
        raise _AbsentError(
            f"{place} holds neither {FILES['train_images']} and its three companions "
            "nor a copy that tensorflow-datasets prepared as array_record"
        )
    sources = sorted(version.iterdir()) if version else [place / file for file in FILES.values()]
    if missing := [path.name for path in sources if not path.is_file()]:
        raise DataError(f"{place} lacks {missing[0]}; all four files are needed: {', '.join(FILES.values())}")
    stats = [(str(path.resolve()), path.stat()) for path in sources]
    origin = "\n".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats)
    if cached := _cached(name, origin):
        return cached
    return _cache(_read_prepared(name, folder) if version else _read_idx_files(name, _verified(name, place)), origin)


def _prepared_version(name: str, folder: Path) -> Path | None:
    """The newest version of the dataset that tensorflow-datasets prepared in a format readable without TensorFlow."""
    versions = {path.parent for path in folder.glob(f"{name}/*.*.*/*.array_record*")}
    return max(versions, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def _verified(name: str, place: Path) -> dict[str, Path]:
    """The four files in `place`, their checksums compared with those tensorflow-datasets publishes."""
    return {key: _fetch(name, file, manual_dir=place) for key, file in FILES.items()}


def _downloaded(name: str) -> dict[str, Path]:
    import tensorflow_datasets as tfds

    url = next(iter(tfds.builder_cls(name).url_infos))
    if (why := unreachable(url)) is not None:
        raise _AbsentError(
            f"no {name} on this disk, and {urllib.parse.urlsplit(url).hostname} cannot be reached ({why}); "
            f"put the four .gz files into a folder {name}/ and give its parent as --data-dir"
        )
    return {key: _fetch(name, file, manual_dir=None) for key, file in FILES.items()}


def _fetch(name: str, file: str, manual_dir: Path | None) -> Path:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    tfds.disable_progress_bar()
    infos = tfds.builder_cls(name).url_infos
    manager = tfds.download.DownloadManager(
        download_dir=_writable(cache_dir() / "downloads"),
        manual_dir=manual_dir,
        url_infos=infos,
        force_checksums_validation=True,
    )
    where = manual_dir / file if manual_dir else file
    try:
        return Path(manager.download(next(url for url in infos if url.endswith("/" + file))))
    except NonMatchingChecksumError:
        raise DataError(f"{where} is damaged: its SHA-256 is not the published one; get the file again") from None
    except OSError as error:
        raise DataError(f"{where} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # requests and tensorflow-datasets raise many kinds while downloading
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _AbsentError(f"{name} could not be downloaded ({first})") from None


def unreachable(url: str) -> str | None:
    """Why nothing answers at `url` (or at the proxy that leads to it), or None; takes under five seconds."""
    target = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urllib.parse.urlsplit(proxy)
    address = (target.hostname or "", target.port or (443 if target.scheme == "https" else 80))
    outcome = ["no answer within four seconds"]

    def connect():
        try:
            socket.create_connection(address, timeout=PREFLIGHT_SECONDS).close()
            outcome[0] = ""
        except OSError as error:
            outcome[0] = error.strerror or str(error)

    # looking a name up has no timeout of its own
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(PREFLIGHT_SECONDS)
    return outcome[0] or None


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_idx(path: str | os.PathLike, rank: int) -> np.ndarray:
    """A gzipped IDX file of unsigned bytes with `rank` dimensions (LeCun et al., the MNIST database).

    Raises:
        DataError: not gzip, cut short, another magic number, or more or fewer bytes than its header says.
    """
    try:
        with gzip.open(path) as file:
            header = file.read(4 + 4 * rank)
            if len(header) < 4 or header[:4] != bytes((0, 0, 8, rank)):
                raise DataError(
                    f"{path} is no IDX file of {rank}-dimensional bytes: it starts with 0x{header[:4].hex()}, "
                    f"not 0x{bytes((0, 0, 8, rank)).hex()}"
                )
            if len(header) < 4 + 4 * rank:
                raise DataError(f"{path} ends within its header")
            shape = struct.unpack(f">{rank}I", header[4:])
            content = file.read(math.prod(shape) + 1)
    except EOFError:
        raise DataError(f"{path} is cut short: the gzip stream ends early; get the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is no sound gzip file ({error}); get the file again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    if len(content) != math.prod(shape):
        more = "more" if len(content) > math.prod(shape) else f"{len(content)}"
        raise DataError(f"{path} says it holds {math.prod(shape)} bytes and holds {more}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_idx_files(name: str, paths: dict[str, Path]) -> Dataset:
    arrays = {key: read_idx(path, 3 if key.endswith("images") else 1) for key, path in paths.items()}
    return checked(Dataset(name, **arrays))


def checked(dataset: Dataset) -> Dataset:
    """The dataset itself, if its arrays belong together.

    Raises:
        DataError: image and label counts differ, images are not 28×28, or a label is no class.
    """
    for split in ("train", "test"):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        if len(images) != len(labels):
            raise DataError(f"{dataset.name} has {len(images)} {split} images but {len(labels)} labels")
        if images.shape[1:] != (28, 28):
            raise DataError(f"{dataset.name} has {split} images of {images.shape[1:]} pixels, not 28×28")
        if len(labels) and labels.max() >= CLASSES:
            raise DataError(f"{dataset.name} has a {split} label {labels.max()}; labels are 0 to {CLASSES - 1}")
    return dataset


def _read_prepared(name: str, folder: Path) -> Dataset:
    """What tensorflow-datasets prepared, put back into the order of the IDX files.

    It writes examples in the order of the salted MD5 of their index, so that order can be computed and undone.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.hashing import Hasher

    arrays = {}
    for split in ("train", "test"):
        try:
            examples = list(tfds.data_source(name, data_dir=folder, split=split))
        except Exception as error:  # whatever array_record, protobuf or Pillow say of damaged files
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataError(
                f"{folder / name}: the copy prepared by tensorflow-datasets cannot be read ({first}); prepare it again"
            ) from None
        hasher = Hasher(split)
        written = sorted(range(len(examples)), key=hasher.hash_key)
        images = np.empty((len(examples), 28, 28), np.uint8)
        labels = np.empty(len(examples), np.uint8)
        for index, example in zip(written, examples, strict=True):
            images[index], labels[index] = example["image"][..., 0], example["label"]
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    return checked(Dataset(name, **arrays))


# ── the cache ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _digits() -> Dataset:
    from jaxvae import digits

    origin = f"digits recipe {digits.RECIPE}"
    return _cached("digits", origin) or _cache(Dataset("digits", **digits.make()), origin)


def _cached(name: str, origin: str | None) -> Dataset | None:
    """The prepared arrays, if they are sound and come from `origin` (None: from wherever)."""
    try:
        with np.load(cache_dir() / f"{name}.npz", allow_pickle=False) as stored:
            dataset = Dataset(name, **{key: stored[key] for key in FILES})
            sound = str(stored["fingerprint"]) == dataset.fingerprint
            return dataset if sound and origin in (None, str(stored["origin"])) else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # absent or damaged: made again from its origin


def _cache(dataset: Dataset, origin: str) -> Dataset:
    path = _writable(cache_dir()) / f"{dataset.name}.npz"
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


def _writable(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be made ({error.strerror}); set JAXVAE_CACHE_DIR to a writable folder"
        ) from None
    if not os.access(folder, os.W_OK):
        raise DataError(f"{folder} is not writable; set JAXVAE_CACHE_DIR to a writable folder")
    return folder
