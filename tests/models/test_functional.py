"""Networks of pure functions, of Equinox and of Flax NNX: trained, continued, vmapped, loaded, refused."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax

import jaxvae
from jaxvae import parts
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import ConfigError, InputError
from jaxvae.models import VAE, equinox_network, network, nnx_network
from jaxvae.study import Study
from jaxvae.training import sweep
from tests.blobs import small

SHAPE = (8, 8)
WIDTH = 12


def init(key, shape):
    """A convolution's kernel and a matrix, in a tree that is none of dictionaries alone."""
    key_kernel, key_matrix = jax.random.split(key)
    return [(jax.random.normal(key_kernel, (3, 3, 1, 2)) / 3,), {"matrix": jax.random.normal(key_matrix, (32, WIDTH))}]


def apply(params, x):
    (kernel,), dense = params
    h = lax.conv_general_dilated(x[..., None], kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(nn.relu(h).reshape(len(x), -1) @ dense["matrix"])


def init_decoder(key, shape):
    return jax.random.normal(key, (WIDTH, int(np.prod(shape)))) / 4


def apply_decoder(params, h):
    return jnp.tanh(h) @ params


class EquinoxEncoder(eqx.Module):
    convolution: eqx.nn.Conv2d
    dense: eqx.nn.MLP

    def __init__(self, key, shape):
        self.convolution = eqx.nn.Conv2d(1, 2, 3, stride=2, padding=1, key=key)
        self.dense = eqx.nn.MLP(32, WIDTH, 9, 1, activation=jax.nn.silu, key=key)

    def __call__(self, x):
        return self.dense(jax.nn.relu(self.convolution(x[None])).ravel())


class NnxEncoder(nnx.Module):
    def __init__(self, rngs, shape):
        self.layers = nnx.List([nnx.Conv(1, 2, (3, 3), 2, rngs=rngs), nnx.Linear(32, WIDTH, rngs=rngs)])

    def __call__(self, x):
        h = nnx.relu(self.layers[0](x[..., None]))
        return nnx.gelu(self.layers[1](h.reshape(len(x), -1)))


MAKERS = {
    "functions": (
        network("network/of-functions", init, apply),
        network("decoder/of-functions", init_decoder, apply_decoder, features=WIDTH),
    ),
    "equinox": (
        equinox_network("network/of-tests-equinox", EquinoxEncoder),
        equinox_network(
            "decoder/of-tests-equinox",
            lambda key, shape: eqx.nn.MLP(WIDTH, int(np.prod(shape)), 8, 1, key=key),
            features=WIDTH,
        ),
    ),
    "nnx": (
        nnx_network("network/of-tests-nnx", NnxEncoder),
        nnx_network(
            "decoder/of-tests-nnx",
            lambda rngs, shape: nnx.Linear(WIDTH, int(np.prod(shape)), rngs=rngs),
            features=WIDTH,
        ),
    ),
}
each = pytest.mark.parametrize(("encoder", "decoder"), MAKERS.values(), ids=MAKERS)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """60 and 25 images of 8×8."""
    blobs = small()
    train, test = (images[:, 6:22:2, 6:22:2] for images in (blobs.train_images, blobs.test_images))
    return blobs._replace(train_images=train, test_images=test)


def model(encoder, decoder, latent_dim=2) -> VAE:
    return VAE(latent_dim, encoder(), decoder())


def params_of(vae):
    return jax.jit(vae.bind(SHAPE).init)(jax.random.key(0))


@each
def test_it_computes_what_its_functions_say(encoder, decoder):
    """The VAE's own layers beside: heads on the features, a layer from codes."""
    vae = model(encoder, decoder)
    params, x = params_of(vae), jax.random.uniform(jax.random.key(1), (3, *SHAPE))
    with_tree = {"params": {"tree": params["encoder"]["tree"]}}
    features = encoder().apply(with_tree, x)
    q = vae.bind(SHAPE).encode(params, x)
    head = params["encoder"]["mean"]
    np.testing.assert_allclose(q.mean, features @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-5)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(vae.bind(SHAPE).encode)(params, x))
    assert vae.bind(SHAPE).decode(params, q.mean).shape == (3, *SHAPE)


def test_parameters_lie_under_their_paths_and_are_those_of_init():
    vae = model(*MAKERS["functions"])
    tree = params_of(vae)["encoder"]["tree"]
    assert {path: leaf.shape for path, leaf in tree.items()} == {"0.0": (3, 3, 1, 2), "1.matrix": (32, WIDTH)}
    x = jax.random.uniform(jax.random.key(1), (3, *SHAPE))
    features = MAKERS["functions"][0]().apply({"params": {"tree": tree}}, x)
    np.testing.assert_allclose(features, apply([(tree["0.0"],), {"matrix": tree["1.matrix"]}], x), rtol=1e-6)
    assert params_of(vae)["decoder"]["tree"]["array"].shape == (WIDTH, 64)
    equinox = params_of(model(*MAKERS["equinox"]))["encoder"]["tree"]
    assert "0.0.dense.layers.0.weight" in equinox


@pytest.mark.slow
@each
def test_it_trains_continues_with_the_same_bits_and_is_loaded_by_who_has_it(
    encoder, decoder, dataset, tmp_path, monkeypatch
):
    def runs(epochs):
        return [RunConfig(model(encoder, decoder, d), batch_size=20, epochs=epochs) for d in (2, 3)]

    Study(tmp_path / "whole", runs(3), dataset).train("loop", quiet=True)
    Study(tmp_path / "parts", runs(1), dataset).train("loop", quiet=True)
    Study(tmp_path / "parts", runs(3), dataset).train("loop", quiet=True)
    name = runs(3)[0].name
    one, other = (jaxvae.load(tmp_path / folder / name) for folder in ("whole", "parts"))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    losses = [entry["test"]["loss"] for entry in one.metrics]
    assert losses[-1] < losses[0]
    for cls in (encoder, decoder):
        monkeypatch.delitem(parts.REGISTERED, cls.part_name)
    with pytest.raises(InputError, match="there is no part named"):
        jaxvae.load(tmp_path / "whole" / name)
    loaded = jaxvae.load(tmp_path / "whole" / name, parts=[encoder, decoder])
    assert loaded.reconstruct(dataset.test_images).shape == (25, *SHAPE)


@pytest.mark.slow
@each
def test_lanes_of_it_are_the_runs_alone(encoder, decoder, dataset):
    runs = [RunConfig(model(encoder, decoder, d), batch_size=20, epochs=2, seed=d) for d in (2, 3)]
    looped, vmapped = (sweep(runs, dataset, strategy=strategy) for strategy in ("loop", "vmap"))
    for run in runs:
        for a, b in zip(*(jax.tree.leaves(states[run.name].params) for states in (looped, vmapped)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@each
def test_a_run_of_it_is_json_hashable_and_can_go_to_another_process(encoder, decoder):
    run = RunConfig(model(encoder, decoder))
    assert RunConfig.from_json(run.to_json()) == run == pickle.loads(pickle.dumps(run))
    assert hash(run) == hash(RunConfig(model(encoder, decoder)))
    assert run.name == f"{encoder.part_label}-2-decoder={decoder.part_label}"
    assert type(pickle.loads(pickle.dumps(decoder(outputs=(3,))))) is decoder


def with_integers(key, shape):
    return {"scale": jnp.ones(3), "count": jnp.arange(3)}


def with_dropout(rngs, shape):
    return nnx.Sequential(nnx.Linear(8, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))


class WithTable(eqx.Module):
    table: jax.Array

    def __init__(self, key, shape):
        self.table = jnp.arange(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network("Network", init, apply), "a part's name must be such as"),
        (lambda: network("network/mlp", init, apply), "two parts have the name network/mlp or the label mlp"),
        (lambda: network("decoder/odd", init, apply, features=0), "decoder/odd: features must be a whole number"),
        (lambda: network("network/integers", with_integers, apply), "network/integers: .*; count is int32"),
        (lambda: network("network/numbers", lambda key, shape: [1.0], apply), "network/numbers: .*; 0 is float"),
        (
            lambda: network("network/twice", lambda key, shape: {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, apply),
            "network/twice: init must not return two arrays of the path a.b",
        ),
        (lambda: nnx_network("network/dropout", with_dropout), r"state beside its parameters \(RngCount, RngKey\)"),
        (lambda: equinox_network("network/table", WithTable), "network/table: the module has an array of int32"),
    ],
)
def test_careless_networks_are_one_line(make, message):
    with pytest.raises(ConfigError, match=message):
        VAE(2, make()(), MAKERS["functions"][1]()).bind(SHAPE).check_networks()


def test_a_decoder_that_puts_out_too_little_is_told():
    short = network("decoder/short", lambda key, shape: jnp.ones((WIDTH, 5)), apply_decoder, features=WIDTH)
    with pytest.raises(ConfigError, match=r"the decoder short puts out \[1, 5\]; \[1, 8, 8\] is asked of it"):
        VAE(2, MAKERS["functions"][0](), short()).bind(SHAPE).check_networks()
