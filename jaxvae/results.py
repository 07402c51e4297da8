"""A sweep's folder as a reader wants it: tables, claims and figures.

In: the folders of finished runs and the dataset. Out: metrics.csv, claims.json, digits.json, sweep.json, figures/*.png.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxvae import __version__, plotting
from jaxvae.checkpoint import CheckpointError, Run, write_text
from jaxvae.claims import Claim, Final
from jaxvae.config import RunConfig
from jaxvae.data import Dataset

SWEEP = "sweep.json"
GRID_TICKS = (-2.0, -1.0, 0.0, 1.0, 2.0)
SAMPLES = 64


def about(dataset: Dataset) -> dict[str, Any]:
    """Data, versions and device: what every result carries with it."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    device = jax.local_devices()[0]
    return {
        "dataset": {
            "name": dataset.name,
            "note": dataset.note,
            "fingerprint": dataset.fingerprint,
            "train_images": len(dataset.train_images),
            "test_images": len(dataset.test_images),
        },
        "versions": {"jaxvae": __version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.local_device_count()},
    }


def caption(dataset: Dataset, runs: Collection[RunConfig] = (), *, averaged: bool = False) -> str:
    """The dataset's name as figures show it; then what of the training is not the default, and over how many seeds
    a mean was taken."""
    name = "embedded digits (not MNIST)" if dataset.name == "digits" else dataset.name.replace("_", "-").upper()
    n = len(dataset.train_images)
    parts = [name] if n == 60_000 else [name, f"first {n:,} images"]
    betas, seeds = {run.beta for run in runs}, {run.seed for run in runs}
    if betas - {1.0}:
        parts.append(f"β = {', '.join(f'{beta:g}' for beta in sorted(betas))}")
    if binarized := {run.train.binarize for run in runs} - {"none"}:
        parts.append(f"binarised ({', '.join(binarized)})")
    if objectives := sorted(
        {f"IWAE, K = {run.train.importance_samples}" for run in runs if run.train.objective != "elbo"}
    ):
        parts.append("; ".join(objectives))
    if averaged and len(seeds) > 1:
        parts.append(f"mean of {len(seeds)} seeds")
    return ", ".join(parts)


def probes(dataset: Dataset) -> np.ndarray:
    """The digits whose reconstructions are followed: the first of each class, [split (train, test), n, 28, 28]."""
    splits = (dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)
    firsts = [images[np.unique(labels, return_index=True)[1]] for images, labels in splits]
    n = min(len(images) for images in firsts)
    return np.stack([images[:n] for images in firsts])


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def metrics_csv(histories: Iterable[tuple[RunConfig, list[dict[str, Any]]]]) -> str:
    """Losses of every run, epoch and split, in nats per image."""
    lines = ["run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss"]
    for config, history in histories:
        model = config.model
        for entry in history:
            for split in ("train", "test"):
                if losses := entry[split]:
                    values = ",".join(f"{losses[part]:.6f}" for part in ("reconstruction", "kl", "loss"))
                    identity = f"{config.name},{model.architecture},{model.latent_dim},{config.seed}"
                    lines.append(f"{identity},{entry['epoch']},{split},{values}")
    return "\n".join(lines) + "\n"


def final(run: Run) -> Final:
    model, last = run.config.model, run.metrics[-1]
    identity = run.config.name, model.architecture, model.latent_dim, run.config.seed, last["epoch"], run.parameters
    return Final(*identity, **last["test"])


def claims_json(claims: Sequence[Claim], dataset: Dataset) -> str:
    told = [_plain(claim) | {"certain": claim.certain} for claim in claims]
    content = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, "claims": told}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Named tuples within dictionaries as dictionaries."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return _plain(value._asdict()) if hasattr(value, "_asdict") else value


def write_tables(
    folder: Path, runs: Sequence[Run], claims: Sequence[Claim], digits: dict[str, Any], dataset: Dataset
) -> None:
    """`digits` is the content of digits.json: what a classifier reads in each run's reconstructions, and how well."""
    write_text(folder / "metrics.csv", metrics_csv((run.config, run.metrics) for run in runs))
    write_text(folder / "claims.json", claims_json(claims, dataset))
    write_text(folder / "digits.json", json.dumps(digits, ensure_ascii=False) + "\n")


def write_sweep(folder: Path, runs: Sequence[Run], about: dict[str, Any], sweep: dict[str, Any]) -> None:
    """sweep.json, written when runs have been trained; `sweep` is what the caller knows of grid and time."""
    results = [final(run)._asdict() | {"seconds": round(sum(e["seconds"] for e in run.metrics), 1)} for run in runs]
    content = {**sweep, **about, "results": results}
    write_text(folder / SWEEP, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_sweep(folder: Path) -> tuple[list[RunConfig], dict[str, Any]] | None:
    """The runs in a folder's sweep.json and all that it says; None if there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / SWEEP
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [RunConfig.from_json(run) for run in content["runs"]], content
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path} is damaged; use --fresh to start anew, or another --out") from None


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_figures(folder: Path, runs: Sequence[Run], digits: dict[str, Any], dataset: Dataset) -> list[Path]:
    """Draws every figure of the sweep into `folder`; returns their paths.

    `dataset` has the images that the runs saw, `digits` is as in `write_tables`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, originals, written = caption(dataset, [run.config for run in runs]), probes(dataset), []

    def keep(name: str, figure: Figure) -> None:
        written.append(folder / f"{name}.png")
        figure.savefig(written[-1], metadata={"Software": None})

    if trained := [run for run in runs if run.metrics[-1]["epoch"] > 0]:
        models, averaged = _curves(trained), caption(dataset, [run.config for run in trained], averaged=True)
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
    return written


def describe(config: RunConfig) -> str:
    seed = f", seed {config.seed}" if config.seed else ""
    return f"{config.model.architecture}, d = {config.model.latent_dim}{seed}"


def _shown_epochs(last: int) -> list[int]:
    return sorted({0, *np.geomspace(1, last, 7).round().astype(int).tolist()}) if last else [0]


def _curves(runs: Sequence[Run]) -> list[plotting.Curve]:
    """One curve a model, averaged over its seeds up to the epoch that all of them reached."""
    models: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        models.setdefault((run.config.model.architecture, run.config.model.latent_dim), []).append(run)
    drawn = []
    for (architecture, latent_dim), seeds in models.items():
        last = min(run.metrics[-1]["epoch"] for run in seeds)
        splits = {
            split: {
                part: np.mean([[run.metrics[e][split][part] for e in range(1, last + 1)] for run in seeds], axis=0)
                for part, _ in plotting.PARTS
            }
            for split in ("train", "test")
        }
        drawn.append(plotting.Curve(architecture, latent_dim, seeds[0].parameters, np.arange(1, last + 1), **splits))
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
