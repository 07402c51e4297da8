"""Model M2: its losses against the conditional ELBO and in closed form, its gradients, its mean over a split."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax

from jaxvae import naming, parts
from jaxvae.config import RunConfig
from jaxvae.data import Dataset
from jaxvae.errors import ConfigError, DataError
from jaxvae.models import MLP, VAE, ConditionalNormal, Conv, Gaussian, Labels, Poisson, class_logits, resize
from jaxvae.objectives import ELBO, IWAE, M2, Context
from jaxvae.training import check, engine

B, CLASSES, NUMBERS = 6, 3, 5
PICTURES = (8, 8), (8, 8, 3)
X = jax.random.normal(jax.random.key(0), (B, NUMBERS))
NOISE = jax.random.normal(jax.random.key(1), (1, B, 2))
LABELS, UNKNOWN = jnp.array([0, 2, 1, 1, 0, 2]), jnp.full(B, -1)
MODEL = VAE(2, MLP((7,)), likelihood=Gaussian(), condition=Labels(CLASSES, MLP((4,), "tanh")))
VECTORS = MODEL.bind((NUMBERS,))


def losses_of(objective, vae, params, labels, context):
    return objective(vae.given(labels), params, X, NOISE, context)


@pytest.fixture(scope="module")
def losses():
    return jax.jit(losses_of, static_argnums=4)


@pytest.fixture(scope="module")
def params():
    fresh = jax.jit(VAE.init)(VECTORS, jax.random.key(2))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), fresh)


def reader_with(params, **head):
    """The parameters with another layer of logits."""
    reader = params["condition"]["reader"]
    return params | {"condition": {"reader": reader | {"logits": reader["logits"] | head}}}


@pytest.fixture(scope="module")
def given_each(losses, params):
    """−ELBO of each example given each class, [b, classes]; reconstruction, KL, loss."""
    each = [losses(ELBO(), VECTORS, params, jnp.full(B, label), Context(B)) for label in range(CLASSES)]
    return [np.stack([getattr(one, name) for one in each], 1) for name in ("reconstruction", "kl", "loss")]


def test_where_every_class_is_known_it_is_the_conditional_bound_and_the_prior_of_the_class(losses, params):
    found = losses(M2(alpha=0.0), VECTORS, params, LABELS, Context(B))
    expected = losses(ELBO(), VECTORS, params, LABELS, Context(B))
    np.testing.assert_allclose(found.loss, expected.loss + np.log(CLASSES), rtol=1e-5)
    np.testing.assert_allclose(found.kl, expected.kl + np.log(CLASSES), rtol=1e-5)
    np.testing.assert_allclose(found.reconstruction, expected.reconstruction, rtol=1e-5)
    weighted = losses(M2(alpha=0.0, beta=3.0), VECTORS, params, LABELS, Context(B))
    np.testing.assert_allclose(weighted.loss, expected.reconstruction + 3 * expected.kl + np.log(CLASSES), rtol=1e-5)


def test_a_class_that_is_not_known_is_summed_out_over_q(losses, params, given_each):
    found = losses(M2(), VECTORS, params, UNKNOWN, Context(B, 1))
    logits = np.asarray(class_logits(VECTORS, params, X), np.float64)
    q, log_q = softmax(logits, 1), log_softmax(logits, 1)
    reconstruction, kl, loss = given_each
    to_prior = (q * (log_q + np.log(CLASSES))).sum(1)
    np.testing.assert_allclose(found.reconstruction, (q * reconstruction).sum(1), rtol=1e-5)
    np.testing.assert_allclose(found.kl, (q * kl).sum(1) + to_prior, rtol=1e-4)
    np.testing.assert_allclose(found.loss, (q * loss).sum(1) + to_prior, rtol=1e-5)
    np.testing.assert_array_equal(found.terms["classification"], 0)


def test_it_is_least_for_the_posterior_of_the_class_and_then_the_mixture_s_bound(losses, params, given_each):
    """−log Σ_y p(y) exp(−L_y), the minimum over q (Jordan et al. 1999), at q = softmax(−L_y)."""
    bound = -logsumexp(-given_each[2] - np.log(CLASSES), axis=1)
    loss = losses(M2(), VECTORS, params, UNKNOWN, Context(B, 1)).loss
    assert (np.asarray(loss) > bound + 1e-3).all()
    for row in range(B):
        best = reader_with(params, kernel=jnp.zeros((4, CLASSES)), bias=jnp.asarray(-given_each[2][row]))
        loss = losses(M2(), VECTORS, best, UNKNOWN, Context(B, 1)).loss
        assert float(loss[row]) == pytest.approx(bound[row], rel=1e-5)


def test_the_gradients_of_the_class_s_logits_are_the_known_ones(params, given_each):
    """Where the class is known, α N/N_y (q − y); else q (L − log p(y)/q less its mean under q)."""
    labels, context = jnp.where(jnp.arange(B) < 2, LABELS, -1), Context(B, 2)

    def loss(bias):
        own = reader_with(params, kernel=jnp.zeros((4, CLASSES)), bias=bias)
        return losses_of(M2(0.3), VECTORS, own, labels, context).loss

    bias = jnp.array([0.2, -0.5, 0.1])
    found = jax.jit(jax.jacrev(loss))(bias)
    q = softmax(np.asarray(bias, np.float64))
    one_hot = np.eye(CLASSES)[np.asarray(LABELS[:2])]
    np.testing.assert_allclose(found[:2], 0.3 * B / 2 * (q - one_hot), rtol=1e-4, atol=1e-6)
    of_class = given_each[2][2:] + np.log(q * CLASSES)
    np.testing.assert_allclose(found[2:], q * (of_class - of_class @ q[:, None]), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_split_s_mean_weighs_the_classification_by_those_that_have_a_class():
    """Of 130 examples, 30 with a class, in batches of which the last is filled up; in training over an epoch."""
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(130, NUMBERS)).astype(np.float32), rng.integers(0, CLASSES, 130)
    labels[rng.permutation(130)[:100]] = -1
    run = RunConfig(MODEL, M2(alpha=0.7), batch_size=10)
    program = run.program((NUMBERS,))
    state = engine.init(program, 0)
    found = jax.jit(engine.evaluate)(program, state, jnp.asarray(x), jnp.int32(0), conditions=jnp.asarray(labels))
    log_q = log_softmax(np.asarray(class_logits(VECTORS, state.params, jnp.asarray(x)), np.float64), 1)
    known = np.flatnonzero(labels >= 0)
    expected = -log_q[known, labels[known]].mean()
    assert float(found.terms["classification"]) == pytest.approx(expected, rel=1e-4)
    assert float(found.loss) == pytest.approx(float(found.reconstruction + found.kl) + 0.7 * expected, rel=1e-5)
    still = dataclasses.replace(program, optimiser=dataclasses.replace(program.optimiser, learning_rate=0.0))
    _, trained, _ = jax.jit(engine.train_epoch)(still, state, jnp.asarray(x), conditions=jnp.asarray(labels))
    assert float(trained.terms["classification"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_padded_model_is_the_small_one():
    run = RunConfig(dataclasses.replace(MODEL, prior=ConditionalNormal()), M2())
    small, large = run.program((NUMBERS,)), run.program((NUMBERS,), latent_dim=4)
    own = jax.jit(VAE.init)(small.vae, jax.random.key(0))
    labels = jnp.where(jnp.arange(B) % 2, LABELS, -1)

    def mean_loss(program, params):
        noise = engine.codes_noise(program, jax.random.key(2), B)
        vae = program.vae.given(labels)
        return jax.value_and_grad(lambda p: program.objective(vae, p, X, noise, Context(B, 3)).loss.mean())(params)

    shapes = jax.eval_shape(large.vae.init, jax.random.key(0))
    both = jax.jit(mean_loss)
    (value, slope), (padded, wide) = both(small, own), both(large, resize(own, shapes))
    assert float(padded) == pytest.approx(float(value), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), resize(wide, own), slope)
    jax.tree.map(np.testing.assert_array_equal, resize(resize(wide, own), shapes), wide)


# ── the class reader ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_that_is_not_known_is_all_zeros():
    given = VECTORS.given(jnp.array([-1, 2])).given_condition
    np.testing.assert_array_equal(given, [[0, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("shape", [(NUMBERS,), *(pytest.param(own, marks=pytest.mark.slow) for own in PICTURES)])
def test_a_reader_changes_no_other_parameter(shape):
    plain = dataclasses.replace(MODEL, encoder=Conv((4, 6)) if len(shape) > 1 else MLP(), condition=Labels(CLASSES))
    network = Conv((2, 4)) if len(shape) > 1 else MLP((4,))
    reading = dataclasses.replace(plain, condition=Labels(CLASSES, network)).bind(shape)
    one, two = (jax.jit(VAE.init)(vae, jax.random.key(0)) for vae in (plain.bind(shape), reading))
    reader = two["condition"].pop("reader")
    assert reader["logits"]["kernel"].shape[-1] == CLASSES
    assert ("condition" in one) == (len(shape) > 1)
    jax.tree.map(np.testing.assert_array_equal, one | {"condition": one.get("condition", {})}, two)
    logits = class_logits(reading, two | {"condition": {"reader": reader}}, jnp.ones((4, *shape)))
    assert logits.shape == (4, CLASSES)


def test_the_reader_sees_examples_as_the_encoder_does():
    """Counts as log(1 + x)."""
    counts = dataclasses.replace(MODEL, likelihood=Poisson()).bind((NUMBERS,))
    own = jax.jit(VAE.init)(counts, jax.random.key(0))
    x = jnp.round(jnp.exp(2 * X))
    np.testing.assert_allclose(class_logits(counts, own, x), class_logits(VECTORS, own, jnp.log1p(x)), rtol=1e-6)


def test_labels_without_a_network_are_as_they_were():
    assert parts.to_json(Labels(10)) == {"part": "condition/labels", "classes": 10}
    assert RunConfig(VAE(2, MLP(), condition=Labels(10))).name == "linear-2-condition=labels.10"


def test_a_model_that_reads_classes_is_json_and_has_a_name():
    run = RunConfig(MODEL, M2(beta=0.5))
    assert RunConfig.from_json(run.to_json()) == run
    assert run.name == (
        "linear-2-hidden7-likelihood=gaussian-condition=labels.3.network=linear.hidden4.tanh-m2beta0.5-batch100"
    ).removesuffix("-batch100")
    assert run.axes["hidden"].text == "7"
    assert run.axes["network"].text == "linear.hidden4.tanh"
    assert {axis.title for axis in run.axes.values() if axis.traced} == {"α", "β", "learning rate"}
    given = naming.parsed("condition", "labels:classes=3,network=linear(hidden=4,activation=tanh)")
    assert given == MODEL.condition
    assert naming.parsed("condition", "labels:classes=3,network=linear") == Labels(3, MLP())
    assert naming.parsed("objective", "m2:alpha=0.5", beta=None) == M2(0.5)


SOME = Dataset("some", np.zeros((40, 2), np.float32), np.where(np.arange(40) < 9, np.arange(40) % 3, -1),
               np.zeros((6, 2), np.float32), np.arange(6) % 3)  # fmt: skip


def trained_on_some(objective, condition):
    run = RunConfig(VAE(1, MLP((3,)), likelihood=Gaussian(), condition=condition), objective, batch_size=10)
    return lambda: check([run], SOME, "loop")


@pytest.mark.parametrize(
    ("do", "error", "words"),
    [
        (lambda: RunConfig(VAE(2, MLP()), M2()), ConfigError, "objective/m2 needs a model that reads classes"),
        (lambda: RunConfig(VAE(2, MLP(), condition=Labels(3)), M2()), ConfigError, "m2 needs a model that reads"),
        (lambda: RunConfig(MODEL), ConfigError, "vae: objective/elbo does not train the network of the condition"),
        (lambda: RunConfig(MODEL, IWAE(5)), ConfigError, "vae: objective/iwae does not train the network"),
        (lambda: parts.check(Labels(3, 7)), ConfigError, "condition/labels: network must be a part, not 7"),
        (lambda: parts.check(Labels(3, Gaussian())), ConfigError, "network must be a part of the kind network"),
        (lambda: parts.check(M2(alpha=-1.0)), ConfigError, "objective/m2: alpha must be a finite number of at least 0"),
        (
            trained_on_some(ELBO(), Labels(3)),
            DataError,
            "some has no label of 31 of 40 training examples, which a condition needs under the objective elbo",
        ),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(do, error, words):
    with pytest.raises(error, match=words) as raised:
        do()
    assert "\n" not in str(raised.value)


def test_examples_without_a_class_serve_models_that_are_given_none():
    trained_on_some(ELBO(), None)()
    trained_on_some(M2(), Labels(3, MLP((2,))))()
