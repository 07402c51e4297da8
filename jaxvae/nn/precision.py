"""The numbers that matrix products read, decided in one place; everything else is float32.

In: the name of a precision and arrays. Out: their product, accumulated in float32.
"""

import contextlib
import json
import time

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

from jaxvae.jax_settings import own_settings, platform
from jaxvae.system import own_cache_dir

SIDE = 1024  # of the square matrices whose product is timed; part of what a kept measurement is called


def automatic(pays_from: float) -> str:
    """The precision in which this machine trains sooner, without a loss of quality (docs/performance.md).

    On a CPU, bfloat16 where a large product is enough times as fast in it. With AVX-512 BF16 it is about twice as fast,
    which conv models gain by and linear ones do not; with AMX 4.6 times, and linear models gain too; without such
    instructions it can be half as fast. Other backends, not measured yet, take float32.

    Args:
        pays_from: how many times as fast a product must be for its rounding to be worth it; infinite: never.
    """
    if platform() != "cpu" or pays_from == float("inf"):
        return "float32"
    return "bfloat16" if _known_speed_up() >= pays_from else "float32"


def _known_speed_up() -> float:
    """`_speed_up`, measured once on a machine: asked again, it gives the same answer."""
    path = own_cache_dir() / f"bfloat16-speed-up-{SIDE}-jax-{jax.__version__}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return float(json.loads(path.read_text(encoding="utf-8")))
    speed_up = _speed_up()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(speed_up), encoding="utf-8")
    return speed_up


@own_settings()
def _speed_up() -> float:
    """How many times as fast a large product is in bfloat16 as in float32.

    Its 2 GFLOP hide what a call costs, and being square it does not wait for memory.
    """
    multiply = jax.jit(matmul)

    def seconds(operands) -> float:
        started = time.perf_counter()
        multiply(*operands).block_until_ready()
        return time.perf_counter() - started

    ones = jnp.ones((SIDE, SIDE))
    pairs = [(read(precision, ones), read(precision, ones)) for precision in ("float32", "bfloat16")]
    turns = [[seconds(pair) for pair in pairs] for _ in range(8)]  # by turns: both meet the same disturbances
    float32, bfloat16 = (min(times) for times in zip(*turns[1:], strict=True))  # the first turn compiles
    return float32 / bfloat16


def read(precision: str, x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x` as a product reads it: itself, or rounded to the nearest bfloat16, ties to even.

    The rounding is `x.astype(jnp.bfloat16)` in integers, which XLA:CPU vectorises: 0.07 ms against 0.30 for 627,200
    numbers. It has no derivative: it is for functions that bring their own, as layers do.
    """
    if x.dtype == precision:
        return x
    bits = lax.bitcast_convert_type(x, jnp.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    rounded = jnp.where(jnp.isnan(x), 0x7FC0, rounded).astype(jnp.uint16)
    return lax.bitcast_convert_type(rounded, jnp.bfloat16)


def as_integers(x: Float[Array, "..."]) -> Shaped[Array, "..."]:
    """Bfloat16 as integers of the same bits, for moving: XLA:CPU would turn it into float32 and back."""
    return lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def matmul(a: Float[Array, "m k"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """`a @ b`, in float32."""
    return _dot(a, b, (((1,), (0,)), ((), ())))


def matmul_nt(a: Float[Array, "m k"], b: Float[Array, "n k"]) -> Float[Array, "m n"]:
    """`a @ b.T` without forming the transpose, in float32."""
    return _dot(a, b, (((1,), (1,)), ((), ())))


def matmul_tn(a: Float[Array, "k m"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """`a.T @ b` without forming the transpose, in float32."""
    return _dot(a, b, (((0,), (0,)), ((), ())))


def batched_matmul(a: Float[Array, "p m k"], b: Float[Array, "p k n"]) -> Float[Array, "p m n"]:
    """`a[i] @ b[i]` for each i, in float32."""
    return _dot(a, b, (((2,), (1,)), ((0,), (0,))))


def batched_matmul_nt(a: Float[Array, "p m k"], b: Float[Array, "p n k"]) -> Float[Array, "p m n"]:
    """`a[i] @ b[i].T` for each i, in float32."""
    return _dot(a, b, (((2,), (2,)), ((0,), (0,))))


def product(precision: str, a: Float[Array, "..."], b: Float[Array, "..."], dimension_numbers) -> Float[Array, "..."]:
    """`lax.dot_general` of `a` and `b`, both read as `precision`; differentiable."""
    return _dot(a.astype(precision), b.astype(precision), dimension_numbers)


def _dot(a, b, dimension_numbers):
    # by name, as a GPU would otherwise round float32 to TF32, and its figures would not be the CPU's
    return lax.dot_general(a, b, dimension_numbers, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
