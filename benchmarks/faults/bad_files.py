"""Files that are not what they should be: data, configurations and checkpoints.

In: nothing. Out: a case for each. Checksums are right wherever somebody could have made them so.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import jaxvae
from benchmarks.faults.ground import MODEL, NESTED, RUN, Case, bomb, changed, flip, idx, known, with_value
from jaxvae import data
from jaxvae.data.dataset import FILES
from jaxvae.data.published import LARGEST, read_idx
from jaxvae.formats import FORMAT
from jaxvae.runs import manifest
from jaxvae.study.study import Study

FRUGAL = 2 * LARGEST  # bytes that no file may make its reader take


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _idx(what: str, content: bytes | Callable[[], bytes], says: str) -> Case:
    """`content` of what should be a file of images."""

    def prepare(folder: Path) -> Callable[[], Any]:
        (folder / "images.gz").write_bytes(content if isinstance(content, bytes) else content())
        return partial(_frugally, partial(read_idx, folder / "images.gz", 3))

    return Case(f"IDX: {what}", prepare, says)


def _frugally(call: Callable[[], Any]) -> None:
    tracemalloc.start()
    try:
        call()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if peak > FRUGAL:
            raise MemoryError(f"took {peak:,} bytes")


def _data(what: str, make: Callable[[Path], object], says: str) -> Case:
    """`make` spoils a folder of MNIST's files, which are too short to be the published ones."""

    def prepare(folder: Path) -> Callable[[], Any]:
        place = folder / "data" / "mnist"
        place.mkdir(parents=True)
        for key, file in FILES.items():
            shape = (3, 28, 28) if key.endswith("images") else (3,)
            (place / file).write_bytes(gzip.compress(idx(shape, bytes(int(np.prod(shape))))))
        make(place)
        return partial(data.load, "mnist", folder / "data")

    return Case(f"data: {what}", prepare, says)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _instead(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def _file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def _prepared(folder: Path) -> None:
    (folder / "3.0.1").mkdir()
    (folder / "3.0.1" / "mnist-train.array_record-00000-of-00001").write_bytes(b"no records")


SOUND = idx((2, 28, 28), bytes(2 * 784))
DATA = [
    _idx("plain text", b"5 0 4 1 9 2 1 3 1 4", "images.gz is no sound gzip file"),
    _idx("empty", b"", "starts with 0x, not 0x00000803"),
    _idx("cut short", lambda: gzip.compress(SOUND)[:-12], "is cut short: the gzip stream ends early"),
    _idx("a flipped checksum", lambda: gzip.compress(SOUND)[:-8] + b"\1" * 8, "is no sound gzip file"),
    _idx("another magic number", lambda: gzip.compress(b"\1" + SOUND[1:]), "starts with 0x01000803"),
    _idx("floats", lambda: gzip.compress(idx((2, 28, 28), bytes(1568), (0, 0, 13))), "starts with 0x00000d03"),
    _idx("labels for images", lambda: gzip.compress(idx((2,), bytes(2))), "starts with 0x00000801"),
    _idx("ends within its header", lambda: gzip.compress(SOUND[:9]), "ends within its header"),
    _idx("a pixel too few", lambda: gzip.compress(SOUND[:-1]), "says it holds 1568 bytes and holds 1567"),
    _idx("a byte too many", lambda: gzip.compress(SOUND + b"\0"), "says it holds 1568 bytes and holds more"),
    _idx("says 2^40 bytes", lambda: gzip.compress(idx((2**20, 2**10, 2**10), b"")), "holds 1,099,511,627,776 bytes"),
    _idx("says 2^40 images", lambda: gzip.compress(idx((2**32 - 1,) * 3, b"")), "more than any dataset known here"),
    _idx("four gigabytes of zeros", lambda: bomb(b"", 4), "starts with 0x00000000, not 0x00000803"),
    _idx("four gigabytes after two images", lambda: bomb(SOUND, 4), "says it holds 1568 bytes and holds more"),
    _idx("a gigabyte of images", lambda: bomb(idx((2**20, 2**5, 2**5), b""), 1), "more than any dataset known here"),
    Case("IDX: a folder", lambda folder: partial(read_idx, folder, 3), "cannot be read .Is a directory"),
    Case("IDX: a path with a NUL", lambda folder: partial(read_idx, "a\0b", 3), r"'a\\x00b' is no path"),
    _data(
        "not the published files",
        lambda place: None,
        "ubyte.gz is damaged or not of mnist: its SHA-256 is not the published one",
    ),
    _data("a file is missing", lambda place: (place / FILES["test_labels"]).unlink(), "lacks t10k-labels-idx1-ubyte"),
    _data("a folder for a file", lambda place: _instead(place, FILES["test_images"]), "lacks t10k-images-idx3-ubyte"),
    _data("an empty folder", _empty, "holds neither train-images-idx3-ubyte.gz"),
    _data("a file for the folder", _file_for_folder, "cannot be read .Not a directory"),
    _data("a damaged copy of tensorflow-datasets", _prepared, "prepared by tensorflow-datasets cannot be read"),
]


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _load(what: str, make: Callable[[Path], object], says: str, epoch: Any = "latest") -> Case:
    """`make` spoils the run's folder."""

    def prepare(folder: Path) -> Callable[[], Any]:
        make(folder / MODEL)
        return partial(jaxvae.load, folder / MODEL, epoch)

    return Case(f"load: {what}", prepare, says)


def _config(what: str, change: Callable[[Any], Any] | str | bytes, says: str) -> Case:
    """A run's configuration that was changed under a checksum made anew, or is this text."""

    def make(run: Path) -> None:
        if callable(change):
            changed(run / "config.json", change)
        else:
            (run / "config.json").write_bytes(change.encode() if isinstance(change, str) else change)

    return _load(f"config.json: {what}", make, says)


def _checkpoint(what: str, make: Callable[[Path], object], says: str) -> Case:
    """A checkpoint that was changed under a manifest made anew."""

    def anew(run: Path) -> None:
        make(run / "checkpoints" / "1")
        (run / "checkpoints" / "1" / "manifest.json").unlink()
        manifest.write_manifest(run / "checkpoints" / "1")

    return _load(f"checkpoint: {what}", anew, says)


def _history(what: str, change: Callable[[Any], Any], says: str) -> Case:
    return _checkpoint(what, lambda checkpoint: changed(checkpoint / "history.json", change), says)


def _pictures(what: str, pictures: np.ndarray, says: str) -> Case:
    return _checkpoint(what, lambda checkpoint: np.save(checkpoint / "reconstructions.npy", pictures), says)


class _Trap:
    """Unpickled, it leaves a file behind."""

    def __reduce__(self):
        return os.mkdir, ("trapped",)


def _downgrade(run: Path) -> None:
    path = run / "config.json"
    path.write_text(path.read_text().replace('"format": 3', '"format": 1').replace('"seed": 0', '"seed": 1'))


def _renumber(run: Path, name: str) -> None:
    for epoch in ("0", "1"):
        (run / "checkpoints" / epoch).rename(run / "checkpoints" / f"{name}{epoch}")


def _linked(folder: Path) -> Callable[[], Any]:
    """A run whose checkpoints lie elsewhere, in a sweep that goes on."""
    (folder / MODEL / "checkpoints").rename(folder / "elsewhere")
    (folder / MODEL / "checkpoints").symlink_to(folder / "elsewhere")
    return Study(folder / "sweep", [RUN], known()).train


def _claimed(checkpoint: Path) -> None:
    """An array whose header says that it is a terabyte."""
    head = repr({"descr": "|u1", "fortran_order": False, "shape": (2**40,)}).encode().ljust(117) + b"\n"
    (checkpoint / "reconstructions.npy").write_bytes(b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head)


ENCODER, RATE = ("vae", "encoder"), ("optimiser", "learning_rate")  # where they are in a configuration
PRIOR = {"part": "prior/normal"}
OLD = {"model": {"architecture": "linear", "latent_dim": 2}}  # a configuration of formats 1 and 2
CHECKPOINTS = [
    _load("no such folder", lambda run: shutil.rmtree(run), "is no run: it has no config.json"),
    _load("an empty folder", _empty, "is no run: it has no config.json"),
    _load("no checkpoint yet", lambda run: shutil.rmtree(run / "checkpoints"), "holds no checkpoint yet"),
    _load("checkpoints that are a file", lambda run: _file_for_folder(run / "checkpoints"), "holds no checkpoint yet"),
    _load("checkpoints of foreign names", lambda run: _renumber(run, "../"), "holds no checkpoint yet"),
    _load("checkpoints in Arabic digits", lambda run: _renumber(run, "٣"), "holds no checkpoint yet"),
    _load("a path for an epoch", lambda run: None, "no checkpoint of epoch '../checkpoints/1'", "../checkpoints/1"),
    _load("no such epoch", lambda run: None, "no checkpoint of epoch 7; there are: 0, 1", 7),
    _load("an epoch below zero", lambda run: None, "no checkpoint of epoch -1; there are: 0, 1", -1),
    _load("an epoch that is no number", lambda run: None, "no checkpoint of epoch 'newest'", "newest"),
    _load("an epoch that is true", lambda run: None, "no checkpoint of epoch True", True),
    _load("half an epoch", lambda run: None, "no checkpoint of epoch 0.5", 0.5),
    _config("no JSON", "model: linear", "config.json is damaged"),
    _config("empty", "", "config.json is damaged"),
    _config("not UTF-8", b"\xff\xfe{}", "config.json is damaged or not of a run .UnicodeDecodeError"),
    _config("nested without end", NESTED, "config.json is damaged or not of a run .RecursionError"),
    _config("a list", "[1, 2]", "config.json is damaged"),
    _config("a later format", with_value("format", 99), "has format 99; this version of jaxvae reads 1 to 3"),
    _config("a format in words", with_value("format", "two"), "has format 'two'"),
    _config("no checksum", json.dumps({"format": FORMAT, "config": RUN.to_json()}), "its SHA-256 is missing"),
    _config("of another model", with_value("config", "vae", "latent_dim", 3), "latent_dim 2 there, 3 now"),
    _config("on other data", with_value("dataset", "fingerprint", "ff"), "dataset .* there, ff now"),
    _config("a dataset that is a list", with_value("dataset", ["mnist"]), "its dataset is .'mnist'."),
    _config("a learning rate that is no number", with_value("config", *RATE, float("nan")), "not nan"),
    _config("a learning rate without end", with_value("config", *RATE, 10**400), "learning_rate must be"),
    _config("a seed in words", with_value("config", "seed", "0"), "seed must be a whole number"),
    _config("widths that are no list", with_value("config", *ENCODER, "hidden", {"2": 2}), "hidden must be a"),
    _config("an unknown field", with_value("config", "vae", "a\nb", 1), r"vae has no field 'a\\nb'"),
    _config("no model", with_value("config", {}), "run lacks the field 'vae'"),
    _config("a model in a word", with_value("config", "vae", "linear"), "vae must be a VAE, not 'linear'"),
    _config("another part for a model", with_value("config", "vae", PRIOR), "vae must be a VAE"),
    _config("another part for an objective", with_value("config", "objective", PRIOR), "a part of the kind objective"),
    _config("another part for a prior", with_value("config", "vae", "prior", {"part": "objective/elbo"}),
            "vae: prior must be a part of the kind prior"),
    _config("an encoder that is none", with_value("config", *ENCODER, PRIOR), "encoder must be a Linen module"),
    _config("a part that nobody has registered", with_value("config", "vae", "prior", {"part": "prior/mine"}),
            r"no part named 'prior/mine'; .* hand it in: parts="),
    _config("a module for a part", with_value("config", "vae", "prior", {"part": "os.system"}), "no part named 'os."),
    _config("a part without a name", with_value("config", "vae", "prior", {}), "prior must be an object with the key"),
    _config("a part named by a list", with_value("config", "objective", "part", ["elbo"]), "no part named .'elbo'."),
    _config("an old one without a model", with_value("config", {"model": {}}), "model lacks the field 'architecture'"),
    _config("an old one of a later field", with_value("config", OLD | {"vae": 1}), "a run has no field 'vae'"),
    _config("an old one of two minds", with_value("config", OLD | {"train": {"importance_samples": 5}}),
            "importance_samples is 5, which needs the objective iwae"),
    _load("config.json: a flipped bit", lambda run: flip(run / "config.json", 0.9), "config.json"),
    _load("config.json: made older, to have no checksum", _downgrade, "its SHA-256 is not the recorded one"),
    _load("config.json: a folder", lambda run: _instead(run, "config.json"), "cannot be read .Is a directory"),
    _load("manifest: none", lambda run: (run / "checkpoints/1/manifest.json").unlink(), "manifest.json is missing"),
    _load("manifest: nested", lambda run: (run / "checkpoints/1/manifest.json").write_text(NESTED), "is damaged"),
    _load("manifest: no files", lambda run: changed(run / "checkpoints/1/manifest.json", lambda _: {"files": [1]}),
          "manifest.json is damaged"),
    _load("manifest: a path out of the folder", lambda run: changed(
        run / "checkpoints/1/manifest.json", with_value("files", "../../../../../etc/passwd", "0" * 64)),
          "passwd is missing"),
    _load("a file was added", lambda run: (run / "checkpoints/1/more").touch(), "more does not belong there"),
    _load("a file was flipped", lambda run: flip(run / "checkpoints/1/reconstructions.npy"), "npy is damaged"),
    _checkpoint("of another configuration", lambda checkpoint: changed(
        checkpoint / "config.json", with_value("config", "seed", 5)), "seed 5 there, 0 now"),
    _checkpoint("of a later format", lambda checkpoint: changed(
        checkpoint / "config.json", with_value("format", 4)), "has format 4"),
    _checkpoint("no state", lambda checkpoint: shutil.rmtree(checkpoint / "state"), "checkpoints/1 cannot be read"),
    _history("no epochs", with_value("epochs", []), "cannot be read"),
    _history("epochs that are a number", with_value("epochs", 2), "cannot be read"),
    _history("epochs out of order", lambda given: given | {"epochs": given["epochs"][::-1]}, "epoch 0 of its history"),
    _history("losses in words", with_value("epochs", 1, "test", "loss", "low"), "epoch 1 of its history"),
    _history("another loss", with_value("epochs", 1, "test", {"mse": 1.0}), "epoch 1 of its history"),
    _history("time in words", with_value("epochs", 1, "seconds", "long"), "an epoch without a time"),
    _history("diverged in words", with_value("diverged", {"epoch": "2", "step": None}), "it diverged in"),
    _history("nobody together", with_value("lane_runs", 3), "cannot be read"),
    _pictures("a pickle that makes a folder", np.array([_Trap()], object), "cannot be read .*allow_pickle=False"),
    _pictures("pictures of another shape", np.zeros((2, 2, 10, 8, 8), np.uint8), "reconstructions are uint8"),
    _pictures("pictures of floats", np.zeros((2, 2, 10, 28, 28)), "reconstructions are float64"),
    _pictures("a single picture", np.array(3, np.uint8), r"reconstructions are uint8 \[\]"),
    _checkpoint("pictures of a terabyte", _claimed, "cannot be read"),
    Case("sweep goes on: checkpoints that lead elsewhere", _linked, "is a link out of"),
]  # fmt: skip

CASES = [*DATA, *CHECKPOINTS]
