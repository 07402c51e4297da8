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
from jaxvae.claims import Claim, Final
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.manifest import CheckpointError, write
from jaxvae.trained import Run

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
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
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


def metrics_csv(runs: Iterable[Run]) -> str:
    """Losses of every run, epoch and split, in nats per image; for the epoch that a run diverged in, only that."""
    lines = ["run,architecture,latent_dim,seed,epoch,split,reconstruction,kl,loss"]
    for run in runs:
        config, model = run.config, run.config.model
        identity = f"{config.name},{model.architecture},{model.latent_dim},{config.seed}"
        for entry in run.metrics:
            for split in ("train", "test"):
                if losses := entry[split]:
                    values = ",".join(f"{losses[part]:.6f}" for part in ("reconstruction", "kl", "loss"))
                    lines.append(f"{identity},{entry['epoch']},{split},{values}")
        if run.diverged:
            lines.append(f"{identity},{run.diverged.epoch},diverged at step {run.diverged.step},nan,nan,nan")
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
            if (row["split"] or "").startswith("diverged"):
                continue
            history, epoch = histories.setdefault(row["run"], []), int(row["epoch"])
            if epoch == len(history):
                history.append({"epoch": epoch, "train": None, "test": None})
            if row["split"] not in ("train", "test") or epoch < 0 or None in row:
                raise ValueError
            history[epoch][row["split"]] = {part: float(row[part]) for part in ("reconstruction", "kl", "loss")}
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; give the sweep's command again") from None
    except (csv.Error, OSError, ValueError, KeyError, TypeError, IndexError):
        raise CheckpointError(f"{path} is damaged; give the sweep's command again") from None
    return histories


def divergence(run: Run) -> dict[str, Any]:
    """How tables mark a run that diverged; nothing for any other."""
    return {"diverged": run.diverged._asdict()} if run.diverged else {}


def final(run: Run) -> Final:
    model, last = run.config.model, run.metrics[-1]
    identity = run.config.name, model.architecture, model.latent_dim, run.config.seed, last["epoch"], run.parameters
    return Final(*identity, **last["test"])


def claims_json(claims: Sequence[Claim], dataset: Dataset, runs: Sequence[Run]) -> str:
    """Runs that diverged took no part in the claims, which is said where there are some."""
    left_out = {run.config.name: divergence(run)["diverged"] for run in runs if run.diverged}
    told = [_plain(claim) | {"certain": claim.certain} for claim in claims]
    content = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, "claims": told}
    if left_out:
        content["diverged"] = left_out
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
    write(folder / "metrics.csv", metrics_csv(runs))
    write(folder / "claims.json", claims_json(claims, dataset, runs))
    write(folder / "digits.json", json.dumps(digits, ensure_ascii=False) + "\n")


def write_sweep(folder: Path, runs: Sequence[Run], about: dict[str, Any], sweep: dict[str, Any]) -> None:
    """sweep.json, if it is not there already with the results of these runs: it says when and where they were trained.

    `sweep` is what the caller knows of grid and time.
    """
    results = [
        final(run)._asdict() | {"seconds": round(sum(e["seconds"] for e in run.metrics), 1)} | divergence(run)
        for run in runs
    ]
    had = read_sweep(folder)
    if had and had[0] == [run.config for run in runs] and had[1].get("results") == results:
        return
    content = {**sweep, **about, "results": results}
    write(folder / SWEEP, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


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
        runs = [RunConfig.from_json(run) for run in content["runs"]]
        if not runs or not isinstance(content.get("dataset", {}), dict):
            raise ValueError
        return runs, content
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is damaged; use --fresh to start anew, or another --out") from None
