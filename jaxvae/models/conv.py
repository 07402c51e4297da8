"""The convolutional encoder and its mirror image, for pictures of any size."""

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
from jaxvae.nn import ConvTranspose, Side, Window, square
from jaxvae.parts import bound, part, require_whole, require_widths, static
from jaxvae.values import Whole

MAX_KERNEL = 31  # taps of an odd side


class _Layers(nn.Module):
    """What the encoder and the decoder have in common."""

    channels: tuple[int, ...] = static(default=(32, 64, 128), name="channels", title="channels")
    kernel: Whole = static(default=3, name="kernel", title="kernel")  # of an odd side; of an even side one more
    residual: Whole = static(default=0, name="residual", title="residual blocks of a size")
    precision: str = bound(default="float32")

    codes_at_once: ClassVar[int] = 100  # what activations stay in a core's cache
    bfloat16_pays_from: ClassVar[float] = 1.5  # in float32 there are fewer multiplications
    batch_last: ClassVar[bool] = True

    @nn.nowrap
    def check(self) -> None:
        require_widths(self, "channels", MAX_WIDTH)
        require_whole(self, "kernel", 1, MAX_KERNEL + 1)
        if self.kernel % 2 == 0:
            raise ConfigError(f"{self.part_name}: kernel must be odd, as even sides have one more, not {self.kernel}")
        require_whole(self, "residual", 0, MAX_WIDTH)

    @nn.nowrap
    def windows(self, shape: Shape) -> list[tuple[Window, tuple[int, int]]]:
        """Of each convolution the window, and height and width of the picture that comes out.

        Raises:
            ConfigError: examples of this shape are no pictures.
        """
        if len(shape) not in (2, 3):
            raise ConfigError(
                f"a conv network takes pictures, [height, width] or [height, width, channels], not {list(shape)}"
            )
        (height, width), found = shape[:2], []
        for _ in self.channels:
            window = Window(self._side(height), self._side(width))
            height, width = window.positions(height, width)
            found.append((window, (height, width)))
        return found

    @nn.nowrap
    def _side(self, size: int) -> Side:
        """Takes an even side to half, and one of 2n − 1 pixels to n, from which the mirrored layer comes back exactly.
        Of an odd side the middle tap is on each second pixel from the first; of an even one two taps are in the middle.
        """
        padding = self.kernel // 2
        return Side(self.kernel + (size % 2 == 0), 2, padding, padding)

    @nn.nowrap
    def blocks(self, h: Float[Array, "c h w b"], layer: int) -> Float[Array, "c h w b"]:
        """The residual blocks between two layers that change the size."""
        for i in range(1, self.residual + 1):
            h = Residual(self.kernel, self.precision, name=f"residual{layer}_{i}")(h)
        return h


class Residual(nn.Module):
    """relu(h + F(h)), where F are two convolutions with a ReLU between them (He et al. 2016, figure 2), without the
    batch norms that couple the examples of a batch."""

    kernel: int
    precision: str

    @nn.compact
    def __call__(self, h: Float[Array, "c h w b"]) -> Float[Array, "c h w b"]:
        window = square(self.kernel, 1, self.kernel // 2)
        inner = ConvLayer(len(h), window, relu=True, precision=self.precision, name="conv1")(h)
        return nn.relu(h + ConvLayer(len(h), window, precision=self.precision, name="conv2")(inner))


@part("network/conv")
class Conv(_Layers):
    """Convolutions that each halve height and width, 1×28×28 – 32×14×14 – 64×7×7 – 128×4×4 for MNIST, after DCGAN's
    discriminator (Radford et al. 2016).

    Pictures may have any size, [height, width] or [height, width, channels], and any number of layers; a side of one
    pixel stays as it is. `kernel` is odd; an even side has one tap more. After each layer come `residual` blocks of two
    convolutions that keep the size.

    Example:
        >>> Conv((32, 64), kernel=5, residual=1).windows((30, 45, 3))[-1][1]
        (8, 12)
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "f b"]:
        windows = self.windows(x.shape[1:])
        h = jnp.moveaxis(x, 0, -1)[None] if x.ndim == 3 else jnp.transpose(x, (3, 1, 2, 0))
        for i, (width, (window, _)) in enumerate(zip(self.channels, windows, strict=True), 1):
            h = ConvLayer(width, window, relu=True, precision=self.precision, name=f"conv{i}")(h)
            h = self.blocks(h, i)
        return h.reshape(-1, len(x))

    @nn.nowrap
    def mirrored(self) -> "ConvDecoder":
        return ConvDecoder(self.channels, self.kernel, self.residual)

    @nn.nowrap
    def description(self, shape: Shape) -> str:
        counts = {1: "one convolution", 2: "two convolutions", 3: "three convolutions", 4: "four convolutions"}
        layers = counts.get(len(self.channels), f"{len(self.channels)} convolutions")
        *first, last = map(str, self.channels)
        channels = f"{', '.join(first)} and {last}" if first else last
        blocks = {0: "", 1: ", a residual block after each"}
        channels += blocks.get(self.residual, f", {self.residual} residual blocks after each")
        return f"{layers} of {channels} channels, then dense to d and back; the decoder mirrors the encoder"


@part("decoder/conv")
class ConvDecoder(_Layers):
    """`Conv` mirrored: `channels` are still those from pictures to codes. The layer from codes to the smallest pictures
    is the VAE's."""

    outputs: Shape = bound(default=())

    @property
    def smallest(self) -> tuple[int, int, int]:
        """Channels, height and width of the pictures that the codes become."""
        height, width = self.windows(self.outputs[:2])[-1][1]
        return self.channels[-1], height, width

    @property
    def features(self) -> int:
        return math.prod(self.smallest)

    @nn.compact
    def __call__(self, h: Float[Array, "f b"]) -> Float[Array, "b h w *c"]:
        h = nn.relu(h).reshape(*self.smallest, -1)
        colours = self.outputs[2:]
        for i, (window, width) in enumerate(self._transposed(), 1):
            last = i == len(self.channels)
            h = self.blocks(h, i)
            h = ConvTranspose(width, window, relu=not last, precision=self.precision, name=f"conv{i}")(h)
        pictures = jnp.transpose(h, (3, 1, 2, 0)) if colours else jnp.moveaxis(h[0], -1, 0)
        return pictures.reshape(-1, *self.outputs)

    @nn.nowrap
    def _transposed(self) -> list[tuple[Window, int]]:
        """Of each layer the window of the convolution that it mirrors, and its channels."""
        windows = [window for window, _ in reversed(self.windows(self.outputs[:2]))]
        return list(zip(windows, [*reversed(self.channels[:-1]), math.prod(self.outputs[2:])], strict=True))

    @nn.nowrap
    def layers(self, params: Params) -> list[tuple[dict[str, Any], np.ndarray, np.ndarray]] | None:
        """For a page that decodes by itself, of each layer: its shape in words, kernel, bias. None where there are
        residual blocks, which no page knows.

        Activations are (row, column, channel) there, and kernels are turned so that tap (r, q) of input (i, j) goes to
        output (stride·i + r − padding, stride·j + q − padding).
        """
        if self.residual:
            return None
        heights = [height for _, (height, _) in reversed(self.windows(self.outputs[:2]))]
        windows = [window for window, _ in self._transposed()]
        convolutions = [
            _transposed_layer(params[f"conv{i}"], window, rows)
            for i, (window, rows) in enumerate(zip(windows, heights, strict=True), 1)
        ]
        return [_to_pictures(params["latent"], self.smallest), *convolutions]


def _to_pictures(params: Params, pictures: tuple[int, int, int]):
    """The dense layer before the convolutions, its outputs in the order (row, column, channel)."""
    words, kernel, bias = dense_layer(params)
    as_pictures = kernel.reshape(-1, *pictures).transpose(0, 2, 3, 1).reshape(kernel.shape)
    return words, as_pictures, bias.reshape(pictures).transpose(1, 2, 0).ravel()


def _transposed_layer(params: Params, window: Window, rows: int):
    kernel = np.asarray(params["kernel"])
    height, width, channels, features = kernel.shape
    words = {"kind": "transposed", "channels": channels, "features": features}
    words |= {"kernel": [height, width], "stride": window.down.stride, "padding": window.down.before, "rows": rows}
    return words, kernel[::-1, ::-1], np.asarray(params["bias"])
