"""The estimator keeps scikit-learn's contract, and is right where the answer is known."""

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import jaxvae
from jaxvae.models import MLP, Bernoulli, Gaussian
from jaxvae.objectives import ELBO
from jaxvae.optimisers import Adam
from jaxvae.sklearn import VAE
from tests.linear import AsItIs, ToZero, exact

RNG = np.random.default_rng(0)
ANGLES, UNITS = np.array([0, 0.2, 0.5, 0.9, 1.5, 2]), np.array([1, 10, 0.1, 1, 100, 1])
LOADINGS = np.stack([np.cos(ANGLES), np.sin(ANGLES)])  # of one length, so that standardised noise is the same in all
TRUE = stats.multivariate_normal(3 * UNITS, np.outer(UNITS, UNITS) * (LOADINGS.T @ LOADINGS + np.eye(6) / 4))
ROWS, HELD_OUT = TRUE.rvs(4000, RNG), TRUE.rvs(1000, RNG)
LINEAR = VAE(2, network=AsItIs(), optimiser=Adam(ToZero(0.02, 20)), epochs=20, batch_size=20, random_state=0)


@pytest.fixture(scope="module")
def linear():
    return clone(LINEAR).fit(ROWS)


@pytest.mark.slow
def test_scikit_learns_own_checks_pass():
    """None is expected to fail; the one that is skipped needs an environment variable of SciPy's."""
    found = check_estimator(VAE(latent_dim=2, epochs=1, samples=5), on_fail=None, on_skip=None)
    assert len(found) > 40
    assert {one["check_name"]: one["exception"] for one in found if one["status"] not in ("passed", "skipped")} == {}
    assert {one["check_name"] for one in found if one["status"] == "skipped"} <= {"check_array_api_input"}


def of_the_model(linear):
    """The exact density of what was fitted, of rows divided by their units."""
    run, own = linear.run_, exact(linear.run_)
    mean, scale = ((run.scaling.mean + run.scaling.scale * own.mean) / UNITS, run.scaling.scale / UNITS)
    return stats.multivariate_normal(mean, own.cov * np.outer(scale, scale))


def test_scores_are_log_densities_of_the_rows_as_given(linear):
    found, true = linear.score_samples(HELD_OUT), TRUE.logpdf(HELD_OUT)
    assert linear.score(HELD_OUT) == found.mean()
    assert true.mean() - 0.05 < found.mean() < true.mean()  # 21 numbers are estimated from 4,000 rows
    assert np.corrcoef(found, true)[0, 1] > 0.99
    np.testing.assert_allclose(found, of_the_model(linear).logpdf(HELD_OUT / UNITS) - np.log(UNITS).sum(), atol=0.1)


def test_codes_span_the_principal_subspace(linear):
    standard, codes = (ROWS - ROWS.mean(0)) / ROWS.std(0), linear.transform(ROWS)
    principal = PCA(2).fit(standard)
    axes, centred = principal.transform(standard), codes - codes.mean(0)
    np.testing.assert_allclose(axes @ np.linalg.lstsq(axes, centred)[0], centred, atol=0.03)
    least = (standard - principal.inverse_transform(axes)).var()
    error = ((linear.inverse_transform(codes) - ROWS) / ROWS.std(0)).var()
    assert least < error < 1.1 * least  # posterior means are drawn towards the prior's


def test_rows_are_drawn_from_the_density(linear):
    drawn, density = linear.sample(20_000, random_state=1) / UNITS, of_the_model(linear)
    np.testing.assert_allclose(drawn.mean(0), density.mean, atol=5 * np.sqrt(density.cov.max() / 20_000))
    np.testing.assert_allclose(np.cov(drawn.T), density.cov, atol=6 * density.cov.max() / np.sqrt(20_000))
    np.testing.assert_array_equal(linear.sample(3, random_state=1), linear.sample(3, random_state=1))
    assert (linear.sample(3, random_state=1) != linear.sample(3, random_state=2)).all()


def test_scores_do_not_depend_on_other_rows(linear):
    """To the last bit, with as many codes as a user has."""
    found = linear.score_samples(HELD_OUT[:150])
    np.testing.assert_array_equal(linear.score_samples(HELD_OUT[149::-1])[::-1], found)
    np.testing.assert_array_equal(linear.score_samples(HELD_OUT[3:5]), found[3:5])


def test_a_pickled_estimator_is_the_same_and_holds_no_rows(linear):
    pickled = pickle.dumps(linear)
    assert len(pickled) < ROWS.nbytes / 4
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.transform(HELD_OUT), linear.transform(HELD_OUT))
    np.testing.assert_array_equal(again.score_samples(HELD_OUT[:9]), linear.score_samples(HELD_OUT[:9]))


def test_it_is_the_run_of_the_library(linear):
    """Trained on all rows, from the same seed."""
    run = jaxvae.fit(
        ROWS, linear.run_.config.vae, test=ROWS, optimiser=LINEAR.optimiser, epochs=1, batch_size=20, quiet=True
    )
    assert run.metrics[1]["test"] == linear.run_.metrics[1]["test"]
    assert linear.run_.about == run.about
    assert len(linear.run_.metrics) == 21
    assert [*linear.get_feature_names_out()] == ["vae0", "vae1"]
    assert linear.n_features_in_ == 6


def test_it_keeps_the_kind_of_numbers(linear):
    assert linear.transform(np.float32(HELD_OUT)).dtype == np.float32
    assert linear.inverse_transform(np.zeros((1, 2), np.float32)).dtype == np.float32
    assert linear.inverse_transform([[0, 0]]).dtype == linear.score_samples(HELD_OUT[:3]).dtype == np.float64


@pytest.mark.slow
def test_what_is_given_is_used_and_what_is_not_suits_the_data():
    bits = RNG.integers(0, 2, (40, 5))
    chosen = VAE(3, network=MLP((4,)), objective=ELBO(beta=2.0), batch_size=7, epochs=0, random_state=5).fit(bits)
    config = chosen.run_.config
    assert (config.vae.latent_dim, config.vae.encoder, config.vae.likelihood) == (3, MLP((4,)), Bernoulli())
    assert (config.objective, config.batch_size, config.seed) == (ELBO(beta=2.0), 7, 5)
    assert clone(chosen).set_params(likelihood=Gaussian()).fit(bits).run_.config.vae.likelihood == Gaussian()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: VAE().transform(HELD_OUT), "not fitted"),
        (lambda: VAE(latent_dim=0).fit(HELD_OUT), "latent_dim must be a whole number"),
        (lambda: VAE(network="mlp").fit(HELD_OUT), "encoder must be a Linen module"),
        (lambda: VAE(random_state=-1).fit(HELD_OUT), "seed must be a whole number"),
        (lambda: VAE(epochs="many").fit(HELD_OUT), "epochs must be a whole number"),
        (lambda: VAE(likelihood=Bernoulli(), epochs=1).fit(HELD_OUT), "bernoulli takes numbers of at least 0"),
    ],
)
def test_careless_calls_are_one_line(call, says):
    with pytest.raises((ValueError, NotFittedError), match=says):
        call()


@pytest.mark.slow
def test_a_grid_search_finds_the_number_of_dimensions():
    search = GridSearchCV(LINEAR, {"latent_dim": [1, 2]}, cv=2).fit(ROWS[:2000])
    assert search.best_params_ == {"latent_dim": 2}
    assert search.best_score_ == pytest.approx(TRUE.logpdf(HELD_OUT).mean(), abs=0.2)
    assert search.transform(HELD_OUT).shape == (1000, 2)


@pytest.mark.slow
def test_in_a_pipeline_linear_codes_classify_as_principal_components_do():
    x, y = load_breast_cancer(return_X_y=True)
    linear = clone(LINEAR).set_params(epochs=60, optimiser=Adam(ToZero(0.02, 60)))
    found = cross_val_score(make_pipeline(linear, LogisticRegression()), x, y, cv=3).mean()
    principal = make_pipeline(StandardScaler(), PCA(2), LogisticRegression())
    assert found == pytest.approx(cross_val_score(principal, x, y, cv=3).mean(), abs=0.02)
