"""What a trained model makes of any number of examples, a batch at a time.

In: a model, its parameters, examples or codes, their conditions if it has one. Out: q(z|x), means, outputs, [n, …].
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvae.data import Examples, blocks
from jaxvae.models import class_logits

BATCH = 100


def _batched(function):
    """Maps `function(vae, params, x)` over batches of x, the last filled up with zeros. One program serves any number
    of examples, memory does not grow with them, and what comes of one does not depend on how many there are. Of a model
    with a condition, those of x, as stored, are given to it."""
    compiled = jax.jit(lambda vae, params, x, stored: function(vae.given(stored), params, x))

    def padded(rows):
        return np.concatenate([rows, np.zeros((BATCH - len(rows), *rows.shape[1:]), rows.dtype)])

    def mapped(vae, params, x, stored=None):
        n, examples, params = len(x), jax.tree.map(np.asarray, (x, stored)), jax.device_put(params)
        batches = [jax.tree.map(lambda a, i=i: a[i : i + BATCH], examples) for i in range(0, max(n, 1), BATCH)]
        batches[-1] = jax.tree.map(padded, batches[-1])
        found = [compiled(vae, params, *batch) for batch in batches]
        return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)[:n]), *found)

    return mapped


def blocks_given(images: Examples, conditions: Any) -> Iterator[tuple[np.ndarray, Any]]:
    """The blocks of images, see `jaxvae.data.blocks`, each with its conditions, as stored."""
    first = 0
    for block in blocks(images):
        rows = slice(first, first := first + len(block))
        yield block, jax.tree.map(lambda stored, rows=rows: stored[rows], conditions)


encode = _batched(lambda vae, params, x: vae.encode(params, x))
decode = _batched(lambda vae, params, z: vae.mean(params, z))
outputs = _batched(lambda vae, params, z: vae.decode(params, z))
classify = _batched(lambda vae, params, x: jax.nn.softmax(class_logits(vae, params, x)))
