"""The two networks of a VAE with the layers between them and the codes, which belong to the VAE.

In: networks, the posterior's heads, a latent size. Out: one Linen module, whose parameters come from one key.
"""

import dataclasses
import math
from functools import partial
from typing import Any

from flax import linen as nn
from jaxtyping import Array, Float

from jaxvae.nn import BatchLastDense, Dense, automatic, own_convolutions


class EncoderWithHeads(nn.Module):
    """A network with a layer on it for each head of the posterior."""

    network: nn.Module
    heads: Any
    latent_dim: int
    precision: str

    def setup(self):
        nn.share_scope(self, self.network)

    @nn.compact
    def __call__(self, x: Float[Array, "b ..."]) -> Any:
        features = self.network(x)

        def head(name: str, axes: int):
            if axes > 1:
                return _Square(self.latent_dim, self.precision, name=name)(_turned(self.network, features))
            return _turned(self.network, _dense(self.network, self.latent_dim, self.precision, name)(features))

        return type(self.heads)(*map(head, self.heads._fields, self.heads))


class DecoderFromCodes(nn.Module):
    """A network with a layer before it, from codes to its features."""

    network: nn.Module
    precision: str

    def setup(self):
        nn.share_scope(self, self.network)

    @nn.compact
    def __call__(self, z: Float[Array, "b z"]) -> Float[Array, "b ..."]:
        layer = _dense(self.network, self.network.features, self.precision, "latent")
        return self.network(layer(_turned(self.network, z)))


class Networks(nn.Module):
    """Both directions, so that their parameters are initialised from one key."""

    encoder: nn.Module
    decoder: nn.Module
    heads: Any
    latent_dim: int
    precision: str

    def setup(self):
        self.with_heads = EncoderWithHeads(self.encoder, self.heads, self.latent_dim, self.precision)
        self.from_codes = DecoderFromCodes(self.decoder, self.precision)

    def encode(self, x):
        return self.with_heads(x)

    def decode(self, z):
        return self.from_codes(z)

    def __call__(self, x, z):
        return self.encode(x), self.decode(z)


def filled(network: Any, **values: Any) -> Any:
    """The network with those of the values that it has fields for."""
    names = {field.name for field in dataclasses.fields(network)}
    return network.clone(**{name: value for name, value in values.items() if name in names})


def encode(networks: Networks, params: Any, x: Float[Array, "b ..."]) -> Any:
    """What the heads on the encoder put out; convolutions that are not the project's own are replaced by these."""
    apply = partial(networks.apply, method="encode")
    return own_convolutions(apply, _name(networks.encoder))({"params": params}, x)


def decode(networks: Networks, params: Any, z: Float[Array, "b z"]) -> Float[Array, "b ..."]:
    """What the decoder makes of codes; see `encode`."""
    apply = partial(networks.apply, method="decode")
    return own_convolutions(apply, _name(networks.decoder))({"params": params}, z)


class _Square(nn.Module):
    """A dense layer whose output is a matrix of latent by latent dimensions; its kernel keeps both axes."""

    latent_dim: int
    precision: str

    @nn.compact
    def __call__(self, x: Float[Array, "b f"]) -> Float[Array, "b z z"]:
        d, f = self.latent_dim, x.shape[1]

        def init(key, shape):
            return nn.initializers.lecun_normal()(key, (f, math.prod(shape[1:]))).reshape(shape)

        kernel = self.param("kernel", init, (f, d, d))
        bias = self.param("bias", nn.initializers.zeros, (d, d))
        return (x @ kernel.reshape(f, d * d)).reshape(-1, d, d) + bias


def _dense(network: Any, width: int, precision: str, name: str) -> nn.Module:
    """A layer between network and codes, of the network's kind where it has one."""
    if make := getattr(network, "dense", None):
        return make(width, precision, name)
    return (BatchLastDense if _batch_last(network) else Dense)(width, precision, name=name)


def _turned(network: Any, x: Array) -> Array:
    """From the network's layout of features to that of codes, or back."""
    return x.T if _batch_last(network) else x


def _name(network: Any) -> str:
    return getattr(network, "part_name", type(network).__name__)


def _batch_last(network: Any) -> bool:
    return getattr(network, "batch_last", False)


def automatic_precision(network: Any) -> str:
    """The precision in which this machine trains a network sooner; float32 where the network does not say."""
    return automatic(getattr(network, "bfloat16_pays_from", math.inf))


def codes_at_once(network: Any) -> int:
    """How many codes are decoded together in an evaluation: what activations stay in a core's cache."""
    return getattr(network, "codes_at_once", 100)
