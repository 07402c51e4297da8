"""A sweep's folder as one HTML page: tables, curves, reconstructions and the latent explorer, with nothing outside it.

In: the folder's tables, and as far as there are checkpoints the loaded runs and the images that they saw. Out: a page
that opens by double click and needs no server and no network. A section whose material is missing is left out.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from jaxvae import results
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import CheckpointError, InputError, Remedy, reason
from jaxvae.figures import POINTS
from jaxvae.page import explorer
from jaxvae.page import sections as overview
from jaxvae.page.run_table import number
from jaxvae.results import grids
from jaxvae.runs import Run, manifest

PAGE = "report.html"
SCRIPTS = ("page.js", "chart.js", "losses.js", "reconstructions.js", "decoder.js", "map.js", "panel.js", "explorer.js")
SPRITE_COLUMNS = 50
# what comes of reading a table that is not what it should be
DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    jinja2.TemplateError,
)
POLICY = (
    "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
    "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


def write(folder: Path, runs: Sequence[Run], seen: Dataset | None) -> Path:
    """Writes report.html into a sweep's folder, whose tables are there already; returns its path.

    Args:
        runs: the sweep's runs of which there are checkpoints; none is enough for the tables and curves.
        seen: the images that these runs saw, see `jaxvae.data.binarized`; not needed without runs.

    Raises:
        CheckpointError: the folder holds no finished sweep, or a damaged table.
    """
    path = folder / PAGE
    manifest.write(path, page(folder, runs, seen))
    return path


def page(folder: Path, runs: Sequence[Run], seen: Dataset | None) -> str:
    """The page itself; see `write`."""
    found = results.read_sweep(folder)
    if found is None:
        raise CheckpointError(f"{folder} holds no finished sweep: it has no {results.SWEEP}; {Remedy.STUDY} writes it")
    configs, sweep = found
    called, first = results.labels(configs), grids.firsts(run.config for run in runs)
    shown = [run for run in runs if run.config in first]
    models: dict[str, Any] = {"reconstructions": None, "explorer": None}
    if shown and seen is not None:
        models = {"reconstructions": _reconstructions(shown, called, seen), "explorer": _explorer(shown, called, seen)}
    loadable = [{"name": run.config.name, "path": os.fspath(run.folder)} for run in runs]
    style, script = _source("report.css"), "\n".join(map(_source, SCRIPTS))
    policy = POLICY.format(style=_hash(style), script=_hash(script))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxvae.page"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "measured": measured, "depth": depth, "script_json": script_json}
    try:
        _check_epochs(folder, runs, sweep)
        return environment.get_template("report.html").render(
            overview.told(folder, configs, sweep), **models, policy=policy, style=Markup(style), script=Markup(script),
            loadable=loadable, first_seeds=sorted({run.seed for run in first}),
            several_seeds=len({run.seed for run in configs}) > 1, some=_some(configs, runs),
        )  # fmt: skip
    except InputError:
        raise
    except DAMAGED as error:
        raise CheckpointError(f"{folder} holds a damaged table ({reason(error)}); {Remedy.TRAIN_AGAIN}") from None


def _some(configs: Sequence[RunConfig], runs: Sequence[Run]) -> str:
    """Which models are in the page, where it is not all."""
    if len(configs) <= grids.ALL or not runs:
        return ""
    return f"{len(runs)} of {len(configs):,} runs stand for all: {grids.STAND_FOR}"


def _check_epochs(folder: Path, runs: Sequence[Run], sweep: dict[str, Any]) -> None:
    """Refuses tables of one epoch beside models of another."""
    ended = {final["name"]: final["epochs"] for final in sweep["results"]}
    for run in runs:
        if run.metrics[-1]["epoch"] != ended.get(run.config.name):
            raise CheckpointError(f"{run.folder} is not as {folder}'s tables say; {Remedy.TRAIN_AGAIN}")


def _source(name: str) -> str:
    return (files("jaxvae.page") / "templates" / name).read_text(encoding="utf-8")


def _hash(source: str) -> str:
    """As a Content-Security-Policy names an inline script or style that it lets run."""
    return base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


# ── how values are written ───────────────────────────────────────────────────────────────────────────────────────────


def measured(value: Any) -> str:
    """A count, or a mean over seeds with half of its 95 % interval."""
    if not isinstance(value, dict):
        return number(value, 0)
    size = abs(value["mean"])
    digits = 0 if size >= 1000 else 2 if size >= 1 else 3
    if not value["interval"]:
        return number(value["mean"], digits)
    low, high = value["interval"]
    return f"{number(value['mean'], digits)} ± {number((high - low) / 2, digits)}"


def depth(measured: Any) -> int:
    """How many dictionaries a claim's measured values lie in: 1 for a row of them, 2 for a table, 3 for several."""
    if not isinstance(measured, dict) or "mean" in measured or not measured:
        return 0
    return 1 + depth(next(iter(measured.values())))


def script_json(value: Any) -> Markup:
    """JSON that may stand in a script element: what could end it is escaped, and what JSON lacks is null."""
    plain = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        plain = plain.replace(character, f"\\u{ord(character):04x}")
    return Markup(plain)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ── pictures and models ──────────────────────────────────────────────────────────────────────────────────────────────


def _reconstructions(runs: Sequence[Run], called: Mapping[str, str], seen: Dataset) -> dict[str, Any]:
    """Originals and, for each run and split, a picture with a row of reconstructions for each epoch."""
    originals = results.probes(seen)
    return {
        "digits": originals.shape[1],
        "originals": [png(_tiled(images[None])) for images in originals],
        "runs": [
            {"name": run.config.name, "about": called[run.config.name], "epochs": run.metrics[-1]["epoch"]}
            | {"pictures": [png(_tiled(run.reconstructions[:, split])) for split in range(2)]}
            | {"losses": [[entry[s] and entry[s]["loss"] for entry in run.metrics] for s in ("train", "test")]}
            for run in runs
        ],
    }


def _explorer(runs: Sequence[Run], called: Mapping[str, str], seen: Dataset) -> dict[str, Any] | None:
    """Test images, and of each run what `jaxvae.explorer.explored` makes; None if no run can be explored."""
    images, labels = seen.test_images[:POINTS], seen.test_labels[:POINTS]
    found = [(run, explorer.explored(run, images)) for run in runs]
    explored = [
        {"name": run.config.name, "about": called[run.config.name], "latentDim": run.config.model.latent_dim} | told
        for run, told in found
        if told
    ]
    if not explored:
        return None
    rows = -(-len(images) // SPRITE_COLUMNS)
    padded = np.zeros((rows * SPRITE_COLUMNS, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    return {
        "columns": SPRITE_COLUMNS,
        "labels": labels.tolist(),
        "of": len(seen.test_images),
        "classes": sorted({int(label) for label in labels}),
        "sprite": png(_tiled(padded.reshape(rows, SPRITE_COLUMNS, *images.shape[1:]))),
        "runs": explored,
        "left_out": [run.config.name for run, told in found if not told],
    }


def _tiled(images: np.ndarray) -> np.ndarray:
    """Images [rows, columns, h, w] as one picture."""
    rows, columns, h, w = images.shape
    return images.swapaxes(1, 2).reshape(rows * h, columns * w)


def png(picture: np.ndarray) -> str:
    """A grey picture, uint8, as base64 of a PNG."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
