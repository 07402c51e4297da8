"""Convolutions as matrix products: fast inside a compiled loop, where XLA:CPU's own convolutions are not.

In: activations laid out (channels, height, width, batch) – a row of the patch matrix is then a run of contiguous
memory – and a kernel as `nn.Conv` stores it, (height, width, in, out). Out: activations in the same layout.

The gradients are matrix products too: `y = W·P`, `dW = g·Pᵀ`, `dP = Wᵀ·g`, where P are the patches of the input; a
transposed convolution is the adjoint. What a training step spends beside the products is the moving of numbers, so
patches are kept low where that suits the product (`Window.cut`), and bfloat16 is moved as integers. The conv VAE's step
inside `lax.scan` takes 10.2 ms in bfloat16, half of it for products, and 30 ms in float32, three quarters for products
(batch 100, a process alone on one core with AMX). The stock convolutions take 564 ms there on two cores, PyTorch eager
21; docs/performance.md has the measurements.
"""

import itertools
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from jaxvae.nn.precision import as_integers, matmul, matmul_nt, read

Images = Float[Array, "c size size n"]
Output = Float[Array, "o out_size out_size n"]
Kernel = Float[Array, "k k i o"]
Bias = Float[Array, "b"]  # one for each output channel
Columns = Float[Array, "rc positions"]  # a slab's pixels by channels; the positions it has, by images
Rows = Float[Array, "so positions"]  # slabs by output channels


class Window(NamedTuple):
    """Geometry of a square kernel that slides over a square image."""

    kernel: int
    stride: int
    padding: int  # zeros around the image
    slabs: int = 1  # that the kernel is cut into: none, or kernel // stride of `stride` rows each, see `cut`

    @property
    def height(self) -> int:
        """Rows of a slab."""
        return self.kernel // self.slabs

    def positions(self, size: int) -> int:
        """Where the kernel fits along a side of `size` pixels."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def covered(self, positions: int) -> int:
        """Pixels along a side that `positions` of the kernel reach, without the padding."""
        return (positions - 1) * self.stride + self.kernel - 2 * self.padding

    def lines(self, positions: int) -> int:
        """How often a slab fits along the height, if the kernel fits `positions` times."""
        return positions + self.slabs - 1

    def cut(self, channels: int, features: int) -> "Window":
        """Cut into slabs of `stride` rows, if the matrix of a kernel stays at least as wide as it is high.

        What a slab sees at one position, the slab above it sees at the next. So patches need not be higher than a slab,
        if the product gives an output for each of them, and these are then added up one position apart. For 32 to 64
        channels, a kernel of 4×4 and stride 2, the matrix is 128×256 instead of 64×512 and there are 2.9 MB of patches
        instead of 5.0 (bfloat16, batch 100): a training step takes 10.1 ms instead of 11.7.
        """
        k, s, *_ = self
        wide = s * k * channels >= k // s * features
        return self._replace(slabs=k // s) if k % s == 0 and wide else self


def patches(x: Images, window: Window) -> Columns:
    """What a slab of the kernel sees at each position, as columns (im2col).

    The image is cut into blocks of stride × stride pixels first, so that a piece of the columns is one slice of it.
    """
    channels, size, _, batch = x.shape
    k, s, padding, _ = window
    n = window.positions(size)
    blocks = n + (k - 1) // s
    margin = padding, blocks * s - padding - size
    bits = _padded(as_integers(x), margin, margin).reshape(channels, blocks, s, blocks, s, batch)

    def seen(row: int, column: int):
        (i, down), (j, across) = divmod(row, s), divmod(column, s)
        return bits[:, i : i + window.lines(n), down, j : j + n, across]

    # a stack of stacks, which XLA:CPU makes in one loop; of a single one with more than eight pieces it copies each
    columns = jnp.stack([jnp.stack([seen(row, column) for column in range(k)]) for row in range(window.height)])
    return lax.bitcast_convert_type(columns.reshape(-1, window.lines(n) * n * batch), x.dtype)


def fold(columns: Columns, window: Window, shape: tuple[int, int, int, int]) -> Images:
    """The adjoint of `patches`: each column added back to the pixels it was read from (col2im).

    The pixels at one place of their blocks of stride × stride make an image of their own, a sum of shifted pieces; at
    last these images are woven together. XLA:CPU turns all that, and bias, ReLU and rounding behind it, into one loop:
    0.08 ms for 64×7×7×100 numbers, where pieces added in place and then cropped had taken 1.5 ms.
    """
    channels, size, _, batch = shape
    k, s, padding, _ = window
    n = window.positions(size)
    lines = window.lines(n)
    lengths = [len(range(pixel, size, s)) for pixel in range(s)]
    images = [[jnp.zeros((channels, down, across, batch), columns.dtype) for across in lengths] for down in lengths]
    pieces = iter(columns.reshape(-1, channels, lines, n, batch))
    for row, column in itertools.product(range(window.height), range(k)):
        (up, i), (left, j) = (divmod(line - padding, s) for line in (row, column))
        images[i][j] += _padded(next(pieces), (up, lengths[i] - lines - up), (left, lengths[j] - n - left))
    return _woven([_woven(row, axis=2) for row in images], axis=1)


def _padded(x, down, across=(0, 0)):
    """Lines of zeros added before and after those there are; lines cut off where a number is negative."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*down, 0), (*across, 0), (0, 0, 0)])


def _woven(images, axis):
    """A line of each image in turn along `axis`; the last images may be one line shorter."""
    shortest = images[-1].shape[axis]
    turns = jnp.stack([lax.slice_in_dim(image, 0, shortest, axis=axis) for image in images], axis + 1)
    ends = [lax.slice_in_dim(image, shortest, None, axis=axis) for image in images]
    return jnp.concatenate([lax.collapse(turns, axis, axis + 2), *ends], axis)


def spread(y: Output, window: Window) -> Rows:
    """A copy of `y` for each slab, which is at line i + slab when the kernel is at line i; zeros elsewhere."""
    slabs, n = window.slabs, y.shape[1]
    # padded once and then cut, so that what computes `y` runs once
    bits = _padded(as_integers(y), (slabs - 1, slabs - 1))
    copies = [bits[:, slabs - 1 - slab :][:, : window.lines(n)] for slab in range(slabs)]
    return lax.bitcast_convert_type(jnp.concatenate(copies).reshape(slabs * len(y), -1), y.dtype)


def gather(rows: Rows, window: Window, n: int) -> Output:
    """The adjoint of `spread`: what all slabs found, added up at the kernel's `n` × `n` positions."""
    found = rows.reshape(window.slabs, -1, window.lines(n), n, rows.shape[1] // (window.lines(n) * n))
    return sum(found[slab, :, slab : slab + n] for slab in range(window.slabs))  # type: ignore[return-value]


def as_matrix(kernel: Kernel, window: Window) -> Float[Array, "so rc"]:
    """The kernel in the order of `Rows` and `Columns`.

    It is turned first and rounded then: XLA would fold a transpose that comes last into the product.
    """
    slabs, o = window.slabs, kernel.shape[3]
    return kernel.reshape(slabs, -1, o).swapaxes(1, 2).reshape(slabs * o, -1)


def as_turned_matrix(kernel: Kernel, window: Window) -> Float[Array, "rc so"]:
    """The transpose of `as_matrix`."""
    slabs, o = window.slabs, kernel.shape[3]
    return kernel.reshape(slabs, -1, o).swapaxes(0, 1).reshape(-1, slabs * o)


def as_kernel(matrix: Float[Array, "so rc"], window: Window, shape: tuple[int, int, int, int]) -> Kernel:
    """The inverse of `as_matrix`."""
    return matrix.reshape(window.slabs, shape[3], -1).swapaxes(1, 2).reshape(shape)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolve(x: Images, kernel: Kernel, bias: Bias, window: Window, relu: bool, precision: str) -> Output:
    """Cross-correlation, bias and, if asked, ReLU in one step that keeps only its patches and its output.

    In bfloat16 the gradient of the bias too is the sum, in float32, of what the products read.
    """
    return _convolve_forward(x, kernel, bias, window, relu, precision)[0]


def _convolve_forward(x, kernel, bias, window, relu, precision):
    cut = window.cut(*kernel.shape[2:])
    columns = patches(read(precision, x), cut)
    rows = matmul(read(precision, as_matrix(kernel, cut)), columns)
    y = gather(rows, cut, window.positions(x.shape[1])) + bias[:, None, None, None]
    y = nn.relu(y) if relu else y
    return y, (x, kernel, columns, y)


def _convolve_backward(window, relu, precision, kept, g):
    x, kernel, columns, y = kept
    cut = window.cut(*kernel.shape[2:])
    g = jnp.where(y > 0, g, 0) if relu else g
    rows = spread(read(precision, g), cut)
    dx = fold(matmul(read(precision, as_turned_matrix(kernel, cut)), rows), cut, x.shape)
    dkernel = as_kernel(matmul_nt(rows, columns), cut, kernel.shape)
    # the sum of rows, which lie there anyway, takes a loop less than that of `g`; all slabs have the same
    return dx, dkernel, rows.astype(jnp.float32).sum(1)[: len(g)]


convolve.defvjp(_convolve_forward, _convolve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolve_transposed(
    x: Float[Array, "o size size n"], kernel: Kernel, bias: Bias, window: Window, relu: bool, precision: str
) -> Float[Array, "i out_size out_size n"]:
    """The adjoint of `convolve` with the same kernel, from its `out` channels back to its `in`, then bias and ReLU."""
    return _transposed_forward(x, kernel, bias, window, relu, precision)[0]


def _transposed_forward(x, kernel, bias, window, relu, precision):
    cut, size = window.cut(*kernel.shape[2:]), window.covered(x.shape[1])
    rows = spread(read(precision, x), cut)
    columns = matmul(read(precision, as_turned_matrix(kernel, cut)), rows)
    y = fold(columns, cut, (kernel.shape[2], size, size, x.shape[3])) + bias[:, None, None, None]
    y = nn.relu(y) if relu else y
    return y, (rows, kernel, y)


def _transposed_backward(window, relu, precision, kept, g):
    rows, kernel, y = kept
    cut = window.cut(*kernel.shape[2:])
    g = jnp.where(y > 0, g, 0) if relu else g
    columns = patches(read(precision, g), cut)
    dx = gather(matmul(read(precision, as_matrix(kernel, cut)), columns), cut, window.positions(g.shape[1]))
    dkernel = as_kernel(matmul_nt(rows, columns), cut, kernel.shape)
    return dx, dkernel, g.sum((1, 2)).sum(1)  # space first, then batch: the inner sum runs along vectors


convolve_transposed.defvjp(_transposed_forward, _transposed_backward)


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
