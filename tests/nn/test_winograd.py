"""Convolutions with fewer multiplications: what their matrices say, and how far they are from double precision."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxvae.nn import Conv, ConvTranspose, Side, Window, patches, square, winograd
from tests.nn.test_conv import compare, stock_conv, stock_transpose

SIDES = [
    Side(k, s, p, q) for k, s in ((3, 2), (4, 2), (5, 2), (3, 1), (2, 1)) for p in (0, 1, 2) for q in (0, 1) if p < k
]
sides = st.sampled_from(SIDES)


@given(sides, st.integers(1, 40))
@settings(max_examples=300)
def test_points_give_each_output_its_taps_times_its_pixels(side, size):
    """Σ over points of outputs ∘ taps ∘ pixels is one where an output reads this pixel by this tap, else zero."""
    k, s, p, _ = side
    assume(side.positions(size) > 0)
    t = winograd.transform(side, size)
    m, seen = len(t.outputs), t.pixels.shape[2]
    assert t.points <= len(winograd.POINTS)
    assert (t.tiles - 1) * m < side.positions(size) <= t.tiles * m
    for phase in range(s):
        found = np.einsum("iq,qv,qe->ive", t.outputs, t.taps[phase], t.pixels[phase])
        pixel = s * (t.first + np.arange(seen)) + (phase - p) % s
        tap = phase + s * np.arange(t.taps.shape[2])
        reads = s * np.arange(m)[:, None, None] + tap[None, :, None] - p
        expected = (reads == pixel) & (tap < k)[None, :, None]
        inside = (pixel >= 0) & (pixel < size) if t.tiles == 1 else np.full(seen, True)
        np.testing.assert_allclose(found[..., inside], expected[..., inside], atol=1e-12)


def test_a_side_without_a_border_takes_a_point_for_each_output():
    assert winograd.transform(Side(3, 2, 1, 1), 7).points == 4  # not five, as for outputs that further pixels reach
    assert winograd.transform(Side(3, 2, 1, 1), 8).points == 5
    assert winograd.transform(Side(4, 2, 1, 1), 14).points == 8
    assert (winograd.transform(Side(4, 2, 1, 1), 16).points, winograd.transform(Side(4, 2, 1, 1), 16).tiles) == (5, 2)


def test_values_of_a_polynomial_at_infinity_are_its_last_coefficient():
    points = (0.0, 2.0, math.inf)
    np.testing.assert_array_equal(winograd.values(points, 3) @ [5, 7, 11], [5, 5 + 14 + 44, 11])


@pytest.fixture
def one_thread(monkeypatch):
    monkeypatch.setenv("PJRT_NPROC", "1")


def errors(window: Window, sizes: tuple[int, int], channels: int, features: int, batch: int) -> dict[str, float]:
    """Of values and gradients, against XLA's convolution in double precision, relative to their norm."""
    size, strides, *padding = zip(*window[:2], strict=True)
    rng = np.random.default_rng(sizes)
    x, g = rng.normal(size=(channels, *sizes, batch)), rng.normal(size=(features, *window.positions(*sizes), batch))
    kernel = rng.normal(size=(*size, channels, features)) / size[0]
    with jax.enable_x64(True):

        def convolution(x, kernel):
            dimensions = ("CHWN", "HWIO", "CHWN")
            margins = tuple(zip(*padding, strict=True))
            return lax.conv_general_dilated(x, kernel, strides, margins, dimension_numbers=dimensions)

        y, pull = jax.vjp(convolution, *map(jnp.asarray, (x, kernel)))
        right = {"y": y, **dict(zip(("dx", "dkernel"), pull(jnp.asarray(g)), strict=True))}
        right = {name: np.asarray(value) for name, value in right.items()}

    covers = window.covered(*window.positions(*sizes)) == sizes  # the adjoint's picture is this one, else it is smaller

    @jax.jit
    def ways(x, g, kernel):
        y, read_again = winograd.forward(x, kernel, window)
        dx, dkernel, dbias = winograd.backward(g, x, kernel, read_again, window)
        found = [{"y": y, "dx": dx, "dkernel": dkernel, "sum of g": dbias}]
        if covers:
            dx, of_output = winograd.transposed_forward(g, kernel, window)
            y, dkernel, dbias = winograd.transposed_backward(x, kernel, of_output, window)
            found.append({"y": y, "dx": dx, "dkernel": dkernel, "sum of x": dbias})
        return found

    right |= {"sum of g": g.sum((1, 2, 3)), "sum of x": x.sum((1, 2, 3))}
    found = [(name, value, right[name]) for way in ways(x, g, kernel) for name, value in way.items()]
    return {name: float(np.linalg.norm(value - other) / np.linalg.norm(other)) for name, value, other in found}


@pytest.mark.slow
@given(sides, sides, st.tuples(*[st.integers(1, 20)] * 2), *[st.integers(1, 3)] * 3)
@settings(max_examples=8)
def test_errors_are_those_of_float32(down, across, sizes, channels, features, batch):
    window = Window(down, across)
    assume(min(window.positions(*sizes)) > 0)
    bound = 1e-5 if max(t.points for t in winograd.transforms(window, *sizes)) > 5 else 2e-6
    found = errors(window, sizes, channels, features, batch)
    assert max(found.values()) <= bound, found


@pytest.mark.parametrize(
    ("window", "sizes"),
    [
        (square(4, 2, 1), (14, 14)),
        (square(3, 2, 1), (7, 7)),
        (Window(Side(4, 2, 1, 1), Side(3, 2, 1, 1)), (8, 13)),
    ],
)
def test_layers_that_take_it_are_flax_layers(window, sizes, one_thread):
    n, m = window.positions(*sizes)
    x = jax.random.normal(jax.random.key(0), (25, *sizes, 8))
    assert winograd.pays(window, sizes, (window.down.kernel, window.across.kernel, 8, 9), 25, "float32")
    compare(Conv(9, window), stock_conv(9, window), x, tolerance=2e-5)
    compare(ConvTranspose(9, window), stock_transpose(9, window), x[:, :n, :m], tolerance=2e-5)


def test_it_is_taken_where_it_pays(monkeypatch, one_thread):
    layers = [
        (square(4, 2, 1), (14, 14), (4, 4, 32, 64)),
        (square(3, 2, 1), (7, 7), (3, 3, 64, 128)),
    ]  # of the conv VAE on MNIST
    for window, size, kernel in layers:
        assert winograd.pays(window, size, kernel, 100, "float32")
        assert not winograd.pays(window, size, kernel, 100, "bfloat16")
        assert not winograd.pays(window, size, kernel, 5, "float32")
    assert not winograd.pays(square(4, 2, 1), (28, 28), (4, 4, 1, 32), 100, "float32")  # a channel alone
    assert not winograd.pays(square(6, 3, 1), (28, 28), (6, 6, 32, 64), 100, "float32")  # a stride of three
    assert not winograd.pays(square(2, 2, 0), (28, 28), (2, 2, 32, 64), 100, "float32")  # nothing to save
    monkeypatch.setenv("PJRT_NPROC", "2")
    assert not winograd.pays(*layers[0], 100, "float32")
    monkeypatch.setenv("PJRT_NPROC", "1")
    monkeypatch.setattr(winograd, "platform", lambda: "gpu")
    assert not winograd.pays(*layers[0], 100, "float32")


def test_lanes_are_vmapped():
    window, key = square(3, 2, 1), jax.random.key(0)
    x, kernel = jax.random.normal(key, (2, 3, 7, 7, 4)), jax.random.normal(key, (2, 3, 3, 3, 5))
    lanes, _ = jax.vmap(lambda x, kernel: winograd.forward(x, kernel, window))(x, kernel)
    for lane in range(2):
        expected, _ = patches.forward(x[lane], kernel[lane], window, "float32")
        np.testing.assert_allclose(lanes[lane], expected, rtol=1e-4, atol=1e-4)
