import pytest

from jaxvae.runs import run_folder
from jaxvae.study import resume
from jaxvae.study.resume import settle_precision
from tests.classic import classic

RUNS = [classic(a, d) for a in ("linear", "conv") for d in (2, 3)]


def precisions(runs):
    return [run.precision for run in runs]


@pytest.fixture
def bfloat16_for_conv(monkeypatch):
    chosen = {"conv": "bfloat16", "linear": "float32"}
    monkeypatch.setattr(resume, "automatic_precision", lambda network: chosen[network.part_label])


def begin(folder, run):
    run_folder.write_config(_made(folder / run.name), run, {})
    _made(folder / run.name / "checkpoints" / "1")


def _made(path):
    path.mkdir(parents=True)
    return path


def test_new_runs_take_the_machines_precision(bfloat16_for_conv, tmp_path):
    for folder in (None, tmp_path, tmp_path / "missing"):
        settled = settle_precision(RUNS, folder)
        assert precisions(settled) == ["float32", "float32", "bfloat16", "bfloat16"]
        assert [run.name for run in settled] == [run.name for run in RUNS]  # nobody asked for it


def test_runs_that_were_begun_keep_theirs_and_lend_it_to_their_architecture(bfloat16_for_conv, tmp_path):
    begin(tmp_path, RUNS[2])
    assert precisions(settle_precision(RUNS, tmp_path)) == ["float32"] * 4
    begin(tmp_path, classic(precision="auto:bfloat16"))
    assert precisions(settle_precision(RUNS, tmp_path)) == ["bfloat16", "bfloat16", "float32", "float32"]
    assert precisions(settle_precision(RUNS, None)) == ["float32", "float32", "bfloat16", "bfloat16"]
