"""The project's dense layers against Flax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxvae.nn.dense import BatchLastDense, Dense


def rounded(x, precision):
    return x.astype(precision).astype(jnp.float32)


@pytest.mark.parametrize("batch", [1, 5, 32, 100])  # 32 fills a tile of the processor's
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dense_is_nn_dense_on_what_it_reads(batch, precision):
    """Values and gradients: products read rounded numbers, also of the cotangent, and accumulate in float32."""
    x = jax.random.normal(jax.random.key(0), (batch, 12))
    ours, stock = Dense(7, precision), nn.Dense(7, precision="highest")
    fresh = stock.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), x), fresh)
    params = jax.tree.map(lambda p: p + 0.1, fresh)  # a bias that is not zero
    read = {"params": {"kernel": rounded(params["params"]["kernel"], precision), "bias": params["params"]["bias"]}}
    g = rounded(jax.random.normal(jax.random.key(2), (batch, 7)), precision)

    @jax.jit
    def both(params, read, x, g):
        y, pull = jax.vjp(ours.apply, params, x)
        expected, expected_pull = jax.vjp(stock.apply, read, rounded(x, precision))
        return (y, pull(g)), (expected, expected_pull(g))

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *both(params, read, x, g))


def test_dense_rounds_the_gradient_that_comes_back():
    layer, x = Dense(1, "bfloat16"), jnp.ones((1, 1))
    params = {"params": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}
    _, pull = jax.vjp(layer.apply, params, x)
    g = jnp.full((1, 1), 1 + 2**-10)  # one in bfloat16
    gradient, dx = pull(g)
    assert float(dx[0, 0]) == float(gradient["params"]["kernel"][0, 0]) == 1
    assert float(gradient["params"]["bias"][0]) == 1 + 2**-10  # no product


def test_batch_last_dense_is_nn_dense():
    x = jax.random.normal(jax.random.key(0), (5, 12))
    ours, stock = BatchLastDense(7), nn.Dense(7, precision="highest")
    params = stock.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), x.T), params)
    y, pull = jax.vjp(lambda params, x: ours.apply(params, x.T).T, params, x)
    expected, expected_pull = jax.vjp(stock.apply, params, x)
    cotangent = jax.random.normal(jax.random.key(2), y.shape)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        (y, pull(cotangent)),
        (expected, expected_pull(cotangent)),
    )
