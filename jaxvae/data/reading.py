"""What readers of files are told, and what they give back."""

from __future__ import annotations

from typing import Any, NamedTuple


class Reading(NamedTuple):
    """How a file is to be read, where it does not say so itself."""

    label: str | None = None  # of a table the column, of an .npz the array, of an .npy another .npy, that has labels
    size: str | None = None  # of pictures, such as "32" or, height first, "48x64"
    grey: bool = False  # pictures lose their colours


class Found(NamedTuple):
    """Arrays as a file has them; without a test split, where it has none."""

    examples: Any
    labels: Any = None
    test: Any = None
    test_labels: Any = None
