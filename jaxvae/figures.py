"""A sweep's figures: what of its runs and its data goes into which picture.

In: loaded runs, what a classifier reads in their reconstructions, and the dataset. Out: figures/*.png and *.webp.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxvae import manifest, motion, plotting
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.explorer import POINTS
from jaxvae.results import caption, describe, final, probes
from jaxvae.trained import Run

GRID_TICKS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SAMPLES = 64
WALK_STEPS = 8  # frames from a digit to the next


def write_figures(folder: Path, runs: Sequence[Run], digits: dict[str, Any], dataset: Dataset) -> list[Path]:
    """Draws every figure of the sweep into `folder`; returns their paths.

    `dataset` has the images that the runs saw, `digits` is as in `write_tables`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, originals, written = caption(dataset, [run.config for run in runs]), probes(dataset), []

    def keep(name: str, figure: Figure) -> None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", metadata={"Software": None})
        written.append(folder / f"{name}.png")
        manifest.write(written[-1], picture.getvalue())

    if trained := [run for run in runs if run.metrics[-1]["epoch"] > 0]:
        histories = [(run.config, run.metrics, run.parameters) for run in trained]
        models, averaged = mean_curves(histories), caption(dataset, [run.config for run in trained], averaged=True)
        keep("curves", plotting.curves(models, averaged))
        keep("by-dimension", plotting.by_dimension(models, averaged))
        keep("rate-distortion", plotting.rate_distortion(_points(trained), data))
        keep("comparison", _comparison(trained, originals[1], data))
        keep("confusions", plotting.confusions(*_confusions(trained, digits), averaged))
    for run in runs:
        label = f"{describe(run.config)} – {data}"
        last = run.metrics[-1]["epoch"]
        for i, split in enumerate(("train", "test")):
            title = f"{split} images reconstructed during training\n{label}"
            figure = plotting.evolution(originals[i], run.reconstructions[:, i], _shown_epochs(last), title)
            keep(f"evolution-{run.config.name}-{split}", figure)
        drawn = np.asarray(run.sample(jax.random.key(run.config.seed), SAMPLES))
        keep(
            f"samples-{run.config.name}",
            plotting.mosaic(drawn, 8, f"drawn from the prior: {describe(run.config)}\n{data}"),
        )
        if run.config.model.latent_dim == 2:
            keep(f"latent-{run.config.name}", _latent_plane(run, dataset, label))
    first = min(run.config.seed for run in runs)
    moving = _moving([run for run in runs if run.config.seed == first], dataset, originals[1], data)
    for name, picture in moving.items():
        written.append(folder / f"{name}.webp")
        manifest.write(written[-1], picture)
    return written


def _moving(runs: Sequence[Run], dataset: Dataset, originals: np.ndarray, data: str) -> dict[str, bytes]:
    """Animations of the runs of one seed: test images reconstructed epoch by epoch, a walk from digit to digit."""
    names = [describe(run.config) for run in runs]
    epochs = [run.reconstructions[:, 1] for run in runs]
    walks = [_walk(run, dataset) for run in runs]
    return {
        "evolution": motion.evolution(originals, list(zip(names, epochs, strict=True)), f"Test images, {data}"),
        "walk": motion.walk(list(zip(names, walks, strict=True)), f"From digit to digit through latent space, {data}"),
    }


def _walk(run: Run, dataset: Dataset) -> np.ndarray:
    """Decoded on the way from each class's mean code to the next one's and back to the first, uint8 [frame, 28, 28]."""
    codes, labels = np.asarray(run.encode(dataset.test_images[:POINTS]).mean), dataset.test_labels[:POINTS]
    stations = np.stack([codes[labels == label].mean(0) for label in np.unique(labels)])
    steps = np.linspace(0, 1, WALK_STEPS, endpoint=False)[:, None]
    way = [start + steps * (end - start) for start, end in zip(stations, np.roll(stations, -1, 0), strict=True)]
    codes = np.nan_to_num(np.concatenate(way), posinf=1e6, neginf=-1e6)  # those of a run that diverges may overflow
    return np.rint(255 * np.nan_to_num(np.asarray(run.decode(codes)))).astype(np.uint8)


def _shown_epochs(last: int) -> list[int]:
    return sorted({0, *np.geomspace(1, last, 7).round().astype(int).tolist()}) if last else [0]


def mean_curves(histories: Iterable[tuple[RunConfig, list[dict[str, Any]], int]]) -> list[plotting.Curve]:
    """One curve a model, averaged over its seeds up to the epoch that all of them reached.

    Args:
        histories: of each run its configuration, its metrics and its number of parameters.
    """
    models: dict[tuple[str, int], list[tuple[list[dict[str, Any]], int]]] = {}
    for config, history, parameters in histories:
        models.setdefault((config.model.architecture, config.model.latent_dim), []).append((history, parameters))
    drawn = []
    for (architecture, latent_dim), seeds in models.items():
        last = min(history[-1]["epoch"] for history, _ in seeds)
        splits = {
            split: {
                part: np.mean([[history[e][split][part] for e in range(1, last + 1)] for history, _ in seeds], axis=0)
                for part, _ in plotting.PARTS
            }
            for split in ("train", "test")
        }
        drawn.append(plotting.Curve(architecture, latent_dim, seeds[0][1], np.arange(1, last + 1), **splits))
    return drawn


def _points(runs: Sequence[Run]) -> dict[str, list[tuple[int, float, float]]]:
    """For each architecture (latent size, rate, distortion) of its runs on the test split, by size."""
    points: dict[str, list[tuple[int, float, float]]] = {}
    for last in sorted(map(final, runs), key=lambda last: last.latent_dim):
        points.setdefault(last.architecture, []).append((last.latent_dim, last.kl, last.reconstruction))
    return points


def _confusions(runs: Sequence[Run], digits: dict[str, Any]) -> tuple[list[list[tuple[str, np.ndarray]]], float]:
    """A row an architecture: (title, shares of the digits' images over all seeds); the classifier's accuracy."""
    sums: dict[str, dict[int, np.ndarray]] = {}
    for run in runs:
        counts = np.asarray(digits["runs"][run.config.name]["confusion"], float)
        row = sums.setdefault(run.config.model.architecture, {})
        row[run.config.model.latent_dim] = row.get(run.config.model.latent_dim, 0) + counts
    rows = [
        [(f"{a}, d = {d}", n / np.maximum(n.sum(1, keepdims=True), 1)) for d, n in sorted(row.items())]
        for a, row in sums.items()
    ]
    return rows, digits["classifier"]["accuracy"]


def _comparison(runs: Sequence[Run], originals: np.ndarray, data: str) -> Figure:
    """Smallest against largest latent size, linear against conv: test digits and what the models make of them."""
    by_model = {(run.config.model.architecture, run.config.model.latent_dim): run for run in reversed(runs)}
    sizes = sorted({d for _, d in by_model})
    ends = [2 if 2 in sizes else sizes[0], 50 if 50 in sizes else sizes[-1]]
    cells = []
    for architecture in dict.fromkeys(a for a, _ in sorted(by_model, reverse=True)):
        row = [by_model[architecture, d] for d in dict.fromkeys(ends) if (architecture, d) in by_model]
        cells.append([(describe(run.config), originals, run.reconstructions[-1, 1]) for run in row])
    width = min(len(row) for row in cells)
    return plotting.comparison([row[:width] for row in cells], f"Test images and their reconstructions – {data}")


def _latent_plane(run: Run, dataset: Dataset, label: str) -> Figure:
    z1, z2 = np.meshgrid(GRID_TICKS, GRID_TICKS)
    decoded = np.asarray(run.decode(np.stack([z1.ravel(), z2.ravel()], 1)))
    decoded = decoded.reshape(len(GRID_TICKS), len(GRID_TICKS), 28, 28)
    codes = np.asarray(run.encode(dataset.test_images).mean)
    return plotting.latent_plane(decoded, GRID_TICKS, codes, dataset.test_labels, f"The latent plane: {label}")
