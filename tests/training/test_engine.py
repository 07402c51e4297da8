import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from jaxvae.config import Hypers, ModelConfig, TrainConfig
from jaxvae.models import model
from jaxvae.objectives.base import Losses, negative_elbo
from jaxvae.training import engine

CONFIG = ModelConfig("linear", 2)
HYPERS = Hypers(jnp.float32(1e-3), jnp.float32(1.0), jnp.int32(2))

init = jax.jit(engine.init, static_argnums=(0, 2))
train_epoch = jax.jit(engine.train_epoch, static_argnums=(0, 1))


def test_the_objective_is_an_independent_calculation():
    """Reconstruction, KL and β written out in NumPy, double precision, for given noise."""
    state, beta = init(CONFIG, 0), 3.0
    images = jax.random.uniform(jax.random.key(4), (5, 28, 28))
    hypers = Hypers(jnp.float32(0), jnp.float32(beta), jnp.int32(2))
    losses = negative_elbo(CONFIG, state.params, images, jax.random.key(8), hypers)
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in model.encode(CONFIG, state.params, images))
    noise = np.stack(
        [jax.random.normal(jax.random.fold_in(jax.random.key(8), dimension), (5,)) for dimension in range(2)], 1
    )
    logits = np.asarray(model.decode(CONFIG, state.params, jnp.asarray(mean + np.exp(log_std) * noise, jnp.float32)))
    p, x = expit(logits.astype(np.float64)), np.asarray(images, np.float64)
    reconstruction = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2))
    kl = -0.5 * (1 + 2 * log_std - mean**2 - np.exp(2 * log_std)).sum(1)
    np.testing.assert_allclose(losses.reconstruction, reconstruction, rtol=1e-5)
    np.testing.assert_allclose(losses.kl, kl, rtol=1e-4)
    np.testing.assert_allclose(losses.loss, reconstruction + beta * kl, rtol=1e-5)


def test_a_step_is_adam_on_the_mean_loss():
    """First step written out: both moments start at zero, so each weight moves by the rate against its gradient."""
    state = init(CONFIG, 0)
    images = jax.random.uniform(jax.random.key(4), (5, 28, 28))
    key = engine.key_for(state, engine.Purpose.TRAIN_NOISE, 0)
    gradient = jax.grad(lambda p: negative_elbo(CONFIG, p, images, key, HYPERS).loss.mean())(state.params)
    after, _ = jax.jit(engine.train_step, static_argnums=(0, 1))(CONFIG, TrainConfig(), state, images, HYPERS)
    moved = jax.tree.map(lambda a, b: a - b, after.params, state.params)
    expected = jax.tree.map(lambda g: -1e-3 * g / (np.abs(g) + 1e-8), gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-6), moved, expected)
    assert int(after.step) == 1


def test_published_steps_are_those_of_the_released_code():
    """Burda et al.'s Adam on gradients summed over the batch, in NumPy, against ours on means; three steps."""
    batch, rate, b1, b2 = 5, 1e-3, 0.99, 0.999
    train = TrainConfig(batch, adam_b1=b1, adam_epsilon=1e-4 / batch, adam_second_moment=1 / batch**2)
    state = init(CONFIG, 0, train)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), state.params)
    first = jax.tree.map(np.zeros_like, params)
    second = jax.tree.map(np.ones_like, params)
    step = jax.jit(engine.train_step, static_argnums=(0, 1))
    for t in range(1, 4):
        images = jax.random.uniform(jax.random.key(t), (batch, 28, 28))
        key = engine.key_for(state, engine.Purpose.TRAIN_NOISE, t - 1)
        summed = jax.grad(lambda p, x=images, k=key: negative_elbo(CONFIG, p, x, k, HYPERS).loss.sum())(state.params)
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * np.asarray(g), first, summed)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * np.asarray(g) ** 2, second, summed)
        # with ε after the correction, as ours has it; theirs is before
        scale = rate / (1 - b1**t), 1 / (1 - b2**t)
        params = jax.tree.map(lambda p, m, v, s=scale: p - s[0] * m / (np.sqrt(s[1] * v) + 1e-4), params, first, second)
        state, _ = step(CONFIG, train, state, images, HYPERS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6), state.params, params)


def test_dynamic_binarisation_draws_anew_at_each_step_and_training_sees_the_draws(monkeypatch):
    seen = []

    def spy(train, shards):
        def losses(config, params, images, key, hypers):
            seen.append(images)
            return Losses(*[images.mean() + 0 * params["decoder"]["pixels"]["bias"].sum()] * 3)

        return losses

    monkeypatch.setattr(engine, "objective", spy)
    state, images = init(CONFIG, 0), jnp.full((40, 28, 28), 0.25)
    train = TrainConfig(40, binarize="dynamic")
    for step in range(2):
        engine.train_step(CONFIG, train, state._replace(step=jnp.int32(step)), images, HYPERS)
    first, second = map(np.asarray, seen)
    assert set(np.unique(first)) == {0, 1}
    assert first.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / first.size))
    assert (first != second).mean() == pytest.approx(2 * 0.25 * 0.75, abs=0.02)
    engine.train_step(CONFIG, TrainConfig(40, binarize="static"), state, images, HYPERS)
    np.testing.assert_array_equal(seen[2], images)  # the sweep binarises what is drawn once


def test_the_output_bias_starts_at_the_logit_of_the_mean_image(small):
    mean = engine.pixels(jnp.asarray(small.train_images)).mean(0)
    state = engine.with_output_bias(init(CONFIG, 0), mean)
    np.testing.assert_allclose(
        expit(np.asarray(state.params["decoder"]["pixels"]["bias"])),
        np.clip(np.asarray(mean).reshape(-1), 0.001, 0.999),
        rtol=1e-4,
    )
    untouched = init(CONFIG, 0).params
    np.testing.assert_array_equal(state.params["decoder"]["latent"]["kernel"], untouched["decoder"]["latent"]["kernel"])


@pytest.mark.parametrize(("n", "batch"), [(60, 10), (57, 10)])
def test_an_epoch_visits_each_image_once_in_a_fresh_order(n, batch, monkeypatch):
    """With a step that only reports which images it saw: a permutation, another one in each epoch."""
    images = jnp.zeros((n, 28, 28), jnp.uint8).at[:, 0, 0].set(jnp.arange(n, dtype=jnp.uint8))

    def spy(config, train, state, batch, hypers, shards):
        seen = jnp.rint(batch[:, 0, 0] * 255)
        # first and second moment over the epoch tell a permutation of 0…n−1; the third figure depends on the order
        return state._replace(step=state.step + 1), Losses(seen.mean(), (seen**2).mean(), seen[0] * state.step)

    monkeypatch.setattr(engine, "train_step", spy)
    state, train = init(CONFIG, 0), TrainConfig(batch)
    state1, first, _ = engine.train_epoch(CONFIG, train, state, images, HYPERS)
    state2, second, _ = engine.train_epoch(CONFIG, train, state1, images, HYPERS)
    steps = n // batch
    assert int(state1.step) == steps
    assert int(state2.step) == 2 * steps
    if n % batch == 0:
        everything = np.arange(n)
        for losses in (first, second):
            assert float(losses.reconstruction) == pytest.approx(everything.mean())
            assert float(losses.kl) == pytest.approx((everything**2).mean())
    assert float(first.loss) != float(second.loss)


@pytest.mark.parametrize("n", [1, 37, 100, 201])
def test_evaluation_counts_every_image_exactly_once(n):
    """With a posterior so narrow that its noise vanishes, the mean over images must come out to rounding."""
    state = init(CONFIG, 1)
    state.params["encoder"]["log_std"] = {"kernel": jnp.zeros((256, 2)), "bias": jnp.full(2, -20.0)}
    images = jax.random.randint(jax.random.key(n), (n, 28, 28), 0, 256).astype(jnp.uint8)
    losses = jax.jit(engine.evaluate, static_argnums=(0, 1))(CONFIG, TrainConfig(), state, images, HYPERS, jnp.int32(3))
    alone = negative_elbo(CONFIG, state.params, engine.pixels(images), jax.random.key(0), HYPERS)
    for part, each in zip(losses, alone, strict=True):
        assert float(part) == pytest.approx(float(np.mean(np.asarray(each, np.float64))), rel=1e-5)


def test_keys_for_different_purposes_and_counts_differ():
    state = init(CONFIG, 0)
    keys = {
        tuple(np.asarray(jax.random.key_data(engine.key_for(state, purpose, count))).tolist())
        for purpose in engine.Purpose
        for count in range(10)
    }
    assert len(keys) == 10 * len(engine.Purpose)


def test_training_lowers_the_loss(small):
    state, train = init(CONFIG, 0), TrainConfig(10)
    history = []
    for _ in range(15):
        state, losses, _ = train_epoch(CONFIG, train, state, jnp.asarray(small.train_images), HYPERS)
        history.append(float(losses.loss))
    assert history[-1] < 0.35 * history[0]


def test_pixels_are_in_the_unit_interval_and_not_normalised():
    levels = jnp.arange(256, dtype=jnp.uint8).repeat(784).reshape(256, 28, 28)
    np.testing.assert_allclose(engine.pixels(levels)[:, 0, 0], np.arange(256) / 255, rtol=1e-6)
