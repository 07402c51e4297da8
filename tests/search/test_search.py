"""A search in a folder: it finds what all settings to the end would have found, and goes on wherever it was stopped."""

import csv
import dataclasses
import io
import json

import jax
import numpy as np
import pytest

from jaxvae import search
from jaxvae.commands import search as command
from jaxvae.config import RunConfig
from jaxvae.data import from_arrays
from jaxvae.errors import CheckpointError, ConfigError
from jaxvae.models import MLP, VAE, Gaussian
from jaxvae.objectives import ELBO
from jaxvae.optimisers import Adam
from jaxvae.study import Study, load
from tests.command_line import run

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(3000, 2)) @ RNG.normal(size=(2, 8)) + 0.3 * RNG.normal(size=(3000, 8))).astype(np.float32)
DATA = from_arrays(X)
RATES = (3e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e9)  # the last one diverges at once


def setting(rate, beta=1.0):
    return RunConfig(VAE(2, MLP((16,)), likelihood=Gaussian()), ELBO(beta), Adam(rate), batch_size=100)


SETTINGS = [setting(rate) for rate in RATES]


def made(folder, settings=SETTINGS, **how):
    return search.Search(folder, settings, DATA, **{"epochs": 9} | how)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    own = made(tmp_path_factory.mktemp("search") / "search")
    return own, own.run(quiet=True)


@pytest.mark.slow
def test_it_trains_few_to_the_end_and_finds_the_best(whole):
    own, rungs = whole
    assert (rungs[0].epochs, len(rungs[0].ranks)) == (1, 6)
    rates = [setting.optimiser.learning_rate for setting in own.settings.values()]
    of = dict(zip(own.settings, rates, strict=True))
    first, last = rungs[0].ranks, rungs[-1].ranks
    assert of[first[-1].setting] == 1e9
    assert first[-1].loss == np.inf
    assert len(last) <= 4
    best = own.winner(rungs)
    assert best.config.optimiser.learning_rate == 3e-2
    assert best.metrics[-1]["epoch"] == 9
    epochs = {path.parent.name: len(path.read_text().splitlines()) - 1 for path in own.folder.glob("*/metrics.jsonl")}
    going = {rank.setting for rank in last}
    assert all(count == 9 for name, count in epochs.items() if name in going)
    diverged = first[-1].setting
    assert epochs[diverged] == 1  # its first line, and where it diverged
    assert sum(epochs.values()) < 0.6 * 9 * len(SETTINGS)


@pytest.mark.slow
def test_the_loss_is_that_of_examples_which_were_not_trained_on_and_the_same_for_all(whole):
    own, rungs = whole
    for rank in rungs[-1].ranks:
        loaded = load(own.folder / rank.setting)
        epoch = loaded.metrics[-1]["validation"]
        assert rank.loss == pytest.approx(epoch["reconstruction"] + epoch["kl"], abs=1.0)  # other draws of codes
    assert own.compared_examples == 270  # a tenth of the 2,700 that are not the test split


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3])
def test_stopped_anywhere_it_comes_to_the_same_winner(whole, after, tmp_path, monkeypatch):
    """As if killed after so many epochs of runs had been saved."""
    own, rungs = whole
    again, saved, save = made(tmp_path / "search"), [], Study._save

    def killed(self, report):
        save(self, report)
        saved.append(report)
        if len(saved) == after * 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Study, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            again.run(quiet=True)
    assert made(tmp_path / "search").run(quiet=True) == rungs
    one, other = (load(each.folder / rungs[-1].ranks[0].setting) for each in (own, again))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert made(tmp_path / "search").run(quiet=True) == rungs  # nothing is left to do


@pytest.mark.slow
def test_tables_figures_and_page_say_what_was_found(whole):
    own, rungs = whole
    outputs = search.Outputs(own, rungs)
    page = outputs.write().read_text()
    best = outputs.labels[rungs[-1].ranks[0].setting]
    assert f"The best: <strong>{best}</strong>" in page
    assert {path.name for path in (own.folder / "figures").iterdir()} == {"rungs.png", "values.png"}
    rows = list(csv.DictReader(io.StringIO((own.folder / "search.csv").read_text())))
    assert len(rows) == sum(len(rung.ranks) for rung in rungs)
    assert {row["learning rate"] for row in rows} == {str(rate) for rate in RATES}
    assert outputs.trained == sum(s.epochs for s in outputs.standings)
    assert [s.place for s in outputs.standings] == list(range(6))


@pytest.mark.slow
def test_seeds_are_judged_by_their_mean(tmp_path):
    own = made(tmp_path / "search", SETTINGS[:2], epochs=1, seeds=(0, 1, 2))
    (rung,) = own.run(quiet=True)
    for rank in rung.ranks:
        values = [own._losses(load(own.folder / own.run_of(rank.setting, seed, 1).name)) for seed in (0, 1, 2)]
        assert rank.loss == pytest.approx(np.mean(values))


def test_a_folder_of_another_search_is_refused(tmp_path):
    own = made(tmp_path)
    own._write([])
    assert made(tmp_path).rungs() == []
    with pytest.raises(CheckpointError, match=r"search.json is another search's \(settings, levels differ\)"):
        made(tmp_path, epochs=27).rungs()
    with pytest.raises(CheckpointError, match="another search's"):
        made(tmp_path, SETTINGS[:3]).rungs()
    content = json.loads((tmp_path / "search.json").read_text())
    for damage in ("{", "[]", json.dumps(content | {"rungs": [{"epochs": 1}]})):
        (tmp_path / "search.json").write_text(damage)
        with pytest.raises(CheckpointError, match="is damaged"):
            made(tmp_path).rungs()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"settings": SETTINGS[:1]}, "at least two settings"),
        ({"settings": [*SETTINGS, setting(RATES[0])]}, "at least two settings, each of them once"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"keep": 1}, "keep must be at least 2"),
        ({"first": 10}, "the first rung must be from 1 to the 9 epochs"),
        ({"seeds": ()}, "at least one seed"),
    ],
)
def test_careless_searches_are_one_line(how, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        made(tmp_path, **how)


def test_seeds_and_epochs_of_settings_do_not_count(tmp_path):
    others = [dataclasses.replace(one, seed=7, epochs=2) for one in SETTINGS]
    assert made(tmp_path, others).settings == made(tmp_path).settings


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def options(*given):
    return command.parser().parse_args(list(given))


def test_the_commands_options_become_settings():
    runs = command.settings(options("--learning-rates", "1e-4..1e-2", "--latent-dims", "2", "5", "--lanes", "10",
                                    "--architectures", "linear:hidden=16..64"))  # fmt: skip
    assert len(runs) == 10 == len({run.name for run in runs})
    assert {run.latent_dim for run in runs} == {2, 5}
    assert all(1e-4 <= run.optimiser.learning_rate <= 1e-2 and 16 <= run.vae.encoder.hidden[0] <= 64 for run in runs)
    assert {run.epochs for run in runs} == {27}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--latent-dims", "2"), "a search needs several values of something"),
        (("--learning-rates", "1..0.1"), "must go from a lower number"),
        (("--latent-dims", "2", "x"), "invalid int value: 'x'"),
        (("--objective", "elbo", "elbow"), "objective must be one of"),
    ],
)
def test_careless_options_are_one_line(given, words, capsys):
    code = 0
    try:
        code = command.main(["--architectures", "linear", *given])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_searches_and_goes_on(cache, tmp_path):
    arguments = ["search", "--dataset", "digits8", "--limit", "300", "--architectures", "linear:hidden=16",
                 "--latent-dims", "2", "--learning-rates", "1e-4..1e-1", "--lanes", "4", "--epochs", "3",
                 "--out", tmp_path / "found"]  # fmt: skip
    code, printed, err = run(arguments, cache, "jaxvae")
    assert code == 0, err
    assert "load the best" in printed
    assert (tmp_path / "found" / "report.html").exists()
    again = run(arguments, cache, "jaxvae")
    assert again[0] == 0
    assert printed.splitlines()[-1] == again[1].splitlines()[-1]
