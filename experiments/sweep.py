"""Linear and convolutional VAEs at several latent sizes: the experiment this project is about.

    python -m experiments.sweep                        ten models on MNIST, 15 epochs each
    python -m experiments.sweep --limit 6000 --epochs 3        a quick look

Costs 6½ minutes on two cores with AMX, up to 12 on others that are fast in bfloat16, half an hour on older ones. Expect
ten models whose test reconstruction falls from 147 nats per image (d = 2, linear) to 74 (d = 50, conv), and
every figure and table in results/<dataset>/, with report.html to look at. Stopped at any moment, the same command
goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import hosts
from experiments.command import Parser, add_debug, guarded, leave, start_jax
from experiments.study_file import read_runs
from jaxvae.config import ARCHITECTURES, LEARNING_RATE, PRECISIONS, ModelConfig, RunConfig, TrainConfig
from jaxvae.errors import ConfigError, shown
from jaxvae.system import as_path

if TYPE_CHECKING:
    from jax.sharding import Mesh

EXAMPLES = """\
examples:
  python -m experiments.sweep
      the whole experiment: linear and conv, latent sizes 2 3 5 10 50, 15 epochs; MNIST if it is on disk or can be
      downloaded, else the embedded digits
  python -m experiments.sweep --dataset mnist --data-dir ~/data
      MNIST from ~/data/mnist/train-images-idx3-ubyte.gz and its three companions
  python -m experiments.sweep --limit 6000 --epochs 3
      a quick look: the first 6,000 training and 1,000 test images
  python -m experiments.sweep --architectures conv --latent-dims 2 --seeds 0 1 2 3 4 --out results/seeds
      one model, five seeds
  python -m experiments.sweep --latent-dims 10 --betas 0.5 1 2 4 --learning-rates 3e-4 1e-3 --out results/grid
      a grid of β and learning rates, 16 runs; with --seeds 0 1 2 also means over seeds, in
      results/grid/means.csv
  python -m experiments.sweep --study experiments/studies/capacity.py --limit 6000 --out results/capacity-first6000
      runs that no grid describes, from a Python file or a JSON list
  python -m experiments.sweep --epochs 30
      goes on from where an earlier sweep ended

then, in Python:
  import jaxvae
  run = jaxvae.load("results/mnist/conv-2")
  images = run.decode([[0.0, 1.0]])
"""


DEFAULTS: dict[str, Any] = {
    "architectures": ARCHITECTURES, "latent_dims": (2, 3, 5, 10, 50), "betas": (1.0,),
    "learning_rates": (LEARNING_RATE,), "seeds": (0,), "epochs": 15, "batch_size": 100, "objective": "elbo",
    "importance_samples": 1, "binarize": "none",
}  # fmt: skip


SHARED = ("dataset", "limit", "mesh", "strategy", "workers", "precision", "study", "fresh")  # by several processes


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m experiments.sweep",
        description="Trains variational auto-encoders of several architectures, latent sizes, β, learning rates and\n"
        "seeds, and writes their losses, checkpoints, figures and the original experiment's claims into a\n"
        "folder. An interrupted sweep goes on where it was when the same command is given again (without\n"
        "--fresh).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset", default="auto", metavar="NAME",
        help="mnist, fashion_mnist, kmnist, digits (embedded, needs nothing) or auto: mnist if at hand, else digits "
        "(default: auto)",
    )  # fmt: skip
    data.add_argument(
        "--data-dir", metavar="DIR",
        help="folder that holds NAME/ with the four .gz files, or a copy prepared by tensorflow-datasets "
        "(default: $JAXVAE_DATA_DIR, else tensorflow-datasets' own folder, else a download)",
    )  # fmt: skip
    data.add_argument(
        "--limit", type=int, metavar="N", help="use the first N training images and N/6 test images: for quick looks"
    )
    _add_grid(parser)
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
    hosts.add_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        metavar="DIR",
        help="where to write (default: results/<dataset>, with --limit results/<dataset>-firstN)",
    )
    output.add_argument("--fresh", action="store_true", help="start anew; what the folder holds is moved aside")
    output.add_argument("--quiet", action="store_true", help="no progress, only the results")
    add_debug(parser)
    return parser


def _add_grid(parser: argparse.ArgumentParser) -> None:
    """What to train; options that are not given are absent, and `DEFAULTS` then hold."""
    group = partial(parser.add_argument_group, argument_default=argparse.SUPPRESS)
    grid = group("grid: every combination is a run")
    grid.add_argument("--architectures", nargs="+", metavar="A", help="linear, conv (default: both)")
    grid.add_argument("--latent-dims", nargs="+", type=int, metavar="D", help="latent sizes (default: 2 3 5 10 50)")
    grid.add_argument(
        "--betas", "--beta", nargs="+", type=float, metavar="B", help="weights of the KL term (default: 1)"
    )
    grid.add_argument(
        "--learning-rates", "--learning-rate", nargs="+", type=float, metavar="R", help="Adam's (default: 0.001)"
    )
    grid.add_argument("--seeds", nargs="+", type=int, metavar="S", help="default: 0")
    train = group("training: the same for all runs")
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the data (default: 15)")
    train.add_argument("--batch-size", type=int, metavar="N", help="images a step (default: 100)")
    train.add_argument(
        "--objective", metavar="O",
        help="elbo; iwae: the importance-weighted bound; iwae-dreg: the same with the doubly reparameterised gradient "
        "(default: elbo)",
    )  # fmt: skip
    train.add_argument(
        "--importance-samples", type=int, metavar="K", help="K of the importance-weighted bound (default: 1)"
    )
    train.add_argument(
        "--binarize", metavar="B",
        help="pixels: none, grey levels; dynamic, black or white drawn anew at each step, the test split once; static, "
        "both splits drawn once from a fixed key (default: none)",
    )  # fmt: skip
    study = parser.add_argument_group("study: runs from a file, instead of grid and training")
    study.add_argument(
        "--study", metavar="FILE",
        help="a Python file, which is run and defines runs, a list of jaxvae.config.RunConfig; or a JSON list of their "
        'configurations: [{"model": {"architecture": "linear", "latent_dim": 2}, "beta": 4}]',
    )  # fmt: skip


def asked_for(options: argparse.Namespace) -> list[RunConfig]:
    """The runs of the study, or of the grid; a precision that was asked for is that of all."""
    if options.precision not in (None, "auto", *PRECISIONS):
        raise ConfigError(f"precision must be auto, {' or '.join(PRECISIONS)}, not {shown(options.precision)}")
    if options.study is None:
        runs = grid(argparse.Namespace(**DEFAULTS | vars(options)))
    elif given := [name for name in DEFAULTS if name in vars(options)]:
        raise ConfigError(f"--study and --{given[0].replace('_', '-')} exclude each other: a study says what to train")
    else:
        runs = read_runs(options.study)
    if options.precision not in PRECISIONS:
        return runs
    return [replace(run, model=replace(run.model, precision=options.precision)) for run in runs]


def grid(options: argparse.Namespace) -> list[RunConfig]:
    """Every combination, by seed, architecture, latent size, β and learning rate."""
    train = TrainConfig(options.batch_size, options.objective, options.importance_samples, options.binarize)
    axes = options.seeds, options.architectures, options.latent_dims, options.betas, options.learning_rates
    return [
        RunConfig(ModelConfig(architecture, latent_dim), train, options.epochs, learning_rate, beta, seed)
        for seed, architecture, latent_dim, beta, learning_rate in product(*map(dict.fromkeys, axes))
    ]


def workers(asked: str, runs: int, on: Mesh | None = None) -> int:
    """`--workers` as a number.

    Raises:
        ConfigError: it is neither `auto` nor a whole number.
    """
    from jaxvae.training import automatic_workers

    if asked == "auto":
        return automatic_workers(runs, on)
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 10):
        raise ConfigError(f"workers must be auto or a whole number of at least 1, not {shown(asked)}")
    return int(asked)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    to_all = " to all processes" if options.distributed else ""
    again = f"give the same command again{to_all}{', without --fresh,' if options.fresh else ''} to go on"

    def whole(work: Callable[[], int]) -> int:
        return guarded(work, f"stopped; {again} from the last finished epoch", again, debug=options.debug)

    def begin() -> int:
        asked = hosts.asked(options)
        if asked is None:
            return run(options, asked_for(options))
        return hosts.beside_others(
            asked, lambda: whole(lambda: run(options, asked_for(options), asked)), again, debug=options.debug
        )

    return whole(begin)


def run(options: argparse.Namespace, runs: list[RunConfig], asked: hosts.Hosts | None = None) -> int:
    folder = None if options.out is None else as_path(options.out)
    start_jax((lambda: hosts.join(asked)) if asked else None)

    from jaxvae import data
    from jaxvae.study import Study, settle_precision
    from jaxvae.training import distributed as peers
    from jaxvae.training import mesh

    peers.agree("options", {name: getattr(options, name) for name in SHARED})
    layout = "auto" if options.mesh is None and peers.several() else options.mesh
    on = None if layout is None else mesh.arranged(layout)
    dataset = peers.all_or_none("data", lambda: data.load(options.dataset, options.data_dir, limit=options.limit))
    if dataset.note:
        print(f"\n*** NOT MNIST: training on the embedded digits. {dataset.note}\n", file=sys.stderr, flush=True)
    limited = f"-first{options.limit}" if options.limit else ""
    folder = folder or Path(f"results/{dataset.name}{limited}")
    if options.precision == "auto" or (options.precision is None and options.study is None):
        runs = settle_precision(runs, None if options.fresh else folder)
    study = Study(folder, runs, dataset)
    started = time.perf_counter()
    count = workers(options.workers, len(runs), on)
    study.train(options.strategy, count, mesh=on, fresh=options.fresh, quiet=options.quiet)
    peers.from_first("results", lambda: study.write(wall_seconds=time.perf_counter() - started))
    return 0


if __name__ == "__main__":
    leave(main())
