"""The numbers that matrix products read, decided in one place; everything else is float32.

In: the name of a precision and two arrays. Out: their product, accumulated in float32.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def product(precision: str, a: Float[Array, "..."], b: Float[Array, "..."], dimension_numbers) -> Float[Array, "..."]:
    """`lax.dot_general` of `a` and `b`, both read as `precision`.

    Float32 asks for the highest precision by name: a GPU would otherwise round the inputs to TF32, and its figures
    would not be the CPU's.
    """
    dtype = jnp.dtype(precision)
    a, b = a.astype(dtype), b.astype(dtype)
    return lax.dot_general(a, b, dimension_numbers, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def matmul(precision: str, a: Float[Array, "m k"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """`a @ b`."""
    return product(precision, a, b, (((1,), (0,)), ((), ())))


def matmul_nt(precision: str, a: Float[Array, "m k"], b: Float[Array, "n k"]) -> Float[Array, "m n"]:
    """`a @ b.T` without forming the transpose."""
    return product(precision, a, b, (((1,), (1,)), ((), ())))
