"""The command as a user gives it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import jaxvae
from jaxvae.commands.grid import requested_runs
from jaxvae.commands.sweep import in_miniature, main, parser
from jaxvae.errors import ConfigError
from jaxvae.runs import checkpoint, run_folder
from tests.classic import classic
from tests.command_line import LINEAR, LINEAR_2, LINEAR_3, QUICK, ROOT, command, run


@pytest.fixture
def refused(give):
    """Gives the command, for arguments that it will not take; returns what it says of them."""

    def call(arguments):
        code, _, err = give(main, arguments)
        assert code == 2
        return err

    return call


def test_help_teaches_and_needs_no_jax():
    code = "import sys, jaxvae.commands.sweep as s; s.parser().format_help(); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.sweep", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert time.perf_counter() - started < 5  # 0.1 s on a quiet machine
    assert "examples:" in done.stdout
    for option in ("dataset", "data-dir", "limit", "architectures", "latent-dims", "seeds", "epochs", "batch-size",
                   "learning-rate", "objective", "importance-samples", "binarize", "beta", "strategy", "workers",
                   "precision", "out", "fresh", "quiet", "quick"):  # fmt: skip
        assert f"--{option}" in done.stdout


def test_a_quick_sweep_is_the_experiment_on_less_data_for_less_long_but_for_what_is_given():
    def settings(*given):
        options = in_miniature(parser().parse_args(["--quick", *given]))
        return len(runs := requested_runs(options)), {run.epochs for run in runs}, options.limit

    assert settings() == (10, {3}, 20_000)
    assert settings("--epochs", "5", "--latent-dims", "2") == (2, {5}, 20_000)
    assert settings("--limit", "600") == (10, {3}, 600)
    with pytest.raises(ConfigError, match="--quick and --study exclude each other"):
        settings("--study", "runs.json")


@pytest.mark.parametrize("platform", ["cuda", "abacus"])
def test_a_platform_that_jax_lacks_is_one_clear_line(platform, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    code, _, err = run(["--dataset", "digits", "--limit", "120", "--batch-size", 20, "--out", tmp_path / "out"], cache)
    assert code == 2
    assert f"JAX_PLATFORMS is {platform}" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_sweep_leaves_the_folder_of_the_design(finished):
    out, printed = finished
    figures = {path.name for path in (out / "figures").iterdir()}
    assert figures == {
        "curves.png", "by-dimension.png", "comparison.png", "rate-distortion.png", "confusions.png",
        "evolution.webp", "walk.webp",
        f"latent-{LINEAR_2}.png",
        *(f"{kind}-{name}{split}.png" for name in (LINEAR_2, LINEAR_3) for kind, split in
          (("evolution", "-train"), ("evolution", "-test"), ("samples", ""))),
    }  # fmt: skip
    rows = (out / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * (4 + 3)
    sweep = json.loads((out / "sweep.json").read_text())
    assert sweep["dataset"]["name"] == "digits"
    assert len(sweep["dataset"]["fingerprint"]) == 64
    assert sweep["results"][0]["parameters"] == 404_244
    assert {"jax", "flax", "python"} <= sweep["versions"].keys()
    assert len(json.loads((out / "claims.json").read_text())["claims"]) == 7
    for name in (LINEAR_2, LINEAR_3):
        assert {path.name for path in (out / name).iterdir()} == {"config.json", "metrics.jsonl", "checkpoints"}
    assert re.search(rf'jaxvae.load\("\S*/{LINEAR_3}"\)', printed.replace("\n", ""))
    assert "not MNIST" in printed


def test_a_report_made_again_is_the_sweeps_own(finished, cache):
    def read():  # but for the folder, as this is a copy
        return re.sub(r"jaxvae.load\(.*?\)", "", page.read_text(encoding="utf-8"))

    page = finished[0] / "report.html"
    before = read()
    assert 'id="explorer"' in before
    code, printed, err = run([finished[0]], cache, "experiments.report")
    assert code == 0, err
    assert printed.startswith(f"{page}, ")
    assert read() == before


def test_the_loaded_model_has_the_losses_that_the_table_says(finished, cache, monkeypatch):
    """Test KL needs no sample: it can be computed again from the checkpoint alone."""
    from jaxvae import data
    from jaxvae.models.posteriors import kl_to_standard_normal

    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))
    run = jaxvae.load(finished[0] / LINEAR_3)
    test = data.load("digits", limit=120).test_images
    assert run.metrics[-1]["test"]["kl"] == pytest.approx(
        float(kl_to_standard_normal(run.encode(test)).mean()), rel=1e-4
    )
    assert run.reconstructions.shape == (4, 2, 10, 28, 28)
    again = np.rint(255 * np.asarray(run.reconstruct(test[:1])))[0]
    assert np.abs(again - run.reconstructions[-1, 1, 0]).max() <= 1


def endless(latent_dims, out, cache):
    """A sweep whose runs have all come to epoch 2, if not farther, and that will not end by itself, and its worker
    processes."""
    arguments = ["--dataset", "digits", "--limit", 6000, "--architectures", "linear", "--epochs", 10_000, "--out", out]
    # tests that run in the background ignore SIGINT and would hand that on
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = command([*arguments, "--latent-dims", *latent_dims], cache)
    signal.signal(signal.SIGINT, before)
    behind = {f"linear-{latent_dim}" for latent_dim in latent_dims}
    while behind and (line := process.stdout.readline()):
        if (found := re.search(r"\] (\S+) +epoch +(\d+)/", line)) and int(found[2]) >= 2:
            behind.discard(found[1])
    return process, psutil.Process(process.pid).children(recursive=True)


def hears_interrupts(process):
    """Whether a signal to stop would reach it, read from /proc: neither blocked nor ignored."""
    status = Path(f"/proc/{process.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk", "SigIgn"))]
    return bool(masks) and any(
        not any(mask & 1 << number - 1 for mask in masks) for number in (signal.SIGINT, signal.SIGTERM)
    )


@pytest.mark.slow
def test_being_stopped_leaves_a_resumable_sweep_and_says_so(refused, cache, tmp_path):
    process, children = endless([2, 3], tmp_path / "out", cache)
    assert children
    try:
        err = refused([*QUICK, "--out", tmp_path / "out"])
        assert f"is being written by process {process.pid} on " in err
        assert not any(map(hears_interrupts, children))
        for each in (process, *children):  # as a terminal does, or a scheduler
            each.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 143  # 130 after Ctrl-C: tests/test_evaluate_command.py
    assert "give the same command again" in err
    assert len(err.strip().splitlines()) == 1
    assert jaxvae.load(tmp_path / "out" / "linear-2").metrics[-1]["epoch"] >= 1
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_the_way_out_does_not_wait_for_what_is_still_computed():
    """As Python's own would: 29 s for the epoch of five vmapped conv models on MNIST."""
    code = "import threading, time; from jaxvae.commands import leave\n" + (
        "threading.Thread(target=time.sleep, args=(60,)).start(); print('said', end=''); leave(143)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout) == (143, b"said")
    for path in [*ROOT.glob("experiments/*.py"), ROOT / "jaxvae" / "__main__.py"]:
        if "__main__" in (source := path.read_text()):
            assert source.endswith("    leave(main())\n"), path


@pytest.mark.slow
def test_a_killed_worker_ends_the_sweep_with_one_line_and_a_killed_sweep_its_workers(cache, tmp_path):
    process, children = endless([2, 3], tmp_path / "out", cache)
    busiest = max(children, key=lambda child: child.memory_info().rss)
    busiest.kill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.startswith("error: a worker process was ended by signal 9 (SIGKILL)")
    assert len(err.strip().splitlines()) == 1
    process, children = endless([2, 3], tmp_path / "another", cache)
    process.kill()
    process.communicate()
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_another_configuration_is_refused_unless_fresh_and_nothing_is_lost(finished, refused, give):
    out, _ = finished
    base = [*QUICK[:4], "--architectures", "linear", "--latent-dims", 2, "--workers", 1, "--out", out]
    before = (out / "metrics.csv").read_bytes()
    for change, says in (
        (["--batch-size", 30, "--epochs", 3], f"lacks or would change ({LINEAR_2}, {LINEAR_3})"),
        (["--batch-size", 20, "--epochs", 2], "epochs 3 there, 2 now"),
        (["--batch-size", 20, "--epochs", 3, "--limit", 180], "dataset"),
        (["--batch-size", 20, "--epochs", 3], f"holds results that this sweep lacks or would change ({LINEAR_3})"),
    ):
        err = refused([*base, *change])
        assert says in err
        assert "--fresh" in err
    assert "larger than the training set" in refused([*base, "--batch-size", 1000, "--fresh"])
    assert (out / "metrics.csv").read_bytes() == before
    code, printed, err = give(main, [*base, "--batch-size", 30, "--epochs", 1, "--fresh", "--quiet"])
    assert code == 0, err
    assert "epoch" not in printed.split("Test losses")[0].replace("epochs", "")
    aside = out.with_name("sweep.before-1")
    assert (aside / "metrics.csv").read_bytes() == before
    assert jaxvae.load(out / classic("linear", 2, batch_size=30).name).config.batch_size == 30
    # put things back for other tests
    shutil.rmtree(out)
    aside.rename(out)


def test_once_more_changes_nothing_but_what_a_kill_left_behind(finished, give, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "again")
    run_folder = out / LINEAR_2
    metrics, sweep = (run_folder / "metrics.jsonl").read_text(), (out / "sweep.json").read_bytes()
    # as if killed right after the last checkpoint had been renamed into place
    (run_folder / "metrics.jsonl").write_text("".join(metrics.splitlines(keepends=True)[:-1]))
    shutil.copytree(run_folder / "checkpoints" / "2", run_folder / "checkpoints" / "1")
    code, printed, err = give(main, [*QUICK, *LINEAR, "--out", out])
    assert code == 0, err
    assert "going on after 6 of 6 epochs" in printed
    assert (run_folder / "metrics.jsonl").read_text() == metrics
    assert checkpoint.epochs(run_folder) == [2, 3]
    assert (out / "sweep.json").read_bytes() == sweep


def test_the_folder_one_is_in_is_not_moved_aside(refused):
    arguments = ["--dataset", "digits", "--limit", "120", "--batch-size", 20, "--fresh", "--out", "."]
    assert "cannot be moved aside" in refused(arguments)
    assert ROOT.exists()


def test_more_epochs_train_only_what_is_missing(finished, give, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "more")
    arguments = [*QUICK[:-1], 5, *LINEAR, "--out", out]
    code, printed, err = give(main, arguments)
    assert code == 0, err
    assert "epoch  4/5" in printed
    assert "epoch  3/5" not in printed
    rows = (out / "metrics.csv").read_text().splitlines()
    assert rows[:4] == (finished[0] / "metrics.csv").read_text().splitlines()[:4]
    assert jaxvae.load(out / LINEAR_2).config.epochs == 5


def test_a_clones_results_may_come_again_in_another_precision_but_not_from_other_data(
    finished, refused, give, tmp_path, monkeypatch
):
    """In one that another machine chooses, as the same command there has it; one that is asked for is another run."""
    out = shutil.copytree(finished[0], tmp_path / "clone", ignore=shutil.ignore_patterns("linear-*"))
    before = (out / "metrics.csv").read_bytes()
    arguments = [*QUICK, *LINEAR, "--out", out, "--precision", "auto"]
    monkeypatch.setattr("jaxvae.study.resume.automatic_precision", lambda network: "bfloat16")
    for changed in ([*arguments, "--limit", 180], [*arguments[:-1], "bfloat16"]):
        err = refused(changed)
        assert f"holds results that this sweep lacks or would change ({LINEAR_2}, {LINEAR_3})" in err
    assert (out / "metrics.csv").read_bytes() == before
    code, printed, err = give(main, arguments)
    assert code == 0, err
    assert "operands of matrix products are bfloat16 in linear models" in printed
    assert "precision 'bfloat16' there, 'float32' now" in refused([*arguments[:-1], "float32"])


def test_asking_for_fewer_epochs_after_a_stop_is_what_the_configuration_says(finished, give, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "fewer")
    config, about = run_folder.read_config(out / LINEAR_2)
    run_folder.write_config(out / LINEAR_2, replace(config, epochs=7), about)
    code, _, err = give(main, [*QUICK, *LINEAR, "--out", out])
    assert code == 0, err
    assert jaxvae.load(out / LINEAR_2).config.epochs == 3


@pytest.mark.slow
def test_a_notebooks_backend_of_matplotlib_does_not_matter(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    arguments = [
        "--latent-dims",
        "2",
        "--architectures",
        "linear",
        "--workers",
        "1",
        "--quiet",
        "--out",
        tmp_path / "sweep",
    ]
    code, _, err = run([*QUICK, "--epochs", "1", *arguments], cache)
    assert (code, err) == (0, "")
    assert (tmp_path / "sweep" / "figures" / "curves.png").stat().st_size > 0
