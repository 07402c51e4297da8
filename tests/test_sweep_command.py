"""The command as a user gives it."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import jaxvae
from experiments.sweep import main
from tests.commands import QUICK, ROOT, command, run


@pytest.fixture
def refused(cache, capsys, monkeypatch):
    """Gives the command within this process, for arguments that it will not take; returns what it says of them."""
    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))

    def give(arguments):
        try:
            code = main(list(map(str, arguments)))
        except SystemExit as ended:  # argparse
            code = ended.code
        assert code == 2
        return capsys.readouterr().err

    return give


def test_help_teaches_and_needs_no_jax():
    code = "import sys, experiments.sweep as s; s.parser().format_help(); print('jax' in sys.modules)"
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
                   "precision", "out", "fresh", "quiet"):  # fmt: skip
        assert f"--{option}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--architectures", "mlp"], "architecture must be one of linear, conv, not 'mlp'"),
        (["--latent-dims", "0"], "latent_dim must be a whole number"),
        (["--latent-dims", "two"], "invalid int value"),
        (["--epochs", "-1"], "epochs must be"),
        (["--seeds", "-1"], "seed must be"),
        (["--learning-rate", "nan"], "learning_rate must be"),
        (["--beta", "inf"], "beta must be"),
        (["--objective", "elbow"], "objective must be one of elbo, iwae, iwae-dreg"),
        (["--importance-samples", "5"], "needs the objective iwae"),
        (["--objective", "iwae", "--beta", "2"], "beta must be 1"),
        (["--binarize", "yes"], "binarize must be one of none, dynamic, static"),
        (["--precision", "float16"], "precision must be auto, float32 or bfloat16"),
        (["--strategy", "pmap"], "strategy must be one of"),
        (["--workers", "two"], "workers must be auto or a whole number"),
        (["--workers", "0"], "workers must be a whole number of at least 1"),
        (["--dataset", "cifar"], "unknown dataset"),
        (["--dataset", "mnist", "--data-dir", "/nowhere"], "/nowhere does not exist"),
        (["--limit", "3"], "limit must be at least 6"),
        (["--batch-size", "1000", "--dataset", "digits", "--limit", "120"], "larger than the training set"),
        (["--dataset", "digits", "--limit", "120", "--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_bad_input_is_one_clear_line_exit_2_and_nothing_written(arguments, says, refused, tmp_path):
    out = tmp_path / "out"
    where = [] if "--out" in arguments else ["--out", out]
    err = refused([*arguments, *where])
    assert says in err
    assert len([line for line in err.splitlines() if "error" in line]) == 1
    assert not out.exists()


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
        "latent-linear-2.png",
        *(f"{kind}-linear-{d}{split}.png" for d in (2, 3) for kind, split in
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
    for name in ("linear-2", "linear-3"):
        assert {path.name for path in (out / name).iterdir()} == {"config.json", "metrics.jsonl", "checkpoints"}
    assert re.search(r'jaxvae.load\("\S*/linear-3"\)', printed.replace("\n", ""))
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
    from jaxvae.distributions import kl_to_standard_normal

    monkeypatch.setenv("JAXVAE_CACHE_DIR", str(cache))
    run = jaxvae.load(finished[0] / "linear-3")
    test = data.load("digits", limit=120).test_images
    assert run.metrics[-1]["test"]["kl"] == pytest.approx(
        float(kl_to_standard_normal(run.encode(test)).mean()), rel=1e-4
    )
    assert run.reconstructions.shape == (4, 2, 10, 28, 28)
    again = np.rint(255 * np.asarray(run.reconstruct(test[:1])))[0]
    assert np.abs(again - run.reconstructions[-1, 1, 0]).max() <= 1


def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_metrics(finished, cache, tmp_path):
    out = tmp_path / "killed"
    arguments = [*QUICK, "--architectures", "linear", "--latent-dims", 2, 3, "--out", out]
    rng = np.random.default_rng(0)
    for _ in range(2):
        process = command(arguments, cache)
        metrics = out / "linear-2" / "metrics.jsonl"
        while not metrics.exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0.5, 3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, printed, err = run(arguments, cache)
    assert code == 0, err
    assert "going on after" in printed
    assert (out / "metrics.csv").read_bytes() == (finished[0] / "metrics.csv").read_bytes()
    for name in ("linear-2", "linear-3"):
        a, b = (jaxvae.load(folder / name) for folder in (out, finished[0]))
        np.testing.assert_array_equal(a.params["decoder"]["pixels"]["kernel"], b.params["decoder"]["pixels"]["kernel"])


def endless(latent_dims, out, cache):
    """A sweep whose runs have all come to epoch 2 and that will not end by itself, and its worker processes."""
    arguments = ["--dataset", "digits", "--limit", 6000, "--architectures", "linear", "--epochs", 10_000, "--out", out]
    # tests that run in the background ignore SIGINT and would hand that on
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = command([*arguments, "--latent-dims", *latent_dims], cache)
    signal.signal(signal.SIGINT, before)
    behind = {f"linear-{latent_dim}" for latent_dim in latent_dims}
    while behind and (line := process.stdout.readline()):
        if "epoch  2/" in line:
            behind.remove(line.split("]")[1].split()[0])
    return process, psutil.Process(process.pid).children(recursive=True)


def hears_interrupts(process):
    """Whether SIGINT would reach it, read from /proc: neither blocked nor ignored."""
    status = Path(f"/proc/{process.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk", "SigIgn"))]
    return bool(masks) and not any(mask & 1 << signal.SIGINT - 1 for mask in masks)


@pytest.mark.parametrize("latent_dims", [[2], [2, 3]])
def test_interrupting_leaves_a_resumable_sweep_and_says_so(latent_dims, cache, tmp_path):
    process, children = endless(latent_dims, tmp_path / "out", cache)
    assert bool(children) == (len(latent_dims) > 1)
    try:
        assert not any(map(hears_interrupts, children))
        for each in (process, *children):  # as a terminal does
            each.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "give the same command again" in err
    assert len(err.strip().splitlines()) == 1
    assert jaxvae.load(tmp_path / "out" / "linear-2").metrics[-1]["epoch"] >= 1
    assert not psutil.wait_procs(children, timeout=5)[1]


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


def test_another_configuration_is_refused_unless_fresh_and_nothing_is_lost(finished, refused, cache):
    out, _ = finished
    base = ["--dataset", "digits", "--limit", "120", "--architectures", "linear", "--latent-dims", 2, "--out", out]
    before = (out / "metrics.csv").read_bytes()
    for change, says in (
        (["--batch-size", 30, "--epochs", 3], "batch_size 20 there, 30 now"),
        (["--batch-size", 20, "--epochs", 2], "epochs 3 there, 2 now"),
        (["--batch-size", 20, "--epochs", 3, "--limit", 180], "dataset"),
        (["--batch-size", 20, "--epochs", 3], "holds results that this sweep lacks or would change (linear-3)"),
    ):
        err = refused([*base, *change])
        assert says in err
        assert "--fresh" in err
    assert "larger than the training set" in refused([*base, "--batch-size", 1000, "--fresh"])
    assert (out / "metrics.csv").read_bytes() == before
    code, printed, err = run([*base, "--batch-size", 30, "--epochs", 1, "--fresh", "--quiet"], cache)
    assert code == 0, err
    assert "epoch" not in printed.split("Test losses")[0].replace("epochs", "")
    aside = out.with_name("sweep.before-1")
    assert (aside / "metrics.csv").read_bytes() == before
    assert jaxvae.load(out / "linear-2").config.train.batch_size == 30
    # put things back for other tests
    import shutil

    shutil.rmtree(out)
    aside.rename(out)


def test_once_more_changes_nothing_but_what_a_kill_left_behind(finished, cache, tmp_path):
    import shutil

    out = shutil.copytree(finished[0], tmp_path / "again")
    run_folder = out / "linear-2"
    metrics, sweep = (run_folder / "metrics.jsonl").read_text(), (out / "sweep.json").read_bytes()
    # as if killed right after the last checkpoint had been renamed into place
    (run_folder / "metrics.jsonl").write_text("".join(metrics.splitlines(keepends=True)[:-1]))
    shutil.copytree(run_folder / "checkpoints" / "3", run_folder / "checkpoints" / "2")
    code, printed, err = run([*QUICK, "--architectures", "linear", "--latent-dims", 2, 3, "--out", out], cache)
    assert code == 0, err
    assert "going on after 6 of 6 epochs" in printed
    assert (run_folder / "metrics.jsonl").read_text() == metrics
    assert [path.name for path in (run_folder / "checkpoints").iterdir()] == ["3"]
    assert (out / "sweep.json").read_bytes() == sweep


def test_the_folder_one_is_in_is_not_moved_aside(refused):
    arguments = ["--dataset", "digits", "--limit", "120", "--batch-size", 20, "--fresh", "--out", "."]
    assert "cannot be moved aside" in refused(arguments)
    assert ROOT.exists()


def test_more_epochs_train_only_what_is_missing(finished, cache, tmp_path):
    import shutil

    out = shutil.copytree(finished[0], tmp_path / "more")
    arguments = [*QUICK[:-1], 5, "--architectures", "linear", "--latent-dims", 2, 3, "--out", out]
    code, printed, err = run(arguments, cache)
    assert code == 0, err
    assert "epoch  4/5" in printed
    assert "epoch  3/5" not in printed
    rows = (out / "metrics.csv").read_text().splitlines()
    assert rows[:4] == (finished[0] / "metrics.csv").read_text().splitlines()[:4]
    assert jaxvae.load(out / "linear-2").config.epochs == 5


def test_a_clones_results_may_come_again_in_another_precision_but_not_from_other_data(
    finished, refused, cache, tmp_path
):
    import shutil

    out = shutil.copytree(finished[0], tmp_path / "clone", ignore=shutil.ignore_patterns("linear-*"))
    before = (out / "metrics.csv").read_bytes()
    arguments = [*QUICK, "--architectures", "linear", "--latent-dims", 2, 3, "--out", out, "--precision", "bfloat16"]
    err = refused([*arguments, "--limit", 180])
    assert "holds results that this sweep lacks or would change (linear-2, linear-3)" in err
    assert (out / "metrics.csv").read_bytes() == before
    code, printed, err = run(arguments, cache)
    assert code == 0, err
    assert "matrix products read bfloat16 in linear models" in printed
    assert "precision bfloat16 there, float32 now" in refused([*arguments[:-1], "float32"])


def test_asking_for_fewer_epochs_after_a_stop_is_what_the_configuration_says(finished, cache, tmp_path):
    import shutil

    out = shutil.copytree(finished[0], tmp_path / "fewer")
    path = out / "linear-2" / "config.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 7'))
    code, _, err = run([*QUICK, "--architectures", "linear", "--latent-dims", 2, 3, "--out", out], cache)
    assert code == 0, err
    assert jaxvae.load(out / "linear-2").config.epochs == 3
