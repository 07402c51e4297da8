"""The importance-weighted objective against NumPy, and its two gradients against each other; objectives in padded
models, with a prior of learned parameters, and with losses that depend on the batch."""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import expit, logsumexp
from scipy.stats import norm

from jaxvae import parts
from jaxvae.models import StandardNormal, resize, standard_noise
from jaxvae.objectives import ELBO, IWAE, Capacity, Context, DReG, FreeBits, Losses, RateFloor
from jaxvae.training import engine
from tests.classic import classic, vae

SHAPE = (28, 28)
MODEL = vae("linear", 3, hidden=(8, 6), activation="tanh").bind(SHAPE)
IMAGES = (jax.random.uniform(jax.random.key(4), (4, *SHAPE)) > 0.8).astype(jnp.float32)
KEY = jax.random.key(8)


def losses(objective, params, key, model=MODEL):
    noise = standard_noise(key, (objective.codes, len(IMAGES)), model.latent_dim)
    return objective(model, params, IMAGES, noise, Context(len(IMAGES)))


@pytest.fixture(scope="module")
def params():
    """Fresh ones, with a posterior that is far from the prior."""
    params = jax.jit(MODEL.init)(jax.random.key(0))
    params["encoder"]["mean"]["kernel"] *= 3
    params["encoder"]["log_std"]["bias"] = jnp.array([-0.5, 0.2, -1.0])
    return params


@pytest.mark.parametrize("objective", [IWAE, DReG])
@pytest.mark.parametrize("samples", [1, 7])
def test_the_bound_is_an_independent_calculation(objective, samples, params):
    """Log-weights written out with densities from SciPy, double precision, for given noise."""
    found = jax.jit(losses)(objective(samples), params, KEY)
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in MODEL.encode(params, IMAGES))
    z = mean + np.exp(log_std) * np.asarray(standard_noise(KEY, (samples, 4), 3), np.float64)
    logits = np.stack([MODEL.decode(params, jnp.asarray(codes, jnp.float32)) for codes in z])
    p, x = expit(logits.astype(np.float64)), np.asarray(IMAGES, np.float64)
    log_likelihood = (x * np.log(p) + (1 - x) * np.log(1 - p)).sum((2, 3))
    log_w = log_likelihood + norm.logpdf(z).sum(-1) - norm.logpdf(z, mean, np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(found.loss, -(logsumexp(log_w, 0) - np.log(samples)), rtol=1e-5)
    np.testing.assert_allclose(found.reconstruction, -log_likelihood.mean(0), rtol=1e-5)


@pytest.mark.slow
def test_one_sample_is_the_elbo_in_expectation(params):
    keys = jax.random.split(KEY, 4000)
    one = jax.jit(jax.vmap(partial(losses, IWAE(1), params)))(keys)
    elbo = jax.jit(jax.vmap(partial(losses, ELBO(), params)))(keys)
    np.testing.assert_allclose(one.reconstruction, elbo.reconstruction, rtol=1e-4)  # the same codes
    difference = np.asarray(one.loss - elbo.loss)  # the KL, sampled, less the KL, exact
    assert (np.abs(difference.mean(0)) < 4 * difference.std(0) / np.sqrt(len(keys))).all()
    assert (difference.std(0) > 0.1).all()


def gradients(objective, params, keys):
    """A row a key: of the encoder's parameters, of the decoder's."""

    @jax.jit
    @jax.vmap
    def gradient(key):
        found = jax.grad(lambda p: losses(objective, p, key).loss.mean())(params)
        return [ravel_pytree(found[part])[0] for part in ("encoder", "decoder")]

    return [np.asarray(part, np.float64) for part in gradient(keys)]


@pytest.mark.slow
def test_the_doubly_reparameterised_gradient_is_unbiased_with_less_variance(params):
    """Where q is near the posterior, as training brings it: the plain gradient stays noisy there, the other does not.

    A fresh decoder hardly depends on its codes, so that its posterior is near the prior.
    """
    narrow = {"kernel": 0.05 * params["encoder"]["log_std"]["kernel"], "bias": jnp.zeros(3)}
    near = {"mean": {"kernel": 0.05 * params["encoder"]["mean"]["kernel"], "bias": jnp.zeros(3)}, "log_std": narrow}
    params = params | {"encoder": params["encoder"] | near}
    encoder, decoder = gradients(IWAE(8), params, jax.random.split(KEY, 1000))
    encoder_dreg, decoder_dreg = gradients(DReG(8), params, jax.random.split(KEY, 1000))
    np.testing.assert_allclose(decoder_dreg, decoder, rtol=1e-3, atol=1e-5)  # the decoder's is the same
    difference = encoder_dreg - encoder
    error = difference.std(0) / np.sqrt(len(difference))
    assert (encoder.std(0) > 1e-4).sum() > 1000  # pixels that are black in all images give their weights none
    assert (np.abs(difference.mean(0)) < 5 * error + 1e-7).all()
    assert encoder_dreg.var(0).sum() < 0.5 * encoder.var(0).sum()


@parts.part("prior/of-tests-scales")
class Scales:
    """Independent normals with learned means and log-scales, so that a model has a density to be masked."""

    def init(self, key, latent_dim):
        return {"mean": jax.random.normal(key, (latent_dim,)), "log_std": jnp.full(latent_dim, 0.3)}

    def log_prob(self, params, z):
        noise = (z - params["mean"]) * jnp.exp(-params["log_std"])
        return (-0.5 * jnp.square(noise) - params["log_std"] - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)

    def sample(self, params, key, n, latent_dim):
        return params["mean"] + jnp.exp(params["log_std"]) * jax.random.normal(key, (n, latent_dim))


OBJECTIVES = [ELBO(1.5), IWAE(3), DReG(3), RateFloor(2.0), Capacity(2.0, 3.0), FreeBits(0.4)]


@pytest.mark.parametrize("prior", [StandardNormal(), Scales()], ids=lambda prior: prior.part_label)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.part_label)
def test_a_padded_model_has_the_small_ones_loss_and_gradient(objective, prior, params):
    """Whatever its prior: parameters of latent dimensions that are not in use are zero, and get no gradient."""
    if isinstance(objective, FreeBits) and isinstance(prior, Scales):
        pytest.skip("of this prior there is no divergence by dimension")
    run = classic("linear", 3, hidden=(8, 6), activation="tanh")
    run = dataclasses.replace(run, objective=objective, vae=dataclasses.replace(run.vae, prior=prior))
    small, large = run.program(SHAPE), run.program(SHAPE, latent_dim=5)
    fresh = small.vae.init(jax.random.key(1))
    params = params | ({"prior": fresh["prior"]} if "prior" in fresh else {})

    @jax.jit
    def mean_loss(program, params):
        def of(params):
            noise = engine.codes_noise(program, KEY, len(IMAGES))
            return program.objective(program.vae, params, IMAGES, noise, Context(len(IMAGES))).loss.mean()

        return jax.value_and_grad(of)(params)

    shapes = jax.eval_shape(large.vae.init, jax.random.key(0))
    value, gradient = mean_loss(small, params)
    padded, wide = mean_loss(large, resize(params, shapes))
    assert float(padded) == pytest.approx(float(value), rel=1e-5)
    for a, b in zip(jax.tree.leaves(resize(wide, params)), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    back = resize(resize(wide, params), shapes)  # no gradient into the padding: it stays zero for good
    jax.tree.map(np.testing.assert_array_equal, back, wide)
    if "prior" in fresh:  # the gradient of what is in use is no zero by mistake
        assert all(np.abs(leaf).min() > 0 for leaf in jax.tree.leaves(gradient["prior"]))


def test_a_learned_prior_counts_no_dimension_that_is_not_in_use():
    """Numbers beyond the dimensions in use, however they came there, change neither density nor samples."""
    run = classic("linear", 3, hidden=(8,))
    run = dataclasses.replace(run, vae=dataclasses.replace(run.vae, prior=Scales()))
    small, large = run.program(SHAPE).vae, run.program(SHAPE, latent_dim=5).vae
    params = small.init(jax.random.key(0))
    wide = large.init(jax.random.key(3))  # numbers of its own in every dimension
    wide = wide | {"prior": {name: wide["prior"][name].at[:3].set(params["prior"][name]) for name in wide["prior"]}}
    z = jax.random.normal(jax.random.key(1), (7, 3))
    beyond = 2 * norm.logpdf(0)  # of the two codes that are zero, under a standard normal
    padded = jnp.pad(z, ((0, 0), (0, 2)))
    np.testing.assert_allclose(large.log_prior(wide, padded), small.log_prior(params, z) + beyond, rtol=1e-5)
    np.testing.assert_array_equal(large.own_params(wide, "prior")["mean"][3:], 0)
    np.testing.assert_array_equal(large.own_params(wide, "prior")["log_std"][3:], 0)


# ── divergences of samples ───────────────────────────────────────────────────────────────────────────────────────────


@parts.part("prior/of-tests-normal")
class Unknown:
    """The standard normal, of which no posterior knows that it is one: its divergence comes from samples."""

    def init(self, key, latent_dim):
        return {}

    def log_prob(self, params, z):
        return StandardNormal().log_prob(params, z)

    def sample(self, params, key, n, latent_dim):
        return StandardNormal().sample(params, key, n, latent_dim)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [ELBO(2.0), IWAE(20)], ids=lambda objective: objective.part_label)
def test_a_divergence_of_samples_is_the_closed_one_within_its_error(objective, params):
    sampled = dataclasses.replace(MODEL, prior=Unknown())
    assert (MODEL.has_closed_kl, sampled.has_closed_kl) == (True, False)
    keys = jax.random.split(KEY, 2000)
    exact = jax.jit(partial(losses, objective))(params, KEY).kl
    found = jax.jit(jax.vmap(partial(losses, objective, params, model=sampled)))(keys)
    drawn = np.asarray(found.kl, np.float64)
    error = drawn.std(0) / np.sqrt(len(keys))
    assert (error > 0).all()
    assert (np.abs(drawn.mean(0) - np.asarray(exact)) < 4 * error).all()
    closed = jax.jit(jax.vmap(partial(losses, objective, params)))(keys)
    np.testing.assert_allclose(found.reconstruction, closed.reconstruction, rtol=1e-4)  # the same codes


# ── losses that depend on the batch ──────────────────────────────────────────────────────────────────────────────────


@parts.part("objective/of-tests-coupled")
class Coupled:
    """An example's loss is how many examples its batch has, and how far its brightness is from the batch's mean."""

    codes: ClassVar[int] = 1
    coupled: ClassVar[bool] = True

    def __call__(self, vae, params, x, noise, context):
        bright = x.mean((1, 2))
        size = jnp.full(len(x), float(len(x)))
        return Losses(bright, size, jnp.square(bright - bright.mean()), {"examples": size * 0 + context.examples})


@parts.part("objective/of-tests-single")
class Single(Coupled):
    """The same, said not to depend on the batch: its last batch is filled up."""

    coupled: ClassVar[bool] = False


@pytest.mark.parametrize("n", [1, 40, 100, 130, 299])
def test_a_coupled_objective_is_evaluated_on_batches_of_their_true_size(n):
    run = classic("linear", 2, hidden=(8,))
    images = jax.random.randint(jax.random.key(n), (n, *SHAPE), 0, 256).astype(jnp.uint8)
    bright = np.asarray(images, np.float64).mean((1, 2)) / 255
    batches = [bright[start : start + 100] for start in range(0, n, 100)]
    state = engine.init(run.program(SHAPE), 0)
    program = dataclasses.replace(run, objective=Coupled()).program(SHAPE)
    found = jax.jit(engine.evaluate)(program, state, images, jnp.int32(1))
    spread = sum(((batch - batch.mean()) ** 2).sum() for batch in batches) / n
    assert float(found.reconstruction) == pytest.approx(bright.mean(), rel=1e-5)
    assert float(found.kl) == pytest.approx(sum(len(batch) ** 2 for batch in batches) / n, rel=1e-6)
    assert float(found.loss) == pytest.approx(spread, rel=1e-3, abs=1e-10)
    assert float(found.terms["examples"]) == pytest.approx(n)
    single = dataclasses.replace(run, objective=Single()).program(SHAPE)
    filled = jax.jit(engine.evaluate)(single, state, images, jnp.int32(1))
    assert float(filled.kl) == pytest.approx(min(n, 100))  # the last batch is as large as the others
    assert float(filled.reconstruction) == pytest.approx(bright.mean(), rel=1e-5)


def test_an_objective_s_own_terms_are_averaged_in_training_too(small):
    program = dataclasses.replace(classic("linear", 2, hidden=(8,), batch_size=20), objective=Coupled()).program(SHAPE)
    _, found, _ = jax.jit(engine.train_epoch)(program, engine.init(program, 0), jnp.asarray(small.train_images))
    assert float(found.terms["examples"]) == len(small.train_images)
    assert float(found.kl) == 20


def test_objectives_are_looked_up_by_label():
    assert {label: parts.named("objective", label) for label in ("elbo", "iwae", "iwae-dreg")} == {
        "elbo": ELBO, "iwae": IWAE, "iwae-dreg": DReG,
    }  # fmt: skip
    assert [objective.codes for objective in (ELBO(), IWAE(9), DReG(9))] == [1, 9, 9]
