"""Datasets that are not like MNIST in number: a study of each goes from training to the page and the evaluation.

In: nothing. Out: a check for each dataset.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import jaxvae
from benchmarks.faults.checks import Check
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.evaluation import Evaluation, Plan
from jaxvae.models import MLP, VAE
from jaxvae.study.study import Study

WHAT = "datasets unlike MNIST finished / tried"

N, M, SIDE = 24, 12, 8


def _noise(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def _dataset(
    name: str = "noise", shape: tuple[int, ...] = (SIDE, SIDE), n: int = N, m: int = M, **arrays: Any
) -> Dataset:
    images = Dataset(name, _noise(n, *shape), np.arange(n) % 4, _noise(m, *shape, seed=1), np.arange(m) % 4)
    return images._replace(**arrays)


def _constant(value: int) -> Dataset:
    return _dataset(train_images=np.full((N, SIDE, SIDE), value, np.uint8),
                    test_images=np.full((M, SIDE, SIDE), value, np.uint8))  # fmt: skip


def _labelled(train: Any, test: Any) -> Dataset:
    return _dataset(train_labels=train, test_labels=test)


DATASETS: dict[str, Callable[[], Dataset]] = {
    "one class": lambda: _labelled(np.zeros(N, int), np.zeros(M, int)),
    "a class that the test split lacks": lambda: _labelled(np.arange(N) % 4, np.arange(M) % 3),
    "a class that the training split lacks": lambda: _labelled(np.arange(N) % 3, np.arange(M) % 4),
    "no class in both splits": lambda: _labelled(np.arange(N) % 2, 2 + np.arange(M) % 2),
    "a class of its own for each image": lambda: _labelled(np.arange(N), np.arange(M)),
    "classes with gaps between": lambda: _labelled(100 * (np.arange(N) % 4), 100 * (np.arange(M) % 4)),
    "no labels": lambda: _labelled(None, None),
    "labels of one split alone": lambda: _labelled(np.arange(N) % 4, None),
    "two images": lambda: _dataset(n=2, m=2),
    "one image": lambda: _dataset(n=1, m=1),
    "more test images than training images": lambda: _dataset(n=2, m=M),
    "black images": lambda: _constant(0),
    "white images": lambda: _constant(255),
    "a name of 60 characters": lambda: _dataset("the-measurements-of-a-long-afternoon-in-a-laboratory-of-ours"),
    "a name of any script": lambda: _dataset("größer & <b>数字</b> $\\frac$ % {0}"),
    "a single pixel": lambda: _dataset(shape=(1, 1)),
    "signals": lambda: _dataset(shape=(1, 700)),
    "vectors": lambda: _dataset(shape=(9,)),
    "colour": lambda: _dataset(shape=(5, 9, 3)),
    "five axes": lambda: _dataset(shape=(2, 3, 2, 2)),
}


def checks(sweep: Path) -> list[Check]:
    return [Check(what, _finishes(make)) for what, make in DATASETS.items()]


def _finishes(make: Callable[[], Dataset]) -> Callable[[Path], str | None]:
    def failure(folder: Path) -> str | None:
        dataset = make()
        run = RunConfig(VAE(2, MLP((4,))), batch_size=min(4, len(dataset.train_images)), epochs=1)
        study = Study(folder / "study", [run], dataset)
        study.console.quiet = True
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning is a line that a user has to understand
            study.train(quiet=True)
            study.write(wall_seconds=1.0)
        empty = [path.name for path in (folder / "study").rglob("*") if path.is_file() and not path.stat().st_size]
        if empty or not (folder / "study" / "report.html").exists():
            return f"{empty or 'report.html'} was not written"
        records = Evaluation(Plan((1, 5))).evaluate(jaxvae.load(folder / "study" / run.name), dataset).records
        wrong = [record.metric for record in records if not np.isfinite(record.value)]
        return f"{wrong} are not finite" if wrong else None

    return failure
