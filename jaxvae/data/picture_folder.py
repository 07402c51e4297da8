"""A folder of pictures becomes arrays of bytes; its sub-folders are the classes.

    flowers/rose/1.png     flowers/train/rose/1.png     flowers/1.png
    flowers/lily/1.jpg     flowers/test/rose/2.png      flowers/2.png

In: a folder. Out: [n, h, w] where no picture has colours, else [n, h, w, 3].
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxvae.data.reading import Found, Reading
from jaxvae.errors import DataError, quoted
from jaxvae.system import cores

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
SPLITS = ("train", "test")
GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I", "F")
MAX_SIDE = 4096


def read(folder: Path, reading: Reading) -> Found:
    """All pictures of a folder, in the order of their paths.

    Pictures must have one size, unless `reading.size` says to which they are scaled, their middle kept.
    """
    splits = [folder / split for split in SPLITS]
    if not all(split.is_dir() for split in splits):
        splits = [folder]
    files = [_files(split) for split in splits]
    size = _size(reading.size)
    with ThreadPoolExecutor(len(cores())) as pool:
        modes = {picture.mode for own in files for picture in pool.map(_opened, own)}
        grey = reading.grey or modes <= {*GREY_MODES}
        first = _pixels(files[0][0], size, grey)
        _check_memory(folder, first.nbytes * sum(map(len, files)))
        images = [_stacked(own, pool.map(lambda path: _pixels(path, size, grey), own), first) for own in files]
    labels = [_labels(split, own) for split, own in zip(splits, files, strict=True)]
    if any(own is None for own in labels):
        labels = [None] * len(labels)
    return Found(images[0], labels[0], *((images[1], labels[1]) if len(splits) > 1 else ()))


def _files(folder: Path) -> list[Path]:
    """Its pictures, below it at any depth; what else lies there, and what is hidden, is passed over."""
    own = sorted(
        path for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )  # fmt: skip
    if not own:
        raise DataError(f"{folder} holds no pictures; their names must end in {', '.join(SUFFIXES)}")
    return own


def _labels(folder: Path, files: list[Path]) -> np.ndarray | None:
    """By picture the sub-folder of `folder` that it lies in; None if some lie in none, or all in the same."""
    classes = [path.relative_to(folder).parts for path in files]
    if any(len(parts) < 2 for parts in classes) or len({parts[0] for parts in classes}) < 2:
        return None
    return np.array([parts[0] for parts in classes], object)


def _size(text: str | None) -> tuple[int, int] | None:
    """Height and width."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", str(text), re.ASCII)
    height, width = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise DataError(f"size must be such as 32 or, height first, 48x64, up to {MAX_SIDE}, not {quoted(text)}")
    return height, width


def _opened(path: Path) -> Image.Image:
    """The picture, of which only the head is read."""
    try:
        with Image.open(path) as picture:
            return picture
    except (Image.DecompressionBombError, OSError, SyntaxError, UnidentifiedImageError, ValueError) as error:
        raise _damaged(path, error) from None


def _check_memory(folder: Path, needed: int) -> None:
    free, gib = psutil.virtual_memory().available, 2**30
    if needed > free:
        raise DataError(
            f"{folder}: its pictures take {needed / gib:.1f} GiB of memory, and {free / gib:.1f} are free; "
            "give a size to which they are scaled down"
        )


def _stacked(files: list[Path], pictures: Iterable[np.ndarray], first: np.ndarray) -> np.ndarray:
    stacked = np.empty((len(files), *first.shape), np.uint8)
    for i, (path, pixels) in enumerate(zip(files, pictures, strict=True)):
        if pixels.shape != first.shape:
            own, others = ("×".join(map(str, one.shape[:2])) for one in (pixels, first))
            raise DataError(f"{path} has {own} pixels, others {others}; give the size to which all are scaled")
        stacked[i] = pixels
    return stacked


def _pixels(path: Path, size: tuple[int, int] | None, grey: bool) -> np.ndarray:
    """The picture the right way up, [h, w] or [h, w, 3]."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16 bits a pixel
                picture = Image.fromarray((np.asarray(picture) / 257).astype(np.uint8))
            picture = picture.convert("L" if grey else "RGB")
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise _damaged(path, error) from None
    if size:
        picture = ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _damaged(path: Path, error: Exception) -> DataError:
    why = getattr(error, "strerror", None) or str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{path} cannot be read as a picture ({why}); take it out of the folder")
