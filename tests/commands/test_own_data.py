"""Sweeps of a user's own files: trained, evaluated and shown again from where the files are, or were moved to."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import jaxvae
from jaxvae import data, parts
from jaxvae.commands import evaluate, report, sweep
from jaxvae.commands.grid import KINDS, requested_runs
from jaxvae.models import MLP, Conv, Gaussian, Poisson
from jaxvae.objectives import ELBO, IWAE
from jaxvae.optimisers import Adam
from tests.data.test_files import write_pictures, write_table

RNG = np.random.default_rng(0)
SPECIES = ["lily", "rose"]


def asked(dataset, *arguments):
    return requested_runs(sweep.parser().parse_args(arguments), dataset)


@pytest.fixture
def flowers(tmp_path):
    """A table of two species, which differ in their first column."""
    kinds = np.arange(120) % 2
    numbers = RNG.normal(0, 1, (120, 5)) * [1, 2, 3, 4, 100] + np.outer(6 * kinds, np.eye(5)[0]) + 50
    rows = [[*row, SPECIES[kind]] for row, kind in zip(numbers.tolist(), kinds, strict=True)]
    write_table(tmp_path / "flowers.csv", ["a", "b", "c", "d", "e", "species"], rows)
    return tmp_path / "flowers.csv"


@pytest.mark.slow
def test_a_table_is_trained_on_evaluated_and_shown_wherever_it_is_moved(flowers, give, tmp_path):
    out = tmp_path / "out"
    arguments = ["--dataset", flowers, "--label", "species", "--latent-dims", 2, "--epochs", 30, "--workers", 1]
    code, printed, err = give(sweep.main, [*arguments, "--out", out])
    assert (code, err) == (0, "")
    for said in ("networks: linear, for examples of shape [5]", "likelihood: gaussian, for real numbers",
                 "30 epochs of 10 steps, each on 10 examples",
                 "numbers are standardised, each column by itself"):  # fmt: skip
        assert said in printed
    (folder,) = (path for path in out.glob("linear-2*") if path.is_dir())
    run = jaxvae.load(folder)
    given = data.load(flowers, label="species")
    scaling, train = data.standardized(given).scaling, given.train_images
    np.testing.assert_allclose((run.reconstruct(train).mean(0) - scaling.mean) / scaling.scale, 0, atol=0.2)
    assert "<svg" in (out / "report.html").read_text(encoding="utf-8")
    values = []
    for where in ([], ["--dataset", tmp_path / "moved.csv"]):
        if where:
            flowers.rename(tmp_path / "moved.csv")
            code, _, err = give(evaluate.main, [folder, "--samples", 1, 20, "--quiet"])
            assert code == 2
            assert "flowers.csv does not exist" in err
        code, _, err = give(evaluate.main, [folder, "--samples", 1, 20, "--quiet", *where])
        assert (code, err) == (0, "")
        records = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["records"]
        values.append({record["metric"]: record["value"] for record in records})
        code, _, err = give(report.main, [out, *where])
        assert (code, err) == (0, "")
    assert values[0] == values[1]
    assert {"nearest neighbours", "L_K"} <= values[0].keys()  # labels were found again, too
    write_table(tmp_path / "moved.csv", ["a", "species"], [[1, "rose"], [2, "lily"], [3, "rose"]])
    code, _, err = give(evaluate.main, [folder, "--dataset", tmp_path / "moved.csv", "--quiet"])
    assert code == 2
    assert "was trained on other data" in err


def test_what_is_not_said_suits_the_data_and_what_is_said_holds():
    pictures = data.from_arrays(RNG.integers(0, 256, (300, 20, 16), np.uint8), name="pictures")
    runs = asked(pictures)
    assert [(run.architecture, run.latent_dim) for run in runs[:2]] == [("linear", 2), ("linear", 3)]
    assert {run.architecture for run in runs} == {"linear", "conv"}
    assert (runs[0].batch_size, runs[0].epochs) == (27, 100)
    counts = data.from_arrays(RNG.poisson(3.0, (3000, 4)), name="counts-of-mine")
    runs = asked(counts, "--epochs", "2", "--architectures", "linear:hidden=8x4,activation=tanh", "linear:hidden=8")
    assert [run.vae.encoder for run in runs] == [MLP((8, 4), "tanh")] * 2 + [MLP((8,))] * 2
    assert [run.latent_dim for run in runs] == [2, 3, 2, 3]  # no more than there are numbers
    assert (runs[0].vae.likelihood, runs[0].epochs) == (Poisson(), 2)
    (run,) = asked(
        counts, "--latent-dims", "2", "--likelihood", "gaussian:scale=0.5", "--objective", "iwae:importance_samples=5",
        "--optimiser", "adam:b1=0.5", "--learning-rate", "0.01", "--architectures", "conv:channels=4x8,kernel=5",
    )  # fmt: skip
    assert (run.vae.likelihood, run.objective, run.optimiser) == (Gaussian(0.5), IWAE(5), Adam(0.01, 0.5))
    assert run.vae.encoder == Conv((4, 8), kernel=5)
    assert [one.objective for one in asked(counts, "--latent-dims", "2", "--betas", "1", "4")] == [ELBO(), ELBO(4.0)]
    assert asked(counts, "--latent-dims", "2", "--objective", "elbo:beta=4")[0].objective == ELBO(4)


def test_the_parts_that_an_option_can_name_are_listed(give):
    code, printed, err = give(sweep.main, ["--parts"])
    assert (code, err) == (0, "")
    sections = dict(re.findall(r"^--(\w+)\n((?:  .*\n)+)", printed, re.MULTILINE))
    for option, kind in KINDS.items():
        for label, cls in parts.of_kind(kind).items():
            (fields,) = re.findall(rf"^  {re.escape(label)}(?::(.*?))?  –  ", sections[option], re.MULTILINE)
            assert [field.partition("=")[0] for field in fields.split(",") if field] == [
                field.name for field in parts.fields(cls)
            ]
    assert "gaussian:scale=learned  –  Independent normal distributions" in printed


PARTS_OF_A_STUDY = """
from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE, StandardNormal
from jaxvae.parts import part


@part("prior/only-here")
class OnlyHere(StandardNormal):
    pass


runs = [RunConfig(VAE(2, MLP((4,)), prior=OnlyHere()), batch_size=20, epochs=1)]
"""


@pytest.mark.slow
def test_evaluate_and_report_know_the_parts_of_a_study(give, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "REGISTERED", dict(parts.REGISTERED))
    study = tmp_path / "study_of_a_prior.py"
    study.write_text(PARTS_OF_A_STUDY)
    out = tmp_path / "out"
    arguments = ["--dataset", "digits", "--limit", 60, "--study", study, "--workers", 1, "--quiet", "--out", out]
    assert give(sweep.main, arguments)[0] == 0
    parts.REGISTERED.pop("prior/only-here")
    (folder,) = (path for path in out.glob("linear-2*") if path.is_dir())
    for main, where, options in (
        (evaluate.main, folder, ["--samples", 1, "--no-codes", "--quiet"]), (report.main, out, []),
    ):  # fmt: skip
        code, _, err = give(main, [where, *options])
        assert code == 2
        assert "there is no part named 'prior/only-here'" in err
        code, _, err = give(main, [where, *options, "--study", study])
        assert (code, err) == (0, "")
        parts.REGISTERED.pop("prior/only-here")


@pytest.mark.slow
def test_a_folder_of_pictures_is_swept_in_the_size_that_is_asked_for(give, tmp_path):
    write_pictures(tmp_path / "pictures", RNG.integers(0, 256, (60, 24, 40, 3), np.uint8))
    out = tmp_path / "out"
    arguments = ["--dataset", tmp_path / "pictures", "--size", "16x24", "--latent-dims", 2, "--epochs", 1]
    code, _, err = give(sweep.main, [*arguments, "--workers", 1, "--quiet", "--out", out])
    assert (code, err) == (0, "")
    for name in ("linear", "conv"):
        (folder,) = (path for path in out.glob(f"{name}-2*") if path.is_dir())
        run = jaxvae.load(folder)
        assert run.about["dataset"]["source"] == {"name": (tmp_path / "pictures").as_posix(), "size": "16x24"}
        picture = np.asarray(Image.open(next((tmp_path / "pictures" / "rose").iterdir())).resize((24, 16)))
        assert run.codes(picture[None]).mean.shape == (1, 2)
