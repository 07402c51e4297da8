"""Pictures that move, for pages where nothing can be pressed: reconstructions as they improve, a walk between digits.

In: NumPy arrays of images. Out: the bytes of an animated WebP; no JAX, no files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALL, LARGE = 42, 112  # pixels of a digit's side, in rows and by itself
LINE, LETTERS = 22, 12  # pixels of a line of text, of its letters
GAP, MARGIN = 3, 6
INK, PAPER = 235, 18
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # what figures are written in
QUALITY = 60  # lossy: a third of the lossless size, and no difference to see in blurred digits


def evolution(
    originals: np.ndarray, models: Sequence[tuple[str, np.ndarray]], title: str, *, milliseconds: int = 350
) -> bytes:
    """Originals [n, 28, 28] above rows of models, (name, reconstructions [epoch, n, 28, 28]); a frame an epoch.

    A model that ends earlier stays as it is; the last frame stays for two seconds.
    """
    last = max(len(pictures) for _, pictures in models) - 1
    label = max(_width(name) for name in ("original", *(name for name, _ in models)))
    frames = []
    for epoch in range(last + 1):
        rows = [("original", originals), *((name, of[min(epoch, len(of) - 1)]) for name, of in models)]
        strips = [
            np.hstack([_text(name, label, SMALL), *(_enlarged(image, SMALL) for image in images)])
            for name, images in rows
        ]
        spaced = np.vstack([np.pad(strip, ((0, GAP), (0, 0)), constant_values=PAPER) for strip in strips])
        frames.append(_titled(f"Epoch {epoch} of {last}: {title}", spaced))
    return _animated(frames, [milliseconds] * last + [2000])


def walk(models: Sequence[tuple[str, np.ndarray]], title: str, *, milliseconds: int = 60) -> bytes:
    """Models side by side, (name, decoded [frame, 28, 28]), at most five in a row, in a loop."""
    columns = min(5, len(models))
    width = max(LARGE, *(_width(name) for name, _ in models))
    frames = []
    for step in range(len(models[0][1])):
        cells = [_cell(name, decoded[step], width) for name, decoded in models]
        cells += [np.full_like(cells[0], PAPER)] * (-len(cells) % columns)
        table = np.block([[*cells[start : start + columns]] for start in range(0, len(cells), columns)])
        frames.append(_titled(title, table))
    return _animated(frames, [milliseconds] * len(frames))


def _cell(name: str, image: np.ndarray, width: int) -> np.ndarray:
    picture = np.pad(_enlarged(image, LARGE), ((0, 0), (0, width - LARGE)), constant_values=PAPER)
    return np.pad(np.vstack([_text(name, width), picture]), GAP, constant_values=PAPER)


def _titled(title: str, picture: np.ndarray) -> np.ndarray:
    """The picture under its title, as wide as the wider of the two."""
    width = max(_width(title), picture.shape[1])
    wide = np.pad(picture, ((0, 0), (0, width - picture.shape[1])), constant_values=PAPER)
    return np.vstack([_text(title, width), wide])


def _enlarged(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def _width(text: str) -> int:
    """Pixels that a line of text takes, with a margin on both sides."""
    return math.ceil(ImageFont.truetype(FONT, LETTERS).getlength(text)) + 2 * MARGIN


def _text(text: str, width: int, height: int = LINE) -> np.ndarray:
    """A line of text, light on dark."""
    image = Image.new("L", (width, height), PAPER)
    ImageDraw.Draw(image).text((MARGIN, height / 2), text, INK, ImageFont.truetype(FONT, LETTERS), anchor="lm")
    return np.asarray(image)


def _animated(frames: Sequence[np.ndarray], milliseconds: Sequence[int]) -> bytes:
    """An endless loop; frames [h, w] of grey levels, each with the time it stays."""
    first, *rest = (Image.fromarray(frame).convert("RGB") for frame in frames)
    file = io.BytesIO()
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=list(milliseconds), loop=0, quality=QUALITY, method=4
    )
    return file.getvalue()
