"""Convolutions of others against XLA's: every geometry that `lax.conv_general_dilated` has, in any function."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jaxvae.nn import own_convolutions, substitution

# sizes, taps, channels in and out, and what is given beside window_strides and padding
CASES = {
    "one axis": ((9,), (4,), 3, 2, (2,), "SAME", {}),
    "one axis, dilated": ((12,), (3,), 3, 2, (1,), "SAME", {"rhs_dilation": (2,)}),
    "one axis, transposed": ((5,), (4,), 3, 2, (1,), [(2, 2)], {"lhs_dilation": (2,)}),
    "two axes, valid": ((9, 7), (3, 2), 3, 4, (2, 1), "VALID", {}),
    "two axes, same": ((8, 9), (4, 3), 3, 4, (2, 3), "SAME", {}),
    "two axes, any padding": ((8, 9), (3, 3), 3, 4, (1, 2), [(0, 3), (2, -1)], {}),
    "two axes, dilated": ((9, 9), (3, 2), 3, 4, (2, 1), [(2, 1), (0, 1)], {"rhs_dilation": (2, 3)}),
    "two axes, groups": ((6, 7), (3, 3), 4, 6, (2, 1), "SAME", {"feature_group_count": 2}),
    "two axes, depthwise": ((6, 7), (3, 3), 4, 8, (1, 1), "SAME", {"feature_group_count": 4}),
    "two axes, transposed": ((5, 4), (4, 3), 3, 2, (1, 1), [(2, 2), (2, 1)], {"lhs_dilation": (2, 2)}),
    "two axes, one of them transposed": ((5, 4), (3, 3), 3, 2, (1, 1), [(1, 0), (4, 2)], {"lhs_dilation": (1, 3)}),
    "two axes, transposed groups": (
        (4, 3), (3, 2), 4, 6, (1, 1), [(2, 1), (1, 1)], {"lhs_dilation": (2, 2), "feature_group_count": 2},
    ),
    "two axes, everything": (
        (6, 5), (3, 2), 4, 6, (2, 1), [(2, 1), (-1, 2)],
        {"lhs_dilation": (3, 2), "rhs_dilation": (2, 1), "feature_group_count": 2},
    ),
    "three axes": ((5, 4, 6), (2, 3, 3), 2, 3, (2, 1, 2), "SAME", {}),
    "three axes, transposed": (
        (3, 2, 3), (3, 2, 4), 2, 3, (1, 1, 1), [(2, 1), (1, 1), (2, 2)], {"lhs_dilation": (2, 2, 2)},
    ),
    "no axis": ((), (), 3, 2, (), [], {}),
}  # fmt: skip
LAYOUTS = {
    0: [("NC", "IO", "NC"), ("CN", "OI", "CN")],
    1: [("NHC", "HIO", "NHC"), ("NCH", "OIH", "HNC")],
    2: [("NHWC", "HWIO", "NHWC"), ("NCHW", "OIHW", "NCHW"), ("HNWC", "IWHO", "CWNH")],
    3: [("NHWDC", "HWDIO", "NHWDC"), ("NCHWD", "OIHWD", "NCHWD")],
}


def assert_the_same(found, expected, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.shape(one) == np.shape(other)
        assert np.linalg.norm(np.subtract(one, other)) <= tolerance * np.linalg.norm(other)


def value_and_gradients(function, *args):
    """Of a random projection of the output."""

    @jax.jit
    def both(*args):
        y, pull = jax.vjp(function, *args)
        return y, pull(jax.random.normal(jax.random.key(9), y.shape))

    return both(*args)


def random(key, *shape):
    return jax.random.normal(jax.random.key(key), shape)


def layouts():
    """Of each case the usual layout, and of three all that are written down here."""
    for case, (sizes, *_) in CASES.items():
        all_of_them = case in ("one axis", "two axes, any padding", "two axes, transposed")
        yield from ((case, layout) for layout in LAYOUTS[len(sizes)][: None if all_of_them else 1])


@pytest.mark.parametrize(("case", "layout"), [*layouts()])
def test_values_and_gradients_are_those_of_lax(case, layout):
    sizes, taps, channels, features, strides, padding, more = CASES[case]
    numbers = {"N": 3, "C": channels, "I": channels // more.get("feature_group_count", 1), "O": features}
    of_x, of_kernel = (numbers | dict(zip("HWD", along, strict=False)) for along in (sizes, taps))
    x, kernel = random(0, *map(of_x.get, layout[0])), random(1, *map(of_kernel.get, layout[1]))

    def convolution(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=layout, precision="highest", **more
        )

    ours = own_convolutions(convolution, "mine")
    assert "conv_general_dilated" not in str(jax.make_jaxpr(ours)(x, kernel))
    assert_the_same(value_and_gradients(ours, x, kernel), value_and_gradients(convolution, x, kernel))


def convolved(kernel, x):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def scanned(kernels, x):
    def body(h, kernel):
        h = jnp.tanh(convolved(kernel, h))
        return h, h.mean()

    h, means = lax.scan(body, x, kernels, reverse=True)
    return h + means[0]


KERNEL, KERNELS, PICTURES = random(0, 3, 3, 4, 4), random(1, 2, 3, 3, 4, 4), random(2, 3, 6, 5, 4)


@pytest.mark.parametrize(
    ("function", "kernel"),
    [
        (lambda kernel, x: nn.relu(jax.jit(convolved)(kernel, x)), KERNEL),
        (jax.checkpoint(lambda kernel, x: jnp.tanh(convolved(kernel, jnp.tanh(convolved(kernel, x))))), KERNEL),
        (scanned, KERNELS),
        (lambda kernel, x: jax.vmap(partial(convolved, kernel))(x[None])[0], KERNEL),
        (lambda kernel, x: jnp.sort(convolved(kernel, x).sum(-1), axis=1)[..., ::2] + np.arange(3), KERNEL),
    ],
    ids=["jit", "checkpoint", "scan", "vmap", "operations of many kinds"],
)
def test_convolutions_are_found_in_functions_within(function, kernel):
    ours = own_convolutions(function, "mine")
    assert "conv_general_dilated" not in str(jax.make_jaxpr(ours)(kernel, PICTURES))
    assert_the_same(value_and_gradients(ours, kernel, PICTURES), value_and_gradients(function, kernel, PICTURES))


def activated(activation):
    """Layers whose biases, sums and activations leave what they are given turned."""

    def function(kernel, x):
        h = activation(convolved(kernel, x) + jnp.arange(4.0))
        h = jnp.where(h > 0.1, h * x, activation(h) - 1)
        return h + convolved(kernel, h) + x.mean()

    return function


ACTIVATIONS = [nn.relu, nn.gelu, nn.silu, nn.elu, nn.selu, nn.leaky_relu, nn.softplus, nn.relu6, nn.softmax, jnp.tanh]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: activation.__name__)
def test_what_is_done_to_the_elements_of_a_turned_array_is_done_to_the_right_ones(activation):
    function = activated(activation)
    ours = own_convolutions(function, "mine")
    assert_the_same(value_and_gradients(ours, KERNEL, PICTURES), value_and_gradients(function, KERNEL, PICTURES))


def test_arrays_stay_turned_between_convolutions():
    """So that three are turned: what comes in, the bias and what goes out."""

    def function(kernel, x):
        h = nn.relu(convolved(kernel, x) + jnp.arange(4.0)[None, None, None])
        return convolved(kernel, nn.silu(h) + h)

    jaxpr = str(jax.make_jaxpr(own_convolutions(function, "mine"))(KERNEL, PICTURES))
    assert len(re.findall(r"f32\[\d+,\d+,\d+,\d+\] = transpose\[permutation=\(\d, 1, 2, \d\)\]", jaxpr)) == 3


def test_lanes_of_kernels_are_vmapped():
    for function in (convolved, scanned):
        kernels = KERNELS if function is convolved else jnp.stack([KERNELS, 2 * KERNELS])
        lanes = jax.vmap(own_convolutions(function, "mine"), (0, None))(kernels, PICTURES)
        assert_the_same(lanes, jax.vmap(function, (0, None))(kernels, PICTURES))


def test_trees_go_in_and_come_out_and_own_derivatives_stay():
    @jax.custom_vjp
    def doubled(x):
        return 2 * x

    doubled.defvjp(lambda x: (2 * x, None), lambda _, g: (3 * g,))

    def function(params, x):
        h = convolved(params["kernel"], doubled(x))
        return {"features": h, "mean": (h.mean(), params["scale"])}

    params = {"kernel": KERNEL, "scale": 2.0}
    ours = own_convolutions(function, "mine")
    assert_the_same(ours(params, PICTURES), function(params, PICTURES))
    gradients = [jax.grad(lambda x, f=f: f(params, x)["features"].sum())(PICTURES) for f in (ours, function)]
    assert_the_same(*gradients)


def test_a_function_without_convolutions_is_itself():
    def dense(kernel, x):
        return jnp.tanh(x @ kernel)

    args = random(0, 4, 3), random(1, 5, 4)
    assert str(jax.make_jaxpr(own_convolutions(dense, "mine"))(*args)) == str(jax.make_jaxpr(dense)(*args))


@pytest.mark.parametrize(
    ("function", "by"),
    [
        (lambda kernel, x: lax.cond(x.sum() > 0, convolved, lambda kernel, x: x, kernel, x), "cond"),
        (lambda kernel, x: convolved(*(a.astype(jnp.bfloat16) for a in (kernel, x))), "conv_general_dilated"),
    ],
    ids=["a branch", "bfloat16"],
)
def test_what_stays_xlas_is_told_and_has_the_same_numbers(function, by):
    with pytest.warns(UserWarning, match=f"^network/mine: a convolution .* by {by} is left to XLA"):
        found = own_convolutions(function, "network/mine")(KERNEL, PICTURES)
    np.testing.assert_array_equal(found, function(KERNEL, PICTURES))


def test_another_backend_keeps_its_convolutions(monkeypatch):
    monkeypatch.setattr(substitution, "platform", lambda: "gpu")
    assert "conv_general_dilated" in str(jax.make_jaxpr(own_convolutions(convolved, "mine"))(KERNEL, PICTURES))
