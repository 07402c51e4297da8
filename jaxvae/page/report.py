"""A sweep's folder as one HTML page: tables, curves, reconstructions and the latent explorer, with nothing outside it.

In: results with the folder's other tables, and as far as there are checkpoints the loaded runs and the images that they
were trained on. Out: a page that opens by double click and needs no server and no network. A section whose material is
missing is left out.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from jaxvae.data import Dataset, at_hand
from jaxvae.errors import CheckpointError, InputError, Remedy
from jaxvae.figures import POINTS, conditions, pictures
from jaxvae.page import explorer
from jaxvae.page.document import document
from jaxvae.page.run_table import number
from jaxvae.page.sections import page_context
from jaxvae.results import DAMAGE, PLOTTED, Results, damaged, first_seeds, probes, read_sweep
from jaxvae.runs import Run, manifest

PAGE = "report.html"
SCRIPTS = (
    "page.js",
    "chart.js",
    "losses.js",
    "reconstructions.js",
    "decoder.js",
    "paint.js",
    "map.js",
    "panel.js",
    "explorer.js",
)
SPRITE_COLUMNS = 50


class UnderWay(NamedTuple):
    """How far a sweep is of which the page shows the runs that have ended."""

    sweep: dict[str, Any]  # what sweep.json will say of it
    ended: int
    runs: int
    epochs: int
    of_epochs: int
    time: str


def write(
    results: Results,
    folder: Path,
    runs: Sequence[Run] = (),
    dataset: Dataset | None = None,
    under_way: UnderWay | None = None,
) -> Path:
    """Writes report.html into a sweep's folder, whose tables are there already; returns its path.

    Args:
        runs: those of `results.runs_to_plot` that have checkpoints; none is enough for the tables and curves.
        dataset: the images as these runs see them, see `RunConfig.dataset_as_trained`; not needed without runs.
        under_way: of a sweep that goes on and has no tables yet. Its page says so, and loads itself again and again.

    Raises:
        CheckpointError: a table of the folder is damaged.
    """
    path = folder / PAGE
    manifest.write(path, page(results, folder, runs, dataset, under_way))
    return path


def page(
    results: Results,
    folder: Path | None,
    runs: Sequence[Run] = (),
    dataset: Dataset | None = None,
    under_way: UnderWay | None = None,
) -> str:
    """The page itself; see `write`. Without a folder it is of a run that was trained in memory."""
    _check_epochs(results, folder, runs)
    first = first_seeds(runs)
    models = _models(results, first, dataset)
    some = f"{len(runs)} of {len(results.runs):,} runs stand for all: {PLOTTED}" if results.too_many and runs else ""
    filters = {"number": number, "measured": measured, "depth": depth, "script_json": script_json}
    try:
        sweep = under_way.sweep if under_way else _training(folder, runs)
        values = page_context(None if under_way else folder, results, sweep) | models
        values |= {
            "under_way": under_way, "some": some, "first_seeds": sorted({run.config.seed for run in first}),
            "loadable": [{"name": run.config.name, "path": os.fspath(run.folder)} for run in runs if folder],
            "several_seeds": len({run.seed for run in results.runs}) > 1,
        }  # fmt: skip
        return document("report.html", SCRIPTS, filters, values)
    except InputError:
        raise
    except (*DAMAGE, jinja2.TemplateError) as error:
        raise damaged(folder or Path(PAGE), error) from None


def _training(folder: Path | None, runs: Sequence[Run]) -> dict[str, Any]:
    """How the runs were trained: what sweep.json says, else what a run says of itself."""
    if folder and (sweep := read_sweep(folder)):
        return sweep[1]
    how = {"workers": 1, "epochs_trained_before": 0}
    return runs[0].about | how | {"wall_seconds": runs[0].outcome.seconds} if runs else {}


def _check_epochs(results: Results, folder: Path | None, runs: Sequence[Run]) -> None:
    """Refuses tables of one epoch beside models of another."""
    for run in runs:
        final = results.finals.get(run.config.name)
        if final is None or run.metrics[-1]["epoch"] != final.epochs:
            raise CheckpointError(f"{run.folder} is not as {folder}'s tables say; {Remedy.TRAIN_AGAIN}")


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


def _models(results: Results, runs: Sequence[Run], dataset: Dataset | None) -> dict[str, Any]:
    """Reconstructions and explorer, None where they are left out; and sentences that say why."""
    sections: dict[str, Any] = {"reconstructions": None, "explorer": None, "left_out": []}
    if dataset is None or not runs:
        return sections
    if not pictures.drawable(dataset.shape):
        axes = f"Examples have {len(dataset.shape)} axes"
        sections["left_out"] = [
            f"{axes} and cannot be drawn, so there are no reconstructions and no latent space to see."
        ]
        return sections
    sections["reconstructions"] = _reconstructions(results, runs, dataset)
    sections["explorer"] = _explorer(results, runs, dataset)
    if not sections["explorer"]:
        sections["left_out"] = ["No model has finite parameters and codes, so there is no latent space to walk in."]
    return sections


def _reconstructions(results: Results, runs: Sequence[Run], dataset: Dataset) -> dict[str, Any]:
    """Originals and, for each run and split, a picture with a row of reconstructions for each epoch."""
    look = pictures.look(at_hand(dataset.train_images))
    originals = pictures.as_pictures(probes(dataset), look)
    strips = [[pictures.as_pictures(run.reconstructions[:, split], look) for split in range(2)] for run in runs]
    return {
        "digits": originals.shape[1],
        "height": originals.shape[2],
        "width": originals.shape[3],
        "which": _which(originals.shape[1], dataset.classes, results.words.example),
        "originals": [png(pictures.tiled(images[None])) for images in originals],
        "runs": [
            {"name": run.config.name, "about": results.labels[run.config.name], "epochs": run.metrics[-1]["epoch"]}
            | {"pictures": [png(pictures.tiled(images)) for images in of_run]}
            | {"losses": [[entry[s] and entry[s]["loss"] for entry in run.metrics] for s in ("train", "test")]}
            for run, of_run in zip(runs, strips, strict=True)
        ],
    }


def _which(count: int, classes: int, example: str) -> str:
    """In words, which examples are followed."""
    if not classes:
        return f"the first {example}s"
    return f"the first {example}{'s' if count > classes else ''} of each class"


def _explorer(results: Results, runs: Sequence[Run], dataset: Dataset) -> dict[str, Any] | None:
    """Test images, and of each run what `jaxvae.explorer.explored` makes; None if no run can be explored."""
    images, look = dataset.test_images[:POINTS], pictures.look(at_hand(dataset.train_images))
    labels = dataset.labels[1][:POINTS] if dataset.labels else None
    spaces, words = {}, {}
    for run in runs:
        on_map, words[run.config.name] = conditions.one_for_all(run, dataset, explorer.MAP_SIDE**2)
        given = conditions.of_test(run, dataset, POINTS)
        spaces[run.config.name] = explorer.explored(run, images, look, given, on_map)
    if not any(spaces.values()):
        return None
    tiles = pictures.as_pictures(images, look)
    rows = -(-len(tiles) // SPRITE_COLUMNS)
    padded = np.zeros((rows * SPRITE_COLUMNS, *tiles.shape[1:]), tiles.dtype)
    padded[: len(tiles)] = tiles
    return {
        "columns": SPRITE_COLUMNS,
        "height": tiles.shape[1],
        "width": tiles.shape[2],
        "look": look._asdict(),
        "labels": None if labels is None else labels.tolist(),
        "names": list(dataset.class_names),
        "shades": _shades(dataset.numbers[1][:POINTS]) if dataset.numbers else None,
        "of": len(dataset.test_images),
        "classes": [] if labels is None else np.unique(labels).tolist(),
        "sprite": png(pictures.tiled(padded.reshape(rows, SPRITE_COLUMNS, *tiles.shape[1:]))),
        "runs": [
            {
                "name": name,
                "about": results.labels[name] + words[name] * ("tiles" in space["decoder"]),
                "latentDim": run.config.latent_dim,
            }
            | space
            for run in runs
            if (space := spaces[name := run.config.name])
        ],
        "left_out": [name for name, space in spaces.items() if not space],
    }


def _shades(numbers: np.ndarray) -> list[float]:
    """What examples are labelled by, from 0 for the lowest to 1 for the highest."""
    low, high = float(numbers.min()), float(numbers.max())
    return ((numbers - low) / (high - low or 1)).round(3).tolist()


def png(picture: np.ndarray) -> str:
    """A picture as base64 of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pictures.as_bytes(picture)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
