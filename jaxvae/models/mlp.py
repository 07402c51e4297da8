"""The fully connected encoder and its mirror image."""

import math
from itertools import chain, count
from typing import Any, ClassVar

import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxvae.errors import MAX_WIDTH
from jaxvae.models.base import Params, Shape
from jaxvae.nn import Dense
from jaxvae.parts import bound, part, require_one_of, require_widths, static
from jaxvae.values import Widths

ACTIVATIONS = {
    "relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu, "silu": nn.silu, "elu": nn.elu, "linear": lambda h: h,
}  # fmt: skip
NORMS = ("none", "layer")
OUTPUT_BIASES = ("zero", "data")


class _Layers(nn.Module):
    """What the encoder and the decoder have in common."""

    hidden: Widths = static(default=(256,), name="hidden", title="hidden layers")
    activation: str = static(default="relu", name="", title="activation")
    norm: str = static(default="none", name="norm", title="norm")  # before each activation
    precision: str = bound(default="float32")

    codes_at_once: ClassVar[int] = 1000  # what activations stay in a core's cache
    bfloat16_pays_from: ClassVar[float] = 3.0  # in float32, half of a step is products

    @nn.nowrap
    def check(self) -> None:
        require_widths(self, "hidden", MAX_WIDTH)
        require_one_of(self, "activation", ACTIVATIONS)
        require_one_of(self, "norm", NORMS)

    @nn.nowrap
    def dense(self, width: int, precision: str, name: str) -> nn.Module:
        """Tanh layers start as Glorot & Bengio 2010 have it, equation 16."""
        if self.activation == "tanh":
            return Dense(width, precision, nn.initializers.glorot_uniform(), name=name)
        return Dense(width, precision, name=name)

    @nn.nowrap
    def activated(self, h: Float[Array, "b i"], layer: str) -> Float[Array, "b i"]:
        """What the layer of this name puts out, normed and activated."""
        h = nn.LayerNorm(name=f"{layer}-norm")(h) if self.norm == "layer" else h
        return ACTIVATIONS[self.activation](h)


@part("network/mlp", label="linear")
class MLP(_Layers):
    """Fully connected layers of the widths in `hidden`, from all numbers of an example to features.

    `activation` is relu, tanh, gelu, silu, elu or linear (none), and `norm` none or layer (Ba et al. 2016), before each
    activation. There is no batch norm: it couples the examples of a batch, and every example has a loss of its own.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."]) -> Float[Array, "b f"]:
        h = x.reshape(len(x), -1)
        for width, name in zip(self.hidden, _names("hidden"), strict=False):
            h = self.activated(self.dense(width, self.precision, name)(h), name)
        return h

    @nn.nowrap
    def mirrored(self) -> "MLPDecoder":
        return MLPDecoder(self.hidden, self.activation, self.norm)

    @nn.nowrap
    def description(self, shape: Shape) -> str:
        widths = " – ".join(map(str, (math.prod(shape), *self.hidden, "d")))
        norm = "layer norm and " if self.norm == "layer" else ""
        return f"fully connected, {widths} and back, with {norm}{self.activation} between the layers"


@part("decoder/mlp", label="linear")
class MLPDecoder(_Layers):
    """`MLP` mirrored: `hidden` are still the widths from examples to codes. The layer that codes go through
    first is the VAE's."""

    outputs: Shape = bound(default=())
    output_bias: str = static(default="zero", name="bias", title="output bias")  # "data": means are the mean example

    @nn.nowrap
    def check(self) -> None:
        super().check()
        require_one_of(self, "output_bias", OUTPUT_BIASES)

    @property
    def features(self) -> int:
        return self.hidden[-1]

    @nn.compact
    def __call__(self, h: Float[Array, "b f"]) -> Float[Array, "b ..."]:
        h = self.activated(h, "latent")
        for width, name in zip(reversed(self.hidden[:-1]), _names("hidden2"), strict=False):
            h = self.activated(self.dense(width, self.precision, name)(h), name)
        return self.dense(math.prod(self.outputs), self.precision, "pixels")(h).reshape(-1, *self.outputs)

    @property
    def starts_from_data(self) -> bool:
        return self.output_bias == "data"

    @nn.nowrap
    def with_output(self, params: Params, out: Float[Array, "..."]) -> Params:
        """Parameters whose output, but for what codes add to it, is this."""
        return params | {"pixels": params["pixels"] | {"bias": out.reshape(-1)}}

    @nn.nowrap
    def layers(self, params: Params) -> list[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
        """For a page that decodes by itself, of each layer: its shape in words, kernel, bias."""
        names = ["latent", *(f"hidden{i}" for i in range(2, len(self.hidden) + 1)), "pixels"]
        found = [(dense_layer, params[name]) for name in names]
        if self.norm == "layer":
            norms = [(norm_layer, params[f"{name}-norm"]) for name in names[:-1]]
            found = [*chain(*zip(found, norms, strict=False)), found[-1]]
        return [layer(own) for layer, own in found]


def dense_layer(params: Params) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A fully connected layer as `layers` gives it."""
    kernel = np.asarray(params["kernel"])
    return {"kind": "dense", "inputs": kernel.shape[0], "outputs": kernel.shape[1]}, kernel, np.asarray(params["bias"])


def norm_layer(params: Params) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """A layer norm as `layers` gives it: no kernel, and its scales before its biases."""
    both = np.concatenate([np.asarray(params["scale"]), np.asarray(params["bias"])])
    return {"kind": "norm", "outputs": len(both) // 2}, np.zeros((0, len(both))), both


def _names(first: str):
    """Of hidden layers: `first`, then hidden2, hidden3 and so on; after hidden2, hidden3."""
    return chain([first], (f"hidden{i}" for i in count(3 if first == "hidden2" else 2)))
