import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from experiments.protocols import AdamFromOne
from jaxvae import parts
from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE, Gaussian, Laplace
from jaxvae.objectives import ELBO, IWAE, Context, Losses
from jaxvae.optimisers import Adam, Stages
from jaxvae.training import engine
from tests.classic import classic

SHAPE = (28, 28)
RUN = classic("linear", 2)
PROGRAM = RUN.program(SHAPE)

init = jax.jit(engine.init)
train_epoch = jax.jit(engine.train_epoch)


def elbo(params, images, key, program=PROGRAM):
    noise = engine.codes_noise(program, key, len(images))
    return program.objective(program.vae, params, images, noise, Context(len(images)))


def test_the_objective_is_an_independent_calculation():
    """Reconstruction, KL and β written out in NumPy, double precision, for given noise."""
    state, beta = init(PROGRAM, 0), 3.0
    images = jax.random.uniform(jax.random.key(4), (5, 28, 28))
    losses = elbo(state.params, images, jax.random.key(8), dataclasses.replace(PROGRAM, objective=ELBO(beta)))
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in PROGRAM.vae.encode(state.params, images))
    noise = np.stack(
        [jax.random.normal(jax.random.fold_in(jax.random.key(8), dimension), (5,)) for dimension in range(2)], 1
    )
    z = jnp.asarray(mean + np.exp(log_std) * noise, jnp.float32)
    logits = np.asarray(PROGRAM.vae.decode(state.params, z))
    p, x = expit(logits.astype(np.float64)), np.asarray(images, np.float64)
    reconstruction = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2))
    kl = -0.5 * (1 + 2 * log_std - mean**2 - np.exp(2 * log_std)).sum(1)
    np.testing.assert_allclose(losses.reconstruction, reconstruction, rtol=1e-5)
    np.testing.assert_allclose(losses.kl, kl, rtol=1e-4)
    np.testing.assert_allclose(losses.loss, reconstruction + beta * kl, rtol=1e-5)


@pytest.mark.slow
def test_a_step_is_adam_on_the_mean_loss():
    """First step written out: both moments start at zero, so each weight moves by the rate against its gradient."""
    state = init(PROGRAM, 0)
    images = jax.random.uniform(jax.random.key(4), (5, 28, 28))
    key = engine.key_for(state, engine.Purpose.TRAIN_NOISE, 0)
    gradient = jax.grad(lambda p: elbo(p, images, key).loss.mean())(state.params)
    after, _ = jax.jit(engine.train_step, static_argnames="context")(PROGRAM, state, images, Context(len(images)))
    moved = jax.tree.map(lambda a, b: a - b, after.params, state.params)
    expected = jax.tree.map(lambda g: -1e-3 * g / (np.abs(g) + 1e-8), gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-6), moved, expected)
    assert int(after.step) == 1


@pytest.mark.parametrize(("likelihood", "power"), [(Gaussian("optimal"), 2), (Laplace("optimal"), 1)])
def test_a_step_sets_an_optimal_scale_to_the_batchs_own(likelihood, power):
    """The mean power of what the decoder is off by, before the step, whatever the rate (Rybkin et al. 2021)."""
    vae = VAE(2, MLP((8,)), likelihood=likelihood)
    program = RunConfig(vae, optimiser=Adam(learning_rate=0.0)).program((3,))
    state, x = engine.init(program, 0), 5 * jax.random.normal(jax.random.key(1), (20, 3))
    params, key_z = state.params, engine.key_for(state, engine.Purpose.TRAIN_NOISE, 0)
    z = program.vae.sample(program.vae.encode(params, x), engine.codes_noise(program, key_z, 20)[0])
    off = np.abs(np.asarray(x - program.vae.mean(params, z), np.float64))
    after, _ = engine.train_step(program, state, x, Context(20))
    expected = np.log((off**power).mean()) / power
    assert abs(expected) > 0.5  # where it begins
    np.testing.assert_allclose(after.params["likelihood"]["log_scale"], expected, rtol=1e-5)


def test_published_steps_are_those_of_the_released_code():
    """Burda et al.'s Adam on gradients summed over the batch, in NumPy, against ours on means; three steps."""
    batch, rate, b1, b2 = 5, 1e-3, 0.99, 0.999
    optimiser = AdamFromOne(rate, b1, 1e-4 / batch, second_moment=1 / batch**2)
    program = dataclasses.replace(RUN, optimiser=optimiser, batch_size=batch).program(SHAPE)
    state = init(program, 0)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    first = jax.tree.map(np.zeros_like, params)
    second = jax.tree.map(np.ones_like, params)
    step = jax.jit(engine.train_step, static_argnames="context")
    for t in range(1, 4):
        images = jax.random.uniform(jax.random.key(t), (batch, 28, 28))
        key = engine.key_for(state, engine.Purpose.TRAIN_NOISE, t - 1)
        summed = jax.grad(lambda p, x=images, k=key: elbo(p, x, k).loss.sum())(state.params)
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * np.asarray(g), first, summed)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * np.asarray(g) ** 2, second, summed)
        # with ε after the correction, as ours has it; theirs is before
        scale = rate / (1 - b1**t), 1 / (1 - b2**t)
        params = jax.tree.map(lambda p, m, v, s=scale: p - s[0] * m / (np.sqrt(s[1] * v) + 1e-4), params, first, second)
        state, _ = step(program, state, images, Context(len(images)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6), state.params, params)


@parts.part("objective/of-tests-mean")
class Mean:
    """How bright a batch is, as the objective gets it; its examples are kept."""

    codes: ClassVar[int] = 1
    coupled: ClassVar[bool] = False
    given: ClassVar[list] = []

    def __call__(self, vae, params, x, noise, context):
        self.given.append(x)
        return Losses(*[x.mean((1, 2)) + 0 * params["decoder"]["pixels"]["bias"].sum()] * 3)


def test_dynamic_binarisation_draws_anew_at_each_step_and_training_sees_the_draws():
    Mean.given.clear()
    state, images = init(PROGRAM, 0), jnp.full((40, 28, 28), 0.25)

    def step(binarize, number):
        run = dataclasses.replace(RUN, objective=Mean(), batch_size=40, binarize=binarize)
        engine.train_step(run.program(SHAPE), state._replace(step=jnp.int32(number)), images, Context(40))

    step("dynamic", 0)
    step("dynamic", 1)
    first, second = map(np.asarray, Mean.given)
    assert set(np.unique(first)) == {0, 1}
    assert first.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / first.size))
    assert (first != second).mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.02)
    step("static", 0)
    np.testing.assert_array_equal(Mean.given[2], images)  # the sweep binarises what is drawn once


def test_bytes_under_a_density_are_dequantised_anew_at_each_step():
    """Evenly between a byte's level and the next one, in 256ths; what is stored as floats is left alone."""
    Mean.given.clear()
    program = dataclasses.replace(RUN, vae=dataclasses.replace(RUN.vae, likelihood=Gaussian()), objective=Mean())
    program, state = program.program(SHAPE), init(PROGRAM, 0)
    images = jnp.arange(40 * 28 * 28, dtype=jnp.int32).reshape(40, 28, 28).astype(jnp.uint8)  # counted modulo 256
    state = state._replace(params=program.vae.init(jax.random.key(0)))
    state = state._replace(opt_state=program.optimiser.init(state.params))
    for step in (0, 1):
        engine.train_step(program, state._replace(step=jnp.int32(step)), images, Context(40))
    first, second = (256 * np.asarray(given, np.float64) - np.asarray(images) for given in Mean.given)
    for u in (first, second):
        assert -1e-4 <= u.min() <= u.max() <= 1 + 1e-4
        assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
    engine.train_step(program, state, images / 255, Context(40))
    np.testing.assert_array_equal(Mean.given[2], images / 255)


def test_the_output_bias_starts_at_the_logit_of_the_mean_image(small):
    images = engine.to_float(jnp.asarray(small.train_images))
    vae = classic("linear", 2, output_bias="data").vae.bind(SHAPE)
    untouched = init(PROGRAM, 0).params
    assert (vae.starts_from_data, PROGRAM.vae.starts_from_data) == (True, False)
    params = vae.with_data(untouched, images)
    np.testing.assert_allclose(
        expit(np.asarray(params["decoder"]["pixels"]["bias"])),
        np.clip(np.asarray(images.mean(0)).reshape(-1), 0.001, 0.999),
        rtol=1e-4,
    )
    np.testing.assert_array_equal(params["decoder"]["latent"]["kernel"], untouched["decoder"]["latent"]["kernel"])
    assert PROGRAM.vae.with_data(untouched, images) is untouched


@pytest.mark.parametrize(("n", "batch"), [(60, 10), (57, 10)])
def test_an_epoch_visits_each_image_once_in_a_fresh_order(n, batch, monkeypatch):
    """With a step that only reports which images it saw: a permutation, another one in each epoch."""
    images = jnp.zeros((n, 28, 28), jnp.uint8).at[:, 0, 0].set(jnp.arange(n, dtype=jnp.uint8))

    def spy(program, state, batch, context, shards):
        assert context == Context(n)
        seen = batch[:, 0, 0].astype(jnp.float32)
        # first and second moment over the epoch tell a permutation of 0…n−1; the third figure depends on the order
        return state._replace(step=state.step + 1), Losses(seen.mean(), (seen**2).mean(), seen[0] * state.step)

    monkeypatch.setattr(engine, "train_step", spy)
    program = dataclasses.replace(RUN, batch_size=batch).program(SHAPE)
    state1, first, _ = engine.train_epoch(program, init(PROGRAM, 0), images)
    state2, second, _ = engine.train_epoch(program, state1, images)
    steps = n // batch
    assert int(state1.step) == steps
    assert int(state2.step) == 2 * steps
    if n % batch == 0:
        everything = np.arange(n)
        for losses in (first, second):
            assert float(losses.reconstruction) == pytest.approx(everything.mean())
            assert float(losses.kl) == pytest.approx((everything**2).mean())
    assert float(first.loss) != float(second.loss)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 37, 100, 201])
def test_evaluation_counts_every_image_exactly_once(n):
    """With a posterior so narrow that its noise vanishes, the mean over images must come out to rounding."""
    state = init(PROGRAM, 1)
    state.params["encoder"]["log_std"] = {"kernel": jnp.zeros((256, 2)), "bias": jnp.full(2, -20.0)}
    images = jax.random.randint(jax.random.key(n), (n, 28, 28), 0, 256).astype(jnp.uint8)
    losses = jax.jit(engine.evaluate)(PROGRAM, state, images, jnp.int32(3))
    alone = elbo(state.params, engine.to_float(images), jax.random.key(0))
    for part, each in zip(losses[:3], alone[:3], strict=True):
        assert float(part) == pytest.approx(float(np.mean(np.asarray(each, np.float64))), rel=1e-5)


def test_keys_for_different_purposes_and_counts_differ():
    state = init(PROGRAM, 0)
    keys = {
        tuple(np.asarray(jax.random.key_data(engine.key_for(state, purpose, count))).tolist())
        for purpose in engine.Purpose
        for count in range(10)
    }
    assert len(keys) == 10 * len(engine.Purpose)


@pytest.mark.slow
def test_training_lowers_the_loss(small):
    program, history = dataclasses.replace(RUN, batch_size=10).program(SHAPE), []
    state = init(program, 0)
    for _ in range(15):
        state, losses, _ = train_epoch(program, state, jnp.asarray(small.train_images))
        history.append(float(losses.loss))
    assert history[-1] < 0.35 * history[0]


def test_pixels_are_in_the_unit_interval_and_not_normalised():
    levels = jnp.arange(256, dtype=jnp.uint8).repeat(784).reshape(256, 28, 28)
    np.testing.assert_allclose(engine.to_float(levels)[:, 0, 0], np.arange(256) / 255, rtol=1e-6)


def test_the_noise_of_a_padded_model_is_that_of_the_small_one_and_zeros():
    run = dataclasses.replace(RUN, objective=IWAE(3))
    small, large = (engine.codes_noise(run.program(SHAPE, latent_dim=d), jax.random.key(2), 5) for d in (2, 6))
    np.testing.assert_array_equal(large[..., :2], small)
    np.testing.assert_array_equal(large[..., 2:], 0)


def test_a_schedule_is_the_epoch_s_number():
    """Burda et al.'s stages: the first epoch at the initial rate, the next three at 10^(−1/7) of it."""
    run = dataclasses.replace(RUN, optimiser=Adam(Stages(1e-3)))
    rates = [float(run.program(SHAPE, epoch).optimiser.learning_rate) for epoch in (1, 2, 4, 5, 13, 14)]
    np.testing.assert_allclose(rates, 1e-3 * 10 ** (-np.array([0, 1, 1, 2, 2, 3]) / 7), rtol=1e-6)
    assert len({jax.tree.structure(run.program(SHAPE, epoch)) for epoch in (1, 5)}) == 1
