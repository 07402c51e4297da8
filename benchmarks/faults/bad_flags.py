"""Commands with flags that they cannot take.

In: nothing. Out: a case for each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.faults.ground import MODEL, NESTED, RUN, Case, Command, flip
from experiments import published
from jaxvae.commands import evaluate, report, sweep
from jaxvae.models import MLP
from tests.command_line import ROOT

HUGE = str(10**30)


def _sweep(
    what: str,
    flags: list[str],
    says: str,
    make: Callable[[Path], object] = lambda folder: None,
    *,
    study: bool = False,
) -> Case:
    """`make` puts files where they are in the way; among the flags, those of a quick sweep are the default, without
    the batch of a `study`, which says that itself."""

    def prepare(folder: Path) -> Command:
        make(folder)
        defaults = {"--dataset": "digits", "--out": "out"} | ({} if study else {"--batch-size": "20"})
        given = {flag.partition("=")[0] for flag in flags}
        quick = [part for pair in defaults.items() if pair[0] not in given for part in pair]
        return Command(sweep.main, [*quick, *flags])

    return Case(f"sweep: {what}", prepare, says)


def _study(what: str, content: str | bytes | None, says: str, name: str = "study.json") -> Case:
    """A study's file with this content; None: no such file is made."""

    def make(folder: Path) -> None:
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return _sweep(f"a study: {what}", ["--study", name], says, make, study=True)


def _evaluate(what: str, flags: list[str], says: str) -> Case:
    run = f"sweep/{RUN.name}"
    return Case(f"evaluate: {what}", lambda folder: Command(evaluate.main, [run, *flags]), says)


def _published(what: str, flags: list[str], says: str) -> Case:
    return Case(f"published: {what}", lambda folder: Command(published.main, ["--no-training", *flags]), says)


def _only(main: Callable, what: str, arguments: list[str], says: str) -> Case:
    return Case(what, lambda folder: Command(main, arguments), says)


def _file(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("something of the user's")


def _link(name: str, target: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        (folder / "elsewhere").mkdir()
        _file("precious")(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(folder / target)

    return make


def _renamed(folder: Path) -> None:
    """The sweep without its tables, its run under the name of one that has the default's widths."""
    (folder / MODEL).rename(folder / "sweep" / replace(RUN, vae=replace(RUN.vae, encoder=MLP())).name)
    (folder / "sweep" / "sweep.json").unlink()


def _old_elsewhere(folder: Path) -> None:
    """A study of a run that an earlier version began, whose folder leads out of the sweep's."""
    shutil.copytree(ROOT / "tests/checkpoints/format-2/linear-2", folder / "elsewhere")
    (folder / "out").mkdir()
    (folder / "out" / "linear-2").symlink_to(folder / "elsewhere")
    config = json.loads((folder / "elsewhere" / "config.json").read_text())["config"]
    (folder / "study.json").write_text(json.dumps([config]))


def _own_study(folder: Path) -> None:
    """A study of the sweep's own run."""
    (folder / "study.json").write_text(json.dumps([RUN.to_json()]))


NUMBERS = [
    _sweep("no architecture of that name", ["--architectures", "mlp"], "architecture must be one of .*linear"),
    _sweep("an architecture without a name", ["--architectures", ""], "architecture must be one of .* not ''"),
    _sweep("no latent dimension", ["--latent-dims", "0"], "latent_dim must be a whole number of at least 1"),
    _sweep("a latent size in words", ["--latent-dims", "two"], "invalid int value: 'two'"),
    _sweep("a latent size beyond memory", ["--latent-dims", HUGE], "latent_dim must be .* below 65536"),
    _sweep("fewer than no epochs", ["--epochs", "-1"], "epochs must be a whole number of at least 0"),
    _sweep("half an epoch", ["--epochs", "1.5"], "invalid int value: '1.5'"),
    _sweep("epochs without a number", ["--epochs"], "expected one argument"),
    _sweep("more epochs than int32 counts", ["--epochs", HUGE], "epochs must be .* below 2147483648"),
    _sweep("more steps than int32 counts", ["--epochs", str(10**9)], "more than 2147483648 steps"),
    _sweep("a seed below zero", ["--seeds", "-1"], "seed must be a whole number of at least 0"),
    _sweep("a seed of 33 bits", ["--seeds", "0", str(2**32)], "seed must be .* below 4294967296"),
    _sweep("a seed that Python does not read", ["--seeds", "9" * 5000], "invalid int value"),
    _sweep("an empty batch", ["--batch-size", "0"], "batch_size must be a whole number of at least 1"),
    _sweep("a batch larger than the data", ["--batch-size", "1000"], "larger than the training set of 60 images"),
    _sweep("a learning rate that is no number", ["--learning-rate", "nan"], "learning_rate must be .*, not nan"),
    _sweep("a learning rate of minus infinity", ["--learning-rate=-inf"], "learning_rate must be .*, not -inf"),
    _sweep("a learning rate beyond float32", ["--learning-rate", "1e39"], "below 3.4e[+]38, not 1e[+]39"),
    _sweep("a learning rate in words", ["--learning-rate", "fast"], "invalid float value: 'fast'"),
    _sweep("one of several learning rates is no number", ["--learning-rates", "1e-3", "nan"], "learning_rate must be"),
    _sweep("no learning rate", ["--learning-rates"], "expected at least one argument"),
    _sweep("one of several β is negative", ["--betas", "1", "-2"], "beta must be a finite number of at least 0"),
    _sweep("several β with another objective", ["--objective", "iwae", "--betas", "1", "2"], "beta must be 1 with"),
    _sweep("an infinite β", ["--beta", "inf"], "beta must be a finite number"),
    _sweep("a negative β", ["--beta=-1"], "beta must be a finite number of at least 0"),
    _sweep("no objective of that name", ["--objective", "elbow"], "objective must be one of elbo, .*iwae, iwae-dreg"),
    _sweep(
        "K without its objective", ["--importance-samples", "5"], "samples must be 1 with the objective elbo, not 5"
    ),
    _sweep("K beyond memory", ["--objective", "iwae", "--importance-samples", HUGE], "samples must be .* below 65536"),
    _sweep("β with another objective", ["--objective", "iwae", "--beta", "2"], "beta must be 1 with"),
    _sweep("no binarisation of that name", ["--binarize", "yes"], "binarize must be one of none, dynamic, static"),
    _sweep("no precision of that name", ["--precision", "float16"], "precision must be auto, float32 or bfloat16"),
    _sweep("no strategy of that name", ["--strategy", "pmap"], "strategy must be one of auto, vmap, loop"),
    _sweep("workers in words", ["--workers", "two"], "workers must be auto or a whole number"),
    _sweep("no worker", ["--workers", "0"], "workers must be a whole number of at least 1"),
    _sweep("workers in Arabic digits", ["--workers", "٣"], "workers must be auto or a whole number"),
    _sweep("more workers than cores could serve", ["--workers", "100000"], "two for each core, not 100000"),
    _sweep("more workers than atoms", ["--workers", HUGE], "workers must be auto or a whole number"),
    _sweep("fewer images than a sixth can be taken of", ["--limit", "3"], "limit must be at least 6 examples"),
    _sweep("fewer than no images", ["--limit", "-6"], "limit must be at least 6 examples"),
    _sweep("a limit in words", ["--limit", "six"], "invalid int value: 'six'"),
    _sweep("an unknown flag that breaks the line", ["--fresch\nerror: all is well"], r"fresch\\nerror: all is well"),
]
DEVICES = [
    _sweep("a mesh in words", ["--mesh", "all"], "mesh must be auto or such as runs=8"),
    _sweep("an empty mesh", ["--mesh", ""], "mesh must be auto or such as runs=8"),
    _sweep("a mesh of no device", ["--mesh", "runs=0"], "mesh must be auto or such as runs=8"),
    _sweep("an axis that no mesh has", ["--mesh", "lanes=1"], "mesh must be auto or such as runs=8"),
    _sweep("an axis twice", ["--mesh", "runs=1,runs=1"], "mesh must be auto or such as runs=8"),
    _sweep("a mesh in Arabic digits", ["--mesh", "runs=٣"], "mesh must be auto or such as runs=8"),
    _sweep("a mesh larger than the machine", ["--mesh", "runs=99999"], "needs 99999 devices, and there "),
    _sweep("a mesh beyond reason", ["--mesh", f"runs={HUGE}"], "mesh must be auto or such as runs=8"),
    _sweep("workers on a mesh", ["--mesh", "runs=1", "--workers", "2"], "workers must be 1 on a mesh"),
    _sweep("other processes without a word", ["--processes", "2"], "--processes is for .* add --distributed"),
    _sweep("a coordinator without a word", ["--coordinator", "a:1"], "--coordinator is for .* add --distributed"),
    _sweep("a coordinator without a port", ["--distributed", "--coordinator", "a"], "coordinator must be HOST:PORT"),
    _sweep("a port in words", ["--distributed", "--coordinator", "a:http"], "coordinator must be HOST:PORT"),
    _sweep("no process", ["--distributed", "--processes", "0"], "process None of 0 cannot be"),
    _sweep("a process below zero", ["--distributed", "--processes", "2", "--process=-1"], "process -1 of 2 cannot"),
    _sweep("one process too many", ["--distributed", "--processes", "2", "--process", "2"], "process 2 of 2 cannot"),
    _sweep("a process in words", ["--distributed", "--process", "last"], "invalid int value: 'last'"),
    _sweep("no patience", ["--distributed", "--peer-timeout", "0"], "--peer-timeout must be at least 1 second"),
]
SOUND = '[{"model": {"architecture": "linear", "latent_dim": 2}, "train": {"batch_size": 20}}]'
BINARY = SOUND.replace('_dim": 2', '_dim": 3').replace("20}", '20, "binarize": "static"}')
STUDIES = [
    _study("is not there", None, "study.json does not exist"),
    _study("a folder", None, "sweep cannot be read .Is a directory", "sweep"),
    _study("with a NUL in its name", None, r"'a\\x00b' is no path", "a\0b"),
    _study("without a name", None, "'' is no path", ""),
    _study("empty", "", "study.json is no JSON"),
    _study("cut short", SOUND[:-1], "study.json is no JSON"),
    _study("nested too deep", NESTED, "study.json is no JSON .RecursionError"),
    _study("a number of a thousand digits", f"[{'9' * 5000}]", "study.json is no JSON .ValueError"),
    _study("not UTF-8", b"[\xff]", "study.json is no JSON .UnicodeDecodeError"),
    _study("an object", '{"runs": []}', "must hold a list of run configurations, not {'runs'"),
    _study("an empty list", "[]", "study.json holds no runs"),
    _study("a word for a run", f"{SOUND[:-1]}, 3]", "run 2 of 2: a run's configuration must be a JSON object, not int"),
    _study("a run without a model", f"{SOUND[:-1]}, {{}}]", "run 2 of 2: run lacks the field 'vae'"),
    _study("a field that no run has", SOUND.replace("train", "trian"), "run 1 of 1: a run has no field 'trian'"),
    _study("a field that no model has", SOUND.replace("latent_", ""), "run 1 of 1: model has no field 'dim'"),
    _study("an impossible value", SOUND.replace("20", "0"), "run 1 of 1: batch_size must be a whole number"),
    _study("β that is not a number", f'{SOUND[:-2]}, "beta": NaN}}]', "run 1 of 1: objective/elbo: beta must be"),
    _study("a field twice", SOUND.replace("20", '20, "batch_size": 30'), "ValueError: 'batch_size' is given twice"),
    _study("a run twice", f"[{SOUND[1:-1]}, {SOUND[1:-1]}]", "both named linear-2-batch20, as they differ in"),
    _study("different pixels", f"{SOUND[:-1]}, {BINARY[1:]}", "must see the same images"),
    _study("Python that is none", "runs = [\n", "study.py, line 1, cannot be run .SyntaxError", "study.py"),
    _study("Python with a NUL", b"runs = []\0", "study.py.* cannot be run", "study.py"),
    _study("Python that fails", "\n\nruns = [1 / 0]", "study.py, line 3, cannot be run .ZeroDivisionError", "study.py"),
    _study("Python that leaves", "import sys\nsys.exit(0)", "study.py, line 2, cannot be run .SystemExit", "study.py"),
    _study("Python without end", "def f(): f()\nf()", "study.py, line 1, cannot be run .RecursionError", "study.py"),
    _study("Python without runs", "run = []", "study.py does not define `runs`", "study.py"),
    _study("Python with no runs", "runs = []", "study.py holds no runs", "study.py"),
    _study("Python whose runs are a word", "runs = 'linear'", "must be a list of RunConfig, not 'linear'", "study.py"),
    _study("Python whose run is none", "runs = [{}]", "run 1 of 1 must be a RunConfig, not {}", "study.py"),
    _study("Python with an impossible run",
           "from jaxvae.config import *\nfrom jaxvae.models import *\nruns = [RunConfig(VAE(0, MLP()))]",
           "study.py, line 3, cannot be run .ConfigError: vae: latent_dim must be", "study.py"),
    _sweep("a study and a grid", ["--study", "study.json", "--betas", "2"], "--study and --betas exclude each other",
           lambda folder: (folder / "study.json").write_text(SOUND), study=True),
    _sweep("a study and epochs", ["--study", "study.json", "--epochs", "2"], "--study and --epochs exclude each other",
           lambda folder: (folder / "study.json").write_text(SOUND), study=True),
    _sweep("two studies, the second is not there", ["--study", "sweep/sweep.json", "--study", "none.json"],
           "none.json does not exist", study=True),
]  # fmt: skip
PLACES = [
    _sweep("no dataset of that name", ["--dataset", "cifar"], "unknown dataset 'cifar': choose one of auto, mnist"),
    _sweep("a dataset out of its folder", ["--dataset", "../../etc"], "etc does not exist; give a folder of pictures"),
    _sweep("a dataset without a name", ["--dataset", ""], "unknown dataset ''"),
    _sweep("a dataset with a NUL in its name", ["--dataset", "mnist\0"], r"unknown dataset 'mnist\\x00'"),
    _sweep("no such folder of data", ["--dataset", "mnist", "--data-dir", "nowhere"], "nowhere does not exist"),
    _sweep("a folder of data with a NUL", ["--dataset", "mnist", "--data-dir", "a\0b"], r"'a\\x00b' is no path"),
    _sweep("a folder of data without a name", ["--dataset", "mnist", "--data-dir", ""], "'' is no path"),
    _sweep("nobody's home", ["--dataset", "mnist", "--data-dir", "~nobody-of-that-name/x"], "no such home folder"),
    _sweep("--out is a file", ["--out", "file"], "file cannot be written to", _file("file")),
    _sweep("--out is below a file", ["--out", "file/out"], "file/out cannot be written to", _file("file")),
    _sweep("--out is a file, --fresh", ["--out", "file", "--fresh"], "file cannot be written to", _file("file")),
    _sweep("--out leads nowhere", ["--out", "link"], "link cannot be written to", _link("link", "nowhere")),
    _sweep("--out is where nothing can be made", ["--out", "/proc/nowhere"], "/proc/nowhere cannot be written to"),
    _sweep("--out with a NUL", ["--out", "a\0b"], r"'a\\x00b' is no path"),
    _sweep("--out without a name", ["--out", ""], "'' is no path"),
    _sweep("--out of 300 characters", ["--out", "x" * 300], "File name too long"),
    _sweep("--out that breaks the line", ["--out", "file/\na\x1b[2J"], r"file/\\na\\x1b\[2J cannot be", _file("file")),
    _sweep("--fresh where one is", ["--out", ".", "--fresh"], "cannot be moved aside"),
    _sweep("a lock that leads out of --out", [], "out cannot be written to", _link("out/.lock", "precious")),
    _sweep(
        "a run's folder that leads out of --out", ["--out", "out", "--latent-dims", "2"], "is a link out of out",
        _link("out/linear-2-batch20", "elsewhere"),
    ),
    _sweep(
        "a run's folder of an earlier version that leads out of --out", ["--out", "out", "--study", "study.json"],
        "is a link out of out", _old_elsewhere, study=True,
    ),
    _sweep("--out holds another sweep", ["--out", "sweep", "--latent-dims", "2"],
           f"results that this sweep lacks or would change .{RUN.name}.; "),
    _sweep("--out holds the run of other widths", ["--out", "sweep", "--architectures", "linear", "--latent-dims", "2"],
           r"is another run's .vae.encoder.hidden .2. there, .256. now", _renamed),
    _sweep("--out holds the run of other data", ["--out", "sweep", "--study", "study.json", "--limit", "54"],
           r"is another run's .dataset \w{12} there, \w{12} now", _own_study, study=True),
    _sweep(
        "--out holds a damaged table", ["--out", "sweep", "--architectures", "conv"], "sweep.json is damaged",
        lambda folder: flip(folder / "sweep" / "sweep.json", 0),
    ),
]  # fmt: skip
OTHERS = [
    _evaluate("K of zero", ["--samples", "0"], "samples must be a whole number of at least 1"),
    _evaluate("K of 32 bits", ["--samples", "1", str(2**31)], "samples must be .* below 2147483648"),
    _evaluate("K in words", ["--samples", "many"], "invalid int value: 'many'"),
    _evaluate("no split of that name", ["--split", "all"], "split must be train or test, not 'all'"),
    _evaluate("no images", ["--images", "0"], "images must be a whole number of at least 1"),
    _evaluate("no passes", ["--repeats", "0"], "repeats must be a whole number of at least 1"),
    _evaluate("endless passes", ["--repeats", HUGE], "repeats must be .* below 2147483648"),
    _evaluate("seeds that run over", ["--seed", str(2**32 - 1), "--repeats", "2"], "seed plus repeats must be at most"),
    _evaluate("a seed below zero", ["--seed", "-1"], "seed must be a whole number of at least 0"),
    _evaluate("fewer than no images to anneal", ["--ais", "-1"], "ais images must be a whole number of at least 0"),
    _evaluate("no steps of annealing", ["--ais-steps", "0"], "ais steps must be a whole number of at least 1"),
    _evaluate("no chains", ["--ais-chains", "0"], "ais chains must be a whole number of at least 1"),
    _evaluate("a table in no folder", ["--read", "--table", "nowhere/table.json"], "nowhere is no folder; --table"),
    _evaluate("a table that is a folder", ["--read", "--table", "sweep"], "sweep is a folder; --table writes a file"),
    _evaluate("a table with a NUL", ["--read", "--table", "a\0b"], r"'a\\x00b' is no path"),
    _evaluate("no such run beside it", ["nowhere"], "nowhere is no run"),
    _only(evaluate.main, "evaluate: no run at all", [], "arguments are required: RUN"),
    _only(evaluate.main, "evaluate: a run without a name", [""], "'' is no path"),
    _only(evaluate.main, "evaluate: a run with a NUL", ["a\0b"], r"'a\\x00b' is no path"),
    _only(
        evaluate.main,
        "evaluate: a sweep for a run",
        ["sweep"],
        "sweep is no run, but holds 1; load one of them, such as sweep.linear-2",
    ),
    _only(evaluate.main, "evaluate: a run that was not", ["sweep", "--read"], "sweep/evaluation.json is not there"),
    _only(report.main, "report: no such folder", ["nowhere"], "nowhere is no folder"),
    _only(report.main, "report: a folder with a NUL", ["a\0b"], r"'a\\x00b' is no path"),
    _only(report.main, "report: a file", ["sweep/sweep.json"], "sweep.json is no folder"),
    _only(report.main, "report: a run's checkpoints", [f"sweep/{RUN.name}/checkpoints"], "holds no finished sweep"),
    _only(report.main, "report: two sweeps", ["sweep", "sweep"], "unrecognized arguments: sweep"),
    _published("no row of that name", ["--rows", "gan"], "unknown row 'gan': choose of vae, iwae-5"),
    _published("a budget of nothing", ["--budget", "0"], "budget must be a share of the epochs above 0"),
    _published("a budget of more than all", ["--budget", "1.5"], "budget must be a share .* at most 1"),
    _published("a budget that is no number", ["--budget", "nan"], "budget must be a share"),
    _published("a budget that divides by nothing", ["--budget", "1/0"], "budget must be a share"),
    _published("a budget of a billion digits", ["--budget", "1e-999999999"], "budget must be a share"),
    _published("--out with a NUL", ["--out", "a\0b"], r"'a\\x00b' is no path"),
    _published("--out is a file", ["--out", "sweep/sweep.json"], "sweep.json/published.json: Not a directory"),
    _published("no such folder of data", ["--data-dir", "nowhere"], "nowhere does not exist"),
]
CASES = [*NUMBERS, *DEVICES, *STUDIES, *PLACES, *OTHERS]
