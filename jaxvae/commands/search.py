"""The command that looks for the best setting of many, most of which it trains for a little only.

In: options, of which values may be ranges. Out: an exit code; a folder with runs, the ranking at each rung and a page.
"""

from __future__ import annotations

import argparse
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvae.commands import data_options, grid
from jaxvae.commands.advice import command_line
from jaxvae.commands.command import Parser, add_debug, guarded, set_environment, start_jax
from jaxvae.commands.sweep import add_machine, worker_count
from jaxvae.errors import ConfigError
from jaxvae.system import as_path

if TYPE_CHECKING:
    from jaxvae.config import RunConfig
    from jaxvae.data import Dataset

SUMMARY = "looks for the best setting of many: most are trained for a few epochs only, the best to the end"
EXAMPLES = """\
examples:
  %(prog)s --architectures linear --latent-dims 10 --learning-rates 1e-4..1e-2 --betas 0.1..10 --lanes 64
      64 settings of learning rate and β on MNIST, ranked after 1, 3, 9 and 27 epochs; about an eighth of
      the time that all of them would take
  %(prog)s --dataset measurements.csv --latent-dims 2..20 --architectures 'linear:hidden=32..512' --seeds 0 1 2
      your own data: number of dimensions and width, each setting with three seeds
  %(prog)s --optimiser adam 'adam:b1=uniform(0.5,0.99)' --samples 50
      two optimisers, one of them with a decay between 0.5 and 0.99; ranked by the importance-weighted bound

values: several, 1 2 4; a range on a logarithmic scale, 0.1..10, of whole numbers if both ends are; an even one,
uniform(0.5,0.99). Settings are compared on examples that are held out of the training split; the test split has no
part in it. Settings whose difference is within its standard error are not told apart.
"""
SPACE = (
    "architectures", "latent_dims", "betas", "learning_rates", "likelihood", "prior", "posterior", "objective",
    "optimiser", "batch_size",
)  # fmt: skip
EPOCHS, LANES = 27, 27


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=command_line("search"),
        description="Trains many settings for a few epochs, the best third of them for three times as many, and so on\n"
        "(successive halving), and says which setting is best, and which cannot be told from it. An\n"
        "interrupted search goes on where it was when the same command is given again.",
        epilog=EXAMPLES,
    )
    data_options.add(parser)
    grid.add_parts(parser, ranges=True)
    search = parser.add_argument_group("search")
    search.add_argument(
        "--lanes", type=int, default=LANES, metavar="N",
        help=f"settings to begin with (default: {LANES}; all of them, if they are fewer and no value is a range)",
    )  # fmt: skip
    search.add_argument("--first", type=int, default=1, metavar="N", help="epochs of the first rung (default: 1)")
    search.add_argument("--keep", type=int, default=3, metavar="N", help="one setting in N goes on (default: 3)")
    search.add_argument(
        "--samples", type=int, default=1, metavar="K",
        help="rank by the importance-weighted bound of K codes (default: 1, the ELBO)",
    )  # fmt: skip
    search.add_argument(
        "--examples", type=int, default=2000, metavar="N", help="held-out examples to rank by (default: 2000)"
    )
    search.add_argument("--draw", type=int, default=0, metavar="S", help="seed of the settings (default: 0)")
    add_machine(parser)
    output = parser.add_argument_group("output")
    output.add_argument("--out", metavar="DIR", help="where to write (default: results/search-<dataset>)")
    output.add_argument("--quiet", action="store_true", help="no progress, only the result")
    add_debug(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    again = "give the same command again to go on"
    return guarded(lambda: run(options), f"stopped; {again}", again, debug=options.debug)


def settings(options: Namespace, dataset: Dataset | None = None) -> list[RunConfig]:
    """The settings to begin with: draws from what the options have, or all of it.

    Raises:
        ConfigError: a value or a range cannot be; or there are no two settings.
    """
    from jaxvae import search

    space = {name: list(map(str, getattr(options, name))) for name in SPACE if name in options}
    given = {name: value for name, value in vars(options).items() if name not in SPACE}
    rest = Namespace(**{"epochs": EPOCHS} | given | {"seeds": [0], "study": None})
    one = Parser(prog=command_line("search"), description="")
    grid.add_parts(one)
    runs = []
    for setting in search.settings(space, options.lanes, options.draw):
        texts = [f"--{option.replace('_', '-')}={text}" for option, text in setting.items()]
        runs += grid.requested_runs(one.parse_args(texts, Namespace(**vars(rest))), dataset)
    if len(runs) < 2:
        raise ConfigError("a search needs several values of something, such as --learning-rates 1e-4..1e-2")
    return runs


def run(options: Namespace) -> int:
    set_environment()
    settings(options)  # what is wrong with the options is said before data are read
    start_jax()

    from jaxvae import search
    from jaxvae.study import settle_precision, suitable
    from jaxvae.system import console
    from jaxvae.training import make_mesh

    mesh = None if options.mesh is None else make_mesh(options.mesh)
    dataset = data_options.load(options)
    runs = settings(options, dataset)
    if not options.no_standardize:
        dataset = suitable.in_suitable_numbers(dataset, [run.vae.likelihood for run in runs])
    folder = as_path(options.out) if options.out else Path(f"results/search-{dataset.name}")
    if options.precision in (None, "auto"):
        runs = settle_precision(runs, folder)
    found = search.Search(
        folder, runs, dataset, epochs=runs[0].epochs, first=options.first, keep=options.keep,
        seeds=getattr(options, "seeds", (0,)), samples=options.samples, examples=options.examples,
    )  # fmt: skip
    screen = console(quiet=options.quiet)
    least, most = search.cost(len(runs), found.levels, options.keep)
    share = f"{least:,} of {most:,} epochs, {least / most:.0%}"
    screen.print(
        f"{len(runs)} settings, compared after {', '.join(map(str, found.levels))} epochs: {share}, if none tie"
    )
    started, count = time.perf_counter(), worker_count(options.workers, len(runs), mesh)
    rungs = found.run(options.strategy, count, mesh=mesh, quiet=options.quiet)
    outputs = search.Outputs(found, rungs)
    path, seconds = outputs.write(), time.perf_counter() - started
    console().print(outputs.summary())
    print(f"\n{outputs.trained:,} epochs in {seconds:,.0f} s; the ranking of every rung and the curves: {path}")
    print(f"load the best:  import jaxvae; run = jaxvae.load({str(found.winner(rungs).folder)!r})")
    return 0
