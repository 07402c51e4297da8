"""Layers as matrix products, and the precision that these read."""

from jaxvae.nn import precision
from jaxvae.nn.conv import Conv, ConvTranspose
from jaxvae.nn.dense import BatchLastDense, Dense
from jaxvae.nn.precision import automatic
from jaxvae.nn.substitution import own_convolutions
from jaxvae.nn.window import Side, Window, square

__all__ = [
    "BatchLastDense", "Conv", "ConvTranspose", "Dense", "Side", "Window", "automatic", "own_convolutions",
    "precision", "square",
]  # fmt: skip
