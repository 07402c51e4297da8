"""What the tests share: JAX on CPU with two devices, a cache of their own, small data, MNIST where it is."""

import os
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")
# small programs, compiled once and run for a moment, also by the processes that tests start; .ci/run compiles as a user
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 12):  # which no longer knows it
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")  # compiles in half the time
# what a killed process or one that is still writing has of a program is compiled again, and nobody need hear of it
os.environ.setdefault("PYTHONWARNINGS", "ignore:Error reading persistent,ignore:Error writing persistent")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import fcntl
import shutil
import tempfile
from itertools import count
from pathlib import Path

import jax
import pytest
from hypothesis import configuration, settings

from jaxvae.data.dataset import FILES, Dataset
from jaxvae.system import machine
from tests.blobs import blobs, small
from tests.command_line import LINEAR, QUICK, run

# the same examples each time; `--hypothesis-profile=others` draws others
settings.register_profile("others", deadline=None)
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.load_profile("same")
# what it keeps of Unicode and of the code's constants, from when tests are collected, is no part of the working folder
configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "jaxvae-hypothesis")


def pytest_configure(config):
    """What one test compiles no other does again, in whichever process or command; nor does the next run of pytest."""
    folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir(machine.own_cache_dir().name)))
    jax.config.update("jax_compilation_cache_dir", folder)


def pytest_collection_modifyitems(items):
    """What begins with a whole sweep, or with studies that are trained and stopped, is slow."""
    for item in items:
        if {"finished", "reported", "wholes", "diverged"} & {*item.fixturenames}:
            item.add_marker("slow")


TESTS = count(1)  # that this process has run


def pytest_runtest_teardown():
    """What hundreds of tests compile is more than a process can hold."""
    if next(TESTS) % 20 == 0:
        from jaxvae.training import compiled

        compiled.make_room()


@pytest.fixture(autouse=True)
def own_places(tmp_path, monkeypatch):
    """No test reads or writes the user's cache or finds the user's data."""
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tensorflow_datasets"))
    monkeypatch.delenv("JAXVAE_DATA_DIR", raising=False)


MNIST_DIR = os.environ.get("JAXVAE_DATA_DIR")


@pytest.fixture
def mnist_dir() -> Path:
    if not MNIST_DIR or not all((Path(MNIST_DIR) / "mnist" / file).is_file() for file in FILES.values()):
        pytest.skip("needs MNIST: set JAXVAE_DATA_DIR to a folder with mnist/ and its four .gz files")
    return Path(MNIST_DIR).absolute()


@pytest.fixture(scope="session", name="small")
def small_dataset() -> Dataset:
    return small()


def shared(tmp_path_factory) -> Path:
    """A folder for all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(tmp_path_factory, name: str, make) -> Path:
    """A copy, for this process, of the folder that `make` fills once for all."""
    original = shared(tmp_path_factory) / name
    with original.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not original.exists():
            part = original.with_suffix(".part")
            make(part)
            part.rename(original)
    return Path(shutil.copytree(original, tmp_path_factory.mktemp(name) / "whole"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache that holds stand-ins for the embedded digits, so that no command spends its time on making them."""
    from jaxvae import data
    from jaxvae.data import digits

    folder = shared(tmp_path_factory) / "cache"
    before = os.environ.get("JAXVAE_CACHE_DIR")
    os.environ["JAXVAE_CACHE_DIR"] = str(folder)
    (train, train_labels), (test, test_labels) = blobs(600, 0), blobs(100, 1)
    data.keep(data.Dataset("digits", train, train_labels, test, test_labels), f"digits recipe {digits.RECIPE}")
    os.environ.pop("JAXVAE_CACHE_DIR") if before is None else os.environ.update(JAXVAE_CACHE_DIR=before)
    return folder


@pytest.fixture
def give(cache, capsys, monkeypatch):
    """Gives a command within this process, which is faster than in one of its own: (exit code, output, errors)."""
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))

    def call(main, arguments):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as ended:  # argparse
            code = ended.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def finished(cache, tmp_path_factory):
    """A small sweep that nothing disturbed, and what it printed."""

    def make(folder):
        arguments = [*QUICK, *LINEAR, "--out", folder / "sweep"]
        code, printed, err = run(arguments, cache)
        assert code == 0, err
        (folder / "printed.txt").write_text(printed)

    folder = once(tmp_path_factory, "finished", make)
    return folder / "sweep", (folder / "printed.txt").read_text()


@pytest.fixture(scope="session")
def reported(tmp_path_factory, small):
    """The folder of a small sweep that has everything for a report, and its loaded runs."""
    from jaxvae.runs import run as trained
    from tests.reported import RUNS, made

    folder = once(tmp_path_factory, "reported", lambda folder: made(folder, small))
    return folder, [trained.load(folder / run.name) for run in RUNS]
