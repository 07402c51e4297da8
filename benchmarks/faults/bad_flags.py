"""Commands with flags that they cannot take.

In: nothing. Out: a case for each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.ground import RUN, Case, Command, flip
from experiments import evaluate, published, report, sweep

HUGE = str(10**30)


def _sweep(what: str, flags: list[str], says: str, make: Callable[[Path], object] = lambda folder: None) -> Case:
    """`make` puts files where they are in the way; among the flags, those of a quick sweep are the default."""

    def prepare(folder: Path) -> Command:
        make(folder)
        defaults = {"--dataset": "digits", "--batch-size": "20", "--out": "out"}
        given = {flag.partition("=")[0] for flag in flags}
        quick = [part for pair in defaults.items() if pair[0] not in given for part in pair]
        return Command(sweep.main, [*quick, *flags])

    return Case(f"sweep: {what}", prepare, says)


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


NUMBERS = [
    _sweep("no architecture of that name", ["--architectures", "mlp"], "architecture must be one of linear, conv"),
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
    _sweep("an infinite β", ["--beta", "inf"], "beta must be a finite number"),
    _sweep("a negative β", ["--beta=-1"], "beta must be a finite number of at least 0"),
    _sweep("no objective of that name", ["--objective", "elbow"], "objective must be one of elbo, iwae, iwae-dreg"),
    _sweep("K without its objective", ["--importance-samples", "5"], "needs the objective iwae"),
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
    _sweep("fewer images than a sixth can be taken of", ["--limit", "3"], "limit must be at least 6 images"),
    _sweep("fewer than no images", ["--limit", "-6"], "limit must be at least 6 images"),
    _sweep("a limit in words", ["--limit", "six"], "invalid int value: 'six'"),
    _sweep("an unknown flag that breaks the line", ["--fresch\nerror: all is well"], r"fresch\\nerror: all is well"),
]
PLACES = [
    _sweep("no dataset of that name", ["--dataset", "cifar"], "unknown dataset 'cifar': choose one of auto, mnist"),
    _sweep("a dataset out of its folder", ["--dataset", "../../etc"], "unknown dataset '../../etc'"),
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
        _link("out/linear-2", "elsewhere"),
    ),
    _sweep("--out holds another sweep", ["--out", "sweep", "--latent-dims", "2"], r"hidden \(2,\) there"),
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
    _only(evaluate.main, "evaluate: a sweep for a run", ["sweep"], "sweep is no run: it has no config.json"),
    _only(evaluate.main, "evaluate: a run that was not", ["sweep", "--read"], "sweep/evaluation.json is not there"),
    _only(report.main, "report: no such folder", ["nowhere"], "nowhere is no folder"),
    _only(report.main, "report: a folder with a NUL", ["a\0b"], r"'a\\x00b' is no path"),
    _only(report.main, "report: a file", ["sweep/sweep.json"], "sweep.json is no folder"),
    _only(report.main, "report: a run for a sweep", [f"sweep/{RUN.name}"], "holds no finished sweep"),
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
CASES = [*NUMBERS, *PLACES, *OTHERS]
