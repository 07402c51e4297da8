"""Model M2, trained: a linear one is a mixture of normals, whose density is known; and it goes on as all others do."""

import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression

import jaxvae
from jaxvae import data
from jaxvae.config import RunConfig
from jaxvae.errors import DataError, InputError
from jaxvae.evaluation import Plan
from jaxvae.models import MLP, VAE, Gaussian, Labels
from jaxvae.objectives import M2
from jaxvae.optimisers import Adam
from jaxvae.results import probe_dataset
from jaxvae.study import Study
from jaxvae.training.sweep import sweep
from tests.blobs import blobs
from tests.linear import AsItIs, ToZero

N, NUMBERS, LABELLED, NOISE, EPOCHS = 2000, 10, 3, 0.8, 20
RNG = np.random.default_rng(4)
Y = RNG.integers(0, 2, N)
MEANS, ALONG = np.zeros((2, NUMBERS)), np.array([1.0, 3.0] + [0.0] * 8)
MEANS[:, 0] = -2, 2
X = (MEANS[Y] + RNG.normal(size=(N, 1)) * ALONG + NOISE * RNG.normal(size=(N, NUMBERS))).astype(np.float32)
SHOWN = np.concatenate([RNG.permutation(np.flatnonzero(label == Y))[:LABELLED] for label in (0, 1)])
SOME = np.full(N, -1)
SOME[SHOWN] = Y[SHOWN]


def densities():
    """log p(x|y) of each example, [classes, n]."""
    spread = np.outer(ALONG, ALONG) + NOISE**2 * np.eye(NUMBERS)
    return np.stack([stats.multivariate_normal(mean, spread).logpdf(X) for mean in MEANS])


@pytest.fixture(scope="module")
def mixture():
    """A model whose decoder and class reader are linear, so that it can be the mixture that x is drawn from."""
    vae = VAE(1, AsItIs(), likelihood=Gaussian(), condition=Labels(2, AsItIs()))
    return jaxvae.fit(
        X, vae, labels=SOME, test=X, test_labels=Y, objective=M2(alpha=1.0), epochs=EPOCHS, batch_size=20,
        optimiser=Adam(ToZero(0.02, EPOCHS)), standardize=False, quiet=True,
    )  # fmt: skip


def accuracy(run):
    return (np.asarray(run.classify(X)).argmax(1) == Y).mean()


@pytest.mark.slow
def test_three_labels_of_each_class_are_enough_for_the_best_rule_there_is(mixture):
    """Bayes' rule under the mixture; a linear reader of the labelled examples alone is wrong ten times as often."""
    alone = LogisticRegression(C=100).fit(X[SHOWN], Y[SHOWN]).score(X, Y)
    best = (densities().argmax(0) == Y).mean()
    assert alone < 0.9 < 0.99 < best
    assert accuracy(mixture) > best - 0.005
    np.testing.assert_allclose(np.asarray(mixture.classify(X)).sum(1), 1, rtol=1e-5)
    found = {record.metric: record for record in mixture.evaluate(plan=Plan(samples=()), quiet=True).records}
    assert found["classification"].value == pytest.approx(accuracy(mixture))
    assert found["classification"].images == N


@pytest.mark.slow
def test_a_linear_model_is_the_mixture_that_the_data_are_of(mixture):
    """Its bound, and log Σ_y p(y) p(x|y) by importance sampling."""
    of_class = densities()
    exact = np.logaddexp.reduce(of_class) - np.log(2)
    found = mixture.log_likelihood(X, samples=100)
    assert found.mean() == pytest.approx(exact.mean(), abs=0.05)
    assert np.abs(found - exact).mean() < 0.2
    joint = of_class[Y, np.arange(N)] - np.log(2)
    test = mixture.metrics[-1]["test"]
    assert -(test["reconstruction"] + test["kl"]) == pytest.approx(joint.mean(), abs=0.05)
    each = [mixture.log_likelihood(X[:5], samples=100, condition=label) for label in (0, 1)]
    np.testing.assert_allclose(found[:5], np.logaddexp(*each) - np.log(2), rtol=1e-12)


# ── as all other runs ────────────────────────────────────────────────────────────────────────────────────────────────

THREE = np.random.default_rng(1).integers(0, 3, 100)
FEW = np.where(np.arange(80) % 4, -1, THREE[:80])
TABLE = data.from_arrays(X[:80, :4] + THREE[:80, None], FEW, test=X[80:100, :4], test_labels=THREE[80:100])


def configs(epochs):
    condition = Labels(3, MLP((4,)))
    vaes = [VAE(d, MLP((5,)), likelihood=Gaussian(), condition=condition) for d in (1, 2)]
    return [RunConfig(vae, M2(alpha), epochs=epochs, batch_size=20) for vae, alpha in zip(vaes, (0.1, 2), strict=True)]


def equal(a, b, **tolerance):
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, **tolerance), a, b)


@pytest.mark.slow
def test_lanes_are_the_runs_by_themselves():
    """Of other latent sizes and weights of the classification."""
    looped, vmapped = (sweep(configs(3), TABLE, strategy=how) for how in ("loop", "vmap"))
    for name, state in looped.items():
        equal(vmapped[name].params, state.params, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["loop", "vmap"])
def test_an_interrupted_study_goes_on_to_the_same_bits(strategy, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    Study(whole, configs(2), TABLE).train(strategy, quiet=True)
    for epochs in (1, 2):
        Study(stopped, configs(epochs), TABLE).train(strategy, quiet=True)
    for config in configs(2):
        one, two = (jaxvae.load(folder / config.name) for folder in (whole, stopped))
        equal(one.params, two.params, rtol=0)
        assert [entry["test"] for entry in one.metrics] == [entry["test"] for entry in two.metrics]
        assert "classification" in one.metrics[1]["train"]


@pytest.fixture(scope="module")
def pictured():
    images, labels = blobs(60, 0)
    some = np.where(np.arange(60) < 40, -1, labels.astype(int))
    return data.from_arrays(images, some, test=images[:25], test_labels=labels[:25])


@pytest.mark.slow
@pytest.mark.parametrize("reads", [True, False])
def test_a_whole_study_of_data_with_some_labels(reads, pictured, tmp_path):
    condition = Labels(10, MLP((4,))) if reads else None
    objective = {"objective": M2()} if reads else {}
    run = RunConfig(VAE(2, MLP((4,)), condition=condition), epochs=1, batch_size=20, **objective)
    study = Study(tmp_path / "study", [run], pictured)
    study.train(quiet=True)
    study.write(0.0)
    assert "60 training (40 without a label) and 25 test" in (tmp_path / "study" / "report.html").read_text()
    loaded = jaxvae.load(tmp_path / "study" / run.name)
    found = {record.metric: record for record in loaded.evaluate(pictured, Plan(samples=(1,)), quiet=True).records}
    assert ("classification" in found) == reads
    assert found["nearest neighbours"].images == 25
    if reads:
        with pytest.raises(InputError, match="examples of the train split lack a class, which is the condition"):
            loaded.evaluate(pictured, Plan(samples=(1,), split="train"), quiet=True)
    else:
        seen = loaded.evaluate(pictured, Plan(samples=(1,), split="train"), quiet=True).records
        assert "purity" not in {record.metric for record in seen}


def test_examples_that_are_followed_have_a_class(pictured):
    followed = probe_dataset(pictured)
    np.testing.assert_array_equal(followed.train_labels, np.arange(10))
    np.testing.assert_array_equal(followed.test_labels, np.arange(10))


def test_what_lacks_a_label_is_said_once(capsys):
    vae = VAE(1, MLP((2,)), likelihood=Gaussian())
    jaxvae.fit(X[:100], vae, labels=np.where(np.arange(100) < 60, -1, Y[:100]), epochs=0)
    assert "60 of 96 training examples have no label" in capsys.readouterr().out


def test_careless_inputs_are_one_line():
    run = jaxvae.fit(X[:50], VAE(1, MLP((2,)), likelihood=Gaussian()), epochs=0, quiet=True)
    with pytest.raises(InputError, match=r"reads no classes; train a model that does: condition=Labels\(classes, netw"):
        run.classify(X[:2])
    labelled = VAE(1, MLP((2,)), likelihood=Gaussian(), condition=Labels(2))
    some = np.where(np.arange(100) < 60, -1, Y[:100])
    with pytest.raises(
        DataError, match="no label of 60 of 96 training examples, which a condition needs under the obj"
    ):
        jaxvae.fit(X[:100], labelled, labels=some, epochs=0, quiet=True)
