"""Runs by setting: names, means, the best, and what stands for too many."""

import math
import tracemalloc
import weakref
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxvae import evaluation, figures, study
from jaxvae.errors import MAX_FLOAT32
from jaxvae.evaluation import classifier
from jaxvae.figures import curves, settings_map
from jaxvae.models import Gaussian
from jaxvae.naming import shortest
from jaxvae.page.run_table import Column, over_seeds
from jaxvae.results import MAX_LISTED_RUNS, PARTS, Results, Words, losses
from jaxvae.results.claims import check
from jaxvae.results.labels import AxisTable, comparable, labels
from jaxvae.results.results import CLASSIFIED_SEEDS
from jaxvae.results.settings import MAX_PLOTTED_MODELS, best_of_each_model, trained_settings
from jaxvae.results.summary import MAX_ROWS, table_of_settings
from jaxvae.runs import run as trained
from jaxvae.runs.history import Divergence
from jaxvae.runs.run import Outcome
from jaxvae.system import machine
from tests.classic import classic

AXES = {"latent_dims": (2, 5), "betas": (1.0, 4.0), "rates": (1e-3, 3e-4), "seeds": (0, 1, 2)}
POSITIVE = st.floats(0, MAX_FLOAT32, exclude_max=True) | st.integers(0, 10**6)

few = settings(max_examples=40)


def run(d=2, beta=1.0, rate=1e-3, seed=0, architecture="linear", **more):
    return classic(architecture, d, beta=beta, learning_rate=rate, seed=seed, epochs=3, **more)


def beta_of(config):
    """Its weight of the KL, 1 in an objective that has none."""
    return getattr(config.objective, "beta", 1.0)


def rate_of(config):
    return config.optimiser.learning_rate


def grid(latent_dims, betas, rates, seeds):
    return [run(d, beta, rate, seed) for seed, d, beta, rate in product(seeds, latent_dims, betas, rates)]


def outcome(config, level, epochs=3, diverged=None):
    """Reconstruction falls to `level`; KL is a tenth of it."""
    reconstruction = level * (1 + np.exp(-np.arange(epochs + 1.0)))[:, None] * [1.1, 1.0]
    losses = np.stack([reconstruction, 0.1 * reconstruction, (1 + 0.1 * beta_of(config)) * reconstruction], axis=-1)
    losses[0, 0] = np.nan
    return Outcome(config, 1000, losses, 1.0, diverged)


def random_outcomes(configs, lost=0.0):
    rng = np.random.default_rng(0)
    return [
        outcome(config, rng.uniform(80, 150), *((1, Divergence(2, 7)) if rng.random() < lost else (3, None)))
        for config in configs
    ]


DATA = {"name": "blobs", "fingerprint": "f" * 64, "train_images": 60_000, "test_images": 10_000}


def results_of(outcomes, digits=None):
    return Results(tuple(outcomes), DATA, digits)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@few
@given(st.lists(st.tuples(st.integers(1, 60), POSITIVE, POSITIVE, st.integers(0, 20)), min_size=2, max_size=8))
def test_runs_of_a_grid_have_one_name_if_and_only_if_they_are_one(places):
    configs = [run(*place) for place in places]
    assert len({config.name for config in configs}) == len(set(configs))


@few
@given(st.integers(1, 60), POSITIVE, POSITIVE, st.integers(0, 20))
def test_a_setting_is_named_as_its_run_of_seed_0(d, beta, rate, seed):
    config = run(d, beta, rate, seed)
    assert config.setting.seed == 0
    assert config.name.removesuffix(f"-seed{seed}") == config.setting.name


@few
@given(POSITIVE)
def test_the_shortest_text_is_read_as_the_same_number(value):
    assert float(shortest(value)) == value
    assert len(shortest(value)) <= len(repr(float(value)))


def test_labels_tell_what_differs_and_nothing_else():
    assert labels([run(beta=4.0), run(3, beta=4.0, seed=1)]) == {
        "linear-2-beta4": "linear, d = 2", "linear-3-beta4-seed1": "linear, d = 3, seed 1",
    }  # fmt: skip
    assert [*labels([run(), run(3, precision="bfloat16")]).values()] == ["linear, d = 2", "linear, d = 3, bfloat16"]
    weighted = run(objective="iwae", importance_samples=5)
    by_name = labels([run(), run(beta=0.5), run(rate=1e-5), weighted])
    assert by_name["linear-2-beta0.5"] == "linear, d = 2, ELBO, β = 0.5, lr = 0.001"
    assert by_name["linear-2-lr1e-05"] == "linear, d = 2, ELBO, β = 1, lr = 1e-05"
    assert by_name["linear-2-iwae5"] == "linear, d = 2, IWAE, K = 5, lr = 0.001"
    assert AxisTable([run(), weighted]).names[:4] == ["objective", "importance_samples", "beta", "learning_rate"]


# ── means and the best ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_means_over_seeds_are_numpys_and_students(lost):
    outcomes = random_outcomes(grid(**AXES | {"seeds": range(6)}), lost)
    found = results_of(outcomes).settings
    assert len(found) == 8
    assert sum(len(setting.diverged) for setting in found) == sum(one.diverged is not None for one in outcomes)
    for setting in found:
        own = [one for one in outcomes if one.config.setting == setting.config and not one.diverged]
        values = np.array([one.losses[-1, 1, 0] + one.losses[-1, 1, 1] for one in own])
        average = setting.mean("negative_elbo", 12)
        assert average.mean == pytest.approx(values.mean())
        assert average.interval == pytest.approx(stats.t.interval(0.95, len(own) - 1, values.mean(), stats.sem(values)))


def test_the_best_setting_has_the_lowest_mean_elbo_not_the_lowest_loss():
    configs = [run(beta=beta, seed=seed) for beta in (0.1, 1.0) for seed in (0, 1)]
    found = results_of([outcome(config, 100 if beta_of(config) == 1 else 101) for config in configs]).settings
    assert found[0].mean("loss").mean < found[1].mean("loss").mean
    assert [beta_of(setting.config) for setting in best_of_each_model(found)] == [1.0]


def test_a_setting_that_mostly_diverges_is_the_best_only_where_there_is_no_other():
    alone = [outcome(run(rate=1.0, seed=s), 50, 1, Divergence(2, 3) if s else None) for s in range(3)]
    assert rate_of(best_of_each_model(results_of(alone).settings)[0].config) == 1.0
    assert rate_of(best_of_each_model(results_of([*alone, outcome(run(), 100)]).settings)[0].config) == 1e-3
    lost = results_of([outcome(run(), 100, 0, Divergence(1, 1))]).settings
    assert (lost[0].mean("kl"), lost[0].negative_elbo, trained_settings(lost)) == (None, math.inf, [])


def names(runs):
    return [run.name for run in runs]


def test_up_to_sixty_runs_all_are_plotted_and_of_more_the_best_of_each_model():
    few, many = (results_of(random_outcomes(grid((2, 5), (1.0,), (1e-3,), range(n)))) for n in (30, 31))
    assert len(few.runs_to_plot) == 60
    assert names(many.runs_to_plot) == ["linear-2", "linear-5"]
    sizes = results_of([
        outcome(run(d, seed=s, architecture=a), 100) for a in ("linear", "conv") for d in range(1, 41) for s in (0, 1)
    ])  # fmt: skip
    plotted = names(sizes.runs_to_plot)
    assert len(plotted) == MAX_PLOTTED_MODELS
    assert {name.split("-")[1] for name in plotted if "conv" in name} == {
        name.split("-")[1] for name in plotted if "lin" in name
    }
    assert {"linear-1", "linear-40"} <= set(plotted)


def test_of_many_runs_some_seeds_of_what_is_plotted_and_of_what_claims_need_are_classified():
    few, many = (results_of(random_outcomes(grid((2,), (1.0,), (1e-3,), range(n)))) for n in (60, 61))
    assert len(few.runs_to_classify) == 60
    first = ["linear-2", *(f"linear-2-seed{seed}" for seed in range(1, CLASSIFIED_SEEDS))]
    assert names(many.runs_to_classify) == first
    configs = grid((2, 5), (1.0, 4.0), (1e-3,), range(20))
    betas = results_of([outcome(config, 100 - beta_of(config)) for config in configs])
    classified = set(names(betas.runs_to_classify))
    assert classified >= set(names(betas.runs_to_plot))
    settings = {name.partition("-seed")[0] for name in classified}
    assert settings == {"linear-2", "linear-2-beta4", "linear-5-beta4"}  # β = 4 is best; with β = 1 claims are checked
    assert len(classified) == 3 * CLASSIFIED_SEEDS


# ── the original's statements ────────────────────────────────────────────────────────────────────────────────────────


def test_claims_compare_runs_that_were_trained_alike():
    plain = [run(d, seed=s) for d in (2, 5) for s in (0, 1)]
    assert comparable(plain) == (plain, "")
    weighted = [run(d, beta=4.0) for d in (2, 5)]
    assert comparable(weighted) == (weighted, "")  # one way of training, as before
    runs, why = comparable([*weighted, *plain])
    assert runs == plain
    assert "β = 1 and learning rate 0.001" in why
    runs, why = comparable([*weighted, run(rate=1e-4)])
    assert runs == []
    assert why.startswith("not tested")


def test_claims_of_a_grid_are_those_of_its_plain_runs():
    outcomes = random_outcomes(grid(**AXES))
    plain = [one for one in outcomes if (beta_of(one.config), rate_of(one.config)) == (1, 1e-3)]
    assert results_of(outcomes).claims == check([*results_of(plain).finals.values()])


def test_the_originals_claims_are_of_pictures_like_its_own_and_of_its_likelihood():
    outcomes = random_outcomes(grid(**AXES))
    assert len(results_of(outcomes).claims) == 7
    for other in ({"shape": [30]}, {"shape": [28, 28, 3]}, {"shape": [28, 28], "dtype": "float32"}):
        assert replace(results_of(outcomes), data=DATA | other).claims == []
    one = outcomes[0].config
    other = outcomes[0]._replace(config=replace(one, vae=replace(one.vae, likelihood=Gaussian())))
    assert results_of([other, *outcomes[1:]]).claims == []


# ── what is drawn ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_the_best_settings_mean_and_its_band_holds_every_settings():
    outcomes = random_outcomes(grid(**AXES))
    results = results_of(outcomes)
    assert "bands" in curves.meaning_of_bands(results)
    assert curves.parts(results)[0] == ("negative_elbo", "−ELBO")
    for curve in curves.mean_curves(results):
        own = [setting for setting in results.settings if setting.model == (curve.architecture, curve.latent_dim)]
        means = np.array([
            np.mean([one.losses[1:, 1, :2].sum(1) for one in outcomes if one.config.setting == setting.config], axis=0)
            for setting in own
        ])  # fmt: skip
        np.testing.assert_allclose(curve.test["negative_elbo"], means[means[:, -1].argmin()])
        band = curve.band["test"]["negative_elbo"]
        np.testing.assert_allclose(band, np.stack([means.min(0), means.max(0)], 1))


def test_few_runs_of_one_setting_have_no_band_and_many_the_range_of_their_seeds():
    for seeds in (3, 61):
        outcomes = random_outcomes(grid((2,), (1.0,), (1e-3,), range(seeds)))
        (curve,) = curves.mean_curves(results_of(outcomes))
        every = np.array([one.losses[1:, 0, 1] for one in outcomes])
        np.testing.assert_allclose(curve.train["kl"], every.mean(0))
        if seeds > MAX_LISTED_RUNS:
            np.testing.assert_allclose(curve.band["train"]["kl"], np.stack([every.min(0), every.max(0)], 1))
        else:
            assert curve.band is None


def test_a_map_has_each_mean_in_its_place_and_no_number_where_all_diverged():
    outcomes = random_outcomes(grid(**AXES))
    outcomes = [one._replace(diverged=Divergence(4, 2)) if beta_of(one.config) == 4 else one for one in outcomes]
    first, second = curves.settings_maps(results_of(outcomes))
    assert (first.latent_dim, first.values) == (2, ([1.0, 4.0], [3e-4, 1e-3]))
    assert [axis.title for axis in first.axes] == ["β", "learning rate"]
    own = [one.losses[-1, 1, :2].sum() for one in outcomes if one.config.setting == run(5, rate=3e-4).setting]
    assert second.negative_elbo[0, 0] == pytest.approx(np.mean(own), abs=1e-4)
    assert np.isnan(second.negative_elbo[1]).all()
    assert second.diverged.tolist() == [[0, 0], [3, 3]]
    figure = settings_map.settings([first, second], "MNIST", Words())
    assert [ax.get_title() for ax in figure.axes] == ["linear, d = 2", "linear, d = 5"]
    assert "3 diverged" in {text.get_text() for text in figure.axes[0].texts}


def test_a_line_through_the_betas_takes_each_at_its_best_learning_rate():
    levels = {(1.0, 1e-3): 100, (1.0, 3e-4): 90, (4.0, 1e-3): 120, (4.0, 3e-4): 130}
    results = results_of([outcome(run(beta=b, rate=r), level) for (b, r), level in levels.items()])
    assert results.axes.trade_off == "beta"
    (line,) = curves.trade_off_lines(results, "beta").values()
    end = 1 + np.exp(-3.0)
    np.testing.assert_allclose(line, [(1, 9 * end, 90 * end), (4, 12 * end, 120 * end)], atol=1e-4)


def test_a_column_over_seeds_is_the_mean_of_its_cells():
    outcomes = random_outcomes(grid((2,), (1.0, 4.0), (1e-3,), range(4)))
    found = results_of(outcomes).settings
    values = {one.config.name: float(i) for i, one in enumerate(outcomes)}
    column = Column("x", "", "", {name: (value, "") for name, value in values.items()}, 1)
    seeds, mean = over_seeds([column], found)
    assert seeds.cells["linear-2"] == (4, "4")
    assert mean.cells["linear-2-beta4"][0] == np.mean([1, 3, 5, 7])
    half = stats.t.ppf(0.975, 3) * np.std([1, 3, 5, 7], ddof=1) / 2
    assert mean.cells["linear-2-beta4"][1] == f"4.0 ± {half:.1f}"


# ── ten thousand runs ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_thousand_runs_are_written_within_memory_and_no_run_is_drawn(tmp_path, small):
    configs = [run(d, beta, seed=s) for s in range(100) for d in (2, 5) for beta in (0.25, 0.5, 1.0, 2.0, 4.0)]
    outcomes = [outcome(config, 100 + beta_of(config) + config.seed / 1000, epochs=1) for config in configs]
    assert sum(one.losses.nbytes for one in outcomes) == 1_000 * 2 * 2 * 3 * 8
    tracemalloc.start()
    tables = losses.metrics_csv(results_of(outcomes)), losses.metrics_parquet(results_of(outcomes))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6  # as much as a model of 400,000 parameters with its Adam
    assert tables[0].count("\n") == 1 + 1_000 * 3
    record = {"confusion": np.eye(10, dtype=int).tolist()}
    digits = {"classifier": {"accuracy": 1.0}, "runs": {config.name: record for config in configs}}
    paths = figures.write_figures(tmp_path, results_of(outcomes, digits), [], small)
    assert {path.name for path in paths} == {
        f"{name}.png"
        for name in ("curves", "by-dimension", "rate-distortion", "rate-distortion-beta", "settings", "confusions")
    }


def test_of_many_models_no_more_are_held_than_cores_read_in(tmp_path, small, monkeypatch):
    held, most = [], 0

    def load(folder):
        nonlocal most
        config = next(config for config in configs if config.name == folder.name)
        history = [{"epoch": 0, "train": None, "test": dict.fromkeys(PARTS, 1.0), "seconds": 1.0}]
        held.append(weakref.ref(loaded := trained.Run(folder, config, {}, {}, history, np.zeros(0))))
        most = max(most, sum(one() is not None for one in held))
        return loaded

    configs = [run(seed=seed) for seed in range(200)]
    monkeypatch.setattr("jaxvae.study.outputs.load", load)
    monkeypatch.setattr(evaluation, "reader", lambda dataset: None)
    monkeypatch.setattr(evaluation, "by_class", lambda run, *_: {"name": run.config.name})
    monkeypatch.setattr(classifier, "read", lambda reader, images: small.test_labels)
    large = study.Study(tmp_path, configs, small).outputs
    results = large._results(configs)
    assert results.runs == configs
    results.__dict__["runs_to_classify"] = configs[::2]  # where it is cached
    digits = large._classify(results)
    assert digits["runs"] == {config.name: {"name": config.name} for config in configs[::2]}
    assert most <= 2 * len(machine.cores()) + 2


def test_the_console_shows_a_screen_of_many_settings_with_the_best_first():
    outcomes = random_outcomes([run(beta=float(b)) for b in range(1, 71)])
    table = table_of_settings(results_of(outcomes))
    assert table.row_count == MAX_ROWS
    elbos = [float(cell) for cell in table.columns[4].cells]
    assert elbos == sorted(elbos)
    assert "of 70 settings" in str(table.title)
