"""Convolutions as matrix products: fast inside a compiled loop, where XLA:CPU's own convolutions are not.

In: activations laid out (channels, height, width, batch) – a row of the patch matrix is then a run of contiguous
memory – and a kernel as `nn.Conv` stores it, (height, width, in, out). Out: activations in the same layout.

A prototype of this form took 30 ms for a training step of the conv VAE inside `lax.scan`, where the stock convolutions
took 981 ms and PyTorch 37 ms (batch 128, float32, two cores with AMX). README.md has this code's own times.

The weight gradient and the input gradient are matrix products too:
`y = W·P`, `dW = g·Pᵀ`, `dP = Wᵀ·g`, where P are the patches of the input; a transposed convolution is the adjoint.
"""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from jaxvae.precision import matmul, matmul_nt, product, read

Images = Float[Array, "c size size n"]
Output = Float[Array, "o out_size out_size n"]
Kernel = Float[Array, "k k i o"]
Bias = Float[Array, "b"]  # one for each output channel


class Window(NamedTuple):
    """Geometry of a square kernel that slides over a square image."""

    kernel: int
    stride: int
    padding: int  # zeros around the image

    def positions(self, size: int) -> int:
        """Where the kernel fits along a side of `size` pixels."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def covered(self, positions: int) -> int:
        """Pixels along a side that `positions` of the kernel reach, without the padding."""
        return (positions - 1) * self.stride + self.kernel - 2 * self.padding

    def tiles(self) -> list[tuple[slice, slice]]:
        """The kernel cut into tiles of stride × stride, row by row: the order of patches and of kernel matrices."""
        cuts = range(0, self.kernel, self.stride)
        spans = [slice(row, min(row + self.stride, self.kernel)) for row in cuts]
        return [(down, across) for down in spans for across in spans]


def patches(x: Images, window: Window) -> Float[Array, "tc positions"]:
    """What the kernel sees at each position, as columns (im2col).

    The image is cut into blocks of stride × stride pixels, so that a kernel of 4×4 at stride 2 takes four slices
    instead of sixteen and each of them is contiguous. Bfloat16 is moved as integers: XLA:CPU would turn it into
    float32 and back, 2 ms of a training step of 24.
    """
    if x.dtype == jnp.bfloat16:
        bits = lax.bitcast_convert_type(x, jnp.uint16)
        return lax.bitcast_convert_type(_patches(bits, window), jnp.bfloat16)
    return _patches(x, window)


def _patches(x, window):
    channels, size, _, batch = x.shape
    k, s, padding = window
    n = window.positions(size)
    blocks = n + (k - 1) // s
    margin = padding, blocks * s - padding - size
    x = _padded(x, margin, margin).reshape(channels, blocks, s, blocks, s, batch)

    def slab(down: slice, across: slice):
        i, j = down.start // s, across.start // s
        seen = x[:, i : i + n, : down.stop - down.start, j : j + n, : across.stop - across.start]
        return seen.transpose(2, 4, 0, 1, 3, 5).reshape(-1, n, n, batch)

    return jnp.concatenate([slab(*tile) for tile in window.tiles()]).reshape(-1, n * n * batch)


def fold(columns: Float[Array, "tc positions"], window: Window, shape: tuple[int, int, int, int]) -> Images:
    """The adjoint of `patches`: each column added back to the pixels it was read from (col2im).

    The pixels at one place of their blocks make an image of their own, a sum of shifted pieces; at last these images
    are woven together. XLA:CPU turns all that, and bias, ReLU and rounding behind it, into one loop: 0.08 ms for
    64×7×7×100 numbers, where pieces added in place and then cropped had taken 1.5 ms.
    """
    channels, size, _, batch = shape
    k, s, padding = window
    n = window.positions(size)
    lengths = [len(range(pixel, size, s)) for pixel in range(s)]
    images = [[jnp.zeros((channels, down, across, batch), columns.dtype) for across in lengths] for down in lengths]
    pieces = iter(columns.reshape(-1, channels, n, n, batch))
    for down, across in window.tiles():
        for row, column in itertools.product(range(k)[down], range(k)[across]):
            (up, i), (left, j) = (divmod(line - padding, s) for line in (row, column))
            images[i][j] += _padded(next(pieces), (up, lengths[i] - n - up), (left, lengths[j] - n - left))
    return _woven([_woven(row, axis=2) for row in images], axis=1)


def _padded(x, down, across):
    """Lines of zeros added before and after those there are; lines cut off where a number is negative."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*down, 0), (*across, 0), (0, 0, 0)])


def _woven(images, axis):
    """A line of each image in turn along `axis`; the last images may be one line shorter."""
    shortest = images[-1].shape[axis]
    turns = jnp.stack([lax.slice_in_dim(image, 0, shortest, axis=axis) for image in images], axis + 1)
    ends = [lax.slice_in_dim(image, shortest, None, axis=axis) for image in images]
    return jnp.concatenate([lax.collapse(turns, axis, axis + 2), *ends], axis)


def as_matrix(kernel: Kernel, window: Window) -> Float[Array, "o tc"]:
    """The kernel with its columns in the order of `patches`' rows.

    Turned before its pieces are joined: XLA would fold a transpose of the whole into the product, which then leaves
    the fast kernels for bfloat16 (7 ms instead of 2 for a layer's output).
    """
    kernel = jnp.moveaxis(kernel, 3, 0)
    pieces = [kernel[:, down, across] for down, across in window.tiles()]
    return jnp.concatenate([piece.reshape(len(kernel), -1) for piece in pieces], 1)


def as_rows(kernel: Kernel, window: Window) -> Float[Array, "tc o"]:
    """The transpose of `as_matrix`."""
    pieces = [kernel[tile] for tile in window.tiles()]
    return jnp.concatenate([piece.reshape(-1, kernel.shape[3]) for piece in pieces])


def as_kernel(rows: Float[Array, "tc o"], window: Window) -> Kernel:
    """The adjoint and inverse of `as_rows`."""
    k = window.kernel
    shape = jax.ShapeDtypeStruct((k, k, rows.shape[0] // k**2, rows.shape[1]), rows.dtype)
    return jax.linear_transpose(partial(as_rows, window=window), shape)(rows)[0]


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolve(x: Images, kernel: Kernel, bias: Bias, window: Window, relu: bool, precision: str) -> Output:
    """Cross-correlation, bias and, if asked, ReLU in one step that keeps only its patches and its output."""
    return _convolve_forward(x, kernel, bias, window, relu, precision)[0]


def _convolve_forward(x, kernel, bias, window, relu, precision):
    n = window.positions(x.shape[1])
    kernel, seen = read(precision, kernel), patches(read(precision, x), window)
    y = matmul(as_matrix(kernel, window), seen).reshape(-1, n, n, x.shape[3])
    y = y + bias[:, None, None, None]
    y = nn.relu(y) if relu else y
    return y, (x, kernel, seen, y)


def _convolve_backward(window, relu, precision, kept, g):
    x, kernel, seen, y = kept
    g = jnp.where(y > 0, g, 0) if relu else g
    flat = read(precision, g).reshape(g.shape[0], -1)
    dkernel = as_kernel(matmul_nt(seen, flat), window)
    dx = fold(matmul(as_rows(kernel, window), flat), window, x.shape)
    return dx, dkernel, _per_channel(g)


convolve.defvjp(_convolve_forward, _convolve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolve_transposed(
    x: Float[Array, "o size size n"], kernel: Kernel, bias: Bias, window: Window, relu: bool, precision: str
) -> Float[Array, "i out_size out_size n"]:
    """The adjoint of `convolve` with the same kernel, from its `out` channels back to its `in`, then bias and ReLU."""
    return _transposed_forward(x, kernel, bias, window, relu, precision)[0]


def _transposed_forward(x, kernel, bias, window, relu, precision):
    size = window.covered(x.shape[1])
    kernel, x = read(precision, kernel), read(precision, x)
    columns = matmul(as_rows(kernel, window), x.reshape(x.shape[0], -1))
    y = fold(columns, window, (kernel.shape[2], size, size, x.shape[3])) + bias[:, None, None, None]
    y = nn.relu(y) if relu else y
    return y, (x, kernel, y)


def _transposed_backward(window, relu, precision, kept, g):
    x, kernel, y = kept
    g = jnp.where(y > 0, g, 0) if relu else g
    seen = patches(read(precision, g), window)
    dkernel = as_kernel(matmul_nt(seen, x.reshape(x.shape[0], -1)), window)
    return matmul(as_matrix(kernel, window), seen).reshape(x.shape), dkernel, _per_channel(g)


convolve_transposed.defvjp(_transposed_forward, _transposed_backward)


def _per_channel(g):
    # space first, then batch: the inner sum runs along vectors
    return g.sum((1, 2)).sum(1)


class _Convolution(nn.Module):
    """The fields and parameters that both kinds of layer have."""

    features: int
    window: Window
    relu: bool = False
    precision: str = "float32"

    def weights(self, channels: int) -> tuple[Kernel, Bias]:
        k = self.window.kernel
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (k, k, channels, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class Conv(_Convolution):
    """`nn.Conv` with the same parameters and initialisers, on batch-last activations; ReLU included if asked."""

    @nn.compact
    def __call__(self, x: Images) -> Output:
        kernel, bias = self.weights(x.shape[0])
        return convolve(x, kernel, bias, self.window, self.relu, self.precision)


class ConvTranspose(_Convolution):
    """`nn.ConvTranspose` with the same parameters and initialisers, on batch-last activations; ReLU if asked.

    `window` is that of the convolution whose adjoint this is: `nn.ConvTranspose` calls `kernel - 1 - padding` its
    padding. Like it, this convolves with the kernel as stored; the adjoint has it turned around.
    """

    @nn.compact
    def __call__(self, x: Images) -> Output:
        kernel, bias = self.weights(x.shape[0])
        turned = lax.rev(kernel, (0, 1)).swapaxes(2, 3)
        return convolve_transposed(x, turned, bias, self.window, self.relu, self.precision)


class BatchLastDense(nn.Module):
    """`nn.Dense` with the same parameters and initialisers, on batch-last activations.

    Turned around to batch first and back, 2048 × 100 numbers cost 2.4 ms of a training step of 36.
    """

    features: int
    precision: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "i n"]) -> Float[Array, "o n"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[0], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return product(self.precision, kernel, x, (((0,), (0,)), ((), ()))) + bias[:, None]
