"""What figures and the page draw of all runs together: curves, points, and a grid's landscape.

In: settings and the losses of their runs. Out: arrays for `plotting` and `landscape`.

Of several settings of a model – several β or learning rates – the best one stands for it, and a band for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvae.figures import plotting
from jaxvae.figures.settings_map import Landscape
from jaxvae.results import Model, Setting, best, large, metrics, ranked, several, some
from jaxvae.runs import SPLITS

Losses = Mapping[str, np.ndarray]  # of each run, by name, as in `Outcome.losses`
BY_ELBO = (("negative_elbo", "−ELBO"), *plotting.PARTS[1:])


def parts(found: Sequence[Setting]) -> tuple[tuple[str, str], ...]:
    """Of the loss: where β differs the losses do not compare, −ELBOs do."""
    return BY_ELBO if len({setting.config.beta for setting in found}) > 1 else plotting.PARTS


def explained(found: Sequence[Setting]) -> str:
    """What the bands of curves are; empty where there are none."""
    if several(found):
        return "lines: each model's setting with the lowest mean −ELBO; bands: from the lowest to the highest setting"
    return "bands: from the lowest to the highest seed" if large(found) else ""


# ── curves ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def mean_curves(found: Sequence[Setting], losses: Losses) -> list[plotting.Curve]:
    """One curve a model, averaged over its seeds up to the epoch that all of them reached."""
    by_model: dict[Model, list[Setting]] = {}
    for setting in found:
        by_model.setdefault(setting.model, []).append(setting)
    banded = several(found) or large(found)
    curves = []
    for setting in best(found):
        line, band = _mean(_members(setting, losses, banded)), None
        if several(found):
            band = _range([_mean(_members(one, losses, banded)) for one in by_model[setting.model]], len(line))
        elif banded:
            band = _range([_mean([one]) for one in _members(setting, losses, banded)], len(line))
        drawn = None if band is None else _by_part(band)
        curves.append(plotting.Curve(*setting.model, np.arange(1, len(line)), **_by_part(line), band=drawn))
    return curves


def readable(curves: Sequence[plotting.Curve], found: Sequence[Setting]) -> tuple[list[plotting.Curve], str]:
    """As many curves as can be told apart, and how many these are where it is not all."""
    kept = some([setting.model for setting in found]) if large(found) else {setting.model for setting in found}
    shown = [curve for curve in curves if (curve.architecture, curve.latent_dim) in kept]
    return shown, f"{len(shown)} of {len(curves)} models" if len(shown) < len(curves) else ""


def _members(setting: Setting, losses: Losses, finite: bool) -> list[np.ndarray]:
    """Those of runs that came to their last epoch, if there are any; or of all."""
    return [losses[final.name] for final in (finite and setting.finite) or setting.finals]


def _mean(members: Sequence[np.ndarray]) -> np.ndarray:
    """Of losses [epoch, split, part], with −ELBO as a fourth part, up to the epoch that all reached."""
    mean = np.mean([one[: min(map(len, members))] for one in members], axis=0)
    return np.concatenate([mean, mean[..., :2].sum(-1, keepdims=True)], axis=-1)


def _range(members: Sequence[np.ndarray], epochs: int) -> np.ndarray:
    """The lowest and the highest of those that came to an epoch, [epoch, split, part, 2]."""
    cut = [one[:epochs] for one in members]
    padded = [np.pad(one, [(0, epochs - len(one)), (0, 0), (0, 0)], constant_values=np.nan) for one in cut]
    return np.stack([np.fmin.reduce(padded), np.fmax.reduce(padded)], axis=-1)


def _by_part(losses: np.ndarray) -> dict[str, Any]:
    """From epoch 1 on, by split and part."""
    names = (*metrics.PARTS, "negative_elbo")
    return {split: {part: losses[1:, s, i] for i, part in enumerate(names)} for s, split in enumerate(SPLITS)}


# ── points ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def points(found: Sequence[Setting]) -> list[tuple[Setting, str, float, float]]:
    """(setting, what it is of, rate, distortion) of the best settings on the test split: of each run, or of many runs
    the mean over seeds."""
    told = []
    for setting in best(found):
        if large(found):
            rate, distortion = (setting.mean(part) for part in ("kl", "reconstruction"))
            if rate and distortion:
                told.append((setting, setting.config.name, rate.mean, distortion.mean))
        else:
            told += [(setting, final.name, final.kl, final.reconstruction) for final in setting.finals]
    return told


def by_size(found: Sequence[Setting]) -> dict[str, list[tuple[int, float, float]]]:
    """For each architecture (latent size, rate, distortion) of the points, by size."""
    found_points: dict[str, list[tuple[int, float, float]]] = {}
    for setting, _, rate, distortion in sorted(points(found), key=lambda point: point[0].model[1]):
        found_points.setdefault(setting.model[0], []).append((setting.model[1], rate, distortion))
    return found_points


def by_beta(found: Sequence[Setting]) -> dict[Model, list[tuple[float, float, float]]]:
    """For each model, of many `some`, (β, rate, distortion) by β: means over seeds, at its best learning rate."""
    kept: dict[tuple[Model, float], Setting] = {}
    for setting in ranked(found):
        kept.setdefault((setting.model, float(setting.config.beta)), setting)
    lines: dict[Model, list[tuple[float, float, float]]] = {setting.model: [] for setting in found}
    for (model, beta), setting in sorted(kept.items(), key=lambda item: item[0]):
        rate, distortion = (setting.mean(part) for part in ("kl", "reconstruction"))
        if rate and distortion:
            lines[model].append((beta, rate.mean, distortion.mean))
    shown = some(lines) if large(found) else lines
    return {model: line for model, line in lines.items() if line and model in shown}


def landscapes(found: Sequence[Setting]) -> list[Landscape]:
    """Of each model the mean −ELBO over β and learning rate; not a number where no seed came to its end."""
    tables: dict[Model, dict[tuple[float, float], Setting]] = {}
    for setting in found:
        place = float(setting.config.beta), float(setting.config.learning_rate)
        tables.setdefault(setting.model, {}).setdefault(place, setting)
    drawn = []
    for model, table in tables.items():
        betas, rates = (sorted({place[axis] for place in table}) for axis in range(2))
        cells = [[table.get((beta, rate)) for rate in rates] for beta in betas]
        means = [[cell.mean("negative_elbo") if cell else None for cell in row] for row in cells]
        values = np.array([[mean.mean if mean else np.nan for mean in row] for row in means])
        halves = [
            [(mean.interval[1] - mean.mean if mean and mean.interval else np.nan) for mean in row] for row in means
        ]
        lost = np.array([[len(cell.diverged) if cell else 0 for cell in row] for row in cells])
        drawn.append(Landscape(*model, betas, rates, values, np.array(halves), lost))
    return drawn
