"""Models with a condition, trained: that they are right where the answer is known, and go on as all others do."""

import argparse
import base64
import dataclasses
import json
import shutil
import subprocess
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

import jaxvae
from jaxvae import data
from jaxvae.commands import grid
from jaxvae.config import RunConfig
from jaxvae.data import rows
from jaxvae.errors import ConfigError, DataError, InputError
from jaxvae.evaluation import Plan, likelihood
from jaxvae.figures import conditions, pictures
from jaxvae.models import MLP, VAE, ConditionalNormal, Gaussian, Labels, Side, StandardNormal
from jaxvae.optimisers import Adam
from jaxvae.page import explorer
from jaxvae.study import Study
from jaxvae.training.sweep import sweep
from tests.blobs import blobs
from tests.linear import AsItIs, ToZero
from tests.page.test_explorer import decode as page_decode

EPOCHS, COPIES = 5, 20
RNG = np.random.default_rng(0)
N, SIZE, CODES, NUMBERS = 1000, 2, 1, 4
C = RNG.normal(size=(N, SIZE)).astype(np.float32)
ON_C, ON_Z = RNG.normal(size=(SIZE, NUMBERS)), 2 * RNG.normal(size=(CODES, NUMBERS))
X = C @ ON_C + RNG.normal(size=(N, CODES)) @ ON_Z + RNG.normal(size=(N, NUMBERS))
X = ((X - X.mean(0)) / X.std(0) + 0.5).astype(np.float32)


def trained(x=X, condition=None, test=None, test_condition=None, **model):
    """A linear model, whose likelihood has one optimum."""
    copies = [None if a is None else np.tile(a, (COPIES, 1)) for a in (x, condition)]
    vae = VAE(CODES, AsItIs(), likelihood=Gaussian(), condition=None if condition is None else Side(SIZE), **model)
    test, test_condition = (x, condition) if test is None else (test, test_condition)
    return jaxvae.fit(
        copies[0], vae, condition=copies[1], test=test, test_condition=test_condition, epochs=EPOCHS,
        optimiser=Adam(ToZero(0.02, EPOCHS)), standardize=False, quiet=True,
    )  # fmt: skip


def most_likely(x, c):
    """log p(x|c) of each example under the most likely linear model: regression on c, then probabilistic PCA of what is
    left (Tipping & Bishop 1999)."""
    x, with_one = x.astype(np.float64), np.column_stack([c, np.ones(len(c))])
    left = x - with_one @ np.linalg.lstsq(with_one, x, rcond=None)[0]
    values, vectors = np.linalg.eigh(left.T @ left / len(x))
    noise = values[:-CODES].mean()
    weights = vectors[:, -CODES:] * np.sqrt(values[-CODES:] - noise)
    return stats.multivariate_normal(np.zeros(x.shape[1]), weights @ weights.T + noise * np.eye(x.shape[1])).logpdf(
        left
    )


@pytest.fixture(scope="module")
def conditional():
    return trained(condition=C)


def test_a_linear_conditional_model_is_regression_and_probabilistic_pca(conditional):
    expected = most_likely(X, C)
    found = conditional.log_likelihood(X, samples=200, condition=C)
    assert found.mean() == pytest.approx(expected.mean(), abs=0.02)
    assert np.abs(found - expected).mean() < 0.05
    assert conditional.metrics[-1]["test"]["loss"] == pytest.approx(-expected.mean(), abs=0.03)
    slope = np.asarray(conditional.decode(np.zeros((2, 1)), [[0, 0], [1, 0]]), float)
    with_one = np.column_stack([C, np.ones(N)])
    np.testing.assert_allclose(slope[1] - slope[0], np.linalg.lstsq(with_one, X, rcond=None)[0][0], atol=0.1)


@pytest.mark.slow
def test_a_condition_that_says_nothing_changes_nothing():
    others = np.random.default_rng(1).normal(size=(N, SIZE)).astype(np.float32)
    with_it, without = trained(condition=others), trained()
    bounds = with_it.log_likelihood(X, samples=200, condition=others), without.log_likelihood(X, samples=200)
    error = bounds[1].std(ddof=1) / np.sqrt(N)
    assert abs(bounds[0].mean() - bounds[1].mean()) < error


def test_a_condition_that_determines_the_example_leaves_nothing_to_the_code():
    x = (0.3 * C @ ON_C + 0.3 * np.random.default_rng(2).normal(size=(N, NUMBERS))).astype(np.float32)
    run = trained(x, C, prior=ConditionalNormal())
    # ½ log λ/σ² of noise alone, whose largest eigenvalue λ is at most about σ² (1 + √(p/n))² (Marchenko & Pastur 1967)
    assert run.metrics[-1]["test"]["kl"] < np.log1p(np.sqrt(NUMBERS / N))
    density = stats.norm.logpdf(x, 0.3 * C @ ON_C, 0.3).sum(1).mean()
    assert -run.metrics[-1]["test"]["loss"] == pytest.approx(density, abs=0.05)


MEANS = 3 * RNG.normal(size=(10, NUMBERS))
CLASSES = np.arange(400) % 10
OF_CLASSES = (MEANS[CLASSES] + 0.5 * RNG.normal(size=(400, NUMBERS))).astype(np.float32)


@pytest.fixture(scope="module")
def of_classes():
    names = np.array([f"class {label}" for label in CLASSES])
    vae = VAE(2, MLP((32,)), likelihood=Gaussian(), condition=Labels(10))
    how = {"epochs": 10, "batch_size": 20, "optimiser": Adam(3e-3), "quiet": True, "standardize": False}
    return jaxvae.fit(np.tile(OF_CLASSES, (5, 1)), vae, labels=np.tile(names, 5), **how)


def nearest(decoded):
    return np.square(np.asarray(decoded)[:, None] - MEANS).sum(-1).argmin(1)


def test_the_condition_chooses_the_class(of_classes):
    codes = np.random.default_rng(1).uniform(-1, 1, (10, 2))
    np.testing.assert_array_equal(nearest(of_classes.decode(codes, np.arange(10))), np.arange(10))
    for label in (0, 7):
        assert (nearest(of_classes.decode(codes, label)) == label).all()
        for given in (label, f"class {label}"):
            assert (nearest(of_classes.sample(jax.random.key(0), 20, condition=given)) == label).all()
    np.testing.assert_array_equal(nearest(of_classes.reconstruct(OF_CLASSES, CLASSES)), CLASSES)
    followed = of_classes.reconstructions[-1]  # of each split the first of each class, each with its own condition
    np.testing.assert_array_equal(nearest(followed.reshape(20, NUMBERS)), np.tile(np.arange(10), 2))


def test_it_is_saved_and_loaded_with_its_condition(of_classes, tmp_path):
    loaded = jaxvae.load(of_classes.save(tmp_path / "run"))
    assert loaded.config == of_classes.config
    for one, two in zip(loaded.encode(OF_CLASSES, 3), of_classes.encode(OF_CLASSES, 3), strict=True):
        np.testing.assert_array_equal(one, two)


def configs(epochs):
    parts = {"likelihood": Gaussian(), "prior": ConditionalNormal(), "condition": Labels(3)}
    return [RunConfig(VAE(d, MLP((5,)), **parts), epochs=epochs, batch_size=20) for d in (1, 3)]


THREE = RNG.integers(0, 3, N)
TABLE = data.from_arrays(X[:80] + THREE[:80, None], THREE[:80], test=X[80:100], test_labels=THREE[80:100])


def equal(a, b, **tolerance):
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, **tolerance), a, b)


@pytest.mark.slow
def test_lanes_are_the_runs_by_themselves():
    looped, vmapped = (sweep(configs(3), TABLE, strategy=how) for how in ("loop", "vmap"))
    for name, state in looped.items():
        equal(vmapped[name].params, state.params, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("strategy", [pytest.param("loop", marks=pytest.mark.slow), "vmap"])
def test_an_interrupted_study_goes_on_to_the_same_bits(strategy, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    Study(whole, configs(2), TABLE).train(strategy, quiet=True)
    for epochs in (1, 2):
        Study(stopped, configs(epochs), TABLE).train(strategy, quiet=True)
    for config in configs(2):
        one, two = (jaxvae.load(folder / config.name) for folder in (whole, stopped))
        equal(one.params, two.params, rtol=0)
        assert [entry["test"] for entry in one.metrics] == [entry["test"] for entry in two.metrics]
        np.testing.assert_array_equal(one.reconstructions, two.reconstructions)


LABELLED = {"labels": THREE}


def fitted(part, **given):
    model = VAE(1, MLP((2,)), likelihood=Gaussian(), condition=part)
    return lambda run: jaxvae.fit(X, model, epochs=0, quiet=True, **given)


@pytest.mark.parametrize(
    ("do", "error", "words"),
    [
        (fitted(Labels(3)), DataError, "data has no classes, which the condition of the model is; give labels"),
        (fitted(Labels(2), **LABELLED), DataError, "data has 3 classes, the condition of the model 2"),
        (fitted(Labels(3), labels=C[:, 0]), DataError, "data has no classes"),
        (fitted(Side(2)), DataError, "data has no numbers beside its examples"),
        (fitted(Side(3), condition=C), DataError, "data has conditions of 2 numbers, the condition of the model 3"),
        (fitted(None, condition=C), ConfigError, "a condition was given, but the model has none"),
        (fitted(Side(2), condition=C[:-1]), DataError, "data has 1000 train examples but 999 conditions"),
        (
            fitted(Side(2), condition=np.full_like(C, np.nan)),
            DataError,
            "conditions of which 2,000 numbers are not fin",
        ),
        (fitted(Side(2), condition=[["a", "b"]] * N), DataError, "train conditions of <U1"),
        (fitted(Side(2), condition=C, test=X), DataError, "test was given without test_condition"),
        (fitted(Side(2), test=X, test_condition=C), DataError, "test_condition was given without condition"),
        (lambda run: run.encode(X), InputError, "needs a condition of each example, or one for all"),
        (lambda run: run.encode(X, C[:3]), InputError, r"condition must be numbers of shape \[1000, 2\]"),
        (lambda run: run.decode([[0.0]], [1.0]), InputError, r"numbers of shape \[1, 2\]"),
        (lambda run: run.sample(jax.random.key(0), 2), InputError, "needs a condition"),
        (lambda run: run.log_likelihood(X, 5), InputError, "needs a condition"),
    ],
)
def test_careless_inputs_are_one_line(conditional, do, error, words):
    with pytest.raises(error, match=words) as raised:
        do(conditional)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_classes_are_called_by_their_names(of_classes):
    with pytest.raises(InputError, match="condition 'class 77' is no class; there are class 0, class 1"):
        of_classes.sample(jax.random.key(0), 2, condition="class 77")
    plain = jaxvae.fit(X[:50], latent_dim=1, epochs=0, quiet=True)
    with pytest.raises(InputError, match="has no condition; give none"):
        plain.encode(X[:2], C[:2])


def test_conditions_are_a_part_of_the_data():
    given, other = (data.from_arrays(X, condition=c) for c in (C, C + 1))
    assert given.fingerprint != other.fingerprint != data.from_arrays(X).fingerprint
    whole = data.from_arrays(np.arange(N)[:, None], condition=np.arange(N))  # held out with their examples
    for images, condition in zip((whole.train_images, whole.test_images), whole.conditions, strict=True):
        np.testing.assert_array_equal(images, condition)
    first = whole.first(5, 3)
    np.testing.assert_array_equal(first.conditions[1], first.test_images)


# ── what is made of them ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_evaluation_is_given_the_conditions(conditional):
    plan = Plan(samples=(1, 200), codes=False, images=300)
    found = {(one.metric, one.samples): one for one in conditional.evaluate(plan=plan, quiet=True).records}
    bound = found["L_K", 200]
    assert abs(bound.value - most_likely(X, C)[:300].mean()) < 0.03
    given = conditional.evaluate(X[:300], plan, condition=C[:300], quiet=True).records
    assert [one.value for one in given if one.metric == "L_K"][1] == pytest.approx(bound.value, rel=1e-6)
    with pytest.raises(InputError, match="needs a condition"):
        conditional.evaluate(X[:300], plan, quiet=True)
    with pytest.raises(InputError, match="the dataset has the conditions of its examples"):
        conditional.evaluate(None, plan, condition=C, quiet=True)


def test_examples_that_stay_in_a_file_are_read_in_blocks_with_their_own_conditions(conditional, tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", X)
    there = np.load(tmp_path / "x.npy", mmap_mode="r")
    monkeypatch.setattr(rows, "BLOCK", 300 * 4 * NUMBERS)
    for of_file, of_array in zip(conditional.codes(there, C), conditional.codes(X, C), strict=True):
        np.testing.assert_array_equal(of_file, of_array)


@pytest.mark.slow
def test_annealing_brackets_the_likelihood_given_the_condition():
    """Of a model whose density is known: x = A c + W z + σ ε."""
    vae = VAE(CODES, AsItIs(), likelihood=Gaussian(0.7), prior=ConditionalNormal(), condition=Side(SIZE))
    vae = vae.bind((NUMBERS,))
    params = jax.tree.map(lambda leaf: np.random.default_rng(3).normal(size=leaf.shape).astype(np.float32) / 2,
                          vae.init(jax.random.key(0)))  # fmt: skip
    mean, log_std = (np.asarray(one, float) for one in vae.prior.normal(params["prior"], jax.numpy.asarray(C[:6])))
    kernel, bias = (np.asarray(params["decoder"]["latent"][name], float) for name in ("kernel", "bias"))
    centre = C[:6] @ kernel[:SIZE] + mean @ kernel[SIZE:] + bias
    noise = 0.49 * np.eye(NUMBERS)
    spread = [kernel[SIZE:].T * np.exp(2 * one) @ kernel[SIZE:] + noise for one in log_std]
    exact = [stats.multivariate_normal(*of).logpdf(x) for *of, x in zip(centre, spread, X[:6], strict=True)]
    found = likelihood.annealed(vae, params, X[:6], 400, 64, conditions=C[:6])
    np.testing.assert_allclose(found.lower, exact, atol=0.25)  # four standard deviations of an estimate
    from_prior = params | {"encoder": jax.tree.map(np.zeros_like, params["encoder"])}  # of codes N(0, I)
    bounds = likelihood.bounds(vae, from_prior, X[:6], (20_000,), conditions=C[:6])
    np.testing.assert_allclose(bounds.bound[0], exact, atol=0.1)
    drawn, codes = likelihood.simulated(vae, params, 2000, dtype=np.float32, conditions=np.repeat(C[:1], 2000, 0))
    np.testing.assert_allclose(drawn.mean(0), centre[0], atol=4 * np.sqrt(np.diag(spread[0]).max() / 2000))
    assert codes.mean() == pytest.approx(mean[0, 0], abs=4 * np.exp(log_std[0, 0]) / np.sqrt(2000))


@pytest.fixture(scope="module")
def pictured():
    images, labels = blobs(60, 0)
    runs = [VAE(2, MLP((4,)), condition=Labels(10)), VAE(2, MLP((4,)), condition=Side(1))]
    dataset = data.from_arrays(images, labels, test=images[:25], test_labels=labels[:25],
                               condition=labels * 1.0, test_condition=labels[:25] * 1.0)  # fmt: skip
    return dataset, [jaxvae.fit(dataset, vae, epochs=0, quiet=True) for vae in runs]


@pytest.mark.slow
def test_figures_are_drawn_with_conditions(pictured):
    dataset, (of_labels, of_numbers) = pictured
    given, count, words = conditions.of_samples(of_labels, dataset, 8, 8)
    assert (count, words) == (80, ", a row for each class")
    np.testing.assert_array_equal(given, np.repeat(np.arange(10), 8))
    given, count, words = conditions.of_samples(of_numbers, dataset, 8, 8)
    assert words == ", given the conditions of test examples"
    np.testing.assert_array_equal(given[:, 0], dataset.test_labels[np.arange(64) % 25])
    assert conditions.one_for_all(of_labels, dataset, 3)[1] == ", given the class 0"
    np.testing.assert_array_equal(conditions.one_for_all(of_numbers, dataset, 3)[0], np.zeros((3, 1)))


def test_the_page_decodes_as_any_class_and_has_a_map_decoded_with_numbers(pictured):
    dataset, runs = pictured
    look = pictures.look(dataset.train_images)
    of_classes, of_numbers = (
        explorer.explored(run, dataset.test_images, look, conditions.of_test(run, dataset), run.conditions(c, 225))
        for run, c in zip(runs, (3, [3.0]), strict=True)
    )
    assert of_classes is not None
    assert of_numbers is not None
    assert of_classes["decoder"]["classes"] == 10
    for label in (0, 3):
        given = np.concatenate([np.eye(10)[label], [0.5, -1.0]])
        logits = page_decode(of_classes["decoder"], given, (28, 28))
        expected = np.asarray(runs[0].decode(np.array([[0.5, -1.0]]), label))[0]
        np.testing.assert_allclose(expit(logits), expected, atol=0.5 / 255)
    tiles = np.frombuffer(base64.b64decode(of_numbers["decoder"]["tiles"]), np.uint8).reshape(15, 15, 28, 28)
    centre = np.asarray(runs[1].decode(np.zeros((1, 2)), [3.0]))[0]
    np.testing.assert_allclose(tiles[7, 7] / 255, centre, atol=0.5 / 255 + 1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_pages_script_puts_the_class_before_the_code(pictured):
    _, (run, _) = pictured
    packed = explorer.packed_decoder(run)
    script = resources.files("jaxvae.page").joinpath("templates/decoder.js").read_text(encoding="utf-8")
    script += f"\nconst levels = (means) => means;\nconst decode = decoder({{ decoder: {json.dumps(packed)} }});"
    script += "\nconsole.log(JSON.stringify([0, 7].map((given) => [...decode([0.5, -1], given)])));"
    said = subprocess.run(["node", "-"], input=script, capture_output=True, text=True, check=True).stdout
    expected = np.asarray(run.decode(np.array([[0.5, -1.0]] * 2), [0, 7])).reshape(2, -1)
    np.testing.assert_allclose(json.loads(said), expected, atol=0.5 / 255)
    assert np.abs(expected[0] - expected[1]).max() > 1 / 255


@pytest.mark.parametrize("prior", [StandardNormal(), ConditionalNormal()])
def test_the_pages_divergence_of_each_dimension_is_from_the_prior_given_the_condition(prior):
    """They add up to the model's own; parameters are far from where training begins, so that the prior matters."""
    run = trained(condition=C, prior=prior)
    params = dict(run.params)
    if "prior" in params:
        params["prior"] = jax.tree.map(lambda leaf: leaf + 0.3, params["prior"])
    run = dataclasses.replace(run, params=params)
    space = explorer.explored(run.in_trained_numbers(), X[:50], pictures.look(X), C[:50], C[:225])
    assert space is not None
    vae = run.vae.given(C[:50])
    exact = vae.kl(params, vae.encode(params, jnp.asarray(X[:50])), jnp.zeros((1, 50, CODES)))
    assert sum(space["kl"]) == pytest.approx(float(exact.mean()), abs=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("condition", [Labels(10), Side(1)])
def test_a_whole_study_with_figures_and_a_page(condition, pictured, tmp_path):
    dataset, _ = pictured
    run = RunConfig(VAE(2, MLP((4,)), condition=condition), epochs=1, batch_size=20)
    study = Study(tmp_path / "study", [run], dataset)
    study.train(quiet=True)
    study.write(0.0)
    figures = {path.stem for path in (tmp_path / "study" / "figures").iterdir()}
    assert {f"latent-{run.name}", f"samples-{run.name}", "evolution"} <= figures
    of_classes = {f"planes-{run.name}", f"analogies-{run.name}"}
    assert figures & of_classes == (of_classes if condition == Labels(10) else set())
    assert "walk" not in figures
    assert f"condition={condition.part_label}" in (tmp_path / "study" / "report.html").read_text()


def test_a_command_takes_the_condition_as_a_text():
    options = argparse.Namespace(**grid.CLASSIC | {"condition": "labels:classes=10"}, precision=None, study=None)
    runs = grid.requested_runs(options)
    assert {run.vae.condition for run in runs} == {Labels(10)}
    assert runs[0].name == "linear-2-condition=labels.10"
    options.condition = "labels"
    with pytest.raises(ConfigError, match="condition labels needs classes"):
        grid.requested_runs(options)
