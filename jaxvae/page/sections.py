"""What the page says of a sweep as a whole: how it was trained, its table, curves and points.

In: a sweep's folder, its configurations and the content of its sweep.json. Out: what the page's template is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvae import results
from jaxvae.config import RunConfig
from jaxvae.errors import CheckpointError, Remedy, reason
from jaxvae.figures import curves as series
from jaxvae.page import run_table as columns
from jaxvae.page.run_table import Column, number, read_json
from jaxvae.results import Final, Setting, grids, metrics
from jaxvae.runs import Divergence

LISTED = 20  # values that are told one by one


def settings(configs: Sequence[RunConfig], sweep: dict[str, Any]) -> list[Setting]:
    """The sweep's runs by setting, from the results in its sweep.json."""
    shown = {row["name"]: row for row in sweep["results"]}
    finals = [Final(**{field: shown[run.name][field] for field in Final._fields}) for run in configs]
    return grids.settings(configs, finals, {name for name, row in shown.items() if row.get("diverged")})


def drawn(folder: Path, configs: Sequence[RunConfig], sweep: dict[str, Any]) -> list[RunConfig]:
    """The runs whose models the page has, if they have checkpoints.

    Raises:
        CheckpointError: the results in sweep.json are damaged.
    """
    if len(configs) <= grids.ALL:
        return [*configs]
    try:
        names = set(grids.drawn(settings(configs, sweep)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} holds a damaged table ({reason(error)}); {Remedy.TRAIN_AGAIN}") from None
    return [run for run in configs if run.name in names]


def told(folder: Path, configs: Sequence[RunConfig], sweep: dict[str, Any]) -> dict[str, Any]:
    claims, digits = (read_json(folder / name) for name in ("claims.json", "digits.json"))
    losses = metrics.read_metrics(folder)
    found, shown = settings(configs, sweep), {row["name"]: row for row in sweep["results"]}
    trained = grids.trained_in([
        setting._replace(finals=tuple(final for final in setting.finals if len(losses[final.name]) > 1))
        for setting in found
    ])  # fmt: skip
    evaluated = columns.evaluated(folder, configs, sweep["dataset"]["fingerprint"])
    table = columns.columns(configs, shown, digits, evaluated)
    if grids.large(found):
        table = columns.over_seeds(table, found)
    many, parts, order = grids.large(found), series.parts(trained), {run.name: i for i, run in enumerate(configs)}
    curves, some = series.readable(series.mean_curves(trained, losses), trained)
    called = results.labels([setting.config for setting in found] if many else configs)
    return {
        "title": f"{len(configs):,} variational auto-encoder{'s' if len(configs) > 1 else ''}",
        "caption": results.named(sweep["dataset"]["name"], sweep["dataset"]["train_images"], configs),
        "sweep": sweep,
        "training": _training(configs),
        "precisions": results.precisions(configs),
        "architectures": _layers(configs),
        "runs": _counted(configs, found) if many else "; ".join(called.values()),
        "best": _best(found, called, configs, shown),
        "claims": claims["claims"] if claims else None,
        "checked": claims.get("checked") if claims else None,
        "columns": table,
        "rows": _mean_rows(found, called, table) if many else _rows(configs, called, table, shown),
        "averaged": many,
        "chosen": grids.several(trained),
        "bands": "; ".join(filter(None, [series.explained(trained), some])),
        "parts": [[part, title] for part, title in parts],
        "curves": [_curve(curve, parts) for curve in curves],
        "points": [
            {"name": name, "architecture": setting.model[0], "latentDim": setting.model[1]}
            | {"rate": rate, "distortion": distortion}
            for setting, name, rate, distortion in sorted(
                series.points(trained), key=lambda point: order.get(point[1], 0)
            )
        ],
    }


def _curve(curve: Any, parts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    splits = ("train", "test")
    told = {"architecture": curve.architecture, "latentDim": curve.latent_dim}
    told |= {split: {part: getattr(curve, split)[part].tolist() for part, _ in parts} for split in splits}
    if curve.band:
        told["band"] = {split: {part: curve.band[split][part].tolist() for part, _ in parts} for split in splits}
    return told


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _rows(
    configs: Sequence[RunConfig], called: dict[str, str], table: Sequence[Column], shown: dict[str, Any]
) -> list[dict[str, Any]]:
    return [
        {"about": called[run.name], "cells": [column.cells.get(run.name) for column in table]}
        | {"diverged": Divergence(**mark) if (mark := shown[run.name].get("diverged")) else None}
        for run in configs
    ]


def _mean_rows(found: Sequence[Setting], called: dict[str, str], table: Sequence[Column]) -> list[dict[str, Any]]:
    """A row a setting, for a table too long with a row a run."""
    return [
        {"about": called[setting.config.name], "cells": [column.cells.get(setting.config.name) for column in table]}
        | {"diverged": f"{len(setting.diverged)} of {setting.seeds} diverged" if setting.diverged else None}
        for setting in found
    ]


# ── in words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _counted(configs: Sequence[RunConfig], found: Sequence[Setting]) -> str:
    sizes, seeds = {run.model.latent_dim for run in configs}, {run.seed for run in configs}
    counts = {
        "settings": len(found),
        "architectures": len({run.model.architecture for run in configs}),
        "latent sizes": len(sizes),
        "values of β": len({run.beta for run in configs}),
        "learning rates": len({run.learning_rate for run in configs}),
        "seeds": len(seeds),
    }
    told = [f"{count:,} {what if count > 1 else what.replace('values', 'value').removesuffix('s')}"
            for what, count in counts.items()]  # fmt: skip
    return f"{len(configs):,}: {', '.join(told)}"


def _layers(configs: Sequence[RunConfig]) -> dict[str, str]:
    """Of each architecture, several where they differ."""
    told: dict[str, list[str]] = {}
    for run in configs:
        if (layers := results.layers(run)) not in (own := told.setdefault(run.model.architecture, [])):
            own.append(layers)
    return {architecture: "; or ".join(own) for architecture, own in told.items()}


def _training(configs: Sequence[RunConfig]) -> str:
    """How the runs were trained; several values where they differ."""

    def each(value) -> str:
        found = [f"{one:g}" if isinstance(one, float) else str(one) for one in sorted({*map(value, configs)})]
        return ", ".join(found) if len(found) <= LISTED else f"{found[0]} to {found[-1]} ({len(found):,} values)"

    def objective(run: RunConfig) -> str:
        k = run.train.importance_samples
        return run.train.objective if run.train.objective == "elbo" else f"{run.train.objective} with K = {k}"

    return "; ".join([
        f"epochs {each(lambda run: run.epochs)}",
        f"batch {each(lambda run: run.train.batch_size)}",
        f"Adam, learning rate {each(lambda run: float(run.learning_rate))}",
        f"β {each(lambda run: float(run.beta))}",
        f"objective {each(objective)}",
        f"pixels binarised: {each(lambda run: run.train.binarize)}",
        f"seed {each(lambda run: run.seed)}",
    ])  # fmt: skip


def _best(
    found: Sequence[Setting], called: dict[str, str], configs: Sequence[RunConfig], shown: dict[str, Any]
) -> dict[str, str] | None:
    """What has the lowest −ELBO on test images: a run, of many runs a setting; if several were trained."""
    if grids.large(found):
        elbos = {setting.config.name: setting.negative_elbo for setting in found if setting.config.epochs}
    else:
        elbos = {run.name: shown[run.name]["reconstruction"] + shown[run.name]["kl"] for run in configs if run.epochs}
    elbos = {name: elbo for name, elbo in elbos.items() if math.isfinite(elbo)}
    if len(elbos) < 2:
        return None
    name = min(elbos, key=lambda name: elbos[name])
    return {"about": called[name], "elbo": number(elbos[name])}
