"""Figures of a grid over traced axes, such as β and the learning rate: NumPy arrays in, Matplotlib figures out; no JAX,
no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from jaxvae.config import Axis
from jaxvae.figures.plotting import DPI, colours, elbo_lines, styles
from jaxvae.results import Model, Words, written

MAX_PANELS = 12  # models side by side
MAX_ANNOTATED_LINES = 6  # of which each says at which value it begins and ends
MAX_TICKS = 12  # labelled values along an axis
MAX_CELLS_WITH_NUMBERS = 8  # along an axis of a map
LONG_TITLES = {"β": "β, weight of the KL term"}  # of axes along a figure's edge


class SettingsMap(NamedTuple):
    """What became of a model in each setting: test −ELBO in nats per image, means over seeds."""

    architecture: str
    latent_dim: int
    axes: tuple[Axis, ...]  # one or two
    values: tuple[list, ...]  # along each axis
    negative_elbo: np.ndarray  # [value, value]; not a number where no seed reached its last epoch
    half: np.ndarray  # of the mean's 95 % interval, as `negative_elbo`; not a number for a single seed
    diverged: np.ndarray  # seeds, as `negative_elbo`

    @property
    def title(self) -> str:
        return f"{self.architecture}, d = {self.latent_dim}"


def rate_distortion(
    lines: Mapping[Model, Sequence[tuple[Any, float, float]]],
    axis: Axis,
    others: Sequence[Axis],
    data: str,
    words: Words,
) -> Figure:
    """Rate against distortion on the test split, a line through the values of an axis for each model.

    Args:
        lines: by model (value, rate, distortion).
        others: traced axes that are at their best for each value.
    """
    figure = Figure(figsize=(9.5, 6.2), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    sizes = sorted({d for _, d in lines})
    tints, by_architecture = colours(sizes), styles(architecture for architecture, _ in lines)
    by_size = sorted(lines, key=lambda model: model[1])
    ends = by_size[0], by_size[-1]
    for (architecture, d), line in lines.items():
        values, rates, distortions = zip(*line, strict=True)
        style = by_architecture[architecture]
        ax.plot(rates, distortions, color=tints[d], ls=style.line, marker=style.marker, lw=1.4, ms=4)
        annotated = len(lines) <= MAX_ANNOTATED_LINES or (architecture, d) in ends
        for i in sorted({0, len(line) - 1}) if annotated else ():
            ax.annotate(f"{axis.symbol} = {written(values[i])}", (rates[i], distortions[i]), (5, 5), fontsize=7,
                        textcoords="offset points", color=tints[d])  # fmt: skip
    ax.margins(0.25, 0.12)  # room for the names of the lines of one ELBO
    elbo_lines(ax, words)
    _legend(figure, lines)
    best = f" at its best {' and '.join(other.title for other in others)}" if others else ""
    title = f"a line for each model, a point for each {axis.title}{best}"
    figure.suptitle(f"Rate and distortion on test {words.example}s: {title}\n{data}", fontsize=11, wrap=True)
    return figure


def _legend(figure: Figure, models: Sequence[Model] | Mapping[Model, Any]) -> None:
    sizes = sorted({d for _, d in models})
    tints = colours(sizes)
    handles = [Line2D([], [], color=tints[d], lw=3, label=f"d = {d}") for d in sizes]
    for name, style in styles(architecture for architecture, _ in models).items():
        handles.append(Line2D([], [], color="0.3", ls=style.line, marker=style.marker, ms=4, lw=1.4, label=name))
    figure.legend(handles=handles, loc="outside right center", frameon=False)


def settings(maps: Sequence[SettingsMap], data: str, words: Words) -> Figure:
    """Test −ELBO over two axes, a map for each model, or lines over one."""
    return (_maps if len(maps[0].axes) > 1 else _lines)(maps, data, words)


def _maps(maps: Sequence[SettingsMap], data: str, words: Words) -> Figure:
    columns = min(4, len(maps))
    rows = -(-min(len(maps), MAX_PANELS) // columns)
    figure = Figure(figsize=(1 + 3.6 * columns, 1.2 + 3.2 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(maps) :]:
        ax.set_visible(False)
    for ax, one in zip(axes.flat, maps[:MAX_PANELS], strict=False):
        _map(ax, one, words)
    left_out = ", ".join(one.title for one in maps[MAX_PANELS:])
    over = " and ".join(axis.title for axis in maps[0].axes)
    figure.suptitle(
        f"Test −ELBO over {over}, nats per {words.example}, means over seeds; lower is better; framed: the lowest\n"
        + (f"{data}; not shown: {left_out}" if left_out else data), fontsize=11, wrap=True,
    )  # fmt: skip
    return figure


def _map(ax: Axes, one: SettingsMap, words: Words) -> None:
    values = one.negative_elbo
    finite = values[np.isfinite(values)]
    low = finite.min() if len(finite) else 0.0
    # of a setting that failed the colour says no more than that it did
    high = min(finite.max(), low + 4 * (np.median(finite) - low)) if len(finite) else 1.0
    ax.set_facecolor("0.85")
    image = ax.imshow(
        np.ma.masked_invalid(values), cmap="viridis_r", vmin=low, vmax=high, aspect="auto", origin="lower"
    )
    for edge, ticks in ((ax.yaxis, one.values[0]), (ax.xaxis, one.values[1])):
        step = -(-len(ticks) // MAX_TICKS)
        edge.set_ticks(range(0, len(ticks), step), [written(value) for value in ticks[::step]])
    ax.xaxis.set_tick_params(rotation=30)
    ax.tick_params(labelsize=8, length=2)
    y_axis, x_axis = one.axes
    ax.set_xlabel(x_axis.title, fontsize=9)
    ax.set_ylabel(y_axis.title, fontsize=9, rotation=0 if len(y_axis.title) < 3 else 90)
    ax.set_title(one.title, fontsize=10)
    if max(values.shape) > MAX_CELLS_WITH_NUMBERS:
        beyond = "max" if high < finite.max() else "neither"
        ax.figure.colorbar(image, ax=ax, label=f"nats per {words.example}", extend=beyond)
    else:
        for (i, j), value in np.ndenumerate(values):
            failed = f"\n{one.diverged[i, j]} diverged" if one.diverged[i, j] else ""
            dark = np.isfinite(value) and value > (low + high) / 2
            text = f"{value:.1f}{failed}" if np.isfinite(value) else failed.strip()
            ax.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    if len(finite):
        i, j = np.unravel_index(np.nanargmin(values), values.shape)
        ax.add_patch(Rectangle((float(j) - 0.5, float(i) - 0.5), 1, 1, fill=False, ec="#d62728", lw=2))


def _lines(maps: Sequence[SettingsMap], data: str, words: Words) -> Figure:
    """−ELBO against the axis, with the intervals of the means."""
    (axis,) = maps[0].axes
    every = sorted({value for one in maps for value in one.values[0] if not isinstance(value, str)})
    figure = Figure(figsize=(9.5, 5.6), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    models = [(one.architecture, one.latent_dim) for one in maps]
    tints, by_architecture = colours(sorted({d for _, d in models})), styles(name for name, _ in models)
    for one in maps:
        x = np.array(one.values[0])
        tint, style = tints[one.latent_dim], by_architecture[one.architecture]
        ax.plot(x, one.negative_elbo, ms=4, lw=1.4, color=tint, ls=style.line, marker=style.marker)
        half = np.nan_to_num(one.half)
        ax.fill_between(x, one.negative_elbo - half, one.negative_elbo + half, color=tint, alpha=0.15, lw=0)
    ax.set_xscale("log" if every and every[0] > 0 else "linear")
    ax.set(xlabel=LONG_TITLES.get(axis.title, axis.title), ylabel=f"test −ELBO, nats per {words.example}")
    finite = np.concatenate([one.negative_elbo[np.isfinite(one.negative_elbo)] for one in maps])
    if len(finite):
        low = finite.min()
        reach = 8 * max(np.median(finite) - low, 0.02 * abs(low))
        if ax.get_ylim()[1] > low + reach:  # settings that failed are cut off: it is enough to see that they did
            ax.set_ylim(low - 0.06 * reach, low + reach)
    ax.grid(alpha=0.25)
    _legend(figure, models)
    against = axis.title if axis.title == axis.symbol else f"the {axis.title}"
    figure.suptitle(
        f"Test −ELBO against {against}, means over seeds with their 95 % intervals\n{data}", fontsize=11, wrap=True
    )
    return figure
