"""Convolutions with a third of the multiplications, for float32 on CPUs (Winograd 1980; Lavin & Gray 2016).

In: activations laid out (channels, height, width, batch) and a kernel as `nn.Conv` stores it. Out: what
`jaxvae.nn.patches` computes, to the rounding of float32.

**One axis, one tile.** A kernel of stride s has s phases: tap a + s·v reads pixels of phase a alone, so that

    y_i = Σ_a Σ_v w[a]_v · x[a]_{i+v}        i < m, v < r = ⌈kernel / s⌉

Multiplying polynomials with m and r coefficients gives q = m + r − 1 of them, and takes q multiplications: their values
at q points, one of which may be infinity (the leading coefficient), are multiplied point by point. With V(n), the
values at the points of a polynomial with n coefficients, as a matrix [q, n], the product is V(q)⁻¹ (V(r)·w ∘ V(m)·y).
A convolution is the adjoint of that in y:

    y = V(m)ᵀ · Σ_a (V(r)·w[a]) ∘ (V(q)⁻ᵀ·x[a])        q multiplications for each phase instead of m·r

Where the picture ends so that no tap misses an output, as with kernel 3, stride 2, padding 1 and an odd side, y itself
is the product of the polynomials w and x, and takes n points for n outputs instead of n + 1.

**Two axes, all channels.** The same is done along height and width. At each of q × p points there is then a product of
matrices, [out, s·r·in]·[s·r·in, tiles·batch], in which phases are added up like channels. A side of more outputs is cut
into tiles of equal size. Gradients and the transposed convolution are the adjoints of these steps.

**Rounding.** Points far from 1 make it worse, so there are at most eight, {0, ∞, ±1, ±2, ±½}. With all of them, errors
are some 3e-6 of what comes out, ten times those of `patches`; with five or fewer they are about the same.

**Speed.** Of a conv VAE's step, the products take 17 ms instead of 33 and the transforms 7 (batch 100, one core of a
Zen 4); docs/performance.md has the whole. A transform is a sum of slices times numbers, which XLA:CPU makes one loop.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxvae.jax_settings import platform
from jaxvae.nn.precision import batched_matmul, batched_matmul_nt, matmul
from jaxvae.nn.window import Images, Kernel, Output, Side, Window
from jaxvae.system import machine

POINTS = (0.0, math.inf, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
FEWEST_CHANNELS, FEWEST_IMAGES = 8, 25  # below, products are too small to make up for transforms and compilation
USES = 16  # XLA:CPU computes anew what a loop reads in fewer places than that, instead of writing it out once

PointsOfImage = Float[Array, "qp sri tun"]  # of both axes together: points, phases, tiles
PointsOfOutput = Float[Array, "qp o tun"]
PointsOfKernel = Float[Array, "qp sri o"]


class Transform(NamedTuple):
    """The matrices of one axis. Phases are numbered by their first tap."""

    outputs: Float[np.ndarray, "m q"]  # points → outputs of a tile
    pixels: Float[np.ndarray, "s q e"]  # groups of `stride` pixels, those that a tile sees → points, by phase
    taps: Float[np.ndarray, "s q r"]  # taps → points, by phase
    side: Side
    size: int  # of the picture along it
    tiles: int
    first: int  # group of pixels that the first tile sees: 0, or below where padding counts as pixels

    @property
    def points(self) -> int:
        return self.outputs.shape[1]


def values(points: tuple[float, ...], n: int) -> Float[np.ndarray, "q n"]:
    """A polynomial's values at the points, as a matrix that takes its n coefficients; at infinity, the last of them."""
    return np.array([[float(i == n - 1) if math.isinf(p) else p**i for i in range(n)] for p in points])


@lru_cache
def transform(side: Side, size: int) -> Transform:
    """The matrices for a picture of this size, with as few points for all tiles together as there can be."""
    k, s, padding, _ = side
    n, r, groups = side.positions(size), -(-k // s), -(-size // s)
    phases = []  # of each: its taps, its pixels, and the tap that reads group 0 for output 0
    for a in range(s):
        pixel = (a - padding) % s
        phases.append((len(range(a, k, s)), len(range(pixel, size, s)), (pixel + padding) // s))
    if n <= len(POINTS) and all(taps == shift + 1 and shift + pixels <= n for taps, pixels, shift in phases):
        points = POINTS[:n]
        of_pixels, of_taps = np.zeros((s, n, groups)), np.zeros((s, n, r))
        for a, (taps, pixels, _) in enumerate(phases):
            of_pixels[a, :, :pixels] = values(points, pixels)
            of_taps[a, :, :taps] = values(points, taps)[:, ::-1]
        return Transform(np.linalg.inv(values(points, n)), of_pixels, of_taps, side, size, 1, 0)
    m = min(range(1, len(POINTS) + 2 - r), key=lambda m: (-(-n // m) * (m + r - 1), m))
    q, tiles = m + r - 1, -(-n // m)
    shifts = [shift for _, _, shift in phases]
    first, end = (0, min(groups, q - min(shifts))) if tiles == 1 else (-max(shifts), q - min(shifts))
    inverse = np.linalg.inv(values(POINTS[:q], q)).T
    of_pixels, of_taps = np.zeros((s, q, end - first)), np.zeros((s, q, r))
    for a, (taps, _, shift) in enumerate(phases):
        seen = range(max(first, -shift), min(end, q - shift))
        of_pixels[a, :, seen.start - first : seen.stop - first] = inverse[:, seen.start + shift : seen.stop + shift]
        of_taps[a, :, :taps] = values(POINTS[:q], r)[:, :taps]
    return Transform(values(POINTS[:q], m).T, of_pixels, of_taps, side, size, tiles, first)


Transforms = tuple[Transform, Transform]  # of height and width


def transforms(window: Window, height: int, width: int) -> Transforms:
    return transform(window.down, height), transform(window.across, width)


def pays(window: Window, sizes: tuple[int, ...], kernel: tuple[int, ...], batch: int, precision: str) -> bool:
    """Whether this takes less time than patches, as measured for kernels of two or three taps a phase.

    Only on one thread, as a sweep's processes have it: XLA:CPU shares a large product among threads, but of many small
    ones it does each on one.
    """
    if precision != "float32" or platform() != "cpu" or min(kernel[2:]) < FEWEST_CHANNELS or batch < FEWEST_IMAGES:
        return False
    sides = window[:2]
    if any(s > 2 or not 1 < -(-k // s) <= 3 or min(margin) < 0 for k, s, *margin in sides) or machine.threads() > 1:
        return False
    products = math.prod(t.side.stride * t.points * t.tiles for t in transforms(window, *sizes))
    return 2 * products <= math.prod(k * n for (k, *_), n in zip(sides, window.positions(*sizes), strict=True))


# ── the layer and its adjoint ────────────────────────────────────────────────────────────────────────────────────────


def forward(x: Images, kernel: Kernel, window: Window) -> tuple[Output, PointsOfImage]:
    """Cross-correlation; and the points of the images, which the gradient of the kernel reads again."""
    t = transforms(window, *x.shape[1:3])
    of_image = image_to_points(x, t)
    return points_to_output(batched_matmul(kernel_to_points(kernel, t, turned=True), of_image), t), of_image


def backward(g: Output, x: Images, kernel: Kernel, of_image: PointsOfImage, window: Window):
    """Gradients of input, kernel and bias."""
    t = transforms(window, *x.shape[1:3])
    of_output = output_to_points(g, t)
    dx = points_to_image(batched_matmul(kernel_to_points(kernel, t), of_output), t)
    return dx, points_to_kernel(batched_matmul_nt(of_image, of_output), t), g.sum((1, 2)).sum(1)


def transposed_forward(x: Output, kernel: Kernel, window: Window) -> tuple[Images, PointsOfOutput]:
    """The adjoint of `forward` with the same kernel; and the points that the gradient of the kernel reads again."""
    t = transforms(window, *window.covered(*x.shape[1:3]))
    of_output = output_to_points(x, t)
    return points_to_image(batched_matmul(kernel_to_points(kernel, t), of_output), t), of_output


def transposed_backward(g: Images, kernel: Kernel, of_output: PointsOfOutput, window: Window):
    """Gradients of input, kernel and bias."""
    t = transforms(window, *g.shape[1:3])
    of_image = image_to_points(g, t)
    dx = points_to_output(batched_matmul(kernel_to_points(kernel, t, turned=True), of_image), t)
    return dx, points_to_kernel(batched_matmul_nt(of_image, of_output), t), g.sum((1, 2)).sum(1)


# ── transforms and their adjoints ────────────────────────────────────────────────────────────────────────────────────


def image_to_points(x: Images, t: Transforms) -> PointsOfImage:
    down, across = t
    of_rows, of_columns = (its.pixels.swapaxes(0, 1) for its in t)  # points, phases, groups
    rows = [jnp.moveaxis(piece, 2, 0)[None] for piece in _seen(x, 1, down)]
    half = _weighted_sum(of_rows, rows, (0, 1))  # q, s, channels, tiles, width, batch
    columns = [jnp.moveaxis(piece, 5, 2)[:, None] for piece in _seen(half, 4, across)]
    points = _weighted_sum(of_columns, columns, (1, 3))  # q, p, s, r, channels, tiles, tiles, batch
    return lax.collapse(lax.collapse(lax.collapse(points, 5), 2, 5), 0, 2)


def points_to_image(points: PointsOfImage, t: Transforms) -> Images:
    down, across = t
    (s, q, _), (r, p, _) = down.pixels.shape, across.pixels.shape
    points = points.reshape(q, p, s, r, -1, down.tiles, across.tiles, points.shape[2] // (down.tiles * across.tiles))
    if turned := [axis for axis, its in zip((2, 3), t, strict=True) if _turned(its)]:
        points = lax.rev(points, turned)
    of_rows, of_columns = (its.pixels.transpose(2, 0, 1)[:, :: -1 if _turned(its) else 1] for its in t)
    columns = [jnp.moveaxis(points[:, i], 2, 5)[:, :, :, :, :, None] for i in range(p)]
    half = _added(_weighted_sum(of_columns, columns, (5, 6)), 4, across)  # q, s, channels, tiles, width, batch
    rows = [jnp.moveaxis(half[i], 0, 2)[:, :, None] for i in range(q)]
    return _added(_weighted_sum(of_rows, rows, (2, 3)), 1, down)


def points_to_output(points: PointsOfOutput, t: Transforms) -> Output:
    down, across = t
    n, m = (its.side.positions(its.size) for its in t)
    tiles = down.tiles, across.tiles
    points = points.reshape(down.points, across.points, -1, *tiles, points.shape[2] // math.prod(tiles))
    half = lax.collapse(_along(across.outputs, points, 1, 4), 3, 5)  # q, channels, tiles, width, batch
    return lax.collapse(_along(down.outputs, half, 0, 2), 1, 3)[:, :n, :m]


def output_to_points(y: Output, t: Transforms) -> PointsOfOutput:
    down, across = t
    for axis, its in enumerate(t, 1):
        y = _padded(y, axis, 0, its.tiles * len(its.outputs) - y.shape[axis])
    y = y.reshape(len(y), down.tiles, len(down.outputs), across.tiles, len(across.outputs), y.shape[3])
    half = _along(across.outputs.T, y, 4, 0)  # p, channels, tiles, m, tiles, batch
    points = _along(down.outputs.T, half, 3, 0)  # q, p, channels, tiles, tiles, batch
    return lax.collapse(lax.collapse(points, 3), 0, 2)


def kernel_to_points(kernel: Kernel, t: Transforms, turned: bool = False) -> Float[Array, "qp _ _"]:
    """[qp, sr·in, out]; or turned, [qp, out, sr·in]: XLA:CPU is fast where the left operand is contracted on its last
    axis alone."""
    down, across = t
    (s, q, u), (r, p, v) = down.taps.shape, across.taps.shape
    *sizes, channels, features = kernel.shape
    weights = np.einsum("aqu,bpv->qpabuv", down.taps, across.taps).reshape(q * p, s * r, u * v).repeat(channels, 1)
    taps = _padded(_padded(kernel, 0, 0, u * s - sizes[0]), 1, 0, v * r - sizes[1])
    taps = taps.reshape(u, s, v, r, channels, features)
    taps = jnp.transpose(taps, (0, 2, 5, 1, 3, 4) if turned else (0, 2, 1, 3, 4, 5))
    shape = (u * v, features, s * r * channels) if turned else (u * v, s * r * channels, features)
    # times one, so that it is written out: its numbers would be read q·p times from where they are, in strides
    taps = matmul(jnp.eye(u * v), taps.reshape(u * v, -1)).reshape(shape)
    return _weighted_sum(weights, [tap[None] for tap in taps], (0, 2 if turned else 1), branches=1)


def points_to_kernel(points: PointsOfKernel, t: Transforms) -> Kernel:
    """The adjoint of `kernel_to_points`."""
    sizes, phases = [its.side.kernel for its in t], math.prod(its.side.stride for its in t)
    weights = np.einsum("kqa,lpb->klqpab", *map(_of_taps, t)).reshape(math.prod(sizes), -1).astype(np.float32)
    channels, features = points.shape[1] // phases, points.shape[2]
    return matmul(jnp.asarray(weights), points.reshape(-1, channels * features)).reshape(*sizes, channels, features)


# ── their parts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _weighted_sum(weights: np.ndarray, pieces: list, axes: tuple[int, ...], branches: int = 0):
    """Σ_i weights[..., i] · pieces[i]. The other axes of the weights lie at `axes` of the sum, where pieces have length
    one. It is computed in `branches` parts along the first of them."""
    branches = branches or min(len(weights), -(-USES // len(pieces)))
    parts = []
    for part in np.array_split(weights.astype(np.float32), branches):
        shape = np.ones(pieces[0].ndim, int)
        shape[list(axes)] = part.shape[:-1]
        terms = [x * part[..., i].reshape(shape) for i, x in enumerate(pieces) if part[..., i].any()]
        parts.append(sum(terms[1:], terms[0]))
    return jnp.concatenate(parts, axes[0]) if branches > 1 else parts[0]


def _along(matrix: np.ndarray, x, axis: int, to: int):
    """matrix · x along an axis; what comes out lies at `to`."""
    pieces = [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])]
    return _weighted_sum(matrix, [jnp.expand_dims(piece, to) for piece in pieces], (to,))


def _of_taps(t: Transform) -> Float[np.ndarray, "k q s"]:
    """What each tap has in each point of each phase."""
    s, q, r = t.taps.shape
    of_taps = np.zeros((r, s, q, s))
    for a in range(s):
        of_taps[:, a, :, a] = t.taps[a].T
    return of_taps.reshape(r * s, q, s)[: t.side.kernel]


def _turned(t: Transform) -> bool:
    """Whether the first of two pixels belongs to the second phase."""
    return t.side.stride == 2 and t.side.before % 2 == 1


def _seen(x, axis: int, t: Transform) -> list:
    """Pixels along an axis → for each group that a tile sees: tiles at `axis`, phases behind it."""
    (m, _), (s, _, seen) = t.outputs.shape, t.pixels.shape
    groups = m * (t.tiles - 1) + seen
    x = _padded(x, axis, -t.first * s, (groups + t.first) * s - t.size)
    x = x.reshape(*x.shape[:axis], groups, s, *x.shape[axis + 1 :])
    x = lax.rev(x, (axis + 1,)) if _turned(t) else x
    return [lax.slice_in_dim(x, e, e + m * (t.tiles - 1) + 1, m, axis) for e in range(seen)]


def _added(x, axis: int, t: Transform):
    """The adjoint of `_seen`: tiles, groups and phases, at `axis` and behind it, become lines. Where tiles see the same
    pixels, they are added up."""
    (m, _), (s, _, seen) = t.outputs.shape, t.pixels.shape
    if t.tiles > 1:
        overlap = -(-seen // m)
        x = _padded(x, axis + 1, 0, overlap * m - seen)
        parts = [lax.slice_in_dim(x, i * m, (i + 1) * m, axis=axis + 1) for i in range(overlap)]
        x = sum(_padded(part, axis, i, overlap - 1 - i) for i, part in enumerate(parts))
    x = lax.collapse(x, axis, axis + 3)  # type: ignore[arg-type]
    start = -t.first * s
    return lax.slice_in_dim(
        _padded(x, axis, 0, max(0, start + t.size - x.shape[axis])), start, start + t.size, axis=axis
    )


def _padded(x, axis: int, before: int, after: int):
    """Zeros before and after along an axis; lines cut off where a number is negative."""
    amounts = [(before, after, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), amounts) if before or after else x
