"""The project's convolutions against Flax's and XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxvae.nn import Conv, ConvTranspose, Side, Window, square
from jaxvae.nn.patches import as_kernel, as_matrix, as_turned_matrix, fold, gather, patches, spread

# height and width, channels in, channels out, window; MNIST's own windows first
SHAPES = [
    ((28, 28), 1, 6, square(4, 2, 1)),
    ((7, 7), 6, 5, square(3, 2, 1)),
    ((6, 6), 3, 2, square(5, 1, 2)),
    ((12, 12), 2, 3, square(5, 2, 2)),
    ((10, 10), 1, 2, square(3, 2, 0)),
    ((13, 13), 2, 3, square(4, 3, 1)),
    ((8, 8), 3, 2, square(3, 1, 1)),
    ((14, 14), 3, 4, square(4, 2, 1)),  # these two are cut into slabs, transposed too
    ((11, 11), 2, 3, square(6, 3, 2)),
    ((10, 7), 2, 3, Window(Side(4, 2, 1, 1), Side(3, 2, 1, 1))),  # the sides differ, in each number
    ((7, 12), 3, 2, Window(Side(3, 1, 0, 2), Side(4, 2, 1, 0))),
    ((9, 11), 2, 2, Window(Side(2, 2, 0, 1), Side(5, 3, 2, 3))),
    ((9, 8), 2, 3, Window(Side(3, 2, -1, 1), Side(3, 1, 1, -2))),  # pixels are cut off
]
BFLOAT16 = [*SHAPES, ((6, 6), 3, 2, square(2, 2, 0)), ((5, 5), 4, 3, square(1, 1, 0))]  # patches of a single piece


def names(shapes):
    return [
        f"{h}x{w}-{i}to{o}-" + "-".join(f"k{k}s{s}p{p},{q}" for k, s, p, q in window[:2])
        for (h, w), i, o, window in shapes
    ]


def stock_conv(features, window):
    """`nn.Conv` of this window."""
    kernel, strides, *padding = zip(*window[:2], strict=True)
    return nn.Conv(features, kernel, strides, padding=tuple(zip(*padding, strict=True)), precision="highest")


def stock_transpose(features, window):
    """`nn.ConvTranspose` that is the adjoint of a convolution of this window, with the kernel turned."""
    padding = tuple((k - 1 - before, k - 1 - after) for k, _, before, after in window[:2])
    kernel, strides, *_ = zip(*window[:2], strict=True)
    return nn.ConvTranspose(features, kernel, strides, padding=padding, precision="highest")


def compare(ours, stock, x, tolerance=1e-5, read="float32"):
    """Same parameter tree; same outputs and gradients for the same parameters and a random cotangent.

    The stock layer is given what the products of `ours` read: everything but biases.
    """

    def rounded(tree):
        return jax.tree.map(lambda leaf: leaf.astype(read).astype(jnp.float32) if leaf.ndim > 1 else leaf, tree)

    @jax.jit
    def init(key):
        return ours.init(key, jnp.moveaxis(x, (0, 3), (3, 0))), stock.init(key, x)

    @jax.jit
    def both(params, x, key_out):
        def run_ours(params, x):
            return jnp.moveaxis(ours.apply(params, jnp.moveaxis(x, (0, 3), (3, 0))), (0, 3), (3, 0))

        y, pull = jax.vjp(run_ours, params, x)
        expected, expected_pull = jax.vjp(stock.apply, *rounded((params, x)))
        cotangent = rounded(jax.random.normal(key_out, expected.shape))
        return (y, expected), (pull(cotangent), expected_pull(cotangent))

    fresh, stock_fresh = init(jax.random.key(0))
    params = jax.tree.map(lambda p: p + 0.1, fresh)  # biases that are not zero
    # in a program of their own: computed with the rest, a number may differ by its last bit between its two uses
    (y, expected), gradients = both(params, x, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, fresh, stock_fresh)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * float(np.abs(expected).max()))
    for mine, theirs in zip(*map(jax.tree.leaves, gradients), strict=True):
        assert np.linalg.norm(np.subtract(mine, theirs)) <= tolerance * np.linalg.norm(theirs)


@pytest.mark.parametrize(("sizes", "channels", "features", "window"), SHAPES, ids=names(SHAPES))
def test_conv_is_nn_conv(sizes, channels, features, window):
    x = jax.random.normal(jax.random.key(0), (5, *sizes, channels))
    compare(Conv(features, window), stock_conv(features, window), x)


@pytest.mark.parametrize(("sizes", "channels", "features", "window"), SHAPES, ids=names(SHAPES))
def test_transposed_conv_is_nn_conv_transpose(sizes, channels, features, window):
    x = jax.random.normal(jax.random.key(0), (5, *(size // 2 + 1 for size in sizes), channels))
    compare(ConvTranspose(features, window), stock_transpose(features, window), x)


@pytest.mark.parametrize(("sizes", "channels", "features", "window"), SHAPES, ids=names(SHAPES))
def test_fold_is_the_adjoint_of_patches_and_gather_that_of_spread(sizes, channels, features, window):
    positions = window.positions(*sizes)

    @partial(jax.jit, static_argnums=0)
    def products(cut):
        x = jax.random.normal(jax.random.key(0), (channels, *sizes, 3))
        y = jax.random.normal(jax.random.key(1), (features, *positions, 3))
        columns, rows = patches(x, cut), spread(y, cut)
        other_columns, other_rows = (jax.random.normal(jax.random.key(2), a.shape) for a in (columns, rows))
        folded, gathered = fold(other_columns, cut, x.shape), gather(other_rows, cut, positions)
        return (
            (jnp.vdot(columns, other_columns), jnp.vdot(x, folded)),
            (jnp.vdot(rows, other_rows), jnp.vdot(y, gathered)),
        )

    for cut in {window, window.cut(100, 1)}:  # as it is, and into slabs if that can be done
        for one, other in products(cut):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_kernels_are_cut_where_their_matrix_stays_wide():
    window = square(4, 2, 1)
    assert window.cut(32, 64).slabs == 2  # 128 × 256 instead of 64 × 512
    assert window.cut(1, 32).slabs == 1  # 32 × 16 instead of 64 × 8
    assert square(3, 2, 1).cut(64, 128).slabs == 1  # slabs of two rows, of three
    assert square(3, 1, 1).cut(64, 64).slabs == 3


@pytest.mark.parametrize("slabs", [1, 2])
def test_matrices_of_a_kernel_are_each_others_transpose_and_inverse(slabs):
    window = square(4, 2, 1)._replace(slabs=slabs)
    kernel = jax.random.normal(jax.random.key(0), (4, 4, 3, 5))
    matrix = as_matrix(kernel, window)
    assert matrix.shape == (slabs * 5, 16 * 3 // slabs)
    np.testing.assert_array_equal(as_turned_matrix(kernel, window), matrix.T)
    np.testing.assert_array_equal(as_kernel(matrix, window, kernel.shape), kernel)


@pytest.mark.slow
@pytest.mark.parametrize("module", [Conv, ConvTranspose])
def test_fused_relu_is_relu_after(module):
    window, x = square(4, 2, 1), jax.random.normal(jax.random.key(0), (3, 6, 6, 4))
    params = module(5, window).init(jax.random.key(1), x)

    def loss(relu, params, x):
        y = module(5, window, relu=relu).apply(params, x)
        return jnp.sum(jnp.sin(y if relu else nn.relu(y)))

    fused, apart = (jax.grad(lambda p, x, r=r: loss(r, p, x), argnums=(0, 1))(params, x) for r in (True, False))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), fused, apart)


@pytest.mark.parametrize(("sizes", "channels", "features", "window"), BFLOAT16, ids=names(BFLOAT16))
def test_bfloat16_is_the_stock_layer_on_rounded_inputs(sizes, channels, features, window):
    """Values and gradients: every product reads rounded numbers and accumulates in float32."""
    x = jax.random.normal(jax.random.key(0), (5, *sizes, channels))
    for ours, stock in ((Conv, stock_conv), (ConvTranspose, stock_transpose)):
        compare(ours(features, window, precision="bfloat16"), stock(features, window), x, read="bfloat16")


def test_conv_against_xla_in_double_precision():
    """`nn.Conv` could share a mistake of convention with `Conv`: here the kernel is indexed by hand."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(6, 6, 2)), rng.normal(size=(3, 3, 2, 4))
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    expected = np.array(
        [
            [np.einsum("ijc,ijco->o", padded[2 * u : 2 * u + 3, 2 * v : 2 * v + 3], kernel) for v in range(3)]
            for u in range(3)
        ]
    )
    params = {"params": {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.zeros(4)}}
    y = Conv(4, square(3, 2, 1)).apply(params, jnp.asarray(x.transpose(2, 0, 1)[..., None], jnp.float32))
    np.testing.assert_allclose(y[..., 0], expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
