"""The convolutional encoder and its mirror image, for square pictures of any size."""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxvae.errors import MAX_WIDTH, ConfigError
from jaxvae.models.base import Params, Shape
from jaxvae.models.mlp import dense_layer
from jaxvae.nn import Conv as ConvLayer
from jaxvae.nn import ConvTranspose, Window
from jaxvae.parts import bound, part, require_widths, static

EVEN = Window(kernel=4, stride=2, padding=1)  # halves an even side
ODD = Window(kernel=3, stride=2, padding=1)  # takes a side of 2n − 1 pixels to n


class _Layers(nn.Module):
    """What the encoder and the decoder have in common."""

    channels: tuple[int, ...] = static(default=(32, 64, 128), name="channels", title="channels")
    precision: str = bound(default="float32")

    codes_at_once: ClassVar[int] = 100  # what activations stay in a core's cache
    bfloat16_pays_from: ClassVar[float] = 1.5  # in float32 there are fewer multiplications
    batch_last: ClassVar[bool] = True

    @nn.nowrap
    def check(self) -> None:
        require_widths(self, "channels", MAX_WIDTH)

    @nn.nowrap
    def windows(self, shape: Shape) -> list[tuple[Window, int]]:
        """Of each convolution the window, and the side of the picture that comes out.

        Raises:
            ConfigError: examples of this shape are no square pictures.
        """
        if len(shape) not in (2, 3) or shape[0] != shape[1]:
            raise ConfigError(f"a conv network takes square pictures, [side, side] or with channels, not {list(shape)}")
        side, found = shape[0], []
        for _ in self.channels:
            window = ODD if side % 2 else EVEN
            side = window.positions(side)
            found.append((window, side))
        return found


@part("network/conv")
class Conv(_Layers):
    """Convolutions that each halve the side, 1×28×28 – 32×14×14 – 64×7×7 – 128×4×4 for MNIST, after DCGAN's
    discriminator (Radford et al. 2016)."""

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "f b"]:
        windows = self.windows(x.shape[1:])
        h = jnp.moveaxis(x, 0, -1)[None] if x.ndim == 3 else jnp.transpose(x, (3, 1, 2, 0))
        for i, (width, (window, _)) in enumerate(zip(self.channels, windows, strict=True), 1):
            h = ConvLayer(width, window, relu=True, precision=self.precision, name=f"conv{i}")(h)
        return h.reshape(-1, len(x))

    @nn.nowrap
    def mirrored(self) -> "ConvDecoder":
        return ConvDecoder(self.channels)

    @nn.nowrap
    def description(self, shape: Shape) -> str:
        counts = {1: "one convolution", 2: "two convolutions", 3: "three convolutions", 4: "four convolutions"}
        layers = counts.get(len(self.channels), f"{len(self.channels)} convolutions")
        *first, last = map(str, self.channels)
        channels = f"{', '.join(first)} and {last}" if first else last
        return f"{layers} of {channels} channels, then dense to d and back; the decoder mirrors the encoder"


@part("decoder/conv")
class ConvDecoder(_Layers):
    """`Conv` mirrored: `channels` are still those from pictures to codes. The layer from codes to the smallest pictures
    is the VAE's."""

    outputs: Shape = bound(default=())

    @property
    def smallest(self) -> tuple[int, int, int]:
        """Channels, height and width of the pictures that the codes become."""
        side = self.windows(self.outputs[:2])[-1][1]
        return self.channels[-1], side, side

    @property
    def features(self) -> int:
        return math.prod(self.smallest)

    @nn.compact
    def __call__(self, h: Float[Array, "f b"]) -> Float[Array, "b h w *c"]:
        h = nn.relu(h).reshape(*self.smallest, -1)
        colours = self.outputs[2:]
        for i, (window, width) in enumerate(self._transposed(), 1):
            last = i == len(self.channels)
            h = ConvTranspose(width, window, relu=not last, precision=self.precision, name=f"conv{i}")(h)
        pictures = jnp.transpose(h, (3, 1, 2, 0)) if colours else jnp.moveaxis(h[0], -1, 0)
        return pictures.reshape(-1, *self.outputs)

    @nn.nowrap
    def _transposed(self) -> list[tuple[Window, int]]:
        """Of each layer the window of the convolution that it mirrors, and its channels."""
        windows = [window for window, _ in reversed(self.windows(self.outputs[:2]))]
        return list(zip(windows, [*reversed(self.channels[:-1]), math.prod(self.outputs[2:])], strict=True))

    @nn.nowrap
    def layers(self, params: Params) -> list[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
        """For a page that decodes by itself, of each layer: its shape in words, kernel, bias.

        Activations are (row, column, channel) there, and kernels are turned so that tap (r, q) of input (i, j) goes to
        output (stride·i + r − padding, stride·j + q − padding).
        """
        windows = [window for window, _ in self._transposed()]
        convolutions = [_transposed_layer(params[f"conv{i}"], window) for i, window in enumerate(windows, 1)]
        return [_to_pictures(params["latent"], self.smallest), *convolutions]


def _to_pictures(params: Params, pictures: tuple[int, int, int]):
    """The dense layer before the convolutions, its outputs in the order (row, column, channel)."""
    words, kernel, bias = dense_layer(params)
    as_pictures = kernel.reshape(-1, *pictures).transpose(0, 2, 3, 1).reshape(kernel.shape)
    return words, as_pictures, bias.reshape(pictures).transpose(1, 2, 0).ravel()


def _transposed_layer(params: Params, window: Window):
    kernel = np.asarray(params["kernel"])
    size, _, channels, features = kernel.shape
    words = {"kind": "transposed", "channels": channels, "features": features}
    words |= {"kernel": size, "stride": window.stride, "padding": window.padding}
    return words, kernel[::-1, ::-1], np.asarray(params["bias"])
