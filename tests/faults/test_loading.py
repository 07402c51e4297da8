"""What is read from a folder is data: no loader unpickles, imports or runs anything."""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvae
from benchmarks.faults import injuries, soak
from benchmarks.faults.tally import Tally
from jaxvae.config import ModelConfig, RunConfig, TrainConfig
from jaxvae.errors import CheckpointError
from jaxvae.runs import checkpoint, manifest
from jaxvae.study.study import Study
from tests.command_line import ROOT

CHECKPOINTS = ROOT / "tests" / "checkpoints"
CONFIG = RunConfig(ModelConfig("linear", 2, hidden=(2,)), TrainConfig(20), epochs=2)


@pytest.mark.parametrize("version", range(1, checkpoint.FORMAT + 1))
def test_a_checkpoint_of_each_format_loads_and_goes_on(version, small, tmp_path):
    """Written by the code that first had the format; trained again here, to rounding."""
    folder = shutil.copytree(CHECKPOINTS / f"format-{version}", tmp_path / "sweep")
    run = jaxvae.load(folder / CONFIG.name)
    assert json.loads((folder / CONFIG.name / "config.json").read_text())["format"] == version
    assert [entry["epoch"] for entry in run.metrics] == [0, 1, 2]
    assert run.diverged is None
    Study(tmp_path / "again", [CONFIG], small).train("loop", quiet=True)
    again = jaxvae.load(tmp_path / "again" / CONFIG.name)
    for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    longer = [RunConfig(CONFIG.model, CONFIG.train, epochs=3)]
    for place in (folder, tmp_path / "again"):
        Study(place, longer, small).train("loop", quiet=True)
    a, b = (jaxvae.load(place / CONFIG.name).metrics[-1] for place in (folder, tmp_path / "again"))
    assert a["epoch"] == b["epoch"] == 3
    assert a["test"] == pytest.approx(b["test"], rel=1e-4)
    assert json.loads((folder / CONFIG.name / "config.json").read_text())["format"] == checkpoint.FORMAT


def test_a_checkpoint_of_a_later_format_says_so(tmp_path):
    folder = shutil.copytree(CHECKPOINTS / f"format-{checkpoint.FORMAT}", tmp_path / "sweep") / CONFIG.name
    inner = folder / "checkpoints" / "2"
    content = json.loads((inner / "config.json").read_text())
    (inner / "config.json").write_text(json.dumps(content | {"format": 9}))
    manifest.write_manifest(inner)
    with pytest.raises(CheckpointError, match=r"checkpoints/2 has format 9; this version of jaxvae reads 1 to "):
        jaxvae.load(folder)


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml", "runpy"}

RUN_ON_PURPOSE = {"study_file.py": {"compile", "exec"}}  # a Python study, which the user names to have it run


@pytest.mark.parametrize("path", sorted([*ROOT.glob("jaxvae/**/*.py"), *ROOT.glob("experiments/*.py")]), ids=str)
def test_no_loader_can_run_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not {name.split(".")[0] for name in names} & FORBIDDEN
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            runs_code = {"eval", "exec", "compile", "__import__", "importlib.import_module"}
            assert called not in runs_code - RUN_ON_PURPOSE.get(path.name, set())
            if called == "np.load":
                assert any(word.arg == "allow_pickle" and not word.value.value for word in node.keywords)  # type: ignore[attr-defined]


STARTED = {"pickle", "exec", "import", "marshal", "subprocess", "ctypes"}  # of audit events, what comes before a dot
WATCHED = """
import json, sys
from pathlib import Path
import jaxvae
from jaxvae import checkpoint, resume, results

def load(folder):
    for name in ("latest", "best"):
        jaxvae.load(folder / "linear-2", epoch=name)
    checkpoint.read(folder / "linear-2", 2)
    results.read_sweep(folder)

folder = Path(sys.argv[1])
load(folder)  # imports what is imported late
seen = set()
sys.addaudithook(lambda event, arguments: seen.add(event))
load(folder)
print(json.dumps(sorted(seen)))
"""


@pytest.mark.processes
def test_loading_a_checkpoint_unpickles_imports_and_starts_nothing():
    folder = CHECKPOINTS / f"format-{checkpoint.FORMAT}"
    done = subprocess.run([sys.executable, "-c", WATCHED, folder], cwd=ROOT, capture_output=True, text=True, check=True)
    seen = set(json.loads(done.stdout))
    assert "open" in seen  # the hook does hear
    assert not {event for event in seen if event.split(".")[0] in STARTED or event in ("os.system", "os.fork")}


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_an_array_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(CHECKPOINTS / f"format-{checkpoint.FORMAT}", tmp_path / "sweep") / CONFIG.name
    inner = folder / "checkpoints" / "2"
    np.save(inner / "reconstructions.npy", np.array([Bomb()], object), allow_pickle=True)
    assert b"touch exploded" in (inner / "reconstructions.npy").read_bytes()
    manifest.write_manifest(inner)
    with pytest.raises(CheckpointError, match=r"cannot be read \(ValueError: Object arrays"):
        jaxvae.load(folder)
    assert not Path("exploded").exists()
    assert pickle.dumps(Bomb())  # it is one


def test_injuries_are_found(small, tmp_path):
    """The short form of `python -m benchmarks.faults`."""
    tally = injuries.injured(30, tmp_path, small)
    assert tally.made == 30
    assert not tally.failures


def test_a_checkpoint_in_the_place_of_another_is_found(tmp_path):
    folder = shutil.copytree(CHECKPOINTS / f"format-{checkpoint.FORMAT}", tmp_path / "sweep") / CONFIG.name
    (folder / "checkpoints" / "2").rename(folder / "checkpoints" / "3")
    with pytest.raises(CheckpointError, match=r"checkpoints/3 holds epoch 2"):
        jaxvae.load(folder)


def test_without_a_sound_checkpoint_a_sweep_stops_and_says_what_to_do(small, tmp_path):
    study = Study(tmp_path / "sweep", [CONFIG], small)
    study.train(quiet=True)
    for inner in (tmp_path / "sweep" / CONFIG.name / "checkpoints").iterdir():
        (inner / "history.json").unlink()
    before = sorted((tmp_path / "sweep").rglob("*"))
    with pytest.raises(CheckpointError, match=r"2/history.json is missing; linear-2 has no sound checkpoint: delete"):
        study.train(quiet=True)
    assert sorted((tmp_path / "sweep").rglob("*")) == before


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(small, tmp_path, capsys):
    study = Study(tmp_path / "sweep", [CONFIG], small)
    study.train(quiet=True)
    (tmp_path / "sweep" / CONFIG.name / "checkpoints" / "2" / "history.json").write_text("[]")
    study.train(quiet=True)
    (printed,) = capsys.readouterr().out.splitlines()
    assert "2/history.json is damaged: its SHA-256 is not the recorded one; linear-2 goes on from epoch 1" in printed
    assert jaxvae.load(tmp_path / "sweep" / CONFIG.name).metrics[-1]["epoch"] == 2


@pytest.mark.processes
def test_nothing_leaks_in_a_long_life(small, tmp_path):
    """The short form of `python -m benchmarks.faults`."""
    tally = soak.soaked(10, tmp_path, small)
    assert isinstance(tally, Tally)
    assert not tally.failures


@pytest.mark.processes
def test_a_leak_is_seen(small, tmp_path, monkeypatch):
    kept, ended = [], threading.Event()

    def leaking(seed, folder, dataset):
        kept.append(np.ones(10**7, np.uint8))
        kept.append(open(os.devnull))  # noqa: SIM115
        kept.append(Path(tempfile.mkdtemp()))
        jax.jit(lambda x: x + seed)(1.0)
        threading.Thread(target=ended.wait).start()

    monkeypatch.setattr(soak, "_one", leaking)
    monkeypatch.setattr(soak, "GROWTH", 0.01)
    try:
        tally = soak.soaked(10, tmp_path, small)
    finally:
        ended.set()
        for thing in kept:
            if isinstance(thing, Path):
                thing.rmdir()
            elif not isinstance(thing, np.ndarray):
                thing.close()
    assert [failure.split()[2] for failure in tally.failures] == ["by", "threads", "files", "temporary", "compiled"]
