"""A model's parameters as a tree of arrays: how many numbers it has, and the same for another latent size."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxvae.models.base import Params


def parameter_count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def resize(tree: Any, shapes: Any) -> Any:
    """A model's numbers for another latent size: zeros added at the end of each axis, or the last cut off.

    Args:
        shapes: the same tree for that latent size, its leaves with a `shape`.
    """

    def one(leaf, like):
        if leaf.shape == like.shape:
            return leaf
        kept = leaf[tuple(slice(size) for size in like.shape)]
        return jnp.pad(kept, [(0, size - own) for size, own in zip(like.shape, kept.shape, strict=True)])

    return jax.tree.map(one, tree, shapes)
