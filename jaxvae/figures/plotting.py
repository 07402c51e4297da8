"""Figures of a sweep: NumPy arrays in, Matplotlib figures out; no JAX, no files.

Every figure's title says which data it was made from.
"""

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from jaxvae.results import Words

PARTS = (("loss", "loss"), ("reconstruction", "reconstruction"), ("kl", "KL"))
DPI = 110
NUMBERED_CLASSES = 20  # of more, numbers would lie upon each other


class Style(NamedTuple):
    """How the models of an architecture are drawn."""

    line: Any
    marker: str
    tint: str


STYLES = {"linear": Style((0, (4, 1.5)), "s", "#c0504d"), "conv": Style("-", "o", "#1f5f99")}
FURTHER_STYLES = (  # of other architectures, in turn
    Style((0, (1, 1.2)), "^", "#4f8a3c"),
    Style("-.", "D", "#8a5aa8"),
    Style((0, (7, 1.5, 1, 1.5)), "v", "#b7791f"),
    Style((0, (4, 1.5, 1, 1.5, 1, 1.5)), "P", "#3a8f93"),
)


def styles(architectures: Iterable[str]) -> dict[str, Style]:
    """The style of each architecture, in the order of their first models."""
    further = cycle(FURTHER_STYLES)
    return {name: STYLES.get(name) or next(further) for name in dict.fromkeys(architectures)}


class Curve(NamedTuple):
    """One model's losses in nats per image, a row an epoch; over several seeds, their mean."""

    architecture: str
    latent_dim: int
    epochs: np.ndarray  # [e], from 1
    train: dict[str, np.ndarray]  # "loss", "reconstruction", "kl" → [e]
    test: dict[str, np.ndarray]
    band: dict[str, dict[str, np.ndarray]] | None = None  # split → part → the lowest and the highest, [e, 2]


def curves(models: Sequence[Curve], data: str, parts: Sequence[tuple[str, str]], words: Words) -> Figure:
    """Loss, reconstruction and KL against epoch, train above test, all models in one figure."""
    figure = Figure(figsize=(13, 8), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey="col")
    sizes = sorted({model.latent_dim for model in models})
    tints, by_architecture = colours(sizes), styles(model.architecture for model in models)
    for row, split in zip(axes, ("train", "test"), strict=True):
        for ax, (part, title) in zip(row, parts, strict=True):
            for model in models:
                if model.band:
                    ax.fill_between(model.epochs, *model.band[split][part].T, color=tints[model.latent_dim], lw=0,
                                    alpha=0.12)  # fmt: skip
                values, style = getattr(model, split)[part], by_architecture[model.architecture]
                ax.plot(
                    model.epochs, values, color=tints[model.latent_dim], ls=style.line, lw=1.6,
                    marker=style.marker if len(values) == 1 else None, ms=4,
                )  # fmt: skip
            ax.set_title(f"{split}: {title}", fontsize=11)
            ax.grid(alpha=0.25)
            ax.set_ylabel(f"nats per {words.example}")
    for ax, (part, _) in zip(axes[0], parts, strict=True):
        _limit(ax, models, part)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles = [Line2D([], [], color=tints[d], lw=3, label=f"d = {d}") for d in sizes]
    for architecture, style in by_architecture.items():
        handles.append(Line2D([], [], color="0.3", ls=style.line, lw=1.6, label=architecture))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 10), frameon=False)
    figure.suptitle(f"Losses during training – {data}", wrap=True)
    return figure


def by_dimension(models: Sequence[Curve], data: str, parts: Sequence[tuple[str, str]], words: Words) -> Figure:
    """Final loss, reconstruction and KL against latent size, train and test."""
    figure = Figure(figsize=(13, 4.4), dpi=DPI, layout="constrained")
    sizes = sorted({model.latent_dim for model in models})
    axes = figure.subplots(1, 3)
    for ax, (part, title) in zip(axes, parts, strict=True):
        for architecture, (_, marker, tint) in styles(model.architecture for model in models).items():
            members = sorted((m for m in models if m.architecture == architecture), key=lambda m: m.latent_dim)
            x = [m.latent_dim for m in members]
            style = {"color": tint, "marker": marker, "ms": 5}
            ax.plot(x, [m.test[part][-1] for m in members], **style, lw=1.8, label=f"{architecture}, test")
            ax.plot(x, [m.train[part][-1] for m in members], **style, lw=1, ls=":", alpha=0.55, mfc="white",
                    label=f"{architecture}, train")  # fmt: skip
            if banded := [m for m in members if m.band]:
                ends = np.array([m.band["test"][part][-1] for m in banded if m.band]).T
                ax.fill_between([m.latent_dim for m in banded], *ends, color=tint, alpha=0.12, lw=0)
        ax.set_xscale("log")
        _limit(ax, models, part, slice(-1, None))
        ticks = _apart(sizes)
        ax.set_xticks(ticks, [str(d) for d in ticks])
        ax.set_xticks([], minor=True)
        ax.set(xlabel="latent dimension d", ylabel=f"nats per {words.example}")
        ax.set_title(title, fontsize=11)
        ax.grid(alpha=0.25)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"After the last epoch – {data}", wrap=True)
    return figure


def rate_distortion(points: dict[str, list[tuple[int, float, float]]], data: str, words: Words) -> Figure:
    """Rate against distortion on the test split; a point a run, (latent size, rate, distortion), by architecture.

    A line of slope −1 has one ELBO: models nearer to the lower left are better (Alemi et al. 2018).
    """
    figure = Figure(figsize=(7.5, 5.6), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    for architecture, (_, marker, tint) in styles(points).items():
        runs = points[architecture]
        sizes = sorted({d for d, _, _ in runs})
        means = np.array([np.mean([run[1:] for run in runs if run[0] == d], axis=0) for d in sizes])
        (rates, distortions), each = means.T, np.array([run[1:] for run in runs])
        ax.plot(rates, distortions, color=tint, marker=marker, lw=1.4, ms=5, label=architecture)
        if len(runs) > len(sizes):
            ax.plot(each[:, 0], each[:, 1], color=tint, marker=marker, ls="", ms=3, alpha=0.4,
                    label=f"{architecture}, single seeds")  # fmt: skip
        for d, mean in zip(sizes, means, strict=True):
            if d in _apart(sizes):
                ax.annotate(f"{d}", mean, (5, 5), textcoords="offset points", fontsize=9)
    ax.margins(0.12)
    elbo_lines(ax, words)
    ax.legend(frameon=False)
    title = f"Rate and distortion on test {words.example}s; numbers are latent sizes"
    figure.suptitle(f"{title}\n{data}", fontsize=11, wrap=True)
    return figure


def elbo_lines(ax: Axes, words: Words) -> None:
    """Labels and lines of equal −ELBO in a plot of rate against distortion, whose limits are kept."""
    nats = f"nats per {words.example}"
    ax.set(xlabel=f"rate: KL(q(z|x) ‖ p(z)), {nats}", ylabel=f"distortion: −E log p(x|z), {nats}")
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    reach = right + high - left - low
    # of a run that diverges still a few lines; of one whose losses are small some, too
    step = max(20, 20 * int(reach / 200)) if reach > 40 else 10.0 ** np.floor(np.log10(reach / 2))
    for loss in step * np.arange((left + low) // step + 1, np.ceil((right + high) / step)):
        ax.plot([left, right], [loss - left, loss - right], color="0.8", lw=0.8, zorder=0)
        if low < loss - right < high:
            ax.annotate(
                f"−ELBO {loss:.10g}", (right, loss - right), (-6, 0), textcoords="offset points", fontsize=8,
                color="0.5", ha="right", va="center", bbox={"fc": "white", "ec": "none", "pad": 1},
            )  # fmt: skip
    ax.set(xlim=(left, right), ylim=(low, high))


def confusions(rows: Sequence[Sequence[tuple[str, np.ndarray]]], accuracy: float, data: str, words: Words) -> Figure:
    """What a classifier reads in reconstructions of each class: (title, shares [class, read as]), rows of models."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(1 + 2.9 * columns, 1.2 + 3.0 * len(rows)), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for ax, (title, shares) in zip(line, row, strict=False):
            ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            few = len(shares) <= NUMBERED_CLASSES
            for i, j in np.argwhere(shares >= 0.05) if few else ():
                if i != j:
                    share = shares[i, j]
                    ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                            color="white" if share > 0.5 else "black")  # fmt: skip
            if few:
                ax.set(xticks=range(len(shares)), yticks=range(len(shares)))
            ax.tick_params(length=0, labelsize=8)
            ax.set_title(f"{title}: {100 * np.trace(shares) / max(1, shares.any(1).sum()):.0f} % right", fontsize=10)
        for ax in line[len(row) :]:
            ax.set_visible(False)
        line[0].set_ylabel(words.label)
    for ax in axes[-1]:
        ax.set_xlabel("read as")
    scale = ScalarMappable(Normalize(0, 1), "Blues")
    figure.colorbar(scale, ax=axes, shrink=0.6, label=f"share of the {words.label}'s test {words.example}s")
    title = f"What a classifier reads in reconstructions; of the originals it reads {100 * accuracy:.1f} % rightly"
    figure.suptitle(f"{title}. Wrong readings in per cent\n{data}", fontsize=11, wrap=True)
    return figure


def _limit(ax: Axes, models: Sequence[Curve], part: str, epochs: slice = slice(None)) -> None:
    """Limits in which lines can be told apart, though a band goes on: how badly a setting fails need not be seen."""
    if not (banded := [model.band for model in models if model.band]):
        return
    lines = np.concatenate([getattr(model, s)[part][epochs] for model in models for s in ("train", "test")])
    bands = np.concatenate([band[s][part][epochs].ravel() for band in banded for s in ("train", "test")])
    reach = 3 * max(np.ptp(lines), 0.05 * np.abs(lines).max())
    low = max(min(bands.min(), lines.min()), lines.min() - reach)
    high = min(max(bands.max(), lines.max()), lines.max() + reach)
    ax.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))


def _apart(sizes: Sequence[int], most: int = 14) -> list[int]:
    """Those whose numbers do not overlap on a logarithmic axis."""
    step = np.log(sizes[-1] / sizes[0]) / most
    apart = list(sizes[:1])
    for size in sizes[1:]:
        if np.log(size / apart[-1]) >= step:
            apart.append(size)
    return apart


def colours(sizes: Sequence[int]) -> dict[int, str]:
    scale = np.linspace(0.05, 0.88, len(sizes)) if len(sizes) > 1 else [0.3]
    return {d: to_hex(colormaps["plasma"](t)) for d, t in zip(sizes, scale, strict=True)}
