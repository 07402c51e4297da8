import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxvae.models import MLP, Conv, automatic_precision
from jaxvae.nn import precision as precision_module
from jaxvae.nn.precision import automatic, matmul, matmul_nt, product, read
from jaxvae.system.machine import own_cache_dir

EDGES = [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-9, 3e38, 3.4e38, 1e-40, np.inf, -np.inf, np.nan]


def test_reading_rounds_to_the_nearest_even_as_a_cast_does():
    x = jnp.concatenate([jnp.asarray(EDGES, jnp.float32), 10.0 ** jax.random.uniform(jax.random.key(0), (1000,))])
    found, expected = read("bfloat16", x), x.astype(jnp.bfloat16)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(jnp.float32), expected.astype(jnp.float32))


def test_float32_is_read_as_it_is():
    x = jax.random.normal(jax.random.key(0), (5,))
    assert read("float32", x) is x


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_products_accumulate_in_float32(precision):
    """A million ones: bfloat16 would stop counting at 256."""
    ones = read(precision, jnp.ones((1, 1_000_000)))
    assert float(matmul(ones, ones.T)[0, 0]) == float(matmul_nt(ones, ones)[0, 0]) == 1_000_000


def test_products_are_differentiable_in_what_they_read():
    a, b = jax.random.normal(jax.random.key(0), (3, 4)), jax.random.normal(jax.random.key(1), (4, 2))
    da, db = jax.grad(lambda a, b: product("bfloat16", a, b, (((1,), (0,)), ((), ()))).sum(), argnums=(0, 1))(a, b)
    np.testing.assert_allclose(da, jnp.broadcast_to(b.sum(1), (3, 4)), rtol=2e-2)
    np.testing.assert_allclose(db, jnp.broadcast_to(a.sum(0)[:, None], (4, 2)), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("speed_up", "conv", "linear"),
    [(4.0, "bfloat16", "bfloat16"), (2.0, "bfloat16", "float32"), (1.1, "float32", "float32")],
)
def test_automatic_takes_bfloat16_where_it_is_much_faster(speed_up, conv, linear, monkeypatch):
    monkeypatch.setattr(precision_module, "_speed_up", lambda: speed_up)
    assert automatic_precision(Conv()) == conv
    monkeypatch.setattr(precision_module, "_speed_up", lambda: pytest.fail("measured twice"))
    assert (automatic_precision(Conv()), automatic_precision(MLP())) == (conv, linear)


def test_a_damaged_measurement_is_made_again_and_one_that_cannot_be_kept_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(precision_module, "_speed_up", lambda: 2.0)
    for text in ("", "[1]", "fast"):
        assert automatic(1.3) == "bfloat16"
        (path,) = own_cache_dir().glob("*.json")
        path.write_text(text)
    assert automatic(1.3) == "bfloat16"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert automatic(1.3) == "bfloat16"


def test_another_backend_is_not_asked(monkeypatch):
    monkeypatch.setattr(precision_module, "platform", lambda: "gpu")
    monkeypatch.setattr(precision_module, "_speed_up", lambda: 10.0)
    assert automatic(1.3) == "float32"


def test_a_network_that_does_not_say_when_bfloat16_pays_is_trained_in_float32(monkeypatch):
    monkeypatch.setattr(precision_module, "_speed_up", lambda: 10.0)
    assert automatic_precision(nn.Dense(3)) == automatic(float("inf")) == "float32"


def test_the_speed_up_is_one_of_products():
    assert 0.01 < precision_module._speed_up() < 100
