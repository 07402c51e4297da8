"""Pictures of a grid over β and learning rates: NumPy arrays in, Matplotlib figures out; no JAX, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from jaxvae.config import shortest
from jaxvae.figures.plotting import DPI, LINES, MARKS, colours, elbo_lines

PANELS = 12  # models side by side
NAMED = 6  # lines of which each says at which β it begins and ends
TICKS = 12  # labelled values along an axis
WRITTEN = 8  # values along an axis up to which cells of a map have numbers


class Landscape(NamedTuple):
    """What became of a model in each setting: test −ELBO in nats per image, means over seeds."""

    architecture: str
    latent_dim: int
    betas: list[float]
    learning_rates: list[float]
    negative_elbo: np.ndarray  # [β, learning rate]; not a number where no seed came to its end
    half: np.ndarray  # [β, learning rate], of the mean's 95 % interval; not a number for a single seed
    diverged: np.ndarray  # [β, learning rate], seeds

    @property
    def title(self) -> str:
        return f"{self.architecture}, d = {self.latent_dim}"


def rate_distortion(lines: Mapping[tuple[str, int], Sequence[tuple[float, float, float]]], data: str) -> Figure:
    """Rate against distortion on test images, a line through the β of each model: (β, rate, distortion) by β."""
    figure = Figure(figsize=(9.5, 6.2), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    sizes = sorted({d for _, d in lines})
    tints = colours(sizes)
    by_size = sorted(lines, key=lambda model: model[1])
    first, last = by_size[0], by_size[-1]
    for (architecture, d), line in lines.items():
        betas, rates, distortions = np.array(line).T
        ax.plot(rates, distortions, color=tints[d], ls=LINES[architecture], marker=MARKS[architecture], lw=1.4, ms=4)
        told = len(lines) <= NAMED or (architecture, d) in (first, last)
        for i in sorted({0, len(line) - 1}) if told else ():
            ax.annotate(f"β = {shortest(float(betas[i]))}", (rates[i], distortions[i]), (5, 5), fontsize=7,
                        textcoords="offset points", color=tints[d])  # fmt: skip
    ax.margins(0.25, 0.12)  # room for the names of the lines of one ELBO
    elbo_lines(ax)
    ax.set_xlabel("rate: KL(q(z|x) ‖ p(z)), nats per image")
    ax.set_ylabel("distortion: −E log p(x|z), nats per image")
    handles = [Line2D([], [], color=tints[d], lw=3, label=f"d = {d}") for d in sizes]
    for a in dict.fromkeys(a for a, _ in lines):
        handles.append(Line2D([], [], color="0.3", ls=LINES[a], marker=MARKS[a], ms=4, lw=1.4, label=a))
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    told = "a line for each model, a point for each β at its best learning rate"
    figure.suptitle(f"Rate and distortion on test images: {told}\n{data}", fontsize=11)
    return figure


def settings(found: Sequence[Landscape], data: str) -> Figure:
    """Test −ELBO over β and learning rate: a map for each model, or lines where only one of them varies."""
    both = any(len(one.betas) > 1 and len(one.learning_rates) > 1 for one in found)
    return _maps(found, data) if both else _lines(found, data)


def _maps(found: Sequence[Landscape], data: str) -> Figure:
    shown, columns = found[:PANELS], min(4, len(found))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1 + 3.6 * columns, 1.2 + 3.2 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(shown) :]:
        ax.set_visible(False)
    for ax, one in zip(axes.flat, shown, strict=False):
        _map(ax, one)
    left = ", ".join(one.title for one in found[PANELS:])
    figure.suptitle(
        "Test −ELBO over β and learning rate, nats per image, means over seeds; lower is better; framed: the lowest\n"
        + (f"{data}; not shown: {left}" if left else data), fontsize=11, wrap=True,
    )  # fmt: skip
    return figure


def _map(ax: Axes, one: Landscape) -> None:
    values = one.negative_elbo
    finite = values[np.isfinite(values)]
    low = finite.min() if len(finite) else 0.0
    # of a setting that failed the colour says no more than that it did
    high = min(finite.max(), low + 4 * (np.median(finite) - low)) if len(finite) else 1.0
    ax.set_facecolor("0.85")
    image = ax.imshow(
        np.ma.masked_invalid(values), cmap="viridis_r", vmin=low, vmax=high, aspect="auto", origin="lower"
    )
    for axis, ticks in ((ax.xaxis, one.learning_rates), (ax.yaxis, one.betas)):
        step = -(-len(ticks) // TICKS)
        axis.set_ticks(range(0, len(ticks), step), [shortest(value) for value in ticks[::step]])
    ax.xaxis.set_tick_params(rotation=30)
    ax.tick_params(labelsize=8, length=2)
    ax.set_xlabel("learning rate", fontsize=9)
    ax.set_ylabel("β", fontsize=9, rotation=0)
    ax.set_title(one.title, fontsize=10)
    if max(values.shape) > WRITTEN:
        ax.figure.colorbar(image, ax=ax, label="nats per image", extend="max" if high < finite.max() else "neither")
    else:
        for (i, j), value in np.ndenumerate(values):
            lost = f"\n{one.diverged[i, j]} diverged" if one.diverged[i, j] else ""
            dark = np.isfinite(value) and value > (low + high) / 2
            text = f"{value:.1f}{lost}" if np.isfinite(value) else lost.strip()
            ax.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    if len(finite):
        i, j = np.unravel_index(np.nanargmin(values), values.shape)
        ax.add_patch(Rectangle((float(j) - 0.5, float(i) - 0.5), 1, 1, fill=False, ec="#d62728", lw=2))


def _lines(found: Sequence[Landscape], data: str) -> Figure:
    """−ELBO against whichever of the two varies, with the intervals of the means."""
    over_beta = any(len(one.betas) > 1 for one in found)
    figure = Figure(figsize=(9.5, 5.6), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    sizes = sorted({one.latent_dim for one in found})
    tints = colours(sizes)
    for one in found:
        x = np.array(one.betas if over_beta else one.learning_rates)
        y, half = one.negative_elbo.ravel(), np.nan_to_num(one.half.ravel())
        style = {"color": tints[one.latent_dim], "ls": LINES[one.architecture], "marker": MARKS[one.architecture]}
        ax.plot(x, y, ms=4, lw=1.4, **style)
        ax.fill_between(x, y - half, y + half, color=style["color"], alpha=0.15, lw=0)
    positive = all(min(one.betas if over_beta else one.learning_rates) > 0 for one in found)
    ax.set_xscale("log" if positive else "linear")
    ax.set_xlabel("β, weight of the KL term" if over_beta else "learning rate")
    ax.set_ylabel("test −ELBO, nats per image")
    finite = np.concatenate([one.negative_elbo[np.isfinite(one.negative_elbo)] for one in found])
    if len(finite):
        low = finite.min()
        reach = 8 * max(np.median(finite) - low, 0.02 * abs(low))
        if ax.get_ylim()[1] > low + reach:  # of settings that failed no more is to be seen than that they did
            ax.set_ylim(low - 0.06 * reach, low + reach)
    ax.grid(alpha=0.25)
    handles = [Line2D([], [], color=tints[d], lw=3, label=f"d = {d}") for d in sizes]
    for a in dict.fromkeys(one.architecture for one in found):
        handles.append(Line2D([], [], color="0.3", ls=LINES[a], marker=MARKS[a], ms=4, lw=1.4, label=a))
    figure.legend(handles=handles, loc="outside right center", frameon=False)
    varied = "β" if over_beta else "the learning rate"
    figure.suptitle(f"Test −ELBO against {varied}, means over seeds with their 95 % intervals\n{data}", fontsize=11)
    return figure
