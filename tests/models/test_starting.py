"""Where training begins: outputs whose mean is the mean example, and a likelihood's own parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvae
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import ConfigError
from jaxvae.models import (
    MLP,
    VAE,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Laplace,
    LogisticMixture,
    MLPDecoder,
    NegativeBinomial,
    Poisson,
)
from jaxvae.objectives import ELBO
from jaxvae.parts import part
from jaxvae.training.sweep import sweep

RNG = np.random.default_rng(0)
UNIT = RNG.beta(0.4, 0.8, (200, 3, 4)).astype(np.float32)
BYTES = RNG.integers(0, 256, (200, 3, 4)).astype(np.uint8)
COUNTS = RNG.poisson(RNG.gamma(1, 6, (200, 3, 4))).astype(np.float32)
REAL = RNG.normal(40, 9, (200, 3, 4)).astype(np.float32)
ON_BYTES, ON_COUNTS = (BYTES / np.float32(255)).astype(np.float32), COUNTS


@pytest.mark.parametrize(
    ("likelihood", "x", "atol"),
    [
        (Bernoulli(), UNIT, 1e-6), (ContinuousBernoulli(), UNIT, 1e-6), (Gaussian(), REAL, 1e-4),
        (Gaussian("decoded"), REAL, 1e-4), (Gaussian(0.3), REAL, 1e-4), (Laplace("decoded"), REAL, 1e-4),
        (Poisson(), COUNTS, 1e-4), (Poisson("observed"), COUNTS, 1e-4), (NegativeBinomial(), COUNTS, 1e-4),
        (NegativeBinomial("observed", "decoded"), COUNTS, 1e-4),
        (DiscretizedLogistic(), ON_BYTES, 2e-5), (LogisticMixture(3), ON_BYTES, 2e-5),
        (DiscretizedLogistic(), ON_BYTES**8, 1.1e-3),  # some means are moved to 0.001
    ],
    ids=str,
)  # fmt: skip
def test_a_starting_output_has_the_mean_example_for_its_mean(likelihood, x, atol):
    x = jnp.asarray(x)
    params = likelihood.init(jax.random.key(0), x.shape[1:]) if hasattr(likelihood, "init") else {}
    params = likelihood.starting_params(params, x) if hasattr(likelihood, "starting_params") else params
    out = likelihood.starting_output(params, x)
    assert out.shape == likelihood.outputs(x.shape[1:])
    np.testing.assert_allclose(likelihood.mean(params, out[None])[0], x.mean(0), rtol=2e-5, atol=atol)


def test_that_of_classes_is_their_log_frequencies():
    x = jnp.asarray([[0.0, 1], [0, 1], [2, 1], [0, 1]])
    out = Categorical(3).starting_output({}, x)
    np.testing.assert_allclose(np.exp(out), [[0.75, 0.125, 0.25], [0.125, 1, 0.125]], rtol=1e-6)


def test_columns_that_never_vary_begin_at_numbers():
    for likelihood in (Gaussian(), Laplace()):
        assert np.exp(likelihood.starting_params({}, jnp.ones((9, 2)))["log_scale"]) == pytest.approx(1e-3)
    for likelihood in (Bernoulli(), Poisson(), NegativeBinomial("observed"), DiscretizedLogistic(), LogisticMixture()):
        assert np.isfinite(likelihood.starting_output({}, jnp.zeros((9, 2)))).all()


def test_learned_scales_begin_at_the_likeliest_around_the_mean_example():
    x = jnp.asarray(REAL)
    for likelihood in (Gaussian(), Laplace()):
        params = likelihood.starting_params({}, x)
        out = jnp.broadcast_to(likelihood.starting_output(params, x), x.shape)

        def at(log_scale, likelihood=likelihood, out=out):
            return likelihood.log_prob({"log_scale": log_scale}, out, x).mean()

        assert abs(float(jax.grad(at)(params["log_scale"]))) < 1e-3
        assert at(params["log_scale"]) > max(at(params["log_scale"] + step) for step in (-0.1, 0.1))


@pytest.mark.slow
def test_training_begins_there_and_the_total_is_not_trained():
    """A vmapped lane, padded to more latent dimensions, begins like a run by itself."""
    decoder = MLPDecoder((8,), output_bias="data")
    vaes = [VAE(d, MLP((8,)), decoder, likelihood=NegativeBinomial("observed")) for d in (1, 3)]
    dataset = Dataset("counts", COUNTS, None, COUNTS[:50], None)
    starts = {}
    for strategy in ("loop", "vmap"):
        starts[strategy] = sweep([RunConfig(vae, ELBO(), epochs=0) for vae in vaes], dataset, strategy=strategy)
    total = COUNTS.sum((1, 2)).mean()
    for name, state in starts["loop"].items():
        jax.tree.map(np.testing.assert_array_equal, state.params, starts["vmap"][name].params)
        assert state.params["likelihood"]["library"] == pytest.approx(total, rel=1e-6)
        bias = state.params["decoder"]["pixels"]["bias"]
        np.testing.assert_allclose(np.exp(bias), COUNTS.mean(0).reshape(-1), rtol=1e-5)
    run = jaxvae.fit(dataset, vaes[1], epochs=3, quiet=True)
    assert run.params["likelihood"]["library"] == state.params["likelihood"]["library"]
    assert np.abs(run.params["likelihood"]["log_theta"]).max() > 0


@pytest.mark.slow
def test_pixels_begin_at_their_own_scale():
    run = jaxvae.fit(BYTES, VAE(2, MLP((8,)), likelihood=Gaussian()), epochs=0, quiet=True)
    deviations = (BYTES[:, None].astype(float) - BYTES.mean(0)) / 256
    assert float(np.exp(run.params["likelihood"]["log_scale"])) == pytest.approx(deviations.std(), rel=0.05)


def test_encoders_are_given_logarithms_of_counts():
    vae = VAE(2, MLP((8,)), likelihood=Poisson()).bind((3, 4))
    plain = VAE(2, MLP((8,))).bind((3, 4))
    params = vae.init(jax.random.key(0))
    x = jnp.asarray(COUNTS)
    jax.tree.map(np.testing.assert_array_equal, vae.encode(params, x), plain.encode(params, jnp.log1p(x)))


def test_a_decoder_that_begins_at_the_mean_needs_a_likelihood_that_says_where_that_is():
    @part("likelihood/of-tests-silent")
    class Silent:
        measure = "density"

        def outputs(self, shape):
            return shape

    vae = VAE(2, MLP((8,)), MLPDecoder((8,), output_bias="data"), likelihood=Silent()).bind((3,))
    with pytest.raises(ConfigError, match=r"MLPDecoder cannot begin .*: of-tests-silent has no starting_output"):
        vae.check_networks()
