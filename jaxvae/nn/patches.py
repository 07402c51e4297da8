"""Convolutions as products of the kernel's matrix and the patches that it sees (im2col), for every size and precision.

In: activations laid out (channels, height, width, batch) – a row of the patch matrix is then a run of contiguous
memory – and a kernel as `nn.Conv` stores it. Out: what `jaxvae.nn.conv` adds bias and ReLU to, and gradients.

The gradients are matrix products too: `y = W·P`, `dW = g·Pᵀ`, `dP = Wᵀ·g`, where P are the patches of the input; a
transposed convolution is the adjoint. What a training step spends beside the products is the moving of numbers, so
patches are kept low where that suits the product (`Window.cut`), and bfloat16 is moved as integers.
"""

import itertools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvae.nn.precision import as_integers, matmul, matmul_nt, read
from jaxvae.nn.window import Images, Kernel, Output, Window

Columns = Float[Array, "rc positions"]  # a slab's pixels by channels; the positions it has, by images
Rows = Float[Array, "so positions"]  # slabs by output channels


def forward(x: Images, kernel: Kernel, window: Window, precision: str) -> tuple[Output, Columns]:
    """Cross-correlation; and the patches, which the gradient of the kernel reads again."""
    cut = window.cut(*kernel.shape[2:])
    columns = patches(read(precision, x), cut)
    rows = matmul(read(precision, as_matrix(kernel, cut)), columns)
    return gather(rows, cut, window.positions(*x.shape[1:3])), columns


def backward(g: Output, x: Images, kernel: Kernel, columns: Columns, window: Window, precision: str):
    """Gradients of input, kernel and bias; in bfloat16 that of the bias too is the sum of what the products read."""
    cut = window.cut(*kernel.shape[2:])
    rows = spread(read(precision, g), cut)
    dx = fold(matmul(read(precision, as_turned_matrix(kernel, cut)), rows), cut, x.shape)
    dkernel = as_kernel(matmul_nt(rows, columns), cut, kernel.shape)
    # the sum of rows, which lie there anyway, takes a loop less than that of `g`; all slabs have the same
    return dx, dkernel, rows.astype(jnp.float32).sum(1)[: len(g)]


def transposed_forward(x: Output, kernel: Kernel, window: Window, precision: str) -> tuple[Images, Rows]:
    """The adjoint of `forward` with the same kernel; and the rows that the gradient of the kernel reads again."""
    cut = window.cut(*kernel.shape[2:])
    rows = spread(read(precision, x), cut)
    columns = matmul(read(precision, as_turned_matrix(kernel, cut)), rows)
    return fold(columns, cut, (kernel.shape[2], *window.covered(*x.shape[1:3]), x.shape[3])), rows


def transposed_backward(g: Images, kernel: Kernel, rows: Rows, window: Window, precision: str):
    """Gradients of input, kernel and bias."""
    cut = window.cut(*kernel.shape[2:])
    columns = patches(read(precision, g), cut)
    dx = gather(matmul(read(precision, as_matrix(kernel, cut)), columns), cut, window.positions(*g.shape[1:3]))
    dkernel = as_kernel(matmul_nt(rows, columns), cut, kernel.shape)
    return dx, dkernel, g.sum((1, 2)).sum(1)  # space first, then batch: the inner sum runs along vectors


def patches(x: Images, window: Window) -> Columns:
    """What a slab of the kernel sees at each position, as columns (im2col).

    The image is cut into blocks as large as the strides first, so that a piece of the columns is one slice of it.
    """
    channels, *sizes, batch = x.shape
    n, m = window.positions(*sizes)
    (_, s, *_), (k, t, *_) = sides = window[:2]
    blocks = [side.blocks(positions) for side, positions in zip(sides, (n, m), strict=True)]
    margins = [
        (side.before, count * side.stride - side.before - size)
        for side, count, size in zip(sides, blocks, sizes, strict=True)
    ]
    bits = _padded(as_integers(x), *margins).reshape(channels, blocks[0], s, blocks[1], t, batch)

    def seen(row: int, column: int):
        (i, down), (j, across) = divmod(row, s), divmod(column, t)
        return bits[:, i : i + window.lines(n), down, j : j + m, across]

    # a stack of stacks, which XLA:CPU makes in one loop; of a single one with more than eight pieces it copies each
    columns = jnp.stack([jnp.stack([seen(row, column) for column in range(k)]) for row in range(window.height)])
    return lax.bitcast_convert_type(columns.reshape(-1, window.lines(n) * m * batch), x.dtype)


def fold(columns: Columns, window: Window, shape: tuple[int, ...]) -> Images:
    """The adjoint of `patches`: each column added back to the pixels it was read from (col2im).

    The pixels at one place of their blocks make an image of their own, a sum of shifted pieces; at
    last these images are woven together. XLA:CPU turns all that, and bias, ReLU and rounding behind it, into one loop:
    0.08 ms for 64×7×7×100 numbers, where pieces added in place and then cropped had taken 1.5 ms.
    """
    channels, *sizes, batch = shape
    n, m = window.positions(*sizes)
    lines = window.lines(n)
    (_, s, top, _), (k, t, left, _) = sides = window[:2]
    heights, widths = (
        [len(range(pixel, size, side.stride)) for pixel in range(side.stride)]
        for side, size in zip(sides, sizes, strict=True)
    )
    images = [[jnp.zeros((channels, down, across, batch), columns.dtype) for across in widths] for down in heights]
    pieces = iter(columns.reshape(-1, channels, lines, m, batch))
    for row, column in itertools.product(range(window.height), range(k)):
        (up, i), (over, j) = divmod(row - top, s), divmod(column - left, t)
        images[i][j] += _padded(next(pieces), (up, heights[i] - lines - up), (over, widths[j] - m - over))
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


def gather(rows: Rows, window: Window, positions: tuple[int, int]) -> Output:
    """The adjoint of `spread`: what all slabs found, added up at the kernel's positions."""
    n, m = positions
    found = rows.reshape(window.slabs, -1, window.lines(n), m, rows.shape[1] // (window.lines(n) * m))
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


def as_kernel(matrix: Float[Array, "so rc"], window: Window, shape: tuple[int, ...]) -> Kernel:
    """The inverse of `as_matrix`."""
    return matrix.reshape(window.slabs, shape[3], -1).swapaxes(1, 2).reshape(shape)
