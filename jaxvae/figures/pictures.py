"""Figures of images and their reconstructions: NumPy arrays in, Matplotlib figures out; no JAX, no files.

A picture is grey, [h, w], or red, green and blue, [h, w, 3]; `as_pictures` makes them of examples of other shapes:
vectors become profiles, a bar for each number.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from jaxvae.figures.plotting import DPI
from jaxvae.results import Words

PLANES_IN_ROW = 5
MIN_WIDTH = 4.0  # inches, for a title above a few pictures
RGB = 3  # channels of a colour picture
MAX_RATIO = 4  # of the sides of a picture
FEW_CODES = 300  # up to which dots are larger
LEGEND_ROWS = 20  # classes in a column of a legend, which has up to two
MAX_BARS = 64  # of a profile; of longer vectors each stands for the mean of several numbers
PROFILE_HEIGHT, MIN_PROFILE_WIDTH, PROFILE_MARGIN = 48, 48, 3  # pixels
PAPER, BASELINE, BAR = 1.0, 0.7, 0.25  # grey levels of a profile
PROFILE_RANGE = (0.5, 99.5)  # per cent of the numbers that a profile has room for


def drawable(shape: Sequence[int]) -> bool:
    """Whether examples of this shape can be drawn: vectors [n], pictures [h, w] and [h, w, channels]."""
    return len(shape) in (1, 2, 3)


class Look(NamedTuple):
    """How examples are drawn: their shape, and the numbers that are black and white, or of vectors the lowest and the
    highest bar."""

    shape: tuple[int, ...]
    black: float = 0.0
    white: float = 1.0


def look(images: np.ndarray) -> Look:
    """Bytes and numbers in [0, 1] as they are; of other numbers the least is black and the largest white. Bars have
    room for zero and for nearly all numbers: few that are far out would make all others flat."""
    low, high = (0.0, 1.0) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))
    if images.ndim == 2 and images.dtype != np.uint8:
        low, high = (float(end) for end in np.percentile(images, PROFILE_RANGE))
        low, high = min(low, 0.0), max(high, 0.0)
        return Look(images.shape[1:], low, high if high > low else low + 1)
    inside = 0 <= low < high <= 1 or low == high
    return Look(images.shape[1:]) if inside else Look(images.shape[1:], low, high)


def as_pictures(images: np.ndarray, look: Look) -> np.ndarray:
    """Images [..., *shape] as pictures: three channels are red, green and blue, of any other number the first is drawn.

    A side that is shorter than a quarter of the other is drawn longer, so that signals can be seen. Of vectors, see
    `profiles`.

    Args:
        look: of the dataset's images; their shape must be `drawable`.
    """
    if len(look.shape) == 1:
        return profiles(images / np.float32(255) if images.dtype == np.uint8 else images, look)
    h, w, *channels = look.shape
    if (look.black, look.white) != (0, 1):
        images = (images - look.black) / (look.white - look.black)
    height_axis = -3 if channels == [RGB] else -2
    pictures = images if height_axis == -3 or not channels else images[..., 0]
    pictures = np.repeat(pictures, -(-w // (MAX_RATIO * h)), axis=height_axis)
    return np.repeat(pictures, -(-h // (MAX_RATIO * w)), axis=height_axis + 1)


def profiles(vectors: np.ndarray, look: Look) -> np.ndarray:
    """Vectors [..., n] as pictures [..., h, w] of a bar for each number, from zero up or down."""
    n = vectors.shape[-1]
    bars = min(n, MAX_BARS)
    starts = np.arange(bars) * n // bars
    means = np.add.reduceat(vectors, starts, axis=-1) / np.diff([*starts, n])
    ends = np.stack([np.zeros_like(means), means])  # of each bar
    reach = look.white - look.black
    rows = np.rint((1 - (np.nan_to_num(ends).clip(look.black, look.white) - look.black) / reach) * (PROFILE_HEIGHT - 1))
    low, high = rows.min(0)[..., None, :], rows.max(0)[..., None, :]
    row = np.arange(PROFILE_HEIGHT)[:, None]
    zero = row == rows[0][..., None, :]
    pictures = np.where((low <= row) & (row <= high), BAR, PAPER)
    pictures = np.where(zero & (low == high), BASELINE, pictures).astype(np.float32)
    pictures = np.repeat(pictures, -(-MIN_PROFILE_WIDTH // bars), axis=-1)
    margin = [(0, 0)] * (pictures.ndim - 1) + [(PROFILE_MARGIN, PROFILE_MARGIN)]
    return np.pad(pictures, margin, constant_values=PAPER)


def tiled(pictures: np.ndarray) -> np.ndarray:
    """Pictures [rows, columns, h, w(, 3)] as a single one."""
    rows, columns, h, w, *channels = pictures.shape
    return pictures.swapaxes(1, 2).reshape(rows * h, columns * w, *channels)


def framed(pictures: np.ndarray, value: Any) -> np.ndarray:
    """Pictures [rows, columns, h, w(, 3)] with a line of one pixel around each."""
    width = [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)][: pictures.ndim]
    return np.pad(pictures, width, constant_values=value)


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as uint8; bytes stay as they are, and what is not a number becomes black."""
    if pictures.dtype == np.uint8:
        return pictures
    return np.rint(255 * np.clip(np.nan_to_num(pictures), 0, 1)).astype(np.uint8)


def evolution(originals: np.ndarray, reconstructions: np.ndarray, epochs: Sequence[int], title: str) -> Figure:
    """Reconstructions as they improve: originals [n, h, w] on top, then a row for each of `epochs`."""
    rows = [("original", originals)] + [(f"epoch {e}", reconstructions[e]) for e in epochs]
    width = max(MIN_WIDTH, 1.1 + 0.62 * len(originals) * _ratio(originals))
    figure = _tight(width, 0.75 + 0.62 * len(rows))
    ax = figure.subplots()
    _draw_strips(ax, rows)
    ax.get_yticklabels()[0].set_fontweight("bold")
    figure.suptitle(title, fontsize=10, wrap=True)
    return figure


def comparison(originals: np.ndarray, cells: Sequence[Sequence[tuple[str, np.ndarray]]], title: str) -> Figure:
    """A table of models: each cell is (title, reconstructions), with the originals above them."""
    width = max(MIN_WIDTH, (0.6 + 0.56 * len(originals) * _ratio(originals)) * len(cells[0]))
    figure = _tight(width, 0.5 + 1.5 * len(cells))
    axes = figure.subplots(len(cells), len(cells[0]), squeeze=False)
    for ax, (name, reconstructions) in zip(axes.flat, chain(*cells), strict=True):
        _draw_strips(ax, [("original", originals), ("model", reconstructions)])
        ax.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def latent_plane(
    decoded: np.ndarray | None,
    ticks: Sequence[float],
    codes: np.ndarray,
    labels: np.ndarray | None,
    title: str,
    words: Words,
    class_names: Sequence[str] = (),
) -> Figure:
    """What two latent axes mean: `decoded` [z₂, z₁, h, w] over `ticks`, beside the test set's posterior means [n, 2].

    Without pictures or labels the codes are drawn alone or in one colour.

    Args:
        labels: classes, or real numbers, which a scale of colours stands for.
        class_names: of classes 0, 1, 2 …, where they are not called by their numbers.
    """
    figure = Figure(figsize=(13 if decoded is not None else 7.5, 6.3), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 1 if decoded is None else 2, squeeze=False)[0]
    if decoded is not None:
        _draw_grid(axes[0], decoded, ticks)
    _draw_codes(axes[-1], codes, labels, words, class_names)
    for ax in axes:
        ax.set_xlabel("z₁")
        ax.set_ylabel("z₂", rotation=0)
    figure.suptitle(title, wrap=True)
    return figure


def planes(decoded: np.ndarray, ticks: Sequence[float], names: Sequence[str], title: str) -> Figure:
    """One latent plane decoded as each of several classes: [class, z₂, z₁, h, w] over `ticks`."""
    columns = min(len(names), PLANES_IN_ROW)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.7 * columns, 2.9 * rows + 0.4), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax, grid, name in zip(axes.flat, decoded, names, strict=False):
        _draw_grid(ax, grid, ticks)
        ax.set_title(name, fontsize=11)
    figure.suptitle(title, wrap=True)
    return figure


def analogies(originals: np.ndarray, decoded: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """A row for each original [n, h, w], and its code decoded as each class [n, class, h, w]."""
    table = np.concatenate([as_bytes(originals)[:, None], as_bytes(decoded)], 1)
    table = framed(table, 255)
    n, columns, h, w = table.shape[:4]
    figure = _tight(max(MIN_WIDTH, 0.62 * columns * w / h), 0.62 * n + 0.9)
    ax = figure.subplots()
    _draw_picture(ax, tiled(table))
    centres = [(i + 0.5) * w - 0.5 for i in range(columns)]
    ax.set_xticks(centres, ["original", *names], fontsize=9, rotation=30 * (max(map(len, names)) > 4))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.axvline(w - 0.5, color="0.2", lw=1.5)
    ax.set_title(title, fontsize=10, wrap=True)
    return figure


def _draw_grid(ax: Axes, decoded: np.ndarray, ticks: Sequence[float]) -> None:
    k = len(ticks)
    extent = (-0.5, k - 0.5, -0.5, k - 0.5)
    grid = np.clip(tiled(decoded[::-1]), 0, 1)  # z₂ grows upwards
    ax.imshow(grid, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    ax.set_aspect(1 / _ratio(decoded, axes=2))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(range(k), [f"{t:g}" for t in ticks])
    ax.set_title("decoded from a grid of codes", fontsize=11)


def _draw_codes(
    ax: Axes, codes: np.ndarray, labels: np.ndarray | None, words: Words, class_names: Sequence[str]
) -> None:
    size = 4 if len(codes) > FEW_CODES else 16
    style, tints = {"s": size, "alpha": 0.55, "lw": 0}, colormaps["tab10"]
    if labels is None:
        ax.scatter(*codes.T, **style, color=tints(0))
    elif labels.dtype.kind == "f":
        drawn = ax.scatter(*codes.T, **style, c=labels, cmap="viridis")
        ax.figure.colorbar(drawn, ax=ax, label="label", shrink=0.7).solids.set_alpha(1)  # type: ignore[union-attr]
    else:
        classes = np.unique(labels)
        names = {label: class_names[label] if class_names else str(label) for label in classes}
        for label in classes:
            ax.scatter(*codes[labels == label].T, **style, color=tints(int(label) % tints.N), label=names[label])
        if (columns := -(-len(classes) // LEGEND_ROWS)) <= 2:
            beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
            ax.legend(title=words.label, markerscale=16 / size, **beside, ncols=columns)
    ax.set_title(f"posterior means of {len(codes):,} test {words.example}s", fontsize=11)
    ax.set_aspect("equal", "datalim")
    ax.grid(alpha=0.25)


def mosaic(images: np.ndarray, columns: int, title: str) -> Figure:
    """Images [n, h, w] side by side."""
    rows = len(images) // columns
    table = images.reshape(rows, columns, *images.shape[1:])
    figure = _tight(0.5 * columns * _ratio(images), 0.5 * rows + 0.6)
    ax = figure.subplots()
    _draw_picture(ax, tiled(framed(table, images.max() * 0.25)))
    ax.set_title(title, fontsize=10, wrap=True)
    return figure


def _ratio(pictures: np.ndarray, axes: int = 1) -> float:
    """Width over height; `axes` come before those of a picture."""
    h, w = pictures.shape[axes : axes + 2]
    return w / h


def _tight(width: float, height: float) -> Figure:
    """A figure, in inches, whose pictures stand close together."""
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.04, wspace=0.01, hspace=0.01)
    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def _draw_strips(ax: Axes, rows: Sequence[tuple[str, np.ndarray]]) -> None:
    """Rows of images [n, h, w] with their labels, as a single picture: an axis for each would take seconds."""
    table = np.stack([images for _, images in rows])
    table = framed(table, _white(table))
    side = table.shape[2]
    _draw_picture(ax, tiled(table))
    ax.set_yticks([(i + 0.5) * side - 0.5 for i in range(len(rows))], [label for label, _ in rows], fontsize=9)
    ax.tick_params(length=0)


def _draw_picture(ax: Axes, image: np.ndarray) -> None:
    white = _white(image)
    ax.imshow(np.clip(image, 0, white), cmap="gray", vmin=0, vmax=white, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _white(image: np.ndarray) -> int:
    return 255 if image.dtype == np.uint8 else 1
