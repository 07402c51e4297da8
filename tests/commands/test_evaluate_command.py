"""`python -m experiments.evaluate` as a user gives it."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from jaxvae.commands.evaluate import main
from jaxvae.commands.sweep import main as sweep
from jaxvae.evaluation import METRICS, from_json
from tests.classic import classic
from tests.command_line import LINEAR_2, LINEAR_3, QUICK, ROOT, command

MODULE = "experiments.evaluate"


@pytest.fixture(scope="module")
def runs(finished, tmp_path_factory):
    """Copies of two trained runs, to be evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    return [shutil.copytree(finished[0] / name, folder / name) for name in (LINEAR_2, LINEAR_3)]


@pytest.fixture
def evaluate(give):
    return lambda arguments: give(main, arguments)


def test_help_explains_every_metric_in_a_line_and_needs_no_jax():
    code = "import sys, jaxvae.commands.evaluate as e; print(e.parser().format_help()); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "False"
    for name, metric in METRICS.items():
        assert any(line.split() == [*name.split(), *metric.meaning.split()] for line in lines), name
    assert "examples:" in done.stdout


def test_two_runs_give_one_table_and_a_file_each(runs, evaluate, tmp_path):
    table = tmp_path / "table.json"
    chosen = ["--samples", 1, 10, "--ais", 2, "--ais-steps", 3, "--ais-chains", 2, "--table", table]
    code, printed, err = evaluate([*runs, *chosen])
    assert code == 0, err
    assert "20 test images of digits, grey pixels" in printed
    header = next(line for line in printed.splitlines() if line.rstrip(" ┃").endswith(" unit"))
    assert header.split("┃")[2].strip() == LINEAR_2
    assert header.split("┃")[3].strip() == LINEAR_3
    contents = [json.loads((run / "evaluation.json").read_text()) for run in runs]
    for run_folder, content in zip(runs, contents, strict=True):
        records = [from_json(record) for record in content["records"]]
        beyond = {"bits per dimension", "classification"}  # of no cross-entropy, and of no model without classes
        assert {record.metric for record in records} == set(METRICS) - beyond
        assert {record.run for record in records} == {run_folder.as_posix()}
        assert content["plan"]["samples"] == [1, 10]
        assert content["epoch"] == 3
        assert len(content["dataset"]["fingerprint"]) == 64
        for record in records:
            if record.metric == "ELBO":
                assert f"{record.value:.2f} ({record.standard_error:.2f})" in printed
    assert json.loads(table.read_text())["evaluations"] == contents
    (tmp_path / "moved").mkdir()
    moved = [shutil.copytree(folder, tmp_path / "moved" / folder.name) for folder in runs]
    code, again, err = evaluate([*moved, "--read"])
    assert code == 0, err
    body = [line for line in printed.splitlines() if line.startswith("│")]
    assert len(body) > 20
    assert [line for line in again.splitlines() if line.startswith("│")] == body
    assert "importance sampling, K = 10  20/20" in printed  # progress


def test_evaluated_again_it_is_the_same(finished, evaluate, tmp_path):
    run_folder = shutil.copytree(finished[0] / LINEAR_2, tmp_path / LINEAR_2)
    evaluations = []
    for _ in range(2):
        code, printed, err = evaluate([run_folder, "--samples", 5, "--no-codes", "--quiet"])
        assert code == 0, err
        assert "importance sampling" not in printed
        evaluations.append(json.loads((run_folder / "evaluation.json").read_text())["records"])
    assert evaluations[0] == evaluations[1]
    assert not (run_folder / "evaluation.before-1.json").exists()
    code, printed, err = evaluate([run_folder, "--samples", "--no-codes", "--quiet"])  # by another plan
    assert code == 0, err
    assert json.loads((run_folder / "evaluation.before-1.json").read_text())["records"] == evaluations[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere is no run"),
        (["{run}/checkpoints/3", "--read"], "evaluation.json is not there"),
        (["{run}", "--seed", "4294967296"], "seed must be a whole number of at least 0 and below 4294967296"),
        (["nowhere", "--read"], "nowhere/evaluation.json is not there; evaluate the run without --read"),
        (["{run}", "--samples", "0"], "samples must be a whole number of at least 1 and below 2147483648, not 0"),
        (["{run}", "--split", "all"], "split must be train or test"),
        (["{run}", "--images", "0"], "images must be a whole number of at least 1"),
        (["{run}", "--ais", "-1"], "ais images must be a whole number of at least 0"),
        (["{run}", "--table", "/nowhere/table.json"], "/nowhere is no folder"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_2(arguments, says, runs, evaluate):
    code, _, err = evaluate([argument.format(run=runs[0]) for argument in arguments])
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1


def test_runs_that_saw_different_pixels_are_not_put_into_one_table(runs, evaluate, give, tmp_path):
    out = tmp_path / "binary"
    grid = ["--architectures", "linear", "--latent-dims", 2, "--binarize", "dynamic", "--out", out, "--quiet"]
    code, _, err = give(sweep, [*QUICK[:-1], 1, *grid, "--workers", 1])
    assert code == 0, err
    dynamic = out / classic("linear", 2, batch_size=20, binarize="dynamic").name
    assert json.loads((dynamic / "config.json").read_text())["config"]["binarize"] == "dynamic"
    code, printed, err = evaluate([runs[1], dynamic, "--samples", 1])
    assert code == 2
    assert f"{LINEAR_3} (binarize none" in err
    assert f"{dynamic.name} (binarize dynamic" in err
    assert "cannot be compared" in err
    assert not (dynamic / "evaluation.json").exists()  # said before anything is computed
    code, printed, err = evaluate([dynamic, "--samples", 1, "--no-codes"])
    assert code == 0, err
    assert "binarised pixels (binarize dynamic)" in " ".join(printed.split())  # a title wraps


def test_an_interrupt_is_heard_within_a_call_and_says_so(runs, cache):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = command([runs[0], "--samples", 10_000_000, "--images", 3, "--no-codes"], cache, MODULE)
    signal.signal(signal.SIGINT, before)
    for line in process.stdout:
        if "importance sampling" in line:
            break
    try:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.strip() == "stopped; runs that were finished have their evaluation.json"
