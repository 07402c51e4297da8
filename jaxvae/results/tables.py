"""What a sweep's folder tells beside its figures, and what its data and runs are called.

In: what came of each run, and the dataset. Out: sweep.json and the tables; captions and labels.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvae import __version__
from jaxvae.config import LEARNING_RATE, RunConfig, shortest
from jaxvae.data import Dataset
from jaxvae.errors import CheckpointError, Remedy
from jaxvae.results.claims import Claim, Final
from jaxvae.results.grids import Setting, comparable, settings
from jaxvae.results.metrics import means_csv, metrics_csv, metrics_parquet
from jaxvae.runs import Outcome, write

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


def caption(dataset: Dataset, runs: Collection[RunConfig] = (), **how: bool) -> str:
    """See `named`."""
    return named(dataset.name, len(dataset.train_images), runs, **how)


def named(
    name: str, train_images: int, runs: Collection[RunConfig] = (), *, averaged: bool = False, shared: bool = False
) -> str:
    """The dataset's name as figures show it; then what of the training is not the default, and over how many seeds
    a mean was taken; `shared`: only what is so in all runs, as labels tell the rest."""
    shown = "embedded digits (not MNIST)" if name == "digits" else name.replace("_", "-").upper()
    parts = [shown] if train_images == 60_000 else [shown, f"first {train_images:,} images"]
    betas, rates = {float(run.beta) for run in runs}, {float(run.learning_rate) for run in runs}
    if betas - {1.0} and not (shared and len(betas) > 1):
        parts.append(f"β = {_listed(betas)}")
    if rates - {LEARNING_RATE} and not (shared and len(rates) > 1):
        parts.append(f"learning rate {_listed(rates)}")
    if binarized := {run.train.binarize for run in runs} - {"none"}:
        parts.append(f"binarised ({', '.join(binarized)})")
    if objectives := sorted(
        {f"IWAE, K = {run.train.importance_samples}" for run in runs if run.train.objective != "elbo"}
    ):
        parts.append("; ".join(objectives))
    if averaged and len(seeds := {run.seed for run in runs}) > 1:
        parts.append(f"mean of {len(seeds)} seeds")
    return ", ".join(parts)


def _listed(values: Collection[float], most: int = 6) -> str:
    if len(values) <= most:
        return ", ".join(map(shortest, sorted(values)))
    return f"{shortest(min(values))} to {shortest(max(values))} ({len(values)} values)"


def probes(dataset: Dataset) -> np.ndarray:
    """The digits whose reconstructions are followed: the first of each class, [split (train, test), n, 28, 28]."""
    splits = (dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)
    firsts = [images[np.unique(labels, return_index=True)[1]] for images, labels in splits]
    n = min(len(images) for images in firsts)
    return np.stack([images[:n] for images in firsts])


def labels(configs: Sequence[RunConfig]) -> dict[str, str]:
    """What runs are called in figures and tables, by name: `conv, d = 2, seed 1`, and what else they differ in."""

    def differ(value: Callable[[RunConfig], Any]) -> bool:
        return len({value(config) for config in configs}) > 1

    told: list[Callable[[RunConfig], str]] = []
    if differ(lambda config: (config.train.objective, config.train.importance_samples)):
        told.append(_objective)
    if differ(lambda config: config.beta):
        told.append(lambda config: f"β = {shortest(config.beta)}")
    if differ(lambda config: config.learning_rate):
        told.append(lambda config: f"lr = {shortest(config.learning_rate)}")
    found = {}
    for config in configs:
        parts = [config.model.architecture, f"d = {config.model.latent_dim}", *(one(config) for one in told)]
        found[config.name] = ", ".join([*parts, *([f"seed {config.seed}"] if config.seed else [])])
    return found


def _objective(config: RunConfig) -> str:
    weighted = config.train.objective != "elbo"
    return f"{config.train.objective.upper()}" + (f", K = {config.train.importance_samples}" if weighted else "")


def precisions(runs: Iterable[RunConfig]) -> str:
    """What matrix products read, by architecture."""
    read: dict[str, list[str]] = {}
    for run in runs:
        if run.model.precision not in (own := read.setdefault(run.model.architecture, [])):
            own.append(run.model.precision)
    return "matrix products read " + ", ".join(f"{' or '.join(own)} in {a} models" for a, own in read.items())


def layers(config: RunConfig) -> str:
    """An architecture's layers in words."""
    if config.model.architecture == "conv":
        return (
            "three convolutions of 32, 64 and 128 channels, then dense to d and back; the decoder mirrors the encoder"
        )
    widths = " – ".join(map(str, (28 * 28, *config.model.hidden, "d")))
    return f"fully connected, {widths} and back, with {config.model.activation} between the layers"


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def divergence(outcome: Outcome) -> dict[str, Any]:
    """How tables mark a run that diverged; nothing for any other."""
    return {"diverged": outcome.diverged._asdict()} if outcome.diverged else {}


def final(outcome: Outcome) -> Final:
    config, model = outcome.config, outcome.config.model
    identity = config.name, model.architecture, model.latent_dim, config.seed, outcome.epochs, outcome.parameters
    return Final(*identity, *outcome.losses[-1, 1].tolist())


def grouped(outcomes: Sequence[Outcome]) -> list[Setting]:
    """See `jaxvae.grids.settings`."""
    diverged = {outcome.config.name for outcome in outcomes if outcome.diverged}
    return settings([outcome.config for outcome in outcomes], map(final, outcomes), diverged)


def claims_json(claims: Sequence[Claim], dataset: Dataset, outcomes: Sequence[Outcome]) -> str:
    """Runs that diverged took no part in the claims, nor did those that were trained in another way than the original,
    which is said where there are some."""
    left_out = {outcome.config.name: divergence(outcome)["diverged"] for outcome in outcomes if outcome.diverged}
    told = [_plain(claim) | {"certain": claim.certain} for claim in claims]
    content = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, "claims": told}
    if left_out:
        content["diverged"] = left_out
    if chosen := comparable([outcome.config for outcome in outcomes])[1]:
        content["checked"] = chosen
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    """Named tuples within dictionaries as dictionaries."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return _plain(value._asdict()) if hasattr(value, "_asdict") else value


def write_tables(
    folder: Path, outcomes: Sequence[Outcome], claims: Sequence[Claim], digits: dict[str, Any], dataset: Dataset
) -> None:
    """`digits` is the content of digits.json: what a classifier reads in each run's reconstructions, and how well."""
    write(folder / "metrics.csv", metrics_csv(outcomes))
    write(folder / "metrics.parquet", metrics_parquet(outcomes))
    write(folder / "means.csv", means_csv(grouped(outcomes)))
    write(folder / "claims.json", claims_json(claims, dataset, outcomes))
    write(folder / "digits.json", json.dumps(digits, ensure_ascii=False) + "\n")


def write_sweep(folder: Path, outcomes: Sequence[Outcome], about: dict[str, Any], sweep: dict[str, Any]) -> None:
    """sweep.json, if it is not there already with the results of these runs: it says when and where they were trained.

    `sweep` is what the caller knows of grid and time.
    """
    results = [
        final(outcome)._asdict() | {"seconds": round(outcome.seconds, 1)} | divergence(outcome) for outcome in outcomes
    ]
    had = read_sweep(folder)
    if had and had[0] == [outcome.config for outcome in outcomes] and had[1].get("results") == results:
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
        raise CheckpointError(f"{path} is damaged; {Remedy.START_ANEW}, or {Remedy.ANOTHER_FOLDER}") from None
