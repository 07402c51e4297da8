"""Networks of Flax NNX.

In: a function that makes a module. Out: a part.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
from jax.tree_util import Partial

from jaxvae.errors import ConfigError
from jaxvae.models.functional import network
from jaxvae.values import Whole


def nnx_network(name: str, make: Callable, *, features: Whole | None = None) -> Any:
    """Makes and registers a network of a module of Flax NNX, whose `nnx.Param`s are the parameters.

    Args:
        name, features: see `network`.
        make: takes `nnx.Rngs` and the shape of an example, of a decoder that of its output; returns a module that takes
            a batch. It may have no state beside its parameters, such as dropout's or a batch norm's.

    Raises:
        ConfigError: see `network`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> Mine = nnx_network("network/of-nnx", lambda rngs, shape: nnx.Linear(shape[0], 5, rngs=rngs))
        >>> Mine().init_with_output(jax.random.key(0), jnp.zeros((3, 7)))[0].shape
        (3, 5)
    """
    from flax import nnx

    @wraps(make)
    def init(key: Any, shape: Any) -> Any:
        structure, params, state = nnx.split(make(nnx.Rngs(key), shape), nnx.Param, ...)
        if jax.tree.leaves(state):
            kinds = sorted({type(variable).__name__ for _, variable in nnx.to_flat_state(state)})
            raise ConfigError(f"{name}: the module has state beside its parameters ({', '.join(kinds)})")
        return Partial(partial(_called, nnx.merge, structure), params)  # a tree with the module's structure in its own

    return network(name, init, lambda module, x: module(x), features=features)


def _called(merge: Callable, structure: Any, params: Any, x: Any) -> Any:
    return merge(structure, params)(x)
