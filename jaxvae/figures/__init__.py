"""Pictures of a sweep."""

from jaxvae.figures import curves, plotting, settings_map
from jaxvae.figures.write import GRID_TICKS, POINTS, write_figures

__all__ = [
    "GRID_TICKS",
    "POINTS",
    "curves",
    "plotting",
    "settings_map",
    "write_figures",
]
