"""Published datasets: found on disk or fetched through tensorflow-datasets, without TensorFlow.

In: a dataset's name and perhaps a folder. Out: a `Dataset` in the order of the IDX files, kept in the cache.
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
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxvae.data import prepared
from jaxvae.data.cache import cached, keep
from jaxvae.data.dataset import FILES, Dataset, checked
from jaxvae.errors import AbsentError, DataError, Remedy
from jaxvae.system import as_path, cache_dir, writable

PREFLIGHT_SECONDS = 4.0
LARGEST = 2**26  # bytes that an IDX file may claim to hold; MNIST's training images are 47 million
UNZIPPED = {  # SHA-256 of the published files without their gzip, where it is known
    "mnist": {
        "train_images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train_labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "test_images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "test_labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    }
}


def find(name: str, folder: Path | None) -> Dataset:
    """The dataset from `folder`, or else from the cache, tensorflow-datasets' own folder or the network.

    Raises:
        AbsentError: it is nowhere to be had.
        DataError: it is there and cannot be used.
    """
    if folder is not None:
        return _from_folder(name, folder)
    if found := cached(name, origin=None):
        return found
    if prepared.newest(name, own := prepared.own_folder()):
        return _from_folder(name, own)
    return keep(_read_idx_files(name, _downloaded(name)), origin="download")


def _from_folder(name: str, folder: Path) -> Dataset:
    place = folder / name
    if not place.exists() and any((folder / own).is_file() for file in FILES.values() for own in _names(file)):
        place = folder  # the four files themselves, whose checksums say which data they are
    try:
        present = {entry.name for entry in place.iterdir()}
    except FileNotFoundError:
        if not folder.exists():
            raise DataError(f"{folder} does not exist; {Remedy.CHECK_DATA}") from None
        raise AbsentError(
            f"{place} does not exist; put the four {name} .gz files there, or {Remedy.CHECK_DATA}"
        ) from None
    except OSError as error:
        raise DataError(f"{place} cannot be read ({error.strerror}); {Remedy.CHECK_DATA}") from None
    version = prepared.newest(name, folder)
    files = {key: place / next((own for own in _names(file) if own in present), file) for key, file in FILES.items()}
    if version is None and not any(path.name in present for path in files.values()):
        raise AbsentError(
            f"{place} holds neither {FILES['train_images']} and its three companions "
            "nor a copy that tensorflow-datasets prepared as array_record"
        )
    sources = sorted(version.iterdir()) if version else [*files.values()]
    if missing := [path.name for path in sources if not path.is_file()]:
        raise DataError(f"{place} lacks {missing[0]}; all four files are needed: {', '.join(FILES.values())}")
    stats = [(str(path.resolve()), path.stat()) for path in sources]
    origin = "\n".join(f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats)
    if found := cached(name, origin):
        return found
    if version:
        return keep(_read_prepared(name, folder), origin)
    return keep(_read_idx_files(name, {key: _checked(name, key, path) for key, path in files.items()}), origin)


def _names(file: str) -> tuple[str, ...]:
    """What a file may be called: as published, or unzipped, as one or another program does it."""
    unzipped = file.removesuffix(".gz")
    return file, unzipped, unzipped.replace("-idx", ".idx")


def _checked(name: str, key: str, path: Path) -> Path:
    """A file of the user's, if it is the published one, zipped or not.

    Raises:
        DataError: its checksum is another one, or none is known of what is unzipped.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if _is_unzipped(path) else None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from None
    if digest is None:
        return _fetch(name, FILES[key], path.parent)  # compares with what tensorflow-datasets publishes
    if name not in UNZIPPED:
        raise DataError(f"{path} is unzipped, and of {name} only the .gz files have known checksums; put those there")
    if digest != UNZIPPED[name][key]:
        raise DataError(f"{path} is damaged or not of {name}: its SHA-256 is not the published file's; get {name}'s")
    return path


def _is_unzipped(path: Path) -> bool:
    """Whether a file is an IDX file as it is; some programs unzip one and leave it its name."""
    with path.open("rb") as file:
        return file.read(2) == b"\0\0" or path.suffix != ".gz"


def _downloaded(name: str) -> dict[str, Path]:
    import tensorflow_datasets as tfds

    url = next(iter(tfds.builder_cls(name).url_infos or {}))
    if (why := unreachable(url)) is not None:
        raise AbsentError(
            f"no {name} on this disk, and {urllib.parse.urlsplit(url).hostname} cannot be reached ({why}); "
            f"put the four .gz files into a folder {name}/ and {Remedy.PASS_DATA}"
        )
    return {key: _fetch(name, file, manual_dir=None) for key, file in FILES.items()}


def _fetch(name: str, file: str, manual_dir: Path | None) -> Path:
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    tfds.disable_progress_bar()
    infos = tfds.builder_cls(name).url_infos or {}
    manager = tfds.download.DownloadManager(
        download_dir=writable(cache_dir() / "downloads"),
        manual_dir=manual_dir,
        url_infos=infos,
        force_checksums_validation=True,
    )
    where = manual_dir / file if manual_dir else file
    try:
        return Path(manager.download(next(url for url in infos if url.endswith("/" + file))))
    except NonMatchingChecksumError:
        raise DataError(
            f"{where} is damaged or not of {name}: its SHA-256 is not the published one; get {name}'s"
        ) from None
    except Exception as error:  # requests and tensorflow-datasets raise many kinds while downloading
        if isinstance(error, OSError) and error.strerror:  # the disk's; the network's have none
            raise DataError(f"{where} cannot be read or written ({error.strerror})") from None
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise AbsentError(f"{name} could not be downloaded ({first})") from None


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
    """An IDX file of unsigned bytes with `rank` dimensions (LeCun et al., the MNIST database), gzipped or not.

    Raises:
        DataError: neither, cut short, another magic number, or more or fewer bytes than its header says.
    """
    path = as_path(path)
    try:
        with path.open("rb") if _is_unzipped(path) else gzip.open(path) as file:
            header, magic = file.read(4 + 4 * rank), bytes((0, 0, 8, rank))
            if header[:4] != magic:
                raise DataError(
                    f"{path} is no IDX file of {rank}-dimensional bytes: it starts with 0x{header[:4].hex()}, "
                    f"not 0x{magic.hex()}"
                )
            if len(header) < 4 + 4 * rank:
                raise DataError(f"{path} ends within its header")
            shape = struct.unpack(f">{rank}I", header[4:])
            if math.prod(shape) > LARGEST:
                raise DataError(f"{path} says it holds {math.prod(shape):,} bytes, more than any dataset known here")
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
    arrays: dict[str, Any] = {key: read_idx(path, 3 if key.endswith("images") else 1) for key, path in paths.items()}
    return _as_published(Dataset(name, **arrays))


def _read_prepared(name: str, folder: Path) -> Dataset:
    """What tensorflow-datasets prepared, put back into the order of the IDX files.

    It writes examples in the order of the salted MD5 of their index, so that order can be computed and undone.
    """
    from tensorflow_datasets.core.hashing import Hasher

    arrays: dict[str, Any] = {}
    for split in ("train", "test"):
        examples = prepared.examples(name, folder, split)
        hasher = Hasher(split)
        written = sorted(range(len(examples)), key=hasher.hash_key)
        images = np.empty((len(examples), 28, 28), np.uint8)
        labels = np.empty(len(examples), np.uint8)
        for index, example in zip(written, examples, strict=True):
            images[index], labels[index] = example["image"][..., 0], example["label"]
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    return _as_published(Dataset(name, **arrays))


def _as_published(dataset: Dataset) -> Dataset:
    """The dataset itself, if its images and labels are of the kind that all of these datasets have.

    Raises:
        DataError: they are not.
    """
    checked(dataset)
    if dataset.shape != (28, 28):
        raise DataError(f"{dataset.name} has images of {dataset.shape} pixels, not 28×28")
    if dataset.classes > 10:
        raise DataError(f"{dataset.name} has a label {dataset.classes - 1}; labels are 0 to 9")
    return dataset
