"""A function with every convolution in it computed as matrix products, whichever library wrote it.

In: a function of arrays. Out: one with the same numbers to rounding, which is fast on CPUs inside a compiled loop,
where XLA's own convolutions are not (see `jaxvae.nn.conv`).

What the function computes is known from its jaxpr, JAX's list of its operations. These are done one by one, and
convolutions by `lax_convolution`; also those in nested functions that are compiled, checkpointed or scanned.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.extend.core import Literal
from jax.extend.core.primitives import conv_general_dilated_p

from jaxvae.jax_settings import platform
from jaxvae.nn.lax_convolution import lax_convolution
from jaxvae.nn.turned import elementwise, straight

CHECKPOINTS = ("checkpoint", "remat2")
CALLS = ("jit", "pjit", "closed_call", "core_call")  # primitives that only call the function in them


def own_convolutions(function: Callable, name: str) -> Callable:
    """`function`, with its convolutions as matrix products on a CPU; itself elsewhere and where it has none.

    These have first derivatives, in reverse. A convolution of numbers that are no float32, or within a `lax.cond`, a
    `lax.while_loop` or a function with derivatives of its own, stays as it is: a warning says so.

    Args:
        name: of the function, as the warning calls it.

    Example:
        >>> import jax.numpy as jnp
        >>> own_convolutions(partial(jnp.convolve, mode="same"), "mine")(jnp.arange(4.0), jnp.ones(3)).tolist()
        [1.0, 3.0, 6.0, 5.0]
    """

    def substituted(*args: Any) -> Any:
        if platform() != "cpu":
            return function(*args)
        jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        if not _convolves(jaxpr):
            return function(*args)
        results = _evaluated(name, jaxpr, jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return substituted


def _evaluated(name: str, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
    """The results of a jaxpr."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    values = dict(zip((*inner.constvars, *inner.invars), (*getattr(jaxpr, "consts", ()), *args), strict=True))

    def known(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in inner.eqns:
        operands = list(map(known, equation.invars))
        values.update(zip(equation.outvars, _results(name, equation, operands), strict=True))
    return [straight(known(variable)) for variable in inner.outvars]


def _results(name: str, equation: Any, operands: list[Any]) -> Sequence[Any]:
    """The results of an equation; those of convolutions, and of what is done to their elements, turned."""
    if results := elementwise(equation, operands):
        return results
    if equation.primitive is conv_general_dilated_p:
        y = lax_convolution(operands[0], straight(operands[1]), equation.outvars[0].aval.shape, equation.params)
        if y is not None:
            return [y]
    operands = list(map(straight, operands))
    within = any(map(_convolves, _inner(equation)))
    if within and (function := _called(name, equation)):
        return function(*operands)
    if within or equation.primitive is conv_general_dilated_p:
        warnings.warn(
            f"{name}: a convolution to {equation.outvars[0].aval.str_short()} by {equation.primitive.name} is left to "
            "XLA, which can make training on a CPU many times slower",
            stacklevel=2,
        )
    bound = equation.primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # by version of JAX
    results = equation.primitive.bind(*functions, *operands, **params)
    return results if equation.primitive.multiple_results else [results]


def _called(name: str, equation: Any) -> Callable | None:
    """What an equation computes that calls a function with convolutions; None where that is not known."""
    kind, params = equation.primitive.name, equation.params
    if kind not in (*CALLS, *CHECKPOINTS, "scan"):
        return None

    def function(*args):
        return _evaluated(name, next(_inner(equation)), args)

    if kind in CHECKPOINTS:
        return jax.checkpoint(function, prevent_cse=params["prevent_cse"], policy=params["policy"])
    return partial(_scanned, function, params) if kind == "scan" else function


def _scanned(function: Callable, params: dict[str, Any], *operands: Any) -> list[Any]:
    if "ft_in" in params:  # by version of JAX
        constants, carried = (len(part) for part in params["ft_in"].unpack()[:2])
    else:
        constants, carried = params["num_consts"], params["num_carry"]

    def body(carry, xs):
        results = function(*operands[:constants], *carry, *xs)
        return results[:carried], results[carried:]

    how = {key: params[key] for key in ("length", "reverse", "unroll")}
    first = constants + carried  # of what is scanned over
    carry, ys = lax.scan(body, list(operands[constants:first]), operands[first:], **how)
    return [*carry, *ys]


def _convolves(jaxpr: Any) -> bool:
    """Whether there is a convolution in a jaxpr or in one within it."""
    return any(
        equation.primitive is conv_general_dilated_p or any(map(_convolves, _inner(equation)))
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns
    )


def _inner(equation: Any) -> Iterator[Any]:
    """The jaxprs of the functions in an equation."""
    for value in equation.params.values():
        for one in value if isinstance(value, tuple) else (value,):
            if hasattr(getattr(one, "jaxpr", one), "eqns"):
                yield one
