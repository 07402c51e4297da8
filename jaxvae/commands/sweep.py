"""The command that trains a grid or a study of runs, and writes all that comes of them into a folder.

In: options. Out: an exit code; a folder with checkpoints, tables, figures and a page.
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

from jaxvae.commands import hosts
from jaxvae.commands.advice import command_line, with_options
from jaxvae.commands.command import Parser, add_debug, guarded, set_environment, start_jax
from jaxvae.commands.study_file import read_runs
from jaxvae.errors import ConfigError, quoted
from jaxvae.system import as_path

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from jaxvae.config import RunConfig

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
  %(prog)s --study experiments/studies/capacity.py --limit 6000 --out results/capacity-first6000
      runs that no grid describes, from a Python file or a JSON list
  %(prog)s --epochs 30
      goes on from where an earlier sweep ended

then, in Python:
  import jaxvae
  run = jaxvae.load("results/mnist/conv-2")
  images = run.decode([[0.0, 1.0]])
"""


DEFAULTS: dict[str, Any] = {
    "architectures": ("linear", "conv"), "latent_dims": (2, 3, 5, 10, 50), "betas": (1.0,),
    "learning_rates": (1e-3,), "seeds": (0,), "epochs": 15, "batch_size": 100, "objective": "elbo",
    "importance_samples": 1, "binarize": "none",
}  # fmt: skip
QUICK = {"limit": 20_000, "epochs": 3}
PRECISIONS = ("float32", "bfloat16")
SHARED = ("dataset", "limit", "mesh", "strategy", "workers", "precision", "study", "fresh")  # by several processes


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
        "--out", metavar="DIR",
        help="where to write (default: results/<dataset>, with --limit results/<dataset>-firstN)",
    )  # fmt: skip
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
        'configurations: [{"vae": {"part": "vae", "latent_dim": 2, "encoder": {"part": "network/mlp"}}, "epochs": 5}]',
    )  # fmt: skip


def in_miniature(options: argparse.Namespace) -> argparse.Namespace:
    """The options of a quick sweep; what was given holds."""
    if options.study is not None:
        raise ConfigError("--quick and --study exclude each other: a study says for how long it trains; see --limit")
    given = {name: value for name, value in vars(options).items() if value is not None}
    return argparse.Namespace(**vars(options) | QUICK | given)


def requested_runs(options: argparse.Namespace) -> list[RunConfig]:
    """The runs of the study, or of the grid; a precision that the options name is that of all."""
    if options.precision not in (None, "auto", *PRECISIONS):
        raise ConfigError(f"precision must be auto, {' or '.join(PRECISIONS)}, not {quoted(options.precision)}")
    if options.study is None:
        runs = grid(argparse.Namespace(**DEFAULTS | vars(options)))
    elif given := [name for name in DEFAULTS if name in vars(options)]:
        raise ConfigError(f"--study and --{given[0].replace('_', '-')} exclude each other: a study says what to train")
    else:
        runs = read_runs(options.study)
    if options.precision not in PRECISIONS:
        return runs
    return [replace(run, vae=replace(run.vae, precision=options.precision)) for run in runs]


def grid(options: argparse.Namespace) -> list[RunConfig]:
    """Every combination, by seed, architecture, latent size, β and learning rate."""
    from jaxvae.config import RunConfig
    from jaxvae.models import VAE
    from jaxvae.optimisers import Adam
    from jaxvae.parts import named

    networks = {name: named("architecture", name, kind="network") for name in dict.fromkeys(options.architectures)}
    objectives = {beta: _objective(options, beta) for beta in options.betas}
    axes = options.seeds, networks, options.latent_dims, objectives, options.learning_rates
    return [
        RunConfig(
            VAE(latent_dim, networks[architecture]()), objectives[beta], Adam(learning_rate),
            options.batch_size, options.binarize, options.epochs, seed,
        )
        for seed, architecture, latent_dim, beta, learning_rate in product(*map(dict.fromkeys, axes))
    ]  # fmt: skip


def _objective(options: argparse.Namespace, beta: float) -> Any:
    """The objective by its label, with β or with K, whichever it has."""
    from jaxvae.parts import fields, named

    objective = named("objective", options.objective)
    wanted = {"beta": (beta, 1), "importance_samples": (options.importance_samples, 1)}
    names = [field.name for field in fields(objective)]
    for name, (value, neutral) in wanted.items():
        if name not in names and value != neutral:
            raise ConfigError(f"{name} must be {neutral} with the objective {options.objective}, not {quoted(value)}")
    return objective(**{name: value for name, (value, _) in wanted.items() if name in names})


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
    runs = requested_runs(options)
    folder = None if options.out is None else as_path(options.out)
    start_jax((lambda: hosts.join(others)) if others else None)

    from jaxvae import data
    from jaxvae.study import Study, settle_precision
    from jaxvae.training import distributed, make_mesh

    distributed.check_equal("options", {name: getattr(options, name) for name in SHARED})
    layout = "auto" if options.mesh is None and distributed.several() else options.mesh
    devices = None if layout is None else make_mesh(layout)
    dataset = distributed.all_or_none("data", lambda: data.load(options.dataset, options.data_dir, limit=options.limit))
    if dataset.note:
        note = with_options(dataset.note)
        print(f"\n*** NOT MNIST: training on the embedded digits. {note}\n", file=sys.stderr, flush=True)
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
