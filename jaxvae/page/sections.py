"""What the page says of a sweep as a whole: how it was trained, its table, curves and points.

In: results, and the content of the folder's other tables. Out: what the page's template is given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxvae.config import RunConfig
from jaxvae.figures import curves
from jaxvae.formats import OLD_SHAPE
from jaxvae.page.run_table import Column, columns, number, read_evaluations
from jaxvae.parts import to_json
from jaxvae.results import AxisTable, Results, in_order, precisions, read_json, written

MAX_LISTED_VALUES = 20  # of what runs differ in; of more the smallest, the largest and their number
CURVE_DIGITS = 6  # of losses behind the point, as in metrics.csv


def page_context(folder: Path | None, results: Results, sweep: dict[str, Any]) -> dict[str, Any]:
    """Values for the template, by name.

    Args:
        folder: with claims and evaluations; None if there are none yet.
        sweep: the content of sweep.json.
    """
    claims = read_json(folder / "claims.json") if folder else None
    evaluations = {run.name: [] for run in results.runs}
    if folder:
        evaluations = read_evaluations(folder, results.runs, results.data["fingerprint"])
    table, parts = columns(results, evaluations), curves.parts(results)
    lines, how_many = curves.readable(curves.mean_curves(results), results)
    labels = [results.labels[run.name] for run in results.runs]
    return {
        "title": _counted(len(results.runs), "variational auto-encoder"),
        "caption": results.caption(),
        "words": results.words,
        "sweep": sweep,
        "training": _training(results.runs),
        "precisions": precisions(results.runs),
        "architectures": _architectures(results.runs, results.data.get("shape", OLD_SHAPE)),
        "runs": _counts(results) if results.too_many else "; ".join(labels),
        "best": _best(results),
        "claims": claims["claims"] if claims else None,
        "checked": claims.get("checked") if claims else None,
        "labelled": results.data.get("labels", True),
        "columns": table,
        "rows": _rows(results, table),
        "averaged": results.too_many,
        "several_settings": results.several_settings,
        "bands": "; ".join(filter(None, [curves.meaning_of_bands(results), how_many])),
        "parts": [[part, title] for part, title in parts],
        "curves": [_curve(line, [part for part, _ in parts]) for line in lines],
        "points": _points(results),
    }


def _curve(curve: Any, parts: Sequence[str]) -> dict[str, Any]:
    def by_split(values: dict[str, Any]) -> dict[str, Any]:
        return {part: values[part].round(CURVE_DIGITS).tolist() for part in parts}

    record: dict[str, Any] = {"architecture": curve.architecture, "latentDim": curve.latent_dim}
    record |= {"train": by_split(curve.train), "test": by_split(curve.test)}
    if curve.band:
        record["band"] = {split: by_split(values) for split, values in curve.band.items()}
    return record


def _points(results: Results) -> list[dict[str, Any]]:
    order = {run.name: i for i, run in enumerate(results.runs)}
    points = sorted(curves.points(results), key=lambda point: order.get(point[1], 0))
    return [
        {"name": name, "architecture": setting.model[0], "latentDim": setting.model[1]}
        | {"rate": rate, "distortion": distortion}
        for setting, name, rate, distortion in points
    ]


def _rows(results: Results, table: Sequence[Column]) -> list[dict[str, Any]]:
    """A row a run, or a setting where there are too many runs."""
    if results.too_many:
        diverged = {
            setting.config.name: f"{len(setting.diverged)} of {setting.seeds} diverged" if setting.diverged else None
            for setting in results.settings
        }
    else:
        diverged = {outcome.config.name: outcome.diverged for outcome in results.outcomes}
    return [
        {"about": results.labels[name], "cells": [column.cells.get(name) for column in table], "diverged": what}
        for name, what in diverged.items()
    ]


def _counts(results: Results) -> str:
    """How many runs there are, and of how many kinds."""
    runs, table = results.runs, AxisTable(results.runs)
    phrases = [
        _counted(len(results.settings), "setting"),
        _counted(len({run.architecture for run in runs}), "architecture"),
        _counted(len({run.latent_dim for run in runs}), "latent size"),
        *(f"{len(table.values(name)):,} values of {table.axes[name].title}" for name in table.varying),
        _counted(len({run.seed for run in runs}), "seed"),
    ]
    return f"{len(runs):,}: {', '.join(phrases)}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count > 1 else ''}"


def _architectures(runs: Sequence[RunConfig], shape: Sequence[int]) -> dict[str, str]:
    """By architecture its layers in words, several where they differ; of a network that has none, its configuration."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        encoder = run.vae.encoder
        describe = getattr(encoder, "description", lambda shape, encoder=encoder: json.dumps(to_json(encoder)))
        found.setdefault(run.architecture, {})[describe(tuple(shape))] = None
    return {architecture: "; or ".join(own) for architecture, own in found.items()}


def _training(runs: Sequence[RunConfig]) -> str:
    """How the runs were trained; several values where they differ."""

    def each(value: Callable[[RunConfig], Any]) -> str:
        return _listed(in_order({value(run) for run in runs}))

    table = AxisTable(runs)
    phrases = [f"{table.axes[name].title} {_listed(table.values(name))}" for name in table.names]
    return "; ".join([f"epochs {each(lambda run: run.epochs)}", *phrases, f"seed {each(lambda run: run.seed)}"])


def _listed(values: Sequence[Any]) -> str:
    if len(values) <= MAX_LISTED_VALUES:
        return ", ".join(map(written, values))
    return f"{written(values[0])} to {written(values[-1])} ({len(values):,} values)"


def _best(results: Results) -> dict[str, str] | None:
    """The run with the lowest −ELBO on test images, of many runs the setting; if several were trained."""
    if results.too_many:
        elbos = {setting.config.name: setting.negative_elbo for setting in results.settings if setting.config.epochs}
    else:
        elbos = {run.name: results.finals[run.name].negative_elbo for run in results.runs if run.epochs}
    elbos = {name: elbo for name, elbo in elbos.items() if math.isfinite(elbo)}
    if len(elbos) < 2:
        return None
    name = min(elbos, key=lambda name: elbos[name])
    return {"about": results.labels[name], "elbo": number(elbos[name])}
