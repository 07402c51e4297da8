"""A sweep's figures: what of its runs and its data goes into which picture.

In: what came of all runs, those that are drawn, what a classifier reads in all, and the dataset. Out: figures/*.png and
*.webp.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxvae.data import Dataset
from jaxvae.figures import animation as motion
from jaxvae.figures import curves as series
from jaxvae.figures import plotting
from jaxvae.figures import settings_map as landscape
from jaxvae.results import Setting, best, caption, firsts, grouped, labels, large, probes, several, spread, trained_in
from jaxvae.runs import Outcome, Run, manifest

POINTS = 2_000  # test images that the walk and the page show: a fifth of MNIST's
GRID_TICKS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SAMPLES = 64
WALK_STEPS = 8  # frames from a digit to the next
SIZES = 8  # latent sizes side by side in a figure of readings


def write_figures(
    folder: Path, outcomes: Sequence[Outcome], runs: Sequence[Run], digits: dict[str, Any], dataset: Dataset
) -> list[Path]:
    """Draws every figure of the sweep into `folder`; returns their paths.

    Args:
        outcomes: of all runs of the sweep.
        runs: those that are drawn, see `jaxvae.grids.drawn`.
        digits: as in `write_tables`.
        dataset: the images that the runs saw.
    """
    folder.mkdir(parents=True, exist_ok=True)
    configs = [outcome.config for outcome in outcomes]
    data, originals, called, written = caption(dataset, configs, shared=True), probes(dataset), labels(configs), []

    def keep(name: str, picture: Figure | bytes) -> None:
        if isinstance(picture, bytes):
            path = folder / f"{name}.webp"
        else:
            path, file = folder / f"{name}.png", io.BytesIO()
            picture.savefig(file, format="png", metadata={"Software": None})
            picture = file.getvalue()
        written.append(path)
        manifest.write(path, picture)

    if found := trained_in(grouped(outcomes)):
        for name, figure in _of_all(found, outcomes, digits, dataset).items():
            keep(name, figure)
    named = {final.name for setting in best(found) for final in setting.finals}
    if compared := [run for run in runs if run.config.name in named]:
        keep("comparison", _comparison(compared, called, originals[1], data))
    for run in runs:
        label = f"{called[run.config.name]} – {data}"
        last = run.metrics[-1]["epoch"]
        for i, split in enumerate(("train", "test")):
            title = f"{split} images reconstructed during training\n{label}"
            figure = plotting.evolution(originals[i], run.reconstructions[:, i], _shown_epochs(last), title)
            keep(f"evolution-{run.config.name}-{split}", figure)
        samples = np.asarray(run.sample(jax.random.key(run.config.seed), SAMPLES))
        title = f"drawn from the prior: {called[run.config.name]}\n{data}"
        keep(f"samples-{run.config.name}", plotting.mosaic(samples, 8, title))
        if run.config.model.latent_dim == 2:
            keep(f"latent-{run.config.name}", _latent_plane(run, dataset, label))
    first = {run.name for run in firsts(run.config for run in runs)}
    if moving := [run for run in runs if run.config.name in first]:
        for name, picture in _moving(moving, called, dataset, originals[1], data).items():
            keep(name, picture)
    return written


def _of_all(
    found: Sequence[Setting], outcomes: Sequence[Outcome], digits: dict[str, Any], dataset: Dataset
) -> dict[str, Figure]:
    """Figures of losses and readings, in which the best setting stands for its model."""
    configs = [outcome.config for outcome in outcomes if outcome.epochs > 0]
    losses = {outcome.config.name: outcome.losses for outcome in outcomes}
    averaged, shared = caption(dataset, configs, averaged=True), caption(dataset, configs, averaged=True, shared=True)
    data = shared if large(found) else caption(dataset, configs, shared=True)
    chosen = "\nof each model the setting with the lowest mean −ELBO" if several(found) else ""
    bands = f"\n{told}" if (told := series.explained(found)) else ""
    models, parts = series.mean_curves(found, losses), series.parts(found)
    shown, some = series.readable(models, found)
    figures = {
        "curves": plotting.curves(shown, f"{averaged}{some and f'; {some}'}{bands}", parts),
        "by-dimension": plotting.by_dimension(models, f"{averaged}{bands}", parts),
        "rate-distortion": plotting.rate_distortion(series.by_size(found), f"{data}{chosen}"),
        "confusions": plotting.confusions(*_confusions(best(found), digits), f"{shared}{chosen}"),
    }
    if len({setting.config.beta for setting in found}) > 1:
        figures["rate-distortion-beta"] = landscape.rate_distortion(series.by_beta(found), averaged)
    if several(found):
        figures["settings"] = landscape.settings(series.landscapes(found), averaged)
    return figures


def _moving(
    runs: Sequence[Run], called: dict[str, str], dataset: Dataset, originals: np.ndarray, data: str
) -> dict[str, bytes]:
    """Animations of a run of each setting: test images reconstructed epoch by epoch, a walk from digit to digit."""
    names = [called[run.config.name] for run in runs]
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


def _confusions(found: Sequence[Setting], digits: dict[str, Any]) -> tuple[list[list[tuple[str, np.ndarray]]], float]:
    """A row an architecture: (title, shares of the digits' images over all seeds that were read), and how many of the
    originals the classifier reads rightly."""
    rows: dict[str, dict[int, np.ndarray]] = {}
    for setting in found:
        architecture, d = setting.model
        told = [digits["runs"][final.name] for final in setting.finals if final.name in digits["runs"]]
        counts = [np.asarray(one["confusion"], float) for one in told]
        rows.setdefault(architecture, {})[d] = np.sum(counts, axis=0)
    shares = [
        [(f"{a}, d = {d}", n / np.maximum(n.sum(1, keepdims=True), 1)) for d, n in sorted(row.items())]
        for a, row in rows.items()
    ]
    return [spread(row, SIZES) for row in shares], digits["classifier"]["accuracy"]


def _comparison(runs: Sequence[Run], called: dict[str, str], originals: np.ndarray, data: str) -> Figure:
    """Smallest against largest latent size, linear against conv: test digits and what the models make of them."""
    by_model = {(run.config.model.architecture, run.config.model.latent_dim): run for run in reversed(runs)}
    sizes = sorted({d for _, d in by_model})
    ends = [2 if 2 in sizes else sizes[0], 50 if 50 in sizes else sizes[-1]]
    cells = []
    for architecture in dict.fromkeys(a for a, _ in sorted(by_model, reverse=True)):
        row = [by_model[architecture, d] for d in dict.fromkeys(ends) if (architecture, d) in by_model]
        cells.append([(called[run.config.name], originals, run.reconstructions[-1, 1]) for run in row])
    width = min(len(row) for row in cells)
    return plotting.comparison([row[:width] for row in cells], f"Test images and their reconstructions – {data}")


def _latent_plane(run: Run, dataset: Dataset, label: str) -> Figure:
    z1, z2 = np.meshgrid(GRID_TICKS, GRID_TICKS)
    decoded = np.asarray(run.decode(np.stack([z1.ravel(), z2.ravel()], 1)))
    decoded = decoded.reshape(len(GRID_TICKS), len(GRID_TICKS), 28, 28)
    codes = np.asarray(run.encode(dataset.test_images).mean)
    return plotting.latent_plane(decoded, GRID_TICKS, codes, dataset.test_labels, f"The latent plane: {label}")
