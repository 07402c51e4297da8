"""Dense layers with `nn.Dense`'s parameters and initialisers, for activations with the batch first or last.

In: activations and a kernel as `nn.Dense` stores it, (in, out). Out: activations laid out the same way.

XLA:CPU has fast bfloat16 kernels for products whose left operand is contracted along its last dimension. A layer's
output and the gradient of its input are such products when the batch comes first; the gradient of the kernel, xᵀ·g, is
one if both operands are turned, as `affine` does. Left as it is, `nn.Dense` gains nothing from bfloat16: a training
step of the linear model takes 1.97 ms with it, 1.75 with `Dense`, and 2.02 in float32 (batch 100, one core with AMX).
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from jaxvae.nn.precision import as_integers, matmul, matmul_nt, matmul_tn, product, read

TILE = 32  # bfloat16 numbers in a row of an AMX tile


class _Dense(nn.Module):
    """The fields and parameters that both kinds of layer have."""

    features: int
    precision: str = "float32"
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    def weights(self, inputs: int) -> tuple[Float[Array, "i o"], Float[Array, "o"]]:
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return jnp.asarray(kernel), jnp.asarray(bias)  # parameters may be NumPy's


class Dense(_Dense):
    """`nn.Dense` on activations with the batch first."""

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        kernel, bias = self.weights(x.shape[1])
        return affine(x, kernel, bias, self.precision)


class BatchLastDense(_Dense):
    """`nn.Dense` on activations with the batch last, as convolutions have it.

    Its products are left to XLA: between convolutions and codes they are small.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "i n"]) -> Float[Array, "o n"]:
        kernel, bias = self.weights(x.shape[0])
        return product(self.precision, kernel, x, (((0,), (0,)), ((), ()))) + bias[:, None]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def affine(
    x: Float[Array, "n i"], kernel: Float[Array, "i o"], bias: Float[Array, "o"], precision: str
) -> Float[Array, "n o"]:
    """`x @ kernel + bias`; `x`, the kernel and the gradient that comes back are read as `precision`.

    It has first derivatives, in reverse, as convolutions have.
    """
    return _affine_forward(x, kernel, bias, precision)[0]


def _affine_forward(x, kernel, bias, precision):
    x, kernel = read(precision, x), read(precision, kernel)
    return matmul(x, kernel) + bias, (x, kernel)


def _affine_backward(precision, kept, g):
    x, kernel = kept
    seen = read(precision, g)
    dkernel = matmul_nt(_turned(x), _turned(seen)) if x.dtype == jnp.bfloat16 else matmul_tn(x, g)
    return matmul_nt(seen, kernel), dkernel, g.sum(0)


affine.defvjp(_affine_forward, _affine_backward)


def _turned(x):
    """The transpose of bfloat16 numbers, with zeros after the batch: at least one, to whole tiles.

    A guard: XLA:CPU folds a transpose that it can move up to a product into it, and has then no bfloat16 kernel when it
    runs. It did so where codes were turned for a layer. Here it does not, with jax 0.10.2 and 0.12, and without the
    zeros a linear model's step takes 3 % less (0.10.2).
    """
    bits = as_integers(x).T
    bits = lax.pad(bits, jnp.zeros((), bits.dtype), [(0, 0, 0), (0, TILE - len(x) % TILE, 0)])
    return lax.bitcast_convert_type(bits, x.dtype)
