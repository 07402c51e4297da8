"""The class reader of a model whose condition is a class: q(y|x), a network with a logit for each class on it.

In: a network, examples. Out: logits; their parameters are under `reader` among those of the condition.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxvae.models.base import Params, Shape
from jaxvae.models.modules import EncoderWithHeads, filled
from jaxvae.nn import own_convolutions


class Heads(NamedTuple):
    """A layer on the network, with one axis of classes."""

    logits: Any = 1


def init(key: Key[Array, ""], network: Any, classes: int, shape: Shape, precision: str) -> Params:
    """Fresh parameters, for examples of this shape."""
    return _module(network, classes, precision).init(key, jnp.zeros((1, *shape)))["params"]


def class_logits(vae: Any, params: Params, x: Float[Array, "b ..."]) -> Float[Array, "b classes"]:
    """log q(y|x) of each class, but for a number that they have in common.

    Args:
        vae: whose condition is `Labels` with a network. It need not be given the conditions of x.
        params: of the model.

    Example:
        >>> import jax
        >>> from jaxvae.models import MLP, VAE, Labels
        >>> vae = VAE(2, MLP(), condition=Labels(3, MLP((8,)))).bind((5,))
        >>> class_logits(vae, vae.init(jax.random.key(0)), jnp.zeros((4, 5))).shape
        (4, 3)
    """
    condition, as_encoded = vae.condition, getattr(vae.likelihood, "encoder_input", lambda x: x)
    module = _module(condition.network, condition.classes, vae.operands)
    own = own_convolutions(module.apply, condition.network.part_name)
    return own({"params": params["condition"]["reader"]}, as_encoded(x)).logits


def _module(network: Any, classes: int, precision: str) -> EncoderWithHeads:
    return EncoderWithHeads(filled(network, precision=precision), Heads(), classes, precision)
