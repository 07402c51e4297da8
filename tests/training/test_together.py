"""Several processes on this host train one sweep, as several hosts do; their collectives are Gloo's."""

import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import psutil
import pytest

import jaxvae
from benchmarks.faults.kills import difference
from jaxvae.commands.sweep import main
from jaxvae.runs import checkpoint
from tests import together
from tests.command_line import QUICK, ROOT, run

GRID = [*QUICK, "--architectures", "linear", "--latent-dims", 2, 3, "--seeds", 0, 1, "--precision", "float32"]


def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def started(module, arguments, cache, processes, devices, coordinator=None, present=None):
    """The processes, or those of them that are `present`."""
    coordinator = coordinator or address()
    found = []
    for index in range(processes) if present is None else present:
        environment = os.environ | {
            "JAXVAE_CACHE_DIR": str(cache), "JAX_NUM_CPU_DEVICES": str(devices), "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(index), "JAX_COORDINATOR_ADDRESS": coordinator,
        }  # fmt: skip
        command = [sys.executable, "-m", module, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        found.append(subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes))
    return found


def ended(processes, seconds=200):
    """Exit code, output and errors of each."""
    results = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=seconds)
            results.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return results


def study(folder, epochs, layout, cache, processes, devices, *saves):
    return ended(started("tests.together", [folder, epochs, layout, *saves], cache, processes, devices))


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory):
    """A study that two processes of two devices each trained, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    assert [r[:2] for r in study(folder, 3, "auto", cache, 2, 2)] == [(0, "15 15\n")] * 2
    return folder


def same_numbers(folder, other):
    """All runs' losses, up to rounding."""
    names = sorted(path.parent.name for path in folder.glob("*/config.json"))
    assert names == sorted(path.parent.name for path in other.glob("*/config.json"))
    for name in names:
        a, b = (checkpoint.read(path / name, checkpoint.epochs(path / name)[-1]) for path in (folder, other))
        assert [e["epoch"] for e in a.history] == [e["epoch"] for e in b.history]
        for one, two in zip(a.history, b.history, strict=True):
            for split in ("train", "test"):
                if one[split]:
                    np.testing.assert_allclose(list(one[split].values()), list(two[split].values()), rtol=1e-4)


@pytest.mark.slow
def test_devices_make_no_difference_whichever_processes_have_them(whole, cache, tmp_path):
    """The same mesh in one process, to the same bits; another mesh in three, to rounding."""
    assert study(tmp_path / "one", 3, "auto", cache, 1, 4)[0][:2] == (0, "15 15\n")
    assert difference(whole, tmp_path / "one") is None
    # the last is slow to save: nobody goes on to the tables before it has
    three = study(tmp_path / "three", 3, "runs=3,data=2", cache, 3, 2, 4, 2.0)
    assert [r[:2] for r in three] == [(0, "15 15\n")] * 3
    same_numbers(whole, tmp_path / "three")


@pytest.mark.slow
def test_a_batch_that_processes_share_is_that_of_one_processs_devices(cache, tmp_path):
    """Each run's batch is halved between two processes, which begin anew, and then go on."""
    assert study(tmp_path / "one", 3, "data=2", cache, 1, 2)[0][:2] == (0, "15 15\n")
    for epochs, said in ((1, "5 5\n"), (3, "10 15\n")):
        assert [r[:2] for r in study(tmp_path / "two", epochs, "data=2", cache, 2, 1)] == [(0, said)] * 2
    assert difference(tmp_path / "one", tmp_path / "two") is None


@pytest.mark.slow
def test_what_was_saved_by_some_goes_on_with_any_number(cache, whole, tmp_path):
    folder = tmp_path / "sweep"
    assert study(folder, 1, "auto", cache, 1, 8)[0][0] == 0
    assert [r[:2] for r in study(folder, 2, "auto", cache, 2, 1)] == [(0, "5 10\n")] * 2
    assert study(folder, 3, "auto", cache, 1, 1)[0][:2] == (0, "5 15\n")
    same_numbers(whole, folder)
    assert jaxvae.load(folder / together.runs(3)[1].name).sample(jax.random.key(0), 2).shape == (2, 28, 28)


@pytest.mark.slow
def test_a_killed_process_ends_all_with_a_line_and_together_they_go_on_to_the_same_bits(whole, cache, tmp_path):
    folder = tmp_path / "sweep"
    begun = time.perf_counter()
    (code, _, err), (killed, _, parent_err) = study(folder, 3, "auto", cache, 2, 2, 3)  # before it saves epoch 2
    assert (code, killed) == (1, 1)
    for said, of in ((err, "another process"), (parent_err, "the process that computed was ended by SIGKILL")):
        assert said.startswith(f"error: {of}")
        assert len(said.splitlines()) == 1
    assert time.perf_counter() - begun < 60
    left = {path.name: checkpoint.epochs(path) for path in folder.iterdir() if path.is_dir()}
    assert {1} <= {epochs[-1] for epochs in left.values()} <= {0, 1, 2}
    assert [code for code, *_ in study(folder, 3, "auto", cache, 2, 2)] == [0, 0]
    assert difference(whole, folder) is None


@pytest.mark.slow
def test_a_process_that_is_silent_or_missing_is_told_within_the_time(cache, tmp_path):
    """One never comes; of three, one is stopped for good while it trains."""
    arguments = [
        *GRID,
        "--epochs",
        10_000,
        "--distributed",
        "--peer-timeout",
        5,
        "--out",
        tmp_path / "sweep",
        "--quiet",
    ]
    places, begun = [address(), address()], time.perf_counter()
    lonely = [
        process
        for index, where in enumerate(places)
        for process in started("experiments.sweep", arguments, cache, 2, 1, where, [index])
    ]
    for (code, _, err), where in zip(ended(lonely, 60), places, strict=True):
        assert (code, len(err.splitlines())) == (1, 1)
        assert f"not all processes came within 5 s (coordinator {where})" in err
    assert time.perf_counter() - begun < 30
    assert not (tmp_path / "sweep").exists()
    processes = started("experiments.sweep", arguments, cache, 2, 1)
    deadline = time.perf_counter() + 60
    while not list((tmp_path / "sweep").glob("linear-2-*/checkpoints/[1-9]*")):
        assert time.perf_counter() < deadline
        time.sleep(0.1)
    for silent in (psutil.Process(processes[1].pid), *psutil.Process(processes[1].pid).children()):
        silent.suspend()
    _, err = processes[0].communicate(timeout=40)
    assert processes[0].returncode == 1
    assert (
        err == "error: another process of this sweep was lost; give the same command again to all processes to go on\n"
    )
    for process in (*psutil.Process(processes[1].pid).children(), processes[1]):
        process.send_signal(signal.SIGKILL)
    ended(processes[1:])


@pytest.mark.slow
def test_one_command_on_two_hosts_writes_one_sweep_equal_to_one_hosts(cache, tmp_path):
    """What the command itself writes: tables, figures and page by the first process; then bad input, said by all."""
    two, one = tmp_path / "two", tmp_path / "one"
    arguments = [*GRID, "--mesh", "auto", "--distributed", "--peer-timeout", 60]
    for code, _, err in ended(started("experiments.sweep", [*arguments, "--out", two], cache, 2, 2)):
        assert code == 0, err
    ((code, _, err),) = ended(started("experiments.sweep", [*GRID, "--mesh", "auto", "--out", one], cache, 1, 4))
    assert code == 0, err
    for path in (path for path in one.rglob("*") if path.is_file() and "checkpoints" not in path.parts):
        there = two / path.relative_to(one)
        if path.name not in ("sweep.json", "metrics.jsonl", "report.html"):
            assert there.read_bytes() == path.read_bytes(), path
    assert difference(one, two) is None
    said = ended(started("experiments.sweep", [*arguments, "--limit", 60, "--out", two], cache, 2, 2))
    assert {code for code, *_ in said} == {2}
    assert all("is another run's (dataset " in err and len(err.splitlines()) == 1 for *_, err in said)


@pytest.mark.slow
def test_a_process_with_another_command_says_so_and_all_end(cache, tmp_path):
    where, arguments = address(), [*GRID, "--mesh", "auto", "--distributed", "--peer-timeout", 30, "--quiet"]
    processes = [
        *started("experiments.sweep", [*arguments, "--out", tmp_path / "out"], cache, 2, 1, where, [0]),
        *started("experiments.sweep", [*arguments, "--epochs", 4, "--out", tmp_path / "out"], cache, 2, 1, where, [1]),
    ]
    said = ended(processes, 60)
    line = "error: process 1 was given other runs than the first; give all the same command\n"
    assert [(code, err) for code, _, err in said] == [(2, line)] * 2


@pytest.mark.slow
def test_what_one_process_cannot_do_all_say(cache, tmp_path, mnist_dir):
    """One host has the data, the other has not."""
    where, arguments = address(), [*GRID, "--dataset", "mnist", "--distributed", "--peer-timeout", 30]
    processes = []
    for index, folder in enumerate((mnist_dir, "nowhere")):
        given = [*arguments, "--data-dir", folder, "--out", tmp_path / "out"]
        processes += started("experiments.sweep", given, cache, 2, 1, where, [index])
    said = ended(processes, 60)
    line = "error: nowhere does not exist; check --data-dir or $JAXVAE_DATA_DIR\n"
    assert [(code, err) for code, _, err in said] == [(2, line)] * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--processes", 2], "--processes is for a sweep in several processes; add --distributed"),
        (["--distributed", "--peer-timeout", 0], "--peer-timeout must be at least 1"),
        (["--distributed", "--coordinator", "nowhere"], "the coordinator must be HOST:PORT, not 'nowhere'"),
        (["--distributed", "--coordinator", "a:1", "--processes", 2, "--process", 2], "process 2 of 2 cannot be"),
        (["--mesh", "runs=99"], "mesh runs=99 needs 99 devices, and there are"),
        (["--mesh", "runs=2", "--strategy", "loop"], None),
        (["--mesh", "runs=1", "--workers", 2], "workers must be 1 on a mesh"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, says, give, tmp_path):
    code, _, err = give(main, [*QUICK, *arguments, "--latent-dims", 2, "--architectures", "linear", "--epochs", 0,
                                 "--out", tmp_path / "out"])  # fmt: skip
    if says is None:
        assert code == 0, err
        return
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_without_any_word_of_the_others_it_asks_for_them(cache, tmp_path, monkeypatch):
    code, _, err = run([*GRID, "--distributed", "--out", tmp_path / "out"], cache)
    assert code == 2
    assert err.startswith("error: it is not known which processes there are; give --coordinator HOST:PORT")
    assert len(err.splitlines()) == 1
