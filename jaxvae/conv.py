"""Convolutions as matrix products: fast inside a compiled loop, where XLA:CPU's own convolutions are not.

In: activations laid out (channels, height, width, batch) – a row of the patch matrix is then a run of contiguous
memory – and a kernel as `nn.Conv` stores it, (height, width, in, out). Out: activations in the same layout.

A prototype of this form took 30 ms for a training step of the conv VAE inside `lax.scan`, where the stock convolutions
took 981 ms and PyTorch 37 ms (batch 128, float32, two cores with AMX). README.md has this code's own times.

The weight gradient and the input gradient are matrix products too:
`y = W·P`, `dW = g·Pᵀ`, `dP = Wᵀ·g`, where P are the patches of the input; a transposed convolution is the adjoint.
"""

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

    def spans(self) -> list["Span"]:
        """The kernel's rows (or columns), those that read the same block of `stride` pixels together."""
        at = [divmod(row - self.padding, self.stride) for row in range(self.kernel)]
        blocks = sorted({block for block, _ in at})
        rows = [[row for row, (block, _) in enumerate(at) if block == b] for b in blocks]
        return [Span(b, at[r[0]][1], r[0], len(r)) for b, r in zip(blocks, rows, strict=True)]

    def tiles(self) -> list[tuple["Span", "Span"]]:
        """`spans` down × `spans` across: the order in which patches and kernel matrices are laid out."""
        return [(down, across) for down in self.spans() for across in self.spans()]


class Span(NamedTuple):
    """Kernel rows that read neighbouring pixels of one block."""

    block: int  # which block, counted from the one that begins at the kernel's position
    pixel: int  # the first pixel read, counted within the block
    row: int  # the first kernel row
    rows: int

    @property
    def pixels(self) -> slice:
        return slice(self.pixel, self.pixel + self.rows)

    @property
    def kernel_rows(self) -> slice:
        return slice(self.row, self.row + self.rows)


def patches(x: Images, window: Window) -> Float[Array, "tc positions"]:
    """What the kernel sees at each position, as columns (im2col).

    The image is cut into blocks of stride × stride pixels, so that a kernel of 4×4 at stride 2 takes nine slices
    instead of sixteen and each of them is contiguous. Bfloat16 is moved as integers: XLA:CPU would turn it into
    float32 and back, 3 ms of a training step of 34.
    """
    if x.dtype == jnp.bfloat16:
        bits = lax.bitcast_convert_type(x, jnp.uint16)
        return lax.bitcast_convert_type(_patches(bits, window), jnp.bfloat16)
    return _patches(x, window)


def _patches(x, window):
    channels, size, _, batch = x.shape
    s, n = window.stride, window.positions(size)
    spans = window.spans()
    before = -spans[0].block
    blocks = n + before + spans[-1].block
    after = max((blocks - before) * s - size, 0)
    x = jnp.pad(x, ((0, 0), (before * s, after), (before * s, after), (0, 0)))[:, : blocks * s, : blocks * s]
    x = x.reshape(channels, blocks, s, blocks, s, batch)

    def slab(down: Span, across: Span):
        i, j = down.block + before, across.block + before
        seen = x[:, i : i + n, down.pixels, j : j + n, across.pixels]
        return seen.transpose(2, 4, 0, 1, 3, 5).reshape(-1, n, n, batch)

    return jnp.concatenate([slab(*tile) for tile in window.tiles()]).reshape(-1, n * n * batch)


def fold(columns: Float[Array, "tc positions"], window: Window, shape: tuple[int, int, int, int]) -> Images:
    """The adjoint of `patches`: each column added back to the pixels it was read from (col2im).

    Slices are added in place, where they belong in the image.
    """
    channels, size, _, batch = shape
    s, n = window.stride, window.positions(size)
    blocks = -(-size // s)
    columns = columns.reshape(-1, channels, n, n, batch)
    x = jnp.zeros((channels, blocks, s, blocks, s, batch), columns.dtype)
    row = 0
    for down, across in window.tiles():
        rows = down.rows * across.rows
        piece = columns[row : row + rows].reshape(down.rows, across.rows, channels, n, n, batch)
        (i0, i1), (j0, j1) = ((max(0, -span.block), min(n, blocks - span.block)) for span in (down, across))
        piece = piece[:, :, :, i0:i1, j0:j1].transpose(2, 3, 0, 4, 1, 5)
        target = (
            slice(None), slice(i0 + down.block, i1 + down.block), down.pixels,
            slice(j0 + across.block, j1 + across.block), across.pixels,
        )  # fmt: skip
        x = x.at[target].add(piece)
        row += rows
    return x.reshape(channels, blocks * s, blocks * s, batch)[:, :size, :size]


def as_matrix(kernel: Kernel, window: Window) -> Float[Array, "o tc"]:
    """The kernel with its columns in the order of `patches`' rows.

    Turned before its pieces are joined: XLA would fold a transpose of the whole into the product, which then leaves
    the fast kernels for bfloat16 (7 ms instead of 2 for a layer's output).
    """
    kernel = jnp.moveaxis(kernel, 3, 0)
    pieces = [kernel[:, down.kernel_rows, across.kernel_rows] for down, across in window.tiles()]
    return jnp.concatenate([piece.reshape(len(kernel), -1) for piece in pieces], 1)


def as_rows(kernel: Kernel, window: Window) -> Float[Array, "tc o"]:
    """The transpose of `as_matrix`."""
    pieces = [kernel[down.kernel_rows, across.kernel_rows] for down, across in window.tiles()]
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
