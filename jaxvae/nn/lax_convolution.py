"""What `lax.conv_general_dilated` computes, as matrix products.

In: its operands, in any of its layouts, and its parameters. Out: the same numbers to rounding, with their gradients;
None where there is no such product here.

Over one or two axes, without groups or gaps between taps, it is what the project's own layers are made of, as fast as
they are. Any other convolution is a product with the slices of the images that the taps see, which JAX differentiates.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxvae.nn.conv import convolve, convolve_transposed
from jaxvae.nn.precision import product
from jaxvae.nn.turned import Turned, turned
from jaxvae.nn.window import Side, Window

Images = Float[Array, "c *sizes n"]
Kernel = Float[Array, "*taps i o"]  # i: the channels of a group
Output = Float[Array, "o *out_sizes n"]


class Geometry(NamedTuple):
    """How a kernel slides, with a number for each axis."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    between: tuple[int, ...]  # pixels, 1 where there are no zeros between them
    dilation: tuple[int, ...]  # between taps
    groups: int

    @property
    def is_transposed(self) -> bool:
        """Whether it is the adjoint of a convolution whose strides are `between`."""
        return max(self.between) > 1 == max(*self.strides, *self.dilation)

    def adjoint(self, taps: tuple[int, ...]) -> "Geometry":
        """That convolution's."""
        padding = tuple((k - 1 - low, k - 1 - high) for k, (low, high) in zip(taps, self.padding, strict=True))
        return self._replace(strides=self.between, padding=padding, between=self.strides)


def lax_convolution(x: Array | Turned, kernel: Array, shape: tuple[int, ...], params: dict[str, Any]) -> Turned | None:
    """`lax.conv_general_dilated` of two float32 arrays; None for other types, batch groups and empty images.

    Args:
        shape: of what comes out, were it not turned.
        params: of the equation in a jaxpr.
    """
    of_x, of_kernel, of_y = params["dimension_numbers"]
    types = x.dtype, kernel.dtype, params["preferred_element_type"] or jnp.float32
    if any(one != jnp.float32 for one in types) or params["batch_group_count"] > 1 or not math.prod(shape):
        return None
    numbers = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "feature_group_count")
    geometry = Geometry(*map(params.__getitem__, numbers))
    kernel = jnp.transpose(kernel, (*of_kernel[2:], of_kernel[1], of_kernel[0]))
    y = _convolution(turned(x, (*of_x[1:], of_x[0])), kernel, tuple(shape[axis] for axis in of_y[2:]), geometry)
    return Turned(y, (*of_y[1:], of_y[0]))


def _convolution(x: Images, kernel: Kernel, sizes: tuple[int, ...], geometry: Geometry) -> Output:
    axes = len(sizes)
    if not axes:
        return product("float32", kernel, x, (((0,), (0,)), ((), ())))
    between, turned = geometry.between, geometry.is_transposed
    if axes <= 2 and geometry.groups == max(geometry.dilation) == 1 and (turned or max(between) == 1):
        return _as_layer(x, kernel, geometry)
    if not turned:
        return _by_taps(x, kernel, sizes, geometry)
    taps, (i, o) = kernel.shape[:axes], kernel.shape[axes:]
    mirrored = lax.rev(kernel, range(axes)).reshape(*taps, i, geometry.groups, o // geometry.groups)
    mirrored = mirrored.swapaxes(-1, -3).reshape(*taps, o // geometry.groups, -1)
    # the sizes of the convolution's output are those of its adjoint's input
    convolution = lambda y: _by_taps(y, mirrored, x.shape[1:-1], geometry.adjoint(taps))  # noqa: E731
    (y,) = jax.linear_transpose(convolution, jax.ShapeDtypeStruct((o, *sizes, x.shape[-1]), x.dtype))(x)
    return y


def _as_layer(x: Images, kernel: Kernel, geometry: Geometry) -> Output:
    """A convolution over one or two axes, or its adjoint, without groups and gaps."""
    channels, *sizes, batch = x.shape
    *taps, _, o = kernel.shape
    along = geometry.adjoint(tuple(taps)) if geometry.is_transposed else geometry
    sides = [Side(k, s, *padding) for k, s, padding in zip(taps, along.strides, along.padding, strict=True)]
    if len(sizes) == 1:
        x, kernel, sides = x.reshape(channels, 1, *sizes, batch), kernel[None], [Side(1, 1, 0, 0), *sides]
    down, across = sides
    window, bias = Window(down, across), jnp.zeros(o)
    if geometry.is_transposed:
        y: Any = convolve_transposed(x, lax.rev(kernel, (0, 1)).swapaxes(2, 3), bias, window, False, "float32")
    else:
        y = convolve(x, kernel, bias, window, False, "float32")
    return y.reshape(o, *y.shape[3 - len(sizes) : 3], batch)


def _by_taps(x: Images, kernel: Kernel, sizes: tuple[int, ...], geometry: Geometry) -> Output:
    """A convolution as one product of the kernel and what each tap sees.

    Args:
        sizes: of the images that come out.
    """
    strides, padding, between, dilation, groups = geometry
    margins = [(low, high, step - 1) for (low, high), step in zip(padding, between, strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *margins, (0, 0, 0)])
    *taps, i, o = kernel.shape
    seen = []
    for tap in itertools.product(*map(range, taps)):
        first = [index * step for index, step in zip(tap, dilation, strict=True)]
        ends = [start + (size - 1) * step + 1 for start, size, step in zip(first, sizes, strides, strict=True)]
        seen.append(lax.slice(x, (0, *first, 0), (len(x), *ends, x.shape[-1]), (1, *strides, 1)))
    columns = jnp.stack(seen).reshape(len(seen), groups, i, -1)
    rows = product(
        "float32", kernel.reshape(len(seen), i, groups, o // groups), columns, (((0, 1), (0, 2)), ((2,), (1,)))
    )
    return rows.reshape(o, *sizes, x.shape[-1])
