"""Annealing on densities whose normaliser and moments are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.evaluation import annealing
from jaxvae.evaluation.annealing import Path
from jaxvae.models import StandardNormal

CENTRE, STD = np.array([1.0, -0.5, 0.3]), np.array([0.3, 0.8, 1.5])
LOG_SCALE = -7.0  # of the unnormalised target
LOG_NORMALISER = LOG_SCALE + 1.5 * np.log(2 * np.pi) + np.log(STD).sum()


def target(z):
    """A normal with its constant left out, times e^−7."""
    return LOG_SCALE - 0.5 * jnp.square((z - CENTRE) / STD).sum(-1)


def standard_normal(z):
    return StandardNormal().log_prob({}, z)


PATH = Path(standard_normal, target)


def draws(key, shape):
    return jax.random.normal(key, shape)


@partial(jax.jit, static_argnums=(1, 2))
def bracket(key, chains, steps):
    """Lower and upper bound of the log-normaliser from one set of chains each, and both ends' codes."""
    betas = annealing.schedule(steps)
    k = jax.random.split(key, 5)
    sizes = annealing.tune(PATH, k[0], draws(k[1], (chains, 3)), betas)
    up = annealing.forward(PATH, k[2], draws(k[3], (chains, 3)), betas, sizes)
    exact = jnp.asarray(CENTRE) + jnp.asarray(STD) * draws(k[4], (chains, 3))
    down = annealing.backward(PATH, k[2], exact, betas, sizes)
    return up, down, sizes


@pytest.fixture(scope="module")
def repeats():
    """400 independent estimates, of 4 chains each; float32 as in use."""
    return jax.vmap(lambda key: bracket(key, 4, 25))(jax.random.split(jax.random.key(0), 400))


def test_forward_chains_estimate_the_normaliser_without_bias(repeats):
    up, down, _ = repeats
    for log_weight in (up.log_weight - LOG_NORMALISER, LOG_NORMALISER - down.log_weight):
        estimates = np.exp(np.asarray(log_weight, np.float64)).mean(1)  # of 1
        assert abs(estimates.mean() - 1) < 4 * estimates.std() / np.sqrt(len(estimates))
        assert estimates.std() > 0.1  # few enough steps that it is not exact anyway


@pytest.mark.slow
def test_the_bracket_holds_the_truth_between_and_closes_with_more_steps(repeats):
    up, down, _ = repeats
    low, high = np.asarray(jax.vmap(annealing.lower)(up)), np.asarray(jax.vmap(annealing.upper)(down))
    error = max(low.std(), high.std()) / np.sqrt(len(low))
    assert low.mean() < LOG_NORMALISER - 2 * error
    assert high.mean() > LOG_NORMALISER + 2 * error
    up, down, _ = jax.vmap(lambda key: bracket(key, 4, 400))(jax.random.split(jax.random.key(1), 60))
    low_then, high_then = np.asarray(jax.vmap(annealing.lower)(up)), np.asarray(jax.vmap(annealing.upper)(down))
    assert high_then.mean() - low_then.mean() < 0.25 * (high.mean() - low.mean())
    assert abs(low_then.mean() - LOG_NORMALISER) < 0.05 + 4 * low_then.std() / np.sqrt(len(low_then))


def test_chains_end_as_draws_of_the_other_density(repeats):
    """Weighted, forward chains have the target's moments."""
    up, _, _ = repeats
    w = np.exp(np.asarray(up.log_weight - LOG_NORMALISER, np.float64)).reshape(-1, 1)
    z = np.asarray(up.z, np.float64).reshape(-1, 3)
    mean = (w * z).sum(0) / w.sum()
    std = np.sqrt((w * (z - mean) ** 2).sum(0) / w.sum())
    np.testing.assert_allclose(mean, CENTRE, atol=0.2)
    np.testing.assert_allclose(std, STD, rtol=0.12)


def test_a_transition_leaves_its_density_invariant_and_step_sizes_reach_their_acceptance(repeats):
    """Chains started in the normal at β = ½, which is normal too, stay there for any step size."""
    up, _, sizes = repeats
    assert 0.5 < float(up.acceptance.mean()) < 0.9  # 25 steps to come from 0.2 to where 0.65 are accepted
    assert (sizes > 0).all()
    precision = 0.5 + 0.5 / STD**2
    centre = 0.5 * CENTRE / STD**2 / precision
    z = centre + draws(jax.random.key(2), (20_000, 3)) / np.sqrt(precision)
    for step_size in (0.05, 0.4, 0.7):
        moved, accepted = annealing.transition(PATH, jax.random.key(3), jnp.float32(0.5), z, jnp.float32(step_size))
        assert float(jnp.abs(moved - z).mean()) > 0.1
        np.testing.assert_allclose(moved.mean(0), centre, atol=4 / np.sqrt(20_000 * precision.min()))
        np.testing.assert_allclose(moved.std(0), 1 / np.sqrt(precision), rtol=0.025)
    assert float(accepted.mean()) < 0.999  # the last is large enough for the acceptance to matter


def test_a_proposal_into_nowhere_is_refused():
    """A density that is not a number beyond a wall: chains stay inside, and weights stay finite."""
    walled = Path(standard_normal, lambda z: jnp.where(z.sum(-1) > 0, jnp.nan, -0.5 * (z**2).sum(-1)))
    inside = -jnp.abs(draws(jax.random.key(0), (500, 2)))
    z, _ = annealing.transition(walled, jax.random.key(1), jnp.float32(1.0), inside, jnp.float32(1.0))
    assert (z.sum(-1) <= 0).all()


def test_the_schedule_runs_from_the_one_density_to_the_other_with_small_steps_at_both_ends():
    betas = np.asarray(annealing.schedule(100))
    assert len(betas) == 101
    assert betas[0] == 0
    assert betas[-1] == 1
    steps = np.diff(betas)
    assert (steps > 0).all()
    assert steps[0] < 0.1 * steps[50] > steps[-1]
