"""Figures of a search: NumPy arrays in, Matplotlib figures out; no JAX, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from jaxvae.figures.plotting import DPI
from jaxvae.results import Words, written

SHADES = colormaps["viridis_r"]  # from the worst to the best
DROPPED = "0.78"
MAX_TICKS = 8  # values of an axis that are written beside it


class Curve(NamedTuple):
    """How a setting went on as long as it was trained."""

    epochs: np.ndarray  # [e], from 1
    loss: np.ndarray  # [e], validation −ELBO in nats, mean over seeds
    place: int  # among all settings, 0 the best


def rungs(curves: Sequence[Curve], levels: Sequence[int], data: str, words: Words) -> Figure:
    """Each setting's validation loss against the epoch; where settings were compared, a line across."""
    figure = Figure(figsize=(9, 5), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    last = max(curve.epochs[-1] for curve in curves)
    shades = _shades(1 + max(curve.place for curve in curves if curve.epochs[-1] == last))
    for curve in sorted(curves, key=lambda one: -one.place):
        ended = curve.epochs[-1] < last
        ax.plot(
            curve.epochs, curve.loss, color=DROPPED if ended else shades(curve.place), lw=1 if ended else 1.8,
            marker="o", ms=3 if ended else 0, markevery=[-1],
        )  # fmt: skip
        if not curve.place:
            ax.annotate("best", (curve.epochs[-1], curve.loss[-1]), (5, 0), textcoords="offset points", va="center")
    for level in levels[:-1]:
        ax.axvline(level, color="0.4", lw=0.8, ls=":")
    ax.set_xscale("log")
    ax.set_xticks(list(levels), [str(level) for level in levels])
    ax.set_xticks([], minor=True)
    finite = np.concatenate([curve.loss for curve in curves])
    finite = finite[np.isfinite(finite)]
    low, typical = finite.min(), np.quantile(finite, 0.9)
    ax.set_ylim(low - 0.05 * (typical - low), typical + 0.15 * (typical - low))
    ax.set(xlabel="epoch; dotted: settings are compared", ylabel=f"validation −ELBO, nats per {words.example}")
    ax.grid(alpha=0.2)
    figure.suptitle(f"Settings by rung, those that ended early in grey – {data}", wrap=True)
    return figure


def parallel(
    axes: Mapping[str, Sequence[object]], losses: Sequence[float], places: Sequence[int], data: str, words: Words
) -> Figure:
    """A line for each setting through its values, coloured by its place among all; the best ones on top.

    Args:
        axes: by title the value of each setting: numbers, or texts.
        losses: validation loss of each setting at its last rung, nats.
    """
    figure = Figure(figsize=(max(6.0, 2.2 * (len(axes) + 1)), 5), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    heights = [*(_heights(values) for values in axes.values()), _heights([-loss for loss in losses], log=False)]
    shades = _shades(len(places))
    for i in sorted(range(len(places)), key=lambda i: -places[i]):
        best = places[i] == 0
        line = [height[i] for height in heights]
        ax.plot(range(len(heights)), line, color=shades(places[i]), lw=3 if best else 1.1, alpha=1 if best else 0.7)
    titles = [*axes, f"−ELBO, nats per {words.example}"]
    for x, (values, height) in enumerate(zip([*axes.values(), list(losses)], heights, strict=True)):
        ax.axvline(x, color="0.2", lw=0.8)
        for value, y in _ticks(values, height):
            ax.annotate(value, (x, y), (4, 0), textcoords="offset points", fontsize=8, va="center",
                        bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.5})  # fmt: skip
    ax.set_xticks(range(len(titles)), titles)
    ax.set_yticks([])
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    ax.set_ylim(-0.06, 1.06)
    figure.suptitle(f"Values of each setting, the best one thick, good ones dark – {data}", wrap=True)
    return figure


def _shades(count: int):
    norm = Normalize(0, max(1, count - 1))
    return lambda place: SHADES(1 - norm(place)) if place else SHADES(1.0)


def _heights(values: Sequence[object], log: bool = True) -> np.ndarray:
    """From 0 to 1, on a logarithmic scale where all are positive numbers; texts in their order."""
    if any(isinstance(value, str) for value in values):
        order = list(dict.fromkeys(sorted(map(str, values))))
        numbers = np.array([order.index(str(value)) for value in values], float)
    else:
        numbers = np.array(values, float)
        numbers[~np.isfinite(numbers)] = np.nanmin(np.where(np.isfinite(numbers), numbers, np.nan))
        numbers = np.log(numbers) if log and (numbers > 0).all() else numbers
    span = np.ptp(numbers)
    return (numbers - numbers.min()) / span if span else np.full(len(numbers), 0.5)


def _ticks(values: Sequence[object], heights: np.ndarray) -> list[tuple[str, float]]:
    """Values to be written, evenly along the axis, with their heights."""
    by_height = sorted({(float(height), _text(value)) for value, height in zip(values, heights, strict=True)})
    chosen, last = [], -1.0
    for height, text in by_height:
        if height - last >= 1 / MAX_TICKS or height == 1:
            chosen.append((text, height))
            last = height
    return chosen


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if np.isfinite(value) else "diverged"
    return written(value)
