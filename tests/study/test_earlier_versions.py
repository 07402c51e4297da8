"""A sweep that an earlier version began goes on under the names of today and to the same bits, and its tables are read.

Format 2 told runs apart by network, latent size, objective, β, learning rate and seed alone.
"""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvae
from benchmarks.faults.ground import changed, with_value
from benchmarks.faults.kills import difference
from jaxvae.commands import report
from jaxvae.data import Dataset
from jaxvae.errors import CheckpointError
from jaxvae.results import SWEEP, read_results
from jaxvae.runs import checkpoint, manifest, run_folder
from jaxvae.study import Study, resume, settle_precision
from tests.blobs import blobs
from tests.classic import classic
from tests.command_line import ROOT

# by the code of format 2, vmapped; without figures, page and metrics.parquet
WRITTEN = ROOT / "tests" / "checkpoints" / "format-2-sweep"
OLD_NAMES = ("linear-2", "linear-3")
DIGITS = Dataset("digits", *blobs(600, 0), *blobs(100, 1)).first(60, 25)  # as the tests' cache has them


def runs(epochs=1, **changes):
    settings = {"hidden": (1,), "batch_size": 20, "binarize": "static", "epochs": epochs} | changes
    return [classic("linear", d, **settings) for d in (2, 3)]


@pytest.fixture
def begun(tmp_path):
    return Path(shutil.copytree(WRITTEN, tmp_path / "sweep"))


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def format_of(folder):
    return json.loads((folder / "config.json").read_text())["format"]


def as_today(old, folder):
    """The same runs, as today's code would have left them."""
    for name, run in zip(OLD_NAMES, runs(), strict=True):
        _, about = run_folder.read_config(old / name)
        dataset = about["dataset"] | {"shape": [28, 28]}
        run_folder.write_config(folder / run.name, run, {"dataset": dataset})
        for epoch in checkpoint.epochs(old / name):
            progress = checkpoint.read(old / name, epoch)
            assert progress.lane_runs == OLD_NAMES
            checkpoint.save(folder / run.name, progress._replace(lane_runs=tuple(run.name for run in runs())))
    return folder


@pytest.mark.slow
def test_runs_are_adopted_with_their_lanes_and_go_on_to_the_same_bits(begun, tmp_path, capsys):
    twin, longer = as_today(begun, tmp_path / "twin"), runs(epochs=2)
    names = tuple(run.name for run in longer)
    assert names == ("linear-2-hidden1-batch20-static", "linear-3-hidden1-batch20-static")
    states = files(begun / OLD_NAMES[0] / "checkpoints" / "1")
    for folder in (begun, twin):
        study = Study(folder, longer, DIGITS)
        study.train("vmap", quiet=True)
        assert study.how["epochs_trained"] == 2
    said = capsys.readouterr().out.splitlines()
    for line, old, new in zip(said, OLD_NAMES, names, strict=True):
        assert line == f"{begun / old} was begun by an earlier version and is called {new} now"
    for name in ("metrics.csv", "means.csv", "claims.json", "digits.json", SWEEP):
        (begun / name).unlink()
    assert difference(twin, begun) is None
    assert sorted(path.name for path in begun.iterdir()) == sorted(names)
    assert files(begun / names[0] / "checkpoints" / "1") == states
    assert format_of(begun / names[0]) == format_of(begun / names[0] / "checkpoints" / "2") == 3
    assert format_of(begun / names[0] / "checkpoints" / "1") == 2
    assert checkpoint.read(begun / names[0], 2).lane_runs == names


@pytest.mark.slow
def test_a_lane_that_is_behind_takes_its_companions_back(begun):
    shutil.rmtree(begun / OLD_NAMES[1] / "checkpoints" / "1")
    study = Study(begun, runs(), DIGITS)
    before = checkpoint.read(begun / OLD_NAMES[0], 1).state.params
    study.train("vmap", quiet=True)
    assert study.how["epochs_trained"] == 2
    after = checkpoint.read(begun / runs()[0].name, 1).state.params  # another machine's bits, to rounding
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), before, after)


def test_what_is_complete_is_only_renamed(begun):
    content = {path: begun.joinpath(path).read_bytes() for path in files(begun) if path.parts[0] in OLD_NAMES}
    study = Study(begun, runs(), DIGITS)
    study.train("vmap", quiet=True)
    assert study.how["epochs_trained"] == 0
    now = dict(zip(OLD_NAMES, (run.name for run in runs()), strict=True))
    for path, kept in content.items():
        assert begun.joinpath(now[path.parts[0]], *path.parts[1:]).read_bytes() == kept
    study = Study(begun, runs(), DIGITS)
    study.train("vmap", quiet=True)
    assert study.how["epochs_trained"] == 0


@pytest.mark.slow
def test_when_and_where_it_was_trained_stays(begun):
    """Though the tables get the names of today."""
    before = json.loads((begun / SWEEP).read_text())
    study = Study(begun, runs(), DIGITS)
    study.train("vmap", quiet=True)
    study.write(99.0)
    after = json.loads((begun / SWEEP).read_text())
    assert {key: value for key, value in after.items() if key not in ("runs", "results")} == {
        key: value for key, value in before.items() if key not in ("runs", "results")
    }
    names = [run.name for run in runs()]
    assert after["results"] == [row | {"name": n} for row, n in zip(before["results"], names, strict=True)]
    assert after["runs"] == [run.to_json() for run in runs()]
    assert list(json.loads((begun / "digits.json").read_text())["runs"]) == names
    written = (begun / SWEEP).read_bytes()
    study.write(1.0)
    assert (begun / SWEEP).read_bytes() == written


@pytest.mark.parametrize(
    ("others", "says"),
    [
        (lambda: runs(batch_size=30), "lacks or would change .linear-2-hidden1-batch20-static, linear-3"),
        (lambda: runs(binarize="none"), "lacks or would change"),
        (lambda: runs(epochs=0), r"epochs 1 there, 0 now"),
        (lambda: runs()[:1], "lacks or would change .linear-3-hidden1-batch20-static."),
        (lambda: [classic(epochs=1, batch_size=50)], "lacks or would change"),
        (lambda: [classic(epochs=1)], r"linear-2/config.json is another run's \(vae.encoder.hidden .1. there, .256. n"),
    ],
    ids=["batch", "binarisation", "shorter", "fewer", "all", "its name"],
)  # fmt: skip
def test_other_runs_take_over_neither_folder_nor_results(begun, others, says):
    before = files(begun)
    with pytest.raises(CheckpointError, match=says):
        resume.past_of_runs(begun, others(), Study(begun, runs(), DIGITS).about, print)
    assert files(begun) == before


def test_other_data_are_refused_before_anything_is_renamed(begun):
    before = files(begun)
    other = Study(begun, runs(), DIGITS.first(50, 25)).about
    with pytest.raises(CheckpointError, match=r"linear-2/config.json is another run's \(dataset \w{12} there"):
        resume.past_of_runs(begun, runs(), other, print)
    assert files(begun) == before


def test_a_run_beside_it_that_has_its_old_name_now_changes_nothing(begun):
    """A default run is called what format 2 called one of other settings."""
    beside = [*runs(), classic(epochs=0)]
    about = Study(begun, runs(), DIGITS).about
    found = resume.past_of_runs(begun, beside, about, print)
    assert {name: own.lane_runs for name, own in found.items()} == dict.fromkeys(
        (run.name for run in runs()), tuple(run.name for run in runs())
    )


# ── precisions, of which format 2 did not say who chose them ─────────────────────────────────────────────────────────


@pytest.fixture
def in_bfloat16(begun):
    for name in OLD_NAMES:
        for path in (begun / name / "config.json", *(begun / name).glob("checkpoints/*/config.json")):
            changed(path, with_value("config", "model", "precision", "bfloat16"))
        for inner in (begun / name / "checkpoints").iterdir():
            manifest.write_manifest(inner)
    for i in range(2):
        changed(begun / SWEEP, with_value("runs", i, "model", "precision", "bfloat16"))
    return begun


@pytest.mark.slow
def test_it_goes_on_in_its_precision_whether_that_is_asked_for_or_not(in_bfloat16, tmp_path):
    copy = Path(shutil.copytree(in_bfloat16, tmp_path / "copy"))
    asked, settled = runs(precision="bfloat16"), settle_precision(runs(), copy)
    assert {run.precision for run in settled} == {"bfloat16"}
    assert [run.name for run in settled] == [run.name for run in runs()]
    assert asked[0].name == "linear-2-hidden1-bfloat16-batch20-static"
    for folder, wanted in ((in_bfloat16, asked), (copy, settled)):
        study = Study(folder, wanted, DIGITS)
        study.train("vmap", quiet=True)
        assert study.how["epochs_trained"] == 0
        study.write(1.0)
        assert [run.name for run in read_results(folder).runs] == [run.name for run in wanted]
        assert jaxvae.load(folder / wanted[0].name).config.precision == "bfloat16"
    with pytest.raises(CheckpointError, match="precision 'bfloat16' there, 'float32' now"):
        resume.past_of_runs(copy, runs(), Study(copy, runs(), DIGITS).about, print)


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_results_with_old_names_are_read_with_those_of_today():
    results = read_results(WRITTEN)
    names = [run.name for run in runs()]
    assert results.runs == runs()
    assert list(results.digits["runs"]) == names
    rows = json.loads((WRITTEN / SWEEP).read_text())["results"]
    for name, row in zip(names, rows, strict=True):
        final = results.finals[name]
        assert (final.name, final.loss, final.kl, final.parameters) == (
            name, row["loss"], row["kl"], row["parameters"]
        )  # fmt: skip
        assert results.losses[name].shape == (2, 2, 3)
    first = (WRITTEN / "metrics.csv").read_text().splitlines()[1]
    assert results.losses[names[0]][0, 1].tolist() == [float(number) for number in first.split(",")[-3:]]


def test_results_under_another_run_s_name_are_refused(begun):
    changed(begun / SWEEP, lambda content: content | {"results": content["results"][::-1]})
    with pytest.raises(CheckpointError, match=r"sweep\.json calls linear-2-hidden1-batch20-static 'linear-3'"):
        read_results(begun)


@pytest.mark.slow
@pytest.mark.parametrize("adopted", [False, True])
def test_a_report_has_its_models_whatever_their_folders_are_called(begun, adopted, give):
    names = [run.name for run in runs()]
    evaluation = begun / OLD_NAMES[0] / "evaluation.json"
    shared = "test", 25, "static", "digits", json.loads((begun / SWEEP).read_text())["dataset"]["fingerprint"], "x"
    fields = "metric value standard_error standard_error_repeats unit estimator samples split images binarization"
    values = ("L_K", -150.25, 0.5, None, "nats", "importance weighting", 500, *shared)
    record = dict(zip([*fields.split(), "dataset", "fingerprint", "run"], values, strict=True))
    config = json.loads((begun / OLD_NAMES[0] / "config.json").read_text())["config"]
    evaluation.write_text(json.dumps({"config": config, "epoch": 1, "records": [record]}))
    if adopted:
        Study(begun, runs(), DIGITS).train("vmap", quiet=True)
    code, out, err = give(report.main, [begun])
    assert (code, err) == (0, "")
    assert "have no checkpoint here" not in out
    page = (begun / "report.html").read_text(encoding="utf-8")
    folders = names if adopted else OLD_NAMES
    assert 'id="explorer"' in page
    for name, folder in zip(names, folders, strict=True):
        assert name in page
        assert re.search(rf"sweep/{folder}[\"&\\]", page)
    assert "150.25" in page
