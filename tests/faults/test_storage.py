"""What disks, folders and other processes do to a sweep: a clear line, nothing damaged, and on it goes afterwards."""

import ast
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxvae
from benchmarks.faults.kills import difference
from jaxvae.commands.sweep import main
from jaxvae.errors import CheckpointError, InputError, LockedError, StorageError
from jaxvae.runs import checkpoint
from jaxvae.study import progress
from jaxvae.study.study import Study
from jaxvae.system import lock
from tests.classic import classic
from tests.command_line import ROOT

RUNS = [classic("linear", d, hidden=(8,), batch_size=20, epochs=3) for d in (2, 3)]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    Study(folder, RUNS, small).train(quiet=True)
    return folder


class Disk:
    """A file system of its own that can be made smaller, larger and read-only."""

    def __init__(self, path):
        self.path, self.mounts = path, 0
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=32m", "tmpfs", path)
        self.mounts += 1

    def _mount(self, *arguments):
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"needs to mount file systems: {done.stderr.strip()}")

    def fill(self, left):
        """No more than `left` bytes can be added."""
        used = sum(path.stat().st_blocks * 512 for path in self.path.rglob("*") if path.is_file())
        self._mount("-o", f"remount,size={max(1, (used + left) // 4096) * 4096}", self.path)

    def empty(self):
        self._mount("-o", "remount,size=32m", self.path)

    def protect(self):
        """Read-only from now on, also where files are open."""
        self._mount("--bind", self.path, self.path)
        self.mounts += 1
        self._mount("-o", "remount,bind,ro", self.path)

    def unprotect(self):
        subprocess.run(["umount", "-l", self.path], check=True)
        self.mounts -= 1

    def remove(self):
        while self.mounts:
            self.unprotect()


@pytest.fixture
def disk(tmp_path):
    made = Disk(tmp_path / "disk")
    yield made
    made.remove()


def after_first_epoch(monkeypatch, fault):
    """Has something happen once all runs have saved their first epoch."""
    seen, epoch = [], progress.Display.epoch

    def hooked(self, report):
        epoch(self, report)
        seen.append(report.epoch)
        if seen.count(1) == len(RUNS) and fault:
            fault()
            seen.clear()

    monkeypatch.setattr(progress.Display, "epoch", hooked)


def sound_epochs(folder):
    """All checkpoints of the runs, each verified; nothing half-written lies beside them."""
    assert not [path for path in folder.rglob(".*") if path.name not in (lock.NAME, lock.HOLDER)]
    found = {run.name: checkpoint.epochs(folder / run.name) for run in RUNS}
    for name, epochs in found.items():
        for epoch in epochs:
            checkpoint.read(folder / name, epoch)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("cause", ["full", "read-only"])
def test_a_disk_that_refuses_in_the_middle_costs_nothing_but_the_epoch(cause, disk, whole, small, monkeypatch):
    folder = disk.path / "sweep"
    refuse = (lambda: disk.fill(8192)) if cause == "full" else disk.protect
    with monkeypatch.context() as patched:
        after_first_epoch(patched, refuse)
        with pytest.raises(StorageError, match="No space left" if cause == "full" else "Read-only") as caught:
            Study(folder, RUNS, small).train("loop", quiet=True)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    disk.empty() if cause == "full" else disk.unprotect()
    assert sound_epochs(folder) == {run.name: [0, 1] for run in RUNS}
    Study(folder, RUNS, small).train("loop", quiet=True)
    assert difference(whole, folder) is None


@pytest.mark.slow
def test_a_disk_too_small_for_the_results_has_whole_files_or_none(disk, whole, small):
    folder = Path(shutil.copytree(whole, disk.path / "sweep"))
    study = Study(folder, RUNS, small)
    study.train(quiet=True)
    disk.fill(400_000)
    with pytest.raises(StorageError, match="No space left"):
        study.write(0.0)
    pictures = list((folder / "figures").glob("*.png"))
    assert pictures
    for path in pictures:
        Image.open(path).load()
    assert not list(folder.rglob(".*"))
    disk.empty()
    study.write(0.0)
    assert (folder / "report.html").exists()


@pytest.mark.slow
def test_a_file_that_may_not_grow_so_large_is_as_good_as_a_full_disk(whole, small, tmp_path):
    """What a quota does, where no file system can be mounted."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(StorageError, match="File too large"):
            Study(tmp_path / "sweep", RUNS, small).train("loop", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sound_epochs(tmp_path / "sweep") == {run.name: [] for run in RUNS}
    Study(tmp_path / "sweep", RUNS, small).train("loop", quiet=True)
    assert difference(whole, tmp_path / "sweep") is None


def test_a_read_only_folder_is_refused_and_can_be_loaded_from(disk, whole, small):
    folder = Path(shutil.copytree(whole, disk.path / "sweep"))
    disk.protect()
    with pytest.raises(InputError, match=r"cannot be written to \(Read-only file system\)"):
        Study(folder, RUNS, small).train(quiet=True)
    assert jaxvae.load(folder / RUNS[0].name).metrics[-1]["epoch"] == 3


@pytest.mark.slow
def test_a_folder_that_vanishes_is_not_made_again_and_goes_on_when_it_is_back(whole, small, tmp_path, monkeypatch):
    folder, away = tmp_path / "sweep", tmp_path / "away"
    with monkeypatch.context() as patched:
        after_first_epoch(patched, lambda: folder.rename(away))
        with pytest.raises(StorageError, match=r"sweep/linear-[23]\S* is no longer there"):
            Study(folder, RUNS, small).train("loop", quiet=True)
    assert not folder.exists()
    away.rename(folder)
    assert sound_epochs(folder) == {run.name: [0, 1] for run in RUNS}
    Study(folder, RUNS, small).train("loop", quiet=True)
    assert difference(whole, folder) is None


@pytest.mark.slow
def test_the_command_says_in_one_line_how_to_go_on(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))
    folder = tmp_path / "sweep"
    after_first_epoch(monkeypatch, None)
    monkeypatch.setattr(checkpoint, "_reserve", lambda path, progress: os.mkdir(path / "no"))
    arguments = ["--dataset", "digits", "--limit", "120", "--batch-size", "20", "--architectures", "linear"]
    code = main([*arguments, "--latent-dims", "2", "--workers", "1", "--out", str(folder)])
    assert code == 1
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["error:"]


@pytest.mark.slow
def test_a_path_may_have_spaces_quotes_and_any_script(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))
    folder = tmp_path / """it's a "näme" <b>&amp; 数字"""
    arguments = ["--dataset", "digits", "--limit", "120", "--batch-size", "20", "--architectures", "linear"]
    code = main([*arguments, "--latent-dims", "2", "--epochs", "1", "--workers", "1", "--out", str(folder)])
    printed = capsys.readouterr().out
    assert code == 0
    (line,) = re.findall(r"run = jaxvae.load\(.*", printed)
    path = ast.literal_eval(line[len("run = jaxvae.load(") : line.rindex(")")])
    assert jaxvae.load(path).config.latent_dim == 2
    assert "<b>" not in (folder / "report.html").read_text(encoding="utf-8")


def test_links_out_of_the_folder_are_refused_and_what_they_lead_to_stays(whole, small, tmp_path):
    folder, elsewhere = Path(shutil.copytree(whole, tmp_path / "sweep")), tmp_path / "elsewhere"
    for inside in (folder / RUNS[0].name, folder / RUNS[1].name / "checkpoints", folder / "figures"):
        shutil.rmtree(elsewhere, ignore_errors=True)
        inside.mkdir(exist_ok=True)
        shutil.move(inside, elsewhere)
        inside.symlink_to(elsewhere)
        before = sorted(elsewhere.rglob("*"))
        with pytest.raises(CheckpointError, match=f"{inside.name} is a link out of .*to .*elsewhere"):
            Study(folder, RUNS, small).train(quiet=True)
        assert sorted(elsewhere.rglob("*")) == before
        inside.unlink()
        shutil.copytree(elsewhere, inside)
    (tmp_path / "link").symlink_to(folder)  # the whole sweep may lie anywhere
    Study(tmp_path / "link", RUNS, small).train(quiet=True)
    assert difference(whole, tmp_path / "link") is None


# ── one writer ───────────────────────────────────────────────────────────────────────────────────────────────────────

HOLDER = """
import sys, time
from pathlib import Path
from jaxvae.system import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_second_sweep_is_told_who_the_first_is_and_a_dead_ones_lock_is_taken_over(small, tmp_path):
    folder = tmp_path / "sweep"
    first = subprocess.Popen([sys.executable, "-c", HOLDER, folder], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert first.stdout
        first.stdout.readline()
        for fresh in (False, True):
            with pytest.raises(LockedError, match=f"is being written by process {first.pid} on "):
                Study(folder, RUNS, small).train(fresh=fresh, quiet=True)
        assert sorted(os.listdir(folder)) == [lock.NAME, lock.HOLDER]
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert (folder / lock.NAME).exists()
    Study(folder, RUNS[:1], small).train(quiet=True)
    assert not (folder / lock.NAME).exists()


def test_a_lock_is_let_go_whatever_ends_its_block_and_none_is_left_in_a_folder_moved_aside(small, tmp_path):
    with pytest.raises(ZeroDivisionError), lock.hold(tmp_path / "a"):
        raise ZeroDivisionError
    with (
        lock.hold(tmp_path / "a"),
        pytest.raises(LockedError, match=f"process {os.getpid()}"),
        lock.hold(tmp_path / "a"),
    ):
        pytest.fail("held twice")
    Study(tmp_path / "a", RUNS[:1], small).train(quiet=True)
    Study(tmp_path / "a", RUNS[:1], small).train(fresh=True, quiet=True)
    assert not list(tmp_path.rglob(lock.NAME))
    assert checkpoint.epochs(tmp_path / "a.before-1" / RUNS[0].name) == [2, 3]


@pytest.mark.slow
def test_a_system_without_locks_of_its_own_has_one_writer_too(tmp_path):
    """As Windows has it: no `fcntl`."""
    program = "import sys, warnings\nsys.modules['fcntl'] = None\nwarnings.simplefilter('ignore')\n" + HOLDER
    command = [sys.executable, "-c", program, tmp_path]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout
        assert first.stdout.readline() == "held\n"
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert f"{tmp_path} is being written by process {first.pid} on " in second.stderr
    finally:
        first.kill()
        first.communicate()


def test_a_file_system_without_locks_has_none(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with lock.hold(tmp_path):
        assert str(os.getpid()) in lock.content(tmp_path)
    assert os.listdir(tmp_path) == []


# ── clocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(whole, small, tmp_path, monkeypatch):
    folder, now = tmp_path / "sweep", [time.time()]

    def earlier():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", earlier)
    monkeypatch.setattr(time, "time_ns", lambda: int(earlier() * 1e9))
    Study(folder, [replace(run, epochs=2) for run in RUNS], small).train("loop", quiet=True)
    for i, path in enumerate(sorted(folder.rglob("*"))):  # the newest by number is the oldest by date
        os.utime(path, (2e9 - 1e5 * i, 2e9 - 1e5 * i))
    Study(folder, RUNS, small).train("loop", quiet=True)
    assert difference(whole, folder) is None


def test_nothing_asks_for_the_time_of_day():
    for path in (ROOT / "jaxvae").rglob("*.py"):
        names = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"}, path


@pytest.mark.slow
def test_states_restore_wherever_they_were_saved(whole):
    """On another number of devices, and without a word of the device they were on."""
    code = (
        "import sys, jax, numpy as np, jaxvae; print(jax.device_count(), "
        "sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(jaxvae.load(sys.argv[1]).params)))"
    )
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "5"}
    done = subprocess.run(
        [sys.executable, "-c", code, whole / RUNS[0].name],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    count, total = done.stdout.split()
    assert int(count) == 5 != jax.device_count()
    params = jaxvae.load(whole / RUNS[0].name).params
    assert float(total) == pytest.approx(sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(params)), rel=1e-6)
    state = whole / RUNS[0].name / "checkpoints" / "3" / "state"
    assert not any(b"cpu" in path.read_bytes().lower() for path in state.rglob("*") if path.is_file())
