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
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxvae
from benchmarks.faults import injuries, soak
from benchmarks.faults.ground import changed, with_value
from benchmarks.faults.tally import Tally
from experiments.protocols import AdamFromOne
from jaxvae import parts, results
from jaxvae.errors import CheckpointError, ConfigError
from jaxvae.formats import FORMAT, old_name
from jaxvae.models import StandardNormal
from jaxvae.runs import manifest
from jaxvae.study.study import Study
from tests.classic import classic
from tests.command_line import ROOT

CHECKPOINTS = ROOT / "tests" / "checkpoints"
CONFIG = classic(hidden=(2,), batch_size=20, epochs=2)


def name_in(version):
    """What a format called the run."""
    return CONFIG.name if version == FORMAT else old_name(CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_a_checkpoint_of_each_format_loads_and_goes_on(version, small, tmp_path):
    """Written by the code that first had the format; trained again here, to rounding."""
    folder = shutil.copytree(CHECKPOINTS / f"format-{version}", tmp_path / "sweep")
    run = jaxvae.load(folder / name_in(version))
    assert json.loads((folder / name_in(version) / "config.json").read_text())["format"] == version
    assert run.config == CONFIG
    assert [entry["epoch"] for entry in run.metrics] == [0, 1, 2]
    assert run.diverged is None
    Study(tmp_path / "again", [CONFIG], small).train("loop", quiet=True)
    again = jaxvae.load(tmp_path / "again" / CONFIG.name)
    for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(again.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    longer = [replace(CONFIG, epochs=3)]
    for place in (folder, tmp_path / "again"):
        Study(place, longer, small).train("loop", quiet=True)
    a, b = (jaxvae.load(place / CONFIG.name).metrics[-1] for place in (folder, tmp_path / "again"))
    assert a["epoch"] == b["epoch"] == 3
    assert a["test"] == pytest.approx(b["test"], rel=1e-4)
    assert json.loads((folder / CONFIG.name / "config.json").read_text())["format"] == FORMAT


def test_a_checkpoint_of_a_later_format_says_so(tmp_path):
    folder = shutil.copytree(CHECKPOINTS / f"format-{FORMAT}", tmp_path / "sweep") / CONFIG.name
    inner = folder / "checkpoints" / "2"
    content = json.loads((inner / "config.json").read_text())
    (inner / "config.json").write_text(json.dumps(content | {"format": 9}))
    manifest.write_manifest(inner)
    with pytest.raises(CheckpointError, match=r"checkpoints/2 has format 9; this version of jaxvae reads 1 to "):
        jaxvae.load(folder)


FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml", "runpy"}

RUN_ON_PURPOSE = {
    "jaxvae/commands/study_file.py": {"compile", "exec"},  # a Python study, which the user names to have it run
    "jaxvae/evaluation/__init__.py": {"import_module"},  # of modules that it names itself
    "jaxvae/models/functional.py": {"importlib.import_module"},  # in a worker process, of what its parent has imported
}


@pytest.mark.parametrize("path", sorted([*ROOT.glob("jaxvae/**/*.py"), *ROOT.glob("experiments/*.py")]), ids=str)
def test_no_loader_can_run_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not {name.split(".")[0] for name in names} & FORBIDDEN
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            runs_code = {"eval", "exec", "compile", "__import__", "import_module", "importlib.import_module"}
            assert called not in runs_code - RUN_ON_PURPOSE.get(path.relative_to(ROOT).as_posix(), set())
            if called == "np.load":
                assert any(word.arg == "allow_pickle" and not word.value.value for word in node.keywords)  # type: ignore[attr-defined]


STARTED = {"pickle", "exec", "import", "marshal", "subprocess", "ctypes"}  # of audit events, what comes before a dot
WATCHED = """
import json, sys
from pathlib import Path
import jaxvae
from jaxvae import parts, results
from jaxvae.errors import CheckpointError
from jaxvae.models import StandardNormal
from jaxvae.runs import checkpoint

Mine = parts.part("prior/mine")(type("Mine", (StandardNormal,), {}))
del parts.REGISTERED["prior/mine"]  # a process that has not imported it

def load(folder):
    for name in ("latest", "best")[:len(checkpoint.epochs(folder))]:  # of format 1 the best is not there
        jaxvae.load(folder, epoch=name, parts=[Mine])
    checkpoint.read(folder, 2, [Mine])
    results.read_sweep(folder.parent)

def refuse(folder):
    try:
        jaxvae.load(folder)
    except CheckpointError as error:
        assert "there is no part named" in str(error), error
    else:
        raise AssertionError(f"{folder} was loaded")

def each():
    for folder in sound:
        load(folder)
    for folder in strange:
        refuse(folder)

given = [Path(argument) for argument in sys.argv[1:]]
sound, strange = given[:4], given[3:]
each()  # imports what is imported late
seen, modules = set(), set(sys.modules)
sys.addaudithook(lambda event, arguments: seen.add(event))
each()
print(json.dumps([sorted(seen), sorted(set(sys.modules) - modules), "this" in sys.modules]))
"""


def naming(prior, folder):
    """The run of the newest format, whose files say that its prior is another part."""
    shutil.copytree(CHECKPOINTS / f"format-{FORMAT}", folder)
    run = folder / CONFIG.name
    changed(run / "config.json", with_value("config", "vae", "prior", {"part": prior}))
    for checkpoint_folder in (run / "checkpoints").iterdir():
        changed(checkpoint_folder / "config.json", with_value("config", "vae", "prior", {"part": prior}))
        manifest.write_manifest(checkpoint_folder)
    config = json.loads((run / "config.json").read_text())["config"]
    if prior == "prior/normal":
        (folder / results.SWEEP).write_text(json.dumps({"runs": [config]}))
    return run


@pytest.mark.slow
def test_loading_a_checkpoint_unpickles_imports_and_starts_nothing(tmp_path):
    """Of each format, with a part that is handed in, and where a part's name is that of a module or a function."""
    old = [CHECKPOINTS / f"format-{version}" / name_in(version) for version in range(1, FORMAT)]
    names = ["prior/normal", "prior/mine", "this", "os.system", "antigravity/fly", "../this", "experiments.protocols"]
    folders = [*old, *(naming(name, tmp_path / str(i)) for i, name in enumerate(names))]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen, imported, this = json.loads(done.stdout)
    assert "open" in seen  # the hook does hear
    assert not {event for event in seen if event.split(".")[0] in STARTED or event in ("os.system", "os.fork")}
    assert not imported
    assert not this


def own_prior():
    """A class of parts that is registered nowhere."""
    Mine = parts.part("prior/mine")(type("Mine", (StandardNormal,), {}))
    del parts.REGISTERED["prior/mine"]
    return Mine


@pytest.mark.slow
def test_an_unknown_part_is_one_line_and_can_be_handed_in(tmp_path):
    folder, mine = naming("prior/mine", tmp_path / "sweep"), own_prior()
    with pytest.raises(CheckpointError) as caught:
        jaxvae.load(folder)
    assert str(caught.value) == (
        f"{folder}/config.json: there is no part named 'prior/mine'; import its module, or hand it in: parts=[…]"
    )
    plain = jaxvae.load(CHECKPOINTS / f"format-{FORMAT}" / CONFIG.name)
    for epoch in ("latest", "best", 1):
        run = jaxvae.load(folder, epoch, parts=(cls for cls in [mine]))
        assert run.config.vae.prior == mine()
        assert run.config == replace(CONFIG, vae=replace(CONFIG.vae, prior=mine()))
    run = jaxvae.load(folder, parts=[mine])
    np.testing.assert_array_equal(run.sample(jax.random.key(0), 3), plain.sample(jax.random.key(0), 3))
    with pytest.raises(CheckpointError, match=r"no part named 'prior/mine'"):
        jaxvae.load(folder)  # what was handed in is not registered


@pytest.mark.parametrize("wrong", [StandardNormal(), "prior/normal", dict])
def test_only_classes_of_parts_can_be_handed_in(wrong):
    with pytest.raises(ConfigError, match=r"parts must be a list of classes decorated with jaxvae\.parts\.part, not "):
        jaxvae.load(CHECKPOINTS / f"format-{FORMAT}" / CONFIG.name, parts=[wrong])


def test_the_second_moment_of_an_earlier_version_asks_for_its_experiment(tmp_path, monkeypatch):
    """It is a part of `experiments.published` now, which loading does not import."""
    monkeypatch.delitem(parts.REGISTERED, "optimiser/adam-from-one", raising=False)
    folder = Path(shutil.copytree(CHECKPOINTS / "format-2" / "linear-2", tmp_path / "linear-2"))
    for path in (folder / "config.json", *folder.glob("checkpoints/*/config.json")):
        changed(path, with_value("config", "train", "adam_second_moment", 0.25))
    for inner in (folder / "checkpoints").iterdir():
        manifest.write_manifest(inner)
    with pytest.raises(CheckpointError, match=r"no part named 'optimiser/adam-from-one'; import its module, or hand"):
        jaxvae.load(folder)
    assert jaxvae.load(folder, parts=[AdamFromOne]).config.optimiser == AdamFromOne(second_moment=0.25)


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_an_array_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(CHECKPOINTS / f"format-{FORMAT}", tmp_path / "sweep") / CONFIG.name
    inner = folder / "checkpoints" / "2"
    np.save(inner / "reconstructions.npy", np.array([Bomb()], object), allow_pickle=True)
    assert b"touch exploded" in (inner / "reconstructions.npy").read_bytes()
    manifest.write_manifest(inner)
    with pytest.raises(CheckpointError, match=r"cannot be read \(ValueError: Object arrays"):
        jaxvae.load(folder)
    assert not Path("exploded").exists()
    assert pickle.dumps(Bomb())  # it is one


@pytest.mark.slow
def test_injuries_are_found(small, tmp_path):
    """The short form of `python -m benchmarks.faults`."""
    tally = injuries.injured(30, tmp_path, small)
    assert tally.made == 30
    assert not tally.failures


def test_a_checkpoint_in_the_place_of_another_is_found(tmp_path):
    folder = shutil.copytree(CHECKPOINTS / f"format-{FORMAT}", tmp_path / "sweep") / CONFIG.name
    (folder / "checkpoints" / "2").rename(folder / "checkpoints" / "3")
    with pytest.raises(CheckpointError, match=r"checkpoints/3 holds epoch 2"):
        jaxvae.load(folder)


def test_without_a_sound_checkpoint_a_sweep_stops_and_says_what_to_do(small, tmp_path):
    study = Study(tmp_path / "sweep", [CONFIG], small)
    study.train(quiet=True)
    for inner in (tmp_path / "sweep" / CONFIG.name / "checkpoints").iterdir():
        (inner / "history.json").unlink()
    before = sorted((tmp_path / "sweep").rglob("*"))
    with pytest.raises(CheckpointError, match=f"2/history.json is missing; {CONFIG.name} has no sound "):
        study.train(quiet=True)
    assert sorted((tmp_path / "sweep").rglob("*")) == before


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_taken(small, tmp_path, capsys):
    study = Study(tmp_path / "sweep", [CONFIG], small)
    study.train(quiet=True)
    (tmp_path / "sweep" / CONFIG.name / "checkpoints" / "2" / "history.json").write_text("[]")
    study.train(quiet=True)
    (printed,) = capsys.readouterr().out.splitlines()
    assert "2/history.json is damaged: its SHA-256 is not the recorded one; " in printed
    assert f"; {CONFIG.name} goes on from epoch 1" in printed
    assert jaxvae.load(tmp_path / "sweep" / CONFIG.name).metrics[-1]["epoch"] == 2


@pytest.mark.slow
def test_nothing_leaks_in_a_long_life(small, tmp_path):
    """The short form of `python -m benchmarks.faults`."""
    tally = soak.soaked(10, tmp_path, small)
    assert isinstance(tally, Tally)
    assert not tally.failures


@pytest.mark.slow
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
