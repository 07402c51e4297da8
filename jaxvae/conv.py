"""Convolutions as matrix products: fast inside a compiled loop, where XLA:CPU's own convolutions are not.

Activations are batch-last, (channels, height, width, batch), so that each row of a patch matrix is a run of contiguous
memory. In: an image stack and a kernel as `nn.Conv` stores it, (height, width, in, out). Out: an image stack.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Window(NamedTuple):
    """Static geometry of a square kernel sliding over a square image."""

    kernel: int
    stride: int
    padding: int  # zeros on each side of the image

    def positions(self, size: int) -> int:
        """Output pixels along a side of `size` input pixels."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1

    def taps(self):
        """Spans of kernel rows that one stride covers: `(block, start, stop)`."""
        k, s = self.kernel, self.stride
        return [(d, d * s, min(k, d * s + s)) for d in range(math.ceil(k / s))]


def patches(x, window: Window):
    k, s, p = window
    channels, size, _, batch = x.shape
    out = window.positions(size)
    blocks = out + math.ceil(k / s) - 1
    extra = blocks * s - size - p
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (p, extra, 0), (p, extra, 0), (0, 0, 0)))
    x = x.reshape(channels, blocks, s, blocks, s, batch).transpose(2, 4, 0, 1, 3, 5)
    pieces = [
        x[: i1 - i0, : j1 - j0, :, di : di + out, dj : dj + out].reshape(-1, out, out, batch)
        for di, i0, i1 in window.taps()
        for dj, j0, j1 in window.taps()
    ]
    y = jnp.concatenate(pieces)
    if 'P' in BAR: y = lax.optimization_barrier(y)
    return y.reshape(-1, out * out * batch)


MODE = "at"
BAR = ""


def fold(columns, window: Window, shape):
    if MODE == "lt":
        x = jax.ShapeDtypeStruct(shape, columns.dtype)
        return jax.linear_transpose(lambda x: patches(x, window), x)(columns)[0]
    k, s, p = window
    channels, size, _, batch = shape
    out = window.positions(size)
    blocks = out + math.ceil(k / s) - 1
    y = jnp.zeros((s, s, channels, blocks, blocks, batch), columns.dtype)
    row = 0
    columns = columns.reshape(-1, channels, out, out, batch)
    tot = None
    for di, i0, i1 in window.taps():
        for dj, j0, j1 in window.taps():
            a, b = i1 - i0, j1 - j0
            d = columns[row : row + a * b].reshape(a, b, channels, out, out, batch)
            row += a * b
            if MODE == "at":
                y = y.at[:a, :b, :, di : di + out, dj : dj + out].add(d)
            else:
                d = jnp.pad(d, ((0, s - a), (0, s - b), (0, 0), (di, blocks - out - di), (dj, blocks - out - dj), (0, 0)))
                tot = d if tot is None else tot + d
    y = y if MODE == "at" else tot
    if 'F' in BAR: y = lax.optimization_barrier(y)
    y = y.transpose(2, 3, 0, 4, 1, 5).reshape(channels, blocks * s, blocks * s, batch)
    return y[:, p : p + size, p : p + size]


def matrix(kernel, window):
    """(k, k, in, out) → (out, taps·in) in the order of `patches`."""
    pieces = [kernel[i0:i1, j0:j1].reshape(-1, kernel.shape[3]) for _, i0, i1 in window.taps() for _, j0, j1 in window.taps()]
    return jnp.concatenate(pieces).T


def unmatrix(m, window, shape):
    return jax.linear_transpose(lambda k: matrix(k, window), jax.ShapeDtypeStruct(shape, m.dtype))(m)[0]


def dot(a, b, ca=1, cb=0):
    return lax.dot_general(a, b, (((ca,), (cb,)), ((), ())), precision="highest", preferred_element_type=jnp.float32)


def rows(x):
    return x.reshape(x.shape[0], -1)


def bias_sum(g):
    return g.sum((1, 2)).sum(1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def conv(kernel, bias, x, window, need):
    return conv_f(kernel, bias, x, window, need)[0]


def conv_f(kernel, bias, x, window, need):
    P = patches(x, window)
    out = window.positions(x.shape[1])
    y = jax.nn.relu(dot(matrix(kernel, window), P).reshape(-1, out, out, x.shape[3]) + bias[:, None, None, None])
    return y, (kernel, P, x, y)


def conv_b(window, need, res, g):
    kernel, P, x, y = res
    g = jnp.where(y > 0, g, 0)
    dk = unmatrix(dot(rows(g), P, 1, 1), window, kernel.shape)
    dx = fold(dot(matrix(kernel, window).T, rows(g)), window, x.shape) if need else jnp.zeros_like(x)
    return dk, bias_sum(g), dx


conv.defvjp(conv_f, conv_b)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convT(kernel, bias, x, window, size, relu):
    return convT_f(kernel, bias, x, window, size, relu)[0]


def convT_f(kernel, bias, x, window, size, relu):  # kernel (k,k,out,in) here
    y = fold(dot(matrix(kernel, window).T, rows(x)), window, (kernel.shape[2], size, size, x.shape[3]))
    y = y + bias[:, None, None, None]
    if relu:
        y = jax.nn.relu(y)
    if 'T' in BAR: y = lax.optimization_barrier(y)
    return y, (kernel, x, y if relu else None)


def convT_b(window, size, relu, res, g):
    kernel, x, y = res
    if relu:
        g = jnp.where(y > 0, g, 0)
    P = patches(g, window)
    return unmatrix(dot(rows(x), P, 1, 1), window, kernel.shape), bias_sum(g), dot(matrix(kernel, window), P).reshape(x.shape)


convT.defvjp(convT_f, convT_b)
