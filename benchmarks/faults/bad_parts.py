"""Sweeps whose parts or data cannot be: names and fields as a user mistypes them, files that do not fit.

In: nothing. Out: a case for each.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.faults.ground import Case, Command
from jaxvae.commands import sweep

TABLE = "a,b\n1,2\n3,5\n4,4\n"


def _sweep(what: str, flags: list[str], says: str, **files: str | np.ndarray) -> Case:
    """On the embedded digits, or on those of the `files` that the flags name."""

    def prepare(folder: Path) -> Command:
        for name, content in files.items():
            path = folder / name.replace("_", ".")
            path.write_text(content) if isinstance(content, str) else np.save(path, content)
        data = [] if "--dataset" in flags else ["--dataset", "digits"]
        return Command(sweep.main, [*data, "--out", "out", *flags])

    return Case(f"sweep: {what}", prepare, says)


def _likelihood(what: str, given: str, says: str) -> Case:
    return _sweep(what, ["--likelihood", given], says)


def _table(what: str, flags: list[str], says: str) -> Case:
    return _sweep(what, ["--dataset", "own.csv", *flags], says, own_csv=TABLE)


PARTS = [
    _sweep("β twice", ["--objective", "elbo:beta=2", "--beta", "4"], "beta is given twice: 2 in 'elbo:beta=2', and 4"),
    _likelihood("no likelihood of that name", "gauss", "likelihood must be one of .*gaussian, .* not 'gauss'"),
    _likelihood("no such field", "gaussian:sigma=1", "likelihood gaussian has no field sigma; it has scale"),
    _likelihood("a field without a value", "gaussian:scale", "must be such as name:field=value"),
    _likelihood(
        "a scale in words", "gaussian:scale=big", "scale must be learned, optimal, decoded or a number above 0"
    ),
    _likelihood(
        "a scale of zero", "laplace:scale=0", "scale must be learned, optimal, decoded or a number above 0, not 0"
    ),
    _likelihood("counts of what are grey levels", "poisson", "digits has images of bytes, which stand for"),
    _sweep(
        "a field of a part without any", ["--prior", "normal:scale=2"], "prior normal has no field scale; it has no"
    ),
    _sweep(
        "widths in words", ["--architectures", "linear:hidden=wide"], "hidden must be a tuple of at least one width"
    ),
    _sweep("half a width", ["--architectures", "linear:hidden=0x5"], "hidden must hold whole numbers of at least 1"),
    _sweep(
        "a schedule without a length", ["--beta", "linear(0,1)"], r"schedule linear needs length: linear\(length=…\)"
    ),
    _sweep(
        "no schedule of that name", ["--learning-rate", "cosin(1,2)"], "schedule must be one of linear, .* not 'cosin'"
    ),
    _sweep(
        "a bracket left open", ["--optimiser", "clip:optimiser=sgd(0.1"], "has a bracket that does not open or does"
    ),
    _sweep(
        "no optimiser within", ["--optimiser", "ema:optimiser=sgdd"], "optimiser must be one of adam, .* not 'sgdd'"
    ),
    _sweep("K left out of its text", ["--objective", "iwae:samples=5"], "objective iwae has no field samples; it has"),
]
DATA = [
    _sweep("a label without a file", ["--label", "y"], "label is for a file or folder of your own; 'digits' is a name"),
    _sweep("a path that is not there", ["--dataset", "own.csv"], "own.csv does not exist; give a folder of pictures"),
    _table("a column that is not there", ["--label", "c"], "own.csv has no column 'c'; its columns: 'a', 'b'"),
    _table("a size of numbers", ["--size", "32"], "size is for folders of pictures; .*own.csv is none"),
    _table("convolutions over columns", ["--architectures", "conv"], "takes .*pictures, .* not .2."),
    _table("a batch of more than there is", ["--batch-size", "9"], "batch_size 9 is larger than the training set of 2"),
    _table(
        "negative numbers as counts", ["--likelihood", "bernoulli"], "bernoulli takes numbers of at least 0 and at mo"
    ),
    _sweep("an array of nothing", ["--dataset", "own.npy"], "at least one image is needed", own_npy=np.zeros((0, 4))),
    _sweep(
        "numbers that are none", ["--dataset", "own.npy"], "1 numbers are not finite", own_npy=np.array([[1], [np.nan]])
    ),
]
CASES = [*PARTS, *DATA]
