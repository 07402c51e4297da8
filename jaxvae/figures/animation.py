"""Animations for pages that are not interactive: reconstructions as they improve, a walk from class to class.

In: NumPy arrays of pictures, uint8 [..., h, w] or [..., h, w, 3]. Out: the bytes of an animated WebP; no JAX, no files.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALL, LARGE = 42, 112  # pixels of a picture's height, in rows and by itself
LINE, LETTERS = 22, 12  # pixels of a line of text, of its letters
GAP, MARGIN = 3, 6
INK, PAPER = 235, 18
FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # what figures are written in
QUALITY = 60  # lossy: a third of the lossless size, and no difference to see in blurred digits


def evolution(
    originals: np.ndarray, models: Sequence[tuple[str, np.ndarray]], title: str, *, milliseconds: int = 350
) -> bytes:
    """Originals [n, h, w] above rows of models, (name, reconstructions [epoch, n, h, w]); a frame an epoch.

    A model that ends earlier stays as it is; the last frame stays for two seconds.
    """
    last = max(len(pictures) for _, pictures in models) - 1
    label = max(_width(name) for name in ("original", *(name for name, _ in models)))
    titles = [f"Epoch {epoch} of {last}: {title}" for epoch in range(last + 1)]
    width = max(map(_width, titles))  # of letters that differ in theirs
    frames = []
    for epoch in range(last + 1):
        rows = [("original", originals), *((name, of[min(epoch, len(of) - 1)]) for name, of in models)]
        strips = []
        for name, images in rows:
            strip = np.hstack([_text(name, label, SMALL), *(_enlarged(image, SMALL) for image in images)])
            strips.append(_padded(strip, bottom=GAP))
        frames.append(_titled(titles[epoch], np.vstack(strips), width))
    return _animated(frames, [milliseconds] * last + [2000])


def walk(models: Sequence[tuple[str, np.ndarray]], title: str, *, milliseconds: int = 60) -> bytes:
    """Models side by side, (name, decoded [frame, h, w]), at most five in a row, in a loop."""
    columns = min(5, len(models))
    width = max(_enlarged(models[0][1][0], LARGE).shape[1], *(_width(name) for name, _ in models))
    frames = []
    for step in range(len(models[0][1])):
        titled = [_titled(name, _enlarged(decoded[step], LARGE), width) for name, decoded in models]
        cells = [_padded(cell, GAP, GAP, GAP, GAP) for cell in titled]
        cells += [np.full_like(cells[0], PAPER)] * (-len(cells) % columns)
        table = np.vstack([np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)])
        frames.append(_titled(title, table))
    return _animated(frames, [milliseconds] * len(frames))


def _titled(title: str, picture: np.ndarray, width: int = 0) -> np.ndarray:
    """The picture under its title, as wide as the wider of the two, and at least `width`."""
    width = max(width, _width(title), picture.shape[1])
    return np.vstack([_text(title, width), _padded(picture, right=width - picture.shape[1])])


def _padded(picture: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    return np.pad(picture, ((top, bottom), (left, right), (0, 0)), constant_values=PAPER)


def _enlarged(image: np.ndarray, height: int) -> np.ndarray:
    """[height, width, 3], with the image's ratio of sides."""
    h, w = image.shape[:2]
    size = max(1, round(height * w / h)), height
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def _width(text: str) -> int:
    """Pixels that a line of text takes, with a margin on both sides."""
    return math.ceil(ImageFont.truetype(FONT, LETTERS).getlength(text)) + 2 * MARGIN


def _text(text: str, width: int, height: int = LINE) -> np.ndarray:
    """A line of text, light on dark, [height, width, 3]."""
    image = Image.new("L", (width, height), PAPER)
    ImageDraw.Draw(image).text((MARGIN, height / 2), text, INK, ImageFont.truetype(FONT, LETTERS), anchor="lm")
    return np.asarray(image.convert("RGB"))


def _animated(frames: Sequence[np.ndarray], milliseconds: Sequence[int]) -> bytes:
    """An endless loop; frames [h, w, 3], each with the time it stays."""
    first, *rest = map(Image.fromarray, frames)
    file = io.BytesIO()
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=list(milliseconds), loop=0, quality=QUALITY, method=4
    )
    return file.getvalue()
