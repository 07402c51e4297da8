"""Figures of a sweep."""

from jaxvae.figures import conditions, curves, halving, pictures
from jaxvae.figures.write import POINTS, write_curves, write_figures

__all__ = [
    "POINTS", "conditions", "curves", "halving", "pictures", "write_curves", "write_figures",
]  # fmt: skip
