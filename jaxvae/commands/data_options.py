"""The options that say which data are meant.

In: options. Out: the dataset.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from jaxvae.commands.advice import command_line
from jaxvae.errors import InputError

if TYPE_CHECKING:
    from jaxvae.data import Dataset
    from jaxvae.runs import Run

NAMES = ("dataset", "limit", "label", "size", "grey", "no_standardize")


def add(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset", default="auto", metavar="NAME|PATH",
        help="mnist, fashion_mnist, kmnist; digits, digits8, photos, cancer, counts (embedded, need nothing); images "
        "that tensorflow-datasets prepared; a folder of pictures, an .npy, .npz, .csv, .parquet or .h5ad file of your "
        "own; or auto: mnist if at hand, else digits (default: auto)",
    )  # fmt: skip
    data.add_argument(
        "--data-dir", metavar="DIR",
        help="folder that holds NAME/ with the four .gz files, or a copy prepared by tensorflow-datasets "
        "(default: $JAXVAE_DATA_DIR, else tensorflow-datasets' own folder, else a download)",
    )  # fmt: skip
    data.add_argument(
        "--limit", type=int, metavar="N", help="use the first N training examples and N/6 test ones: for quick looks"
    )
    data.add_argument(
        "--label", metavar="COLUMN", help="of a table the column that holds labels, of an .npz the array, of an .npy "
        "another .npy (default: none; of a folder of pictures the sub-folders)",
    )  # fmt: skip
    data.add_argument(
        "--size",
        metavar="PIXELS",
        help="scale a folder's pictures to 32 or, height first, 48x64 (default: as they are)",
    )
    data.add_argument("--grey", action="store_true", help="take the colours from a folder's pictures")
    data.add_argument(
        "--no-standardize", action="store_true",
        help="take real numbers as they are (default: standardised for likelihoods of any real numbers)",
    )  # fmt: skip


def load(options: argparse.Namespace) -> Dataset:
    from jaxvae import data

    return data.load(
        options.dataset, options.data_dir, limit=options.limit, label=options.label, size=options.size,
        grey=options.grey,
    )  # fmt: skip


def add_for_trained(parser: argparse.ArgumentParser) -> None:
    """For what reads the data that runs were trained on."""
    parser.add_argument(
        "--dataset", metavar="PATH", help="where your own file or folder is now (default: where it was in training)"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR",
        help=f"as for {command_line('sweep')} (default: $JAXVAE_DATA_DIR, else where it is found)",
    )  # fmt: skip
    parser.add_argument(
        "--study", metavar="FILE", help="the study's Python file, which is run, where it defines parts of the runs"
    )


def of_run(run: Run, options: argparse.Namespace) -> Dataset:
    """The whole dataset that the run was trained on a part of."""
    from jaxvae import data

    source = run.about.get("dataset", {}).get("source")
    if source is None and options.dataset is None and run.dataset not in data.NAMES:
        raise InputError(
            f"{run.folder} was trained on an array that was given in Python; save it with numpy.save, and give the "
            ".npy file as --dataset"
        )
    arguments: dict[str, Any] = source or {"name": run.dataset}
    return data.load(data_dir=options.data_dir, **arguments | ({"name": options.dataset} if options.dataset else {}))


def register_parts(options: argparse.Namespace) -> None:
    """Makes the parts known that a study defines."""
    from jaxvae.commands.study_file import read_runs

    if options.study is not None:
        read_runs(options.study)
