"""The command that trains a grid or a study of runs, and writes all that comes of them into a folder.

In: options. Out: an exit code; a folder with checkpoints, tables, figures and a page.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvae.commands import data_options, grid, hosts
from jaxvae.commands.advice import command_line, with_options
from jaxvae.commands.command import Parser, add_debug, guarded, set_environment, start_jax
from jaxvae.errors import ConfigError, quoted
from jaxvae.system import as_path

if TYPE_CHECKING:
    from jax.sharding import Mesh

SUMMARY = "trains a grid or a study of models, and writes checkpoints, tables, figures and a page"
EXAMPLES = """\
examples:
  %(prog)s
      the whole experiment: linear and conv, latent sizes 2 3 5 10 50, 15 epochs; MNIST if it is on disk or can be
      downloaded, else the embedded digits
  %(prog)s --dataset mnist --data-dir ~/data
      MNIST from ~/data/mnist/train-images-idx3-ubyte.gz and its three companions
  %(prog)s --quick
      the experiment in miniature, in two to five minutes: all ten models, 3 epochs on a third of the images
  %(prog)s --quick --latent-dims 2 --epochs 5
      the same of two models, for longer
  %(prog)s --architectures conv --latent-dims 2 --seeds 0 1 2 3 4 --out results/seeds
      one model, five seeds
  %(prog)s --latent-dims 10 --betas 0.5 1 2 4 --learning-rates 3e-4 1e-3 --out results/grid
      a grid of β and learning rates, 16 runs; with --seeds 0 1 2 also means over seeds, in
      results/grid/means.csv
  %(prog)s --dataset photos --architectures conv --latent-dims 16 --likelihood gaussian:scale=learned
      patches of photographs, 32×32 in colour, which are embedded
  %(prog)s --dataset measurements.csv --label species --latent-dims 2
      your own: a table, an .npy or .npz of arrays, an .h5ad of counts, or a folder of pictures; --parts lists
      likelihoods and whatever else can be named
  %(prog)s --study experiments/studies/capacity.py --limit 6000 --out results/capacity-first6000
      runs that no grid describes, from a Python file or a JSON list
  %(prog)s --epochs 30
      goes on from where an earlier sweep ended

then, in Python:
  import jaxvae
  run = jaxvae.load("results/mnist/conv-2")
  images = run.decode([[0.0, 1.0]])
"""


QUICK = {"limit": 20_000, "epochs": 3}
SHARED = (*data_options.NAMES, "mesh", "strategy", "workers", "precision", "study", "fresh")  # by several processes


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=command_line("sweep"),
        description="Trains variational auto-encoders of several architectures, latent sizes, β, learning rates and\n"
        "seeds, and writes their losses, checkpoints, figures and the original experiment's claims into a\n"
        "folder. An interrupted sweep goes on where it was when the same command is given again (without\n"
        "--fresh).",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="the experiment in miniature: the first {limit:,} training images and {epochs} epochs, unless others are "
        "given; two to five minutes on two cores".format(**QUICK),
    )  # fmt: skip
    data_options.add(parser)
    grid.add_options(parser)
    add_machine(parser)
    hosts.add_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", metavar="DIR",
        help="where to write (default: results/<dataset>, with --limit results/<dataset>-firstN)",
    )  # fmt: skip
    output.add_argument("--fresh", action="store_true", help="start anew; what the folder holds is moved aside")
    output.add_argument("--quiet", action="store_true", help="no progress, only the results")
    add_debug(parser)
    return parser


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Where and how runs are computed."""
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--strategy", default="auto", metavar="S",
        help="loop: each run by itself, as many side by side as there are workers or devices; vmap: the runs of an "
        "architecture as one program; auto: loop on CPU, vmap elsewhere (default: auto)",
    )  # fmt: skip
    machine.add_argument(
        "--workers", default="auto", metavar="N",
        help="processes that train side by side, each on an equal share of the cores; 1: this process alone, on all of "
        "them; auto: on CPU one for each core, as long as there are runs for them, else 1 (default: auto)",
    )  # fmt: skip
    machine.add_argument(
        "--precision", metavar="P",
        help="what matrix products read, accumulating in float32: float32, bfloat16, or auto: bfloat16 on a CPU "
        "that is enough faster in it, else float32; runs that go on keep theirs (default: auto; of a study, what its "
        "runs say)",
    )  # fmt: skip
    machine.add_argument(
        "--mesh", metavar="M",
        help="devices that train each architecture's runs as one program: runs=8 shares the runs among eight, "
        "runs=4,data=2 also the batch of each run among two; auto: all devices along the runs (default: none on CPU, "
        "auto elsewhere; JAX_NUM_CPU_DEVICES=8 makes eight devices of a CPU)",
    )  # fmt: skip


def in_miniature(options: argparse.Namespace) -> argparse.Namespace:
    """The options of a quick sweep; what was given holds."""
    if options.study is not None:
        raise ConfigError("--quick and --study exclude each other: a study says for how long it trains; see --limit")
    given = {name: value for name, value in vars(options).items() if value is not None}
    return argparse.Namespace(**vars(options) | QUICK | given)


def worker_count(workers: str, runs: int, mesh: Mesh | None = None) -> int:
    """`--workers` as a number.

    Raises:
        ConfigError: it is neither `auto` nor a whole number.
    """
    from jaxvae.training import automatic_workers

    if workers == "auto":
        return automatic_workers(runs, mesh)
    if not (workers.isascii() and workers.isdecimal() and len(workers) < 10):
        raise ConfigError(f"workers must be auto or a whole number of at least 1, not {quoted(workers)}")
    return int(workers)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    to_all = " to all processes" if options.distributed else ""
    again = f"give the same command again{to_all}{', without --fresh,' if options.fresh else ''} to go on"

    def guard(work: Callable[[], int]) -> int:
        return guarded(work, f"stopped; {again} from the last finished epoch", again, debug=options.debug)

    def begin() -> int:
        others = hosts.from_options(options)
        if others is None:
            return run(options)
        return hosts.beside_others(others, lambda: guard(lambda: run(options, others)), again, debug=options.debug)

    return guard(begin)


def run(options: argparse.Namespace, others: hosts.Hosts | None = None) -> int:
    set_environment()
    options = in_miniature(options) if options.quick else options
    runs = grid.requested_runs(options)  # what is wrong with the options is said before data are read
    folder = None if options.out is None else as_path(options.out)
    start_jax((lambda: hosts.join(others)) if others else None)

    from jaxvae.study import Study, settle_precision, suitable
    from jaxvae.training import distributed, make_mesh

    distributed.check_equal("options", {name: getattr(options, name) for name in SHARED})
    layout = "auto" if options.mesh is None and distributed.several() else options.mesh
    devices = None if layout is None else make_mesh(layout)
    dataset = distributed.all_or_none("data", lambda: data_options.load(options))
    if dataset.note:
        note = with_options(dataset.note)
        print(f"\n*** NOT MNIST: training on the embedded digits. {note}\n", file=sys.stderr, flush=True)
    if options.study is None:
        runs = grid.requested_runs(options, dataset)
    if not options.no_standardize:
        dataset = suitable.in_suitable_numbers(dataset, [run.vae.likelihood for run in runs])
    for line in [] if options.quiet else [*grid.choices(options, runs, dataset), *suitable.in_words(dataset)]:
        print(line)
    limited = f"-first{options.limit}" if options.limit else ""
    folder = folder or Path(f"results/{dataset.name}{limited}")
    if options.precision == "auto" or (options.precision is None and options.study is None):
        runs = settle_precision(runs, None if options.fresh else folder)
    study = Study(folder, runs, dataset)
    started = time.perf_counter()
    count = worker_count(options.workers, len(runs), devices)
    study.train(options.strategy, count, mesh=devices, fresh=options.fresh, quiet=options.quiet)
    distributed.broadcast_from_first("results", lambda: study.write(wall_seconds=time.perf_counter() - started))
    return 0
