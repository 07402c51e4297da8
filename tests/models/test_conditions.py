"""Models that are given a condition of each example: closed forms, and what must not change by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxvae import parts
from jaxvae.config import RunConfig
from jaxvae.errors import ConfigError, InputError
from jaxvae.models import MLP, VAE, ConditionalNormal, Conv, DiagonalNormal, Gaussian, Labels, Normal, Side
from jaxvae.objectives import IWAE, Context
from jaxvae.training import engine

RNG = np.random.default_rng(0)
PRIOR = ConditionalNormal()
CONDITIONS = jnp.asarray(RNG.normal(size=(4, 2)), jnp.float32)


def random_like(tree, seed=0, scale=0.3):
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [jnp.asarray(scale * rng.normal(size=a.shape), jnp.float32) for a in leaves])


@pytest.fixture
def prior_params():
    return random_like(PRIOR.init(jax.random.key(0), 3, 2))


def normals(params):
    mean, std = (np.asarray(leaf, np.float64) for leaf in PRIOR.normal(params, CONDITIONS))
    return mean, np.exp(std)


def test_a_class_is_one_number_of_as_many_as_there_are():
    np.testing.assert_array_equal(Labels(3).to_float(jnp.array([2, 0])), [[0, 0, 1], [1, 0, 0]])
    assert (Labels(3).size, Side(2).size) == (3, 2)


# ── the prior ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_conditional_prior_starts_as_the_standard_normal():
    fresh, z = PRIOR.init(jax.random.key(0), 3, 2), jax.random.normal(jax.random.key(1), (5, 4, 3))
    np.testing.assert_allclose(PRIOR.log_prob(fresh, z, CONDITIONS), stats.norm.logpdf(z).sum(-1), rtol=1e-6)
    sampled = PRIOR.sample(fresh, jax.random.key(2), 4, 3, CONDITIONS)
    np.testing.assert_array_equal(sampled, jax.random.normal(jax.random.key(2), (4, 3)))


def test_the_conditional_prior_has_the_density_that_its_samples_have(prior_params):
    mean, std = normals(prior_params)
    z = jax.random.normal(jax.random.key(1), (5, 4, 3))
    expected = stats.norm.logpdf(z, mean, std).sum(-1)
    np.testing.assert_allclose(PRIOR.log_prob(prior_params, z, CONDITIONS), expected, rtol=1e-5)
    n = 20_000
    one = jnp.broadcast_to(CONDITIONS[0], (n, 2))
    drawn = np.asarray(PRIOR.sample(prior_params, jax.random.key(2), n, 3, one))
    np.testing.assert_allclose(drawn.mean(0), mean[0], atol=4 * std[0].max() / np.sqrt(n))
    np.testing.assert_allclose(drawn.std(0), std[0], rtol=4 / np.sqrt(2 * n))


def test_the_divergence_from_it_is_that_of_normals(prior_params):
    """KL(N(m, s²) ‖ N(μ, σ²)) = log σ/s + (s² + (m − μ)²) / 2σ² − ½; and the mean log-ratio of samples."""
    posterior, (mean, std) = DiagonalNormal(), normals(prior_params)
    q = random_like(Normal(jnp.zeros((4, 3)), jnp.zeros((4, 3))), seed=1)
    own = np.asarray(q.mean, np.float64), np.exp(np.asarray(q.log_std, np.float64))
    expected = (np.log(std / own[1]) + (own[1] ** 2 + (own[0] - mean) ** 2) / (2 * std**2) - 0.5).sum(-1)
    vae = VAE(3, MLP(), prior=PRIOR, condition=Side(2)).bind((5,)).given(CONDITIONS)
    params = vae.init(jax.random.key(0)) | {"prior": prior_params}
    noise = jax.random.normal(jax.random.key(3), (20_000, 4, 3))
    np.testing.assert_allclose(vae.kl(params, q, noise), expected, rtol=1e-5)
    assert vae.has_closed_kl
    z, log_ratio = vae.sample_codes(params, q, noise)
    by_densities = stats.norm.logpdf(z, mean, std).sum(-1) - stats.norm.logpdf(z, *own).sum(-1)
    np.testing.assert_allclose(log_ratio, by_densities, atol=2e-4)
    np.testing.assert_allclose(vae.log_ratio(params, q, z), by_densities, atol=2e-4)
    np.testing.assert_allclose(-np.asarray(log_ratio).mean(0), expected, atol=4 * by_densities.std(0).max() / 141)
    np.testing.assert_allclose(vae.log_prior(params, z) - posterior.log_prob(q, z), by_densities, atol=2e-4)


# ── the networks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def without_condition(params, size, conv):
    """Parameters of a conditional model in which nothing depends on the condition, and those of the model without."""
    encoder, decoder = dict(params["encoder"]), dict(params["decoder"])
    first = "conv1" if conv else "hidden"
    kernel = encoder[first]["kernel"]
    rest = kernel[..., :1, :] if conv else kernel[:-size]
    ignoring = jnp.concatenate([rest, jnp.zeros_like(kernel[..., 1:, :] if conv else kernel[-size:])], axis=-2)
    codes = decoder["latent"]["kernel"]
    own = params | {
        "encoder": encoder | {first: encoder[first] | {"kernel": ignoring}},
        "decoder": decoder | {"latent": decoder["latent"] | {"kernel": codes.at[:size].set(0)}},
    }
    plain = {
        "encoder": encoder | {first: encoder[first] | {"kernel": rest}},
        "decoder": decoder | {"latent": decoder["latent"] | {"kernel": codes[size:]}},
    }
    return own, plain


@pytest.mark.parametrize(("encoder", "shape"), [(MLP((7,)), (5,)), (Conv((4, 6)), (8, 8))])
def test_a_model_that_ignores_its_condition_is_the_model_without(encoder, shape):
    vae = VAE(3, encoder, condition=Labels(4)).bind(shape)
    own, plain = without_condition(jax.jit(VAE.init)(vae, jax.random.key(0)), 4, encoder == Conv((4, 6)))
    assert ("condition" in own) == (len(shape) > 1)
    x, noise = jax.random.uniform(jax.random.key(1), (6, *shape)), jax.random.normal(jax.random.key(2), (2, 6, 3))
    objective, labels = jax.jit(IWAE(2).__call__, static_argnums=4), jnp.array([0, 1, 2, 3, 0, 1])
    found = objective(vae.given(labels), own, x, noise, Context(6))
    expected = objective(VAE(3, encoder).bind(shape), plain, x, noise, Context(6))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


@pytest.mark.parametrize("shape", [(5,), (4, 4, 3)])
def test_encoder_and_decoder_see_the_condition_of_their_own_example(shape):
    vae = VAE(2, MLP((7,)), condition=Labels(3)).bind(shape)
    params = jax.jit(VAE.init)(vae, jax.random.key(0))
    x, z = jax.random.uniform(jax.random.key(1), (4, *shape)), jax.random.normal(jax.random.key(2), (3, 4, 2))
    labels, other = jnp.array([0, 1, 2, 0]), jnp.array([0, 1, 2, 1])
    for of in map(jax.jit, (lambda vae: vae.encode(params, x).mean, lambda vae: vae.log_likelihood(params, z, x).T)):
        one, two = of(vae.given(labels)), of(vae.given(other))
        np.testing.assert_array_equal(one[:3], two[:3])
        assert (np.abs(one[3] - two[3]) > 1e-6).all()
    likely = jax.jit(vae.given(labels).log_likelihood)
    np.testing.assert_allclose(likely(params, z, x), [likely(params, each[None], x)[0] for each in z], rtol=1e-5)


def test_a_padded_conditional_model_is_the_small_one():
    run = RunConfig(VAE(2, MLP((7,)), prior=PRIOR, likelihood=Gaussian(), condition=Labels(3)))
    small, large = run.program((5,)), run.program((5,), latent_dim=4)
    x, labels = jax.random.normal(jax.random.key(1), (6, 5)), jnp.array([0, 1, 2, 0, 1, 2])
    params = random_like(jax.eval_shape(small.vae.init, jax.random.key(0)))

    def padded(leaf, like):
        return jnp.pad(leaf, [(0, b - a) for a, b in zip(leaf.shape, like.shape, strict=True)]) if leaf.ndim else leaf

    wide = jax.tree.map(padded, params, jax.eval_shape(large.vae.init, jax.random.key(0)))

    @jax.jit
    def gradient(program, params):
        noise = engine.codes_noise(program, jax.random.key(2), 6)
        vae = program.vae.given(labels)
        return jax.value_and_grad(lambda p: program.objective(vae, p, x, noise, Context(6)).loss.mean())(params)

    (loss, slope), (wide_loss, wide_slope) = gradient(small, params), gradient(large, wide)
    np.testing.assert_allclose(wide_loss, loss, rtol=1e-6)
    expected = jax.tree.map(padded, slope, wide)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), wide_slope, expected)


def test_a_model_without_condition_says_nothing_of_it():
    vae = VAE(2, MLP())
    assert "condition" not in parts.to_json(vae)
    assert parts.from_json(parts.to_json(vae)) == vae
    assert RunConfig(vae).name == "linear-2"
    conditional = VAE(2, MLP(), condition=Labels(10), prior=PRIOR)
    assert parts.from_json(parts.to_json(conditional)) == conditional
    assert RunConfig(conditional).name == "linear-2-prior=conditional-normal-condition=labels.10"
    assert [leaf.shape for leaf in jax.tree.leaves(RunConfig(vae).program((5,)))] == [()] * 3  # β, rate, size in use


def wrong(**fields):
    return lambda: parts.check(VAE(2, MLP(), **fields))


@pytest.mark.parametrize(
    ("do", "words"),
    [
        (wrong(condition=3), "condition must be a part, not 3"),
        (wrong(condition=PRIOR), "condition must be a part of the kind condition"),
        (wrong(prior=PRIOR), "the prior conditional-normal needs a condition"),
        (wrong(condition=Labels(0)), "classes must be a whole number of at least 1 and below 1001, not 0"),
        (wrong(condition=Side(1.5)), "size must be a whole number"),
        (wrong(prior=None), "prior must be a part"),
        (lambda: VAE(2, MLP(), condition=Side(2)).bind((3,)).decode({}, jnp.zeros((1, 2))), "give it those of"),
        (
            lambda: VAE(2, MLP(), condition=Side(2)).bind((3,)).given(jnp.zeros((2, 2))).decode({}, jnp.zeros((3, 2))),
            "2 conditions were given for 3 codes",
        ),
        (lambda: Labels(3).from_user(0.5, 2), "condition must be 2 whole numbers, or one for all, not 0.5"),
        (lambda: Labels(3).from_user([0, 3], 2), "classes from 0 to 2, not 0 to 3"),
        (lambda: Labels(3).from_user([0, -1], 2), "classes from 0 to 2, not -1 to 0"),
        (lambda: Labels(3).from_user([[0], [1, 2]], 2), "one array of numbers"),
        (lambda: Side(2).from_user([1, np.nan], 3), "finite numbers"),
        (lambda: Side(2).from_user([[1, 2, 3]], 1), r"numbers of shape \[1, 2\], or \[2\] for all"),
        (lambda: Side(2).from_user("ab", 1), "condition must be numbers"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(do, words):
    with pytest.raises((ConfigError, InputError), match=words) as raised:
        do()
    assert "\n" not in str(raised.value)


def test_one_condition_serves_all_examples():
    np.testing.assert_array_equal(Labels(3).from_user(2, 3), [2, 2, 2])
    np.testing.assert_array_equal(Side(2).from_user([1, 2], 2), [[1, 2], [1, 2]])
    np.testing.assert_array_equal(Side(1).from_user([1, 2], 2), [[1], [2]])
    assert Side(1).from_user(0.5, 3).shape == (3, 1)
