"""What bad inputs are tried on: a finished sweep of one tiny run, and ways to spoil it whose checksums are right.

In: a folder. Out: the sweep in it; files made anew, made wrong, or made by somebody who knows the format.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvae import data
from jaxvae.data import digits
from jaxvae.data.dataset import Dataset
from jaxvae.evaluation.records import Record
from jaxvae.results import Results, write_sweep, write_tables
from jaxvae.runs import manifest
from jaxvae.runs import run as trained
from jaxvae.study.study import Study
from tests.blobs import blobs
from tests.classic import classic

RUN = classic(hidden=(2,), batch_size=20, epochs=1)
MODEL = f"sweep/{RUN.name}"
NESTED = "[" * 200_000  # deeper than Python's parser goes


class Case(NamedTuple):
    """An input that must be refused."""

    what: str  # what is wrong with it
    prepare: Callable[[Path], Callable[[], Any]]  # makes it in a folder that holds sweep/, and returns what to call
    says: str  # a pattern that the line of the refusal has


class Command(NamedTuple):
    """A command with arguments, to be called; returns its exit code."""

    main: Callable[[list[str]], int]
    arguments: list[str]

    def __call__(self) -> int:
        return self.main(self.arguments)


def known() -> Dataset:
    """The images that the commands find in the cache, as the embedded digits and as MNIST."""
    return Dataset("digits", *blobs(60, 0), *blobs(25, 1))


def keep_known() -> None:
    data.keep(known(), f"digits recipe {digits.RECIPE}")
    data.keep(known()._replace(name="mnist"), "download")


def make_sweep(folder: Path) -> None:
    """A sweep's folder with a run and all tables that a report reads, but no figures."""
    dataset = known()
    study = Study(folder, [RUN], dataset)
    study.train("loop", quiet=True)
    assert dataset.test_labels is not None
    confusion = np.diag(np.bincount(dataset.test_labels, minlength=dataset.classes)).tolist()
    record = {"classes": [], "purity": [], "silhouette": [], "radius": [], "confusion": confusion}
    read = {"classifier": {"epochs": 2, "accuracy": 1.0, "test_images": 25}, "runs": {RUN.name: record}}
    results = Results((trained.load(folder / RUN.name).outcome,), study.about["dataset"], read)
    write_tables(folder, results)
    write_sweep(folder, results, study.about, study.how | {"wall_seconds": 1.0})
    (folder / RUN.name / "evaluation.json").write_text(json.dumps(evaluation(dataset.fingerprint)))


def evaluation(fingerprint: str) -> dict[str, Any]:
    """What experiments.evaluate writes of the run, as far as others read it."""
    shared = "test", 25, "none", "digits", fingerprint, RUN.name
    bound = Record("L_K", -150.0, 0.5, None, "nats", "importance weighting", 500, *shared)
    content = {"config": RUN.to_json(), "epoch": RUN.epochs, "records": [bound._asdict()]}
    return content | {"kl_per_dimension": [1.0, 2.0], "remarks": []}


# ── spoiling ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    """A JSON file with other content; a checksum that it carries is made anew."""
    content = json.loads(path.read_text())
    sealed = isinstance(content, dict) and content.pop("sha256", None)
    content = change(content)
    path.write_text(manifest.seal(content) if sealed else json.dumps(content))


def with_value(*keys_and_value: Any) -> Callable[[Any], Any]:
    """A change of one value, at some depth."""
    *keys, last, value = keys_and_value

    def change(content: Any) -> Any:
        inner = content
        for key in keys:
            inner = inner[key]
        inner[last] = value
        return content

    return change


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


def idx(shape: tuple[int, ...], content: bytes, magic: tuple[int, ...] = (0, 0, 8)) -> bytes:
    """An IDX file of bytes, not compressed yet, that says it has this shape."""
    return bytes((*magic, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape) + content


def bomb(start: bytes, gigabytes: int) -> bytes:
    """Gzip members that grow to `start` and then zeros: a gigabyte of them is a megabyte."""
    return gzip.compress(start) + gzip.compress(bytes(2**24)) * (64 * gigabytes)
