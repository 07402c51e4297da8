"""Free bits, a floor under the whole rate, and a capacity: losses against NumPy, gradients against those of ELBOs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError
from jaxvae.models import VAE, ConditionalNormal, DiagonalNormal, Labels, Normal, StandardNormal
from jaxvae.models.posteriors import kl_between, kl_to_standard_normal
from jaxvae.objectives import ELBO, Capacity, Context, FreeBits, RateFloor
from jaxvae.parts import part
from jaxvae.schedules import Linear
from jaxvae.training import engine
from jaxvae.training.sweep import sweep
from tests.classic import classic, vae
from tests.objectives.test_objectives import Scales

SHAPE = (28, 28)
MODEL = vae("linear", 3, hidden=(8, 6), activation="tanh").bind(SHAPE)
IMAGES = (jax.random.uniform(jax.random.key(4), (5, *SHAPE)) > 0.8).astype(jnp.float32)
NOISE = jax.random.normal(jax.random.key(8), (1, 5, 3))


@pytest.fixture(scope="module")
def params():
    """Three dimensions that use next to nothing, some and much."""
    params = jax.jit(MODEL.init)(jax.random.key(0))
    params["encoder"]["mean"]["kernel"] *= jnp.array([0.01, 4.0, 8.0])
    params["encoder"]["log_std"]["kernel"] *= jnp.array([0.01, 1.0, 1.0])
    params["encoder"]["log_std"]["bias"] = jnp.array([0.0, -0.3, -1.0])
    return params


@jax.jit
def losses(objective, params, model=MODEL):
    return objective(model, params, IMAGES, NOISE, Context(len(IMAGES)))


def by_dimension(params):
    mean, log_std = (np.asarray(leaf, np.float64) for leaf in MODEL.encode(params, IMAGES))
    return 0.5 * (mean**2 + np.exp(2 * log_std) - 1 - 2 * log_std)


def of_encoder(objective, params):
    """The gradient of the mean loss, and that of the encoder's heads for each dimension."""
    gradient = jax.grad(lambda p: losses(objective, p).loss.mean())(params)
    heads = [gradient["encoder"][name]["kernel"] for name in ("mean", "log_std")]
    return gradient, np.stack([np.abs(np.asarray(head)).sum(0) for head in heads]).sum(0)


def test_free_bits_are_a_maximum_of_the_batch_s_means(params):
    kl, floor = by_dimension(params), 0.3
    assert kl.mean(0)[0] < floor < kl.mean(0)[1]
    assert kl[:, 1].min() < floor  # that of one example may be below
    elbo, found = losses(ELBO(), params), losses(FreeBits(floor), params)
    np.testing.assert_array_equal(found.reconstruction, elbo.reconstruction)
    np.testing.assert_allclose(found.kl, kl.sum(1), rtol=1e-4)
    paid = np.maximum(floor, kl.mean(0)).sum()
    np.testing.assert_allclose(found.loss - found.reconstruction, np.full(5, paid), rtol=1e-4)


def test_a_dimension_below_its_floor_has_the_gradient_of_reconstruction_alone(params):
    _, floored = of_encoder(FreeBits(0.3), params)
    _, free = of_encoder(ELBO(0.0), params)
    _, paid = of_encoder(ELBO(), params)
    np.testing.assert_allclose(floored, [free[0], paid[1], paid[2]], rtol=1e-3)
    assert abs(free[1] / paid[1] - 1) > 0.01
    zero, _ = of_encoder(FreeBits(0.0), params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), zero,
                 of_encoder(ELBO(), params)[0])  # fmt: skip


@pytest.mark.slow
def test_padded_dimensions_have_no_floor(params):
    """A padded model pays for the dimensions it uses: each floor beyond them would cost λ."""
    run = dataclasses.replace(classic("linear", 3, hidden=(8, 6), activation="tanh"), objective=FreeBits(5.0))
    for latent_dim in (3, 7):
        program = run.program(SHAPE, latent_dim=latent_dim)
        state = engine.init(program, 0)
        noise = engine.codes_noise(program, jax.random.key(1), 5)
        found = program.objective(program.vae, state.params, IMAGES, noise, Context(5))
        assert float((found.loss - found.reconstruction)[0]) == pytest.approx(15.0, rel=0.01)


@pytest.mark.parametrize("floor", [0.5, 2.5, 100.0])
def test_a_floor_under_the_rate_is_a_maximum_of_each_example(floor, params):
    kl = by_dimension(params).sum(1)
    found = losses(RateFloor(floor), params)
    np.testing.assert_allclose(found.kl, kl, rtol=1e-4)
    np.testing.assert_allclose(found.loss, np.asarray(found.reconstruction) + np.maximum(floor, kl), rtol=1e-5)
    if floor > kl.max():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                     of_encoder(RateFloor(floor), params)[0], of_encoder(ELBO(0.0), params)[0])  # fmt: skip


@pytest.mark.parametrize("capacity", [0.0, 2.5, 30.0])
def test_a_capacity_is_paid_for_on_both_sides(capacity, params):
    kl, gamma = by_dimension(params).sum(1), 7.0
    found = losses(Capacity(capacity, gamma), params)
    np.testing.assert_allclose(
        found.loss, np.asarray(found.reconstruction) + gamma * np.abs(kl - capacity), rtol=1e-4, atol=1e-2
    )
    sign = np.sign(kl - capacity)
    if (sign == sign[0]).all():  # then the gradient is that of a KL weighted by ±γ
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
                     of_encoder(Capacity(capacity, gamma), params)[0],
                     of_encoder(ELBO(gamma * sign[0]), params)[0])  # fmt: skip


@pytest.mark.slow
def test_a_capacity_holds_the_rate_there(small):
    """Whatever it begins at: with a large γ, KL ends near C."""
    run = dataclasses.replace(classic(hidden=(16,), batch_size=10, epochs=40, learning_rate=3e-3),
                              objective=Capacity(Linear(0, 6, 30), 300.0))  # fmt: skip
    ends = []
    sweep(
        [run],
        small,
        strategy="loop",
        on_epoch=lambda report: ends.append(float(report.train.kl) if report.epoch else 0),
    )
    assert ends[-1] == pytest.approx(6, abs=0.7)
    assert ends[15] == pytest.approx(3, abs=0.7)


@pytest.mark.parametrize(
    "prior", [StandardNormal(), Normal(jnp.array([[0.3, -1.0, 0.0]]), jnp.array([[0.1, 0.5, 0.0]]))]
)
def test_divergences_by_dimension_sum_to_the_whole(prior):
    """And a dimension that is the prior's has none."""
    q = Normal(jnp.array([[0.5, -2.0, 0.0]]), jnp.array([[-0.5, 0.3, 0.0]]))
    own = DiagonalNormal().kl_by_dimension(q, prior)
    whole = kl_between(q, prior) if isinstance(prior, Normal) else kl_to_standard_normal(q)
    np.testing.assert_allclose(own.sum(-1), whole, rtol=1e-5)
    assert float(own[0, 2]) == 0
    np.testing.assert_allclose(DiagonalNormal().kl_by_dimension(q, q), 0, atol=1e-7)


@part("posterior/of-tests-without")
class Without:
    """A normal posterior that has no divergence by dimension."""

    heads = DiagonalNormal.heads
    sample_and_log_prob, log_prob = DiagonalNormal.sample_and_log_prob, DiagonalNormal.log_prob
    kl, marginals, noise = DiagonalNormal.kl, DiagonalNormal.marginals, DiagonalNormal.noise


@pytest.mark.parametrize("lacking", [{"posterior": Without()}, {"prior": Scales()}], ids=lambda one: next(iter(one)))
def test_free_bits_need_a_divergence_by_dimension_in_closed_form(lacking):
    run = classic("linear", 3)
    says = r"objective/free-bits needs the divergence .* in closed form, which posterior .* and prior .* do not have; "
    with pytest.raises(ConfigError, match=says) as caught:
        RunConfig(dataclasses.replace(run.vae, **lacking), FreeBits())
    assert "\n" not in str(caught.value)
    RunConfig(dataclasses.replace(run.vae, **lacking), RateFloor())
    given = VAE(3, run.vae.encoder, prior=ConditionalNormal(), condition=Labels(3))
    RunConfig(given, FreeBits(Linear(0.5, 0, 5)))


@pytest.mark.parametrize("objective", [FreeBits(0.2), RateFloor(3.0), Capacity(5.0, 20.0)])
def test_names_and_json(objective):
    run = dataclasses.replace(classic(), objective=objective)
    assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run
    others = [dataclasses.replace(classic(), objective=type(objective)(x)).name for x in (0.1, 1.0, 7.0)]
    assert len({run.name, *others}) == 4
