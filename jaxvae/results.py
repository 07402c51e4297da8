"""A sweep's tables, and what its data and runs are called.

In: the folders of finished runs and the dataset. Out: metrics.csv, claims.json, digits.json, sweep.json.
"""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae import __version__
from jaxvae.checkpoint import CheckpointError, Run, write_text
from jaxvae.claims import Claim, Final
from jaxvae.config import RunConfig
from jaxvae.data import Dataset

SWEEP = "sweep.json"


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
    """See `named`."""
    return named(dataset.name, len(dataset.train_images), runs, averaged=averaged)


def named(name: str, train_images: int, runs: Collection[RunConfig] = (), *, averaged: bool = False) -> str:
    """The dataset's name as figures show it; then what of the training is not the default, and over how many seeds
    a mean was taken."""
    shown = "embedded digits (not MNIST)" if name == "digits" else name.replace("_", "-").upper()
    parts = [shown] if train_images == 60_000 else [shown, f"first {train_images:,} images"]
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


def describe(config: RunConfig) -> str:
    seed = f", seed {config.seed}" if config.seed else ""
    return f"{config.model.architecture}, d = {config.model.latent_dim}{seed}"


def precisions(runs: Iterable[RunConfig]) -> str:
    """What matrix products read, by architecture."""
    read = {run.model.architecture: run.model.precision for run in runs}
    return "matrix products read " + ", ".join(f"{precision} in {a} models" for a, precision in read.items())


def layers(config: RunConfig) -> str:
    """An architecture's layers in words."""
    if config.model.architecture == "conv":
        return (
            "three convolutions of 32, 64 and 128 channels, then dense to d and back; the decoder mirrors the encoder"
        )
    widths = " – ".join(map(str, (28 * 28, *config.model.hidden, "d")))
    return f"fully connected, {widths} and back, with {config.model.activation} between the layers"


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


def read_metrics(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The histories in metrics.csv by run: {"epoch", "train", "test"}, epoch 0 first, a split None where it has no row.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / "metrics.csv"
    histories: dict[str, list[dict[str, Any]]] = {}
    try:
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            history, epoch = histories.setdefault(row["run"], []), int(row["epoch"])
            if epoch == len(history):
                history.append({"epoch": epoch, "train": None, "test": None})
            history[epoch][row["split"]] = {part: float(row[part]) for part in ("reconstruction", "kl", "loss")}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; give the sweep's command again") from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise CheckpointError(f"{path} is damaged; give the sweep's command again") from None
    return histories


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
