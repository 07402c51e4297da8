"""What figures and the page draw of all runs together: curves, points, and maps of a grid.

In: results. Out: arrays for `plotting` and `settings_map`.

Of several settings of a model – several β or learning rates – the best one stands for it, and a band for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxvae.config import Axis
from jaxvae.figures import plotting
from jaxvae.figures.settings_map import SettingsMap
from jaxvae.results import PARTS, Model, Results, Setting, in_order, ranked, thin_out
from jaxvae.runs import SPLITS

BY_ELBO = (("negative_elbo", "−ELBO"), *plotting.PARTS[1:])


def parts(results: Results) -> tuple[tuple[str, str], ...]:
    """The parts of the loss that are drawn: where losses of different settings do not compare, −ELBOs do."""
    return BY_ELBO if results.axes.trade_off else plotting.PARTS


def meaning_of_bands(results: Results) -> str:
    """What the bands of curves are; empty where there are none."""
    if results.several_settings:
        return "lines: each model's setting with the lowest mean −ELBO; bands: from the lowest to the highest setting"
    return "bands: from the lowest to the highest seed" if results.too_many else ""


def mean_curves(results: Results) -> list[plotting.Curve]:
    """One curve a model, averaged over its seeds up to the epoch that all of them reached."""
    by_model: dict[Model, list[np.ndarray]] = {}  # what bands span: means of settings, or a setting's runs
    banded = results.several_settings or results.too_many
    for setting in results.trained:
        members = _members(results, setting, banded)
        means = [_mean(members)] if results.several_settings else [_mean([one]) for one in members]
        by_model.setdefault(setting.model, []).extend(means)
    curves = []
    for setting in results.best:
        line = _mean(_members(results, setting, banded))
        band = _by_part(_range(by_model[setting.model], len(line))) if banded else None
        curves.append(plotting.Curve(*setting.model, np.arange(1, len(line)), **_by_part(line), band=band))
    return curves


def readable(curves: Sequence[plotting.Curve], results: Results) -> tuple[list[plotting.Curve], str]:
    """As many curves as can be told apart, and how many these are where it is not all."""
    if not results.too_many:
        return [*curves], ""
    models = thin_out([setting.model for setting in results.trained]) if curves else set()
    some = [curve for curve in curves if (curve.architecture, curve.latent_dim) in models]
    return some, f"{len(some)} of {len(curves)} models" if len(some) < len(curves) else ""


def _members(results: Results, setting: Setting, finite: bool) -> list[np.ndarray]:
    """The losses of the runs that reached their last epoch, if there are any; or of all."""
    return [results.losses[final.name] for final in (finite and setting.finite) or setting.finals]


def _mean(members: Sequence[np.ndarray]) -> np.ndarray:
    """Of losses [epoch, split, part], with −ELBO as a fourth part, up to the epoch that all reached."""
    mean = np.mean([one[: min(map(len, members))] for one in members], axis=0)
    return np.concatenate([mean, mean[..., :2].sum(-1, keepdims=True)], axis=-1)


def _range(members: Sequence[np.ndarray], epochs: int) -> np.ndarray:
    """The lowest and the highest of those that reached an epoch, [epoch, split, part, 2]."""
    cut = [one[:epochs] for one in members]
    padded = [np.pad(one, [(0, epochs - len(one)), (0, 0), (0, 0)], constant_values=np.nan) for one in cut]
    return np.stack([np.fmin.reduce(padded), np.fmax.reduce(padded)], axis=-1)


def _by_part(losses: np.ndarray) -> dict[str, Any]:
    """From epoch 1 on, by split and part."""
    names = (*PARTS, "negative_elbo")
    return {split: {part: losses[1:, s, i] for i, part in enumerate(names)} for s, split in enumerate(SPLITS[:2])}


def points(results: Results) -> list[tuple[Setting, str, float, float]]:
    """(setting, the run or setting that it is of, rate, distortion) of the best settings on the test split: of each
    run, or of many runs the mean over seeds."""
    points = []
    for setting in results.best:
        if results.too_many:
            if rate_and_distortion := _means(setting):
                points.append((setting, setting.config.name, *rate_and_distortion))
        else:
            points += [(setting, final.name, final.kl, final.reconstruction) for final in setting.finals]
    return points


def _means(setting: Setting) -> tuple[float, float] | None:
    rate, distortion = (setting.mean(part) for part in ("kl", "reconstruction"))
    return (rate.mean, distortion.mean) if rate and distortion else None


def points_by_size(results: Results) -> dict[str, list[tuple[int, float, float]]]:
    """For each architecture (latent size, rate, distortion) of the points, by size."""
    by_architecture: dict[str, list[tuple[int, float, float]]] = {}
    for setting, _, rate, distortion in sorted(points(results), key=lambda point: point[0].model[1]):
        by_architecture.setdefault(setting.model[0], []).append((setting.model[1], rate, distortion))
    return by_architecture


def trade_off_lines(results: Results, name: str) -> dict[Model, list[tuple[Any, float, float]]]:
    """For each model (value, rate, distortion) by the values of an axis: means over seeds, everything else at its best;
    of many models some."""
    best: dict[tuple[Model, Any], Setting] = {}
    for setting in ranked(results.trained):
        if axis := setting.config.axes.get(name):
            best.setdefault((setting.model, axis.value), setting)
    lines: dict[Model, list[tuple[Any, float, float]]] = {setting.model: [] for setting in results.trained}
    for model, line in lines.items():
        for value in in_order([value for own, value in best if own == model]):
            if rate_and_distortion := _means(best[model, value]):
                line.append((value, *rate_and_distortion))
    models = thin_out(lines) if results.too_many else lines
    return {model: line for model, line in lines.items() if line and model in models}


def settings_maps(results: Results) -> list[SettingsMap]:
    """Of each model the mean −ELBO over two traced axes, or over one; none where runs have no traced axis.

    The axes are the first two that vary; if one varies, that one, and if none does, the last one there is.
    """
    table = results.axes
    names = table.varying_traced[:2] or [name for name in table.names if table.axes[name].traced][-1:]
    axes = [table.axes[name] for name in names]
    by_model: dict[Model, dict[tuple, Setting]] = {}
    for setting in results.trained:
        own = setting.config.axes
        if all(name in own for name in names):
            by_model.setdefault(setting.model, {}).setdefault(tuple(own[name].value for name in names), setting)
    return [_settings_map(model, axes, cells) for model, cells in by_model.items() if names]


def _settings_map(model: Model, axes: Sequence[Axis], settings: dict[tuple, Setting]) -> SettingsMap:
    values = [in_order({place[i] for place in settings}) for i in range(len(axes))]
    shape = [len(own) for own in values]
    means, halves = np.full(shape, np.nan), np.full(shape, np.nan)
    diverged = np.zeros(shape, int)
    for place, setting in settings.items():
        index = tuple(own.index(value) for own, value in zip(values, place, strict=True))
        diverged[index] = len(setting.diverged)
        if mean := setting.mean("negative_elbo"):
            means[index] = mean.mean
            halves[index] = mean.interval[1] - mean.mean if mean.interval else np.nan
    return SettingsMap(*model, tuple(axes), tuple(values), means, halves, diverged)
