"""A search beside the whole grid: the same settings, all trained to the end, and what the search found of them.

    python -m benchmarks.search                            64 settings, 27 epochs, the first 20,000 images of MNIST
    python -m benchmarks.search --limit 60000              all of them: about half an hour

Linear models of ten dimensions with the learning rate from 1e-4 to 1e-2 and β from 0.1 to 10, trained by as many worker
processes as there are cores. Costs ten minutes on two cores, and needs MNIST. Expect the search to take a third of the
time, and its winner to be the grid's best setting or one that cannot be told from it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import machine
from jaxvae.commands import search as command
from jaxvae.commands import set_environment, start_jax

SPACE = ("--architectures", "linear", "--latent-dims", "10", "--betas", "0.1..10", "--learning-rates", "1e-4..1e-2")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    from jaxvae import data, search, study, training
    from jaxvae.search.halving import difference

    dataset = data.load("mnist", options.data_dir, limit=options.limit)
    given = command.parser().parse_args([*SPACE, "--lanes", str(options.lanes)])
    settings = study.settle_precision(command.settings(given), None)
    workers, found, losses = training.automatic_workers(len(settings)), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, first in (("search", options.first), ("grid", options.epochs)):
            own = search.Search(Path(folder) / name, settings, dataset, epochs=options.epochs, first=first)
            started = time.perf_counter()
            rungs = own.run("loop", workers, quiet=True)
            seconds = time.perf_counter() - started
            standings = search.standings(rungs)
            best = rungs[-1].ranks[0]
            found[name] = {
                "seconds": round(seconds, 1), "epochs": sum(one.epochs for one in standings), "best": best.setting,
                "loss": best.loss, "tied": [rank.setting for rank in rungs[-1].ranks[1:] if rank.tied],
            }  # fmt: skip
            losses[name] = own.losses(best.setting, options.epochs)
    behind, error = difference(losses["search"], losses["grid"])
    return found | {"behind": behind, "error": error, "share": found["search"]["seconds"] / found["grid"]["seconds"]}


def as_table(found: dict[str, Any]) -> str:
    rows = [[name, f"{found[name]['epochs']:,}", f"{found[name]['seconds']:,.0f}", found[name]["best"],
             f"{found[name]['loss']:.2f}"] for name in ("grid", "search")]  # fmt: skip
    return machine.table(["", "epochs", "seconds", "best setting", "validation −ELBO"], rows)


def run(options: argparse.Namespace) -> None:
    machine.at_least("--lanes", options.lanes, 2)
    machine.at_least("--epochs", options.epochs, 2)
    machine.writable(options.out)
    set_environment()
    start_jax()
    found = measured(options)
    print(as_table(found))
    print(f"the search took {found['share']:.0%} of the grid's time; its best is behind the grid's by "
          f"{found['behind']:.3f} ± {found['error']:.3f} nats")  # fmt: skip
    settings = {
        "space": SPACE,
        "lanes": options.lanes,
        "epochs": options.epochs,
        "first": options.first,
        "limit": options.limit,
    }
    machine.write_json(options.out, {**machine.about(), "settings": settings, **found})


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lanes", type=int, default=64, metavar="N", help="settings (default: 64)")
    parser.add_argument("--epochs", type=int, default=27, metavar="N", help="to the end (default: 27)")
    parser.add_argument("--first", type=int, default=3, metavar="N", help="epochs of the first rung (default: 3)")
    parser.add_argument("--limit", type=int, default=20_000, metavar="N", help="training images (default: 20,000)")
    parser.add_argument("--data-dir", metavar="DIR", help="as for experiments.sweep")
    machine.add_out(parser, "search", "both results, versions and the machine as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
