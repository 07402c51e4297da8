"""Pictures of a sweep: NumPy arrays in, Matplotlib figures out; no JAX, no files.

Every figure's title says which data it was made from.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.pyplot import colormaps

PARTS = (("loss", "loss"), ("reconstruction", "reconstruction"), ("kl", "KL"))
LINES = {"linear": (0, (4, 1.5)), "conv": "-"}
MARKS = {"linear": "s", "conv": "o"}
TINTS = {"linear": "#c0504d", "conv": "#1f5f99"}
DPI = 110


class Curve(NamedTuple):
    """One model's losses in nats per image, a row an epoch; over several seeds, their mean."""

    architecture: str
    latent_dim: int
    epochs: np.ndarray  # [e], from 1
    train: dict[str, np.ndarray]  # "loss", "reconstruction", "kl" → [e]
    test: dict[str, np.ndarray]
    band: dict[str, dict[str, np.ndarray]] | None = None  # split → part → the lowest and the highest, [e, 2]


def curves(models: Sequence[Curve], data: str, parts: Sequence[tuple[str, str]] = PARTS) -> Figure:
    """Loss, reconstruction and KL against epoch, train above test, all models in one figure."""
    figure = Figure(figsize=(13, 8), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey="col")
    sizes = sorted({model.latent_dim for model in models})
    tints = colours(sizes)
    for row, split in zip(axes, ("train", "test"), strict=True):
        for ax, (part, title) in zip(row, parts, strict=True):
            for model in models:
                if model.band:
                    ax.fill_between(model.epochs, *model.band[split][part].T, color=tints[model.latent_dim], lw=0,
                                    alpha=0.12)  # fmt: skip
                values = getattr(model, split)[part]
                ax.plot(
                    model.epochs, values, color=tints[model.latent_dim], ls=LINES[model.architecture], lw=1.6,
                    marker=MARKS[model.architecture] if len(values) == 1 else None, ms=4,
                )  # fmt: skip
            ax.set_title(f"{split}: {title}", fontsize=11)
            ax.grid(alpha=0.25)
            ax.set_ylabel("nats per image")
    for ax, (part, _) in zip(axes[0], parts, strict=True):
        _near(ax, models, part)
    for ax in axes[1]:
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles = [Line2D([], [], color=tints[d], lw=3, label=f"d = {d}") for d in sizes]
    for architecture in dict.fromkeys(model.architecture for model in models):
        handles.append(Line2D([], [], color="0.3", ls=LINES[architecture], lw=1.6, label=architecture))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 10), frameon=False)
    figure.suptitle(f"Losses during training – {data}")
    return figure


def by_dimension(models: Sequence[Curve], data: str, parts: Sequence[tuple[str, str]] = PARTS) -> Figure:
    """Final loss, reconstruction and KL against latent size, train and test."""
    figure = Figure(figsize=(13, 4.4), dpi=DPI, layout="constrained")
    sizes = sorted({model.latent_dim for model in models})
    axes = figure.subplots(1, 3)
    for ax, (part, title) in zip(axes, parts, strict=True):
        for architecture in dict.fromkeys(model.architecture for model in models):
            members = sorted((m for m in models if m.architecture == architecture), key=lambda m: m.latent_dim)
            x = [m.latent_dim for m in members]
            style = {"color": TINTS[architecture], "marker": MARKS[architecture], "ms": 5}
            ax.plot(x, [m.test[part][-1] for m in members], **style, lw=1.8, label=f"{architecture}, test")
            ax.plot(x, [m.train[part][-1] for m in members], **style, lw=1, ls=":", alpha=0.55, mfc="white",
                    label=f"{architecture}, train")  # fmt: skip
            if banded := [m for m in members if m.band]:
                ends = np.array([m.band["test"][part][-1] for m in banded if m.band]).T
                ax.fill_between([m.latent_dim for m in banded], *ends, color=style["color"], alpha=0.12, lw=0)
        ax.set_xscale("log")
        _near(ax, models, part, slice(-1, None))
        marked = _apart(sizes)
        ax.set_xticks(marked, [str(d) for d in marked])
        ax.set_xticks([], minor=True)
        ax.set_xlabel("latent dimension d")
        ax.set_ylabel("nats per image")
        ax.set_title(title, fontsize=11)
        ax.grid(alpha=0.25)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"After the last epoch – {data}")
    return figure


def rate_distortion(points: dict[str, list[tuple[int, float, float]]], data: str) -> Figure:
    """Rate against distortion on test images; a point a run, (latent size, rate, distortion), by architecture.

    A line of slope −1 has one ELBO: models nearer to the lower left are better (Alemi et al. 2018).
    """
    figure = Figure(figsize=(7.5, 5.6), dpi=DPI, layout="constrained")
    ax = figure.subplots()
    for architecture, runs in points.items():
        sizes = sorted({d for d, _, _ in runs})
        means = np.array([np.mean([run[1:] for run in runs if run[0] == d], axis=0) for d in sizes])
        (rates, distortions), each = means.T, np.array([run[1:] for run in runs])
        colour, mark = TINTS[architecture], MARKS[architecture]
        ax.plot(rates, distortions, color=colour, marker=mark, lw=1.4, ms=5, label=architecture)
        if len(runs) > len(sizes):
            ax.plot(each[:, 0], each[:, 1], color=colour, marker=mark, ls="", ms=3, alpha=0.4,
                    label=f"{architecture}, single seeds")  # fmt: skip
        for d, (rate, distortion) in zip(sizes, means, strict=True):
            if d not in _apart(sizes):
                continue
            ax.annotate(f"{d}", (rate, distortion), (5, 5), textcoords="offset points", fontsize=9)
    ax.margins(0.12)
    elbo_lines(ax)
    ax.set_xlabel("rate: KL(q(z|x) ‖ p(z)), nats per image")
    ax.set_ylabel("distortion: −E log p(x|z), nats per image")
    ax.legend(frameon=False)
    figure.suptitle(f"Rate and distortion on test images; numbers are latent sizes\n{data}", fontsize=11)
    return figure


def elbo_lines(ax: Axes) -> None:
    """Lines of equal −ELBO in a plot of rate against distortion, whose limits are kept."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    step = max(20, 20 * int((right + high - left - low) / 200))  # of a run that diverges still a few lines
    for loss in range(step * int((left + low) // step + 1), int(right + high), step):
        ax.plot([left, right], [loss - left, loss - right], color="0.8", lw=0.8, zorder=0)
        if low < loss - right < high:
            ax.annotate(
                f"−ELBO {loss}", (right, loss - right), (-6, 0), textcoords="offset points", fontsize=8, color="0.5",
                ha="right", va="center", bbox={"fc": "white", "ec": "none", "pad": 1},
            )  # fmt: skip
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)


def confusions(rows: Sequence[Sequence[tuple[str, np.ndarray]]], accuracy: float, data: str) -> Figure:
    """What a classifier reads in reconstructions of each digit: (title, shares [digit, read as]), rows of models."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(1 + 2.9 * columns, 1.2 + 3.0 * len(rows)), dpi=DPI, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for ax in axes.flat:
        ax.set_visible(False)
    for line, row in zip(axes, rows, strict=True):
        for ax, (title, shares) in zip(line, row, strict=False):
            ax.set_visible(True)
            ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for (i, j), share in np.ndenumerate(shares):
                if share >= 0.05 and i != j:
                    ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", fontsize=7,
                            color="white" if share > 0.5 else "black")  # fmt: skip
            ax.set_xticks(range(len(shares)))
            ax.set_yticks(range(len(shares)))
            ax.tick_params(length=0, labelsize=8)
            ax.set_title(f"{title}: {100 * np.trace(shares) / max(1, shares.any(1).sum()):.0f} % right", fontsize=10)
        line[0].set_ylabel("digit")
    for ax in axes[-1]:
        ax.set_xlabel("read as")
    scale = ScalarMappable(Normalize(0, 1), "Blues")
    figure.colorbar(scale, ax=axes, shrink=0.6, label="share of the digit's test images")
    title = f"What a classifier reads in reconstructions; of the originals it reads {100 * accuracy:.1f} % rightly"
    figure.suptitle(f"{title}. Wrong readings in per cent\n{data}", fontsize=11)
    return figure


def evolution(originals: np.ndarray, reconstructions: np.ndarray, epochs: Sequence[int], title: str) -> Figure:
    """Reconstructions as they improve: originals [n, 28, 28] on top, then a row for each of `epochs`."""
    rows = [("original", originals)] + [(f"epoch {e}", reconstructions[e]) for e in epochs]
    figure = _tight(1.1 + 0.62 * len(originals), 0.75 + 0.62 * len(rows))
    ax = figure.subplots()
    _strips(ax, rows)
    ax.get_yticklabels()[0].set_fontweight("bold")
    figure.suptitle(title, fontsize=10)
    return figure


def comparison(cells: Sequence[Sequence[tuple[str, np.ndarray, np.ndarray]]], title: str) -> Figure:
    """A table of models: each cell is (title, originals, reconstructions), the originals above."""
    n = len(cells[0][0][1])
    figure = _tight((0.6 + 0.56 * n) * len(cells[0]), 0.5 + 1.5 * len(cells))
    axes = figure.subplots(len(cells), len(cells[0]), squeeze=False)
    for ax, (name, originals, reconstructions) in zip(axes.flat, chain(*cells), strict=True):
        _strips(ax, [("original", originals), ("model", reconstructions)])
        ax.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=12)
    return figure


def latent_plane(
    decoded: np.ndarray, ticks: Sequence[float], codes: np.ndarray, labels: np.ndarray, title: str
) -> Figure:
    """What two latent axes mean: `decoded` [z₂, z₁, 28, 28] over `ticks`; the test set's posterior means [n, 2]."""
    figure = Figure(figsize=(13, 6.3), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    k = len(ticks)
    mosaic = decoded[::-1].transpose(0, 2, 1, 3).reshape(k * 28, k * 28)  # z₂ grows upwards
    left.imshow(mosaic, cmap="gray", vmin=0, vmax=1, extent=(-0.5, k - 0.5, -0.5, k - 0.5), interpolation="nearest")
    left.set_xticks(range(k), [f"{t:g}" for t in ticks])
    left.set_yticks(range(k), [f"{t:g}" for t in ticks])
    left.set_title("decoded from a grid of codes", fontsize=11)
    for label in np.unique(labels):
        chosen = labels == label
        right.scatter(*codes[chosen].T, s=4, alpha=0.55, lw=0, color=colormaps["tab10"](int(label)), label=str(label))
    right.legend(title="digit", markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    right.set_title(f"posterior means of {len(codes):,} test images", fontsize=11)
    right.set_aspect("equal", "datalim")
    right.grid(alpha=0.25)
    for ax in (left, right):
        ax.set_xlabel("z₁")
        ax.set_ylabel("z₂", rotation=0)
    figure.suptitle(title)
    return figure


def mosaic(images: np.ndarray, columns: int, title: str) -> Figure:
    """Images [n, 28, 28] side by side."""
    rows = len(images) // columns
    tiles = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=images.max() * 0.25)
    tiled = tiles.reshape(rows, columns, 30, 30).transpose(0, 2, 1, 3).reshape(rows * 30, columns * 30)
    figure = _tight(0.5 * columns, 0.5 * rows + 0.6)
    ax = figure.subplots()
    _picture(ax, tiled)
    ax.set_title(title, fontsize=10)
    return figure


def _tight(width: float, height: float) -> Figure:
    """A figure, in inches, whose pictures stand close together."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04, wspace=0.01, hspace=0.01)
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def _strips(ax: Axes, rows: Sequence[tuple[str, np.ndarray]]) -> None:
    """Rows of images [n, 28, 28] with their labels, as a single picture: an axis for each would take seconds."""
    tiles = np.stack([images for _, images in rows])
    tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=_white(tiles))
    r, n, side, _ = tiles.shape
    _picture(ax, tiles.transpose(0, 2, 1, 3).reshape(r * side, n * side))
    ax.set_yticks([(i + 0.5) * side - 0.5 for i in range(r)], [label for label, _ in rows], fontsize=9)
    ax.tick_params(length=0)


def _picture(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(image, cmap="gray", vmin=0, vmax=_white(image), interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def _white(image: np.ndarray) -> int:
    return 255 if image.dtype == np.uint8 else 1


def _near(ax: Axes, models: Sequence[Curve], part: str, epochs: slice = slice(None)) -> None:
    """Limits in which lines can be told apart, though a band goes on: how badly a setting fails is not to be seen."""
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
    kept = list(sizes[:1])
    for size in sizes[1:]:
        if np.log(size / kept[-1]) >= step:
            kept.append(size)
    return kept


def colours(sizes: Sequence[int]) -> dict[int, str]:
    scale = np.linspace(0.05, 0.88, len(sizes)) if len(sizes) > 1 else [0.3]
    return {d: to_hex(colormaps["plasma"](t)) for d, t in zip(sizes, scale, strict=True)}
