"""Convolutions as matrix products: fast inside a compiled loop, where XLA:CPU's own convolutions are not.

In: activations laid out (channels, height, width, batch) and a kernel as `nn.Conv` stores it, (height, width, in, out).
Out: activations in the same layout.

There are two ways: `patches` serves everything, and `winograd` multiplies less, in float32 on CPUs. A layer takes the
one that is faster for its shapes. The conv VAE's step inside `lax.scan` takes 10.2 ms in bfloat16 (batch 100, a process
alone on one core with AMX); the stock convolutions take 564 ms there on two cores, PyTorch eager 21.
docs/performance.md has the measurements.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxvae.nn import patches, winograd
from jaxvae.nn.window import Bias, Images, Kernel, Output, Window


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolve(x: Images, kernel: Kernel, bias: Bias, window: Window, relu: bool, precision: str) -> Output:
    """Cross-correlation, bias and, if asked, ReLU in one step that keeps no more than its gradients read."""
    return _convolve_forward(x, kernel, bias, window, relu, precision)[0]


def _convolve_forward(x, kernel, bias, window, relu, precision):
    if winograd.pays(window, x.shape[1:3], kernel.shape, x.shape[3], precision):
        y, read_again = winograd.forward(x, kernel, window)
    else:
        y, read_again = patches.forward(x, kernel, window, precision)
    y = y + bias[:, None, None, None]
    y = nn.relu(y) if relu else y
    return y, (x, kernel, read_again, y)


def _convolve_backward(window, relu, precision, kept, g):
    x, kernel, read_again, y = kept
    g = jnp.where(y > 0, g, 0) if relu else g
    if winograd.pays(window, x.shape[1:3], kernel.shape, x.shape[3], precision):
        return winograd.backward(g, x, kernel, read_again, window)
    return patches.backward(g, x, kernel, read_again, window, precision)


convolve.defvjp(_convolve_forward, _convolve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def convolve_transposed(x: Output, kernel: Kernel, bias: Bias, window: Window, relu: bool, precision: str) -> Images:
    """The adjoint of `convolve` with the same kernel, from its `out` channels back to its `in`, then bias and ReLU."""
    return _transposed_forward(x, kernel, bias, window, relu, precision)[0]


def _transposed_forward(x, kernel, bias, window, relu, precision):
    if winograd.pays(window, window.covered(*x.shape[1:3]), kernel.shape, x.shape[3], precision):
        y, read_again = winograd.transposed_forward(x, kernel, window)
    else:
        y, read_again = patches.transposed_forward(x, kernel, window, precision)
    y = y + bias[:, None, None, None]
    y = nn.relu(y) if relu else y
    return y, (kernel, read_again, y)


def _transposed_backward(window, relu, precision, kept, g):
    kernel, read_again, y = kept
    g = jnp.where(y > 0, g, 0) if relu else g
    if winograd.pays(window, g.shape[1:3], kernel.shape, g.shape[3], precision):
        return winograd.transposed_backward(g, kernel, read_again, window)
    return patches.transposed_backward(g, kernel, read_again, window, precision)


convolve_transposed.defvjp(_transposed_forward, _transposed_backward)


class _Convolution(nn.Module):
    """The fields and parameters that both kinds of layer have."""

    features: int
    window: Window
    relu: bool = False
    precision: str = "float32"

    def weights(self, channels: int) -> tuple[Kernel, Bias]:
        taps = self.window.down.kernel, self.window.across.kernel
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (*taps, channels, self.features))
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
