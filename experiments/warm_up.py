"""Does KL warm-up keep more latent dimensions in use than none?

    python -m experiments.warm_up                              conv-50 on MNIST, 15 epochs, five seeds each
    python -m experiments.warm_up --limit 10000 --epochs 6 --warm-up 3 --seeds 2        a quick look

Costs forty minutes on two cores. Each seed is trained twice: with β = 1 throughout, and with β rising in a straight
line from 0 to 1 over the first epochs, step by step (Bowman et al. 2016; Sønderby et al. 2016). A unit is active if its
posterior mean varies by more than 0.01 over the test images (Burda et al. 2016). The difference is taken seed by seed,
with Student's 95 % interval; the claim holds if that lies above zero. What has been trained is not trained again. The
published conv-50 without warm-up, results/mnist, has 31 of its 50 units active.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from jaxvae.commands import Parser, add_debug, guarded, leave, set_environment, start_jax
from jaxvae.errors import InputError, is_whole, quoted
from jaxvae.system import as_path, console, cores

if TYPE_CHECKING:
    from jaxvae.config import RunConfig

OUTPUT = "warm-up.json"
BATCH = 100
NUMBERS = {  # by option: default, and what it says
    "latent_dim": (50, "latent dimensions"),
    "epochs": (15, "passes over the data"),
    "warm_up": (5, "epochs over which β rises"),
    "seeds": (5, "seeds, each of which is trained with and without"),
}


def parser() -> argparse.ArgumentParser:
    assert __doc__
    parser = Parser("python -m experiments.warm_up", __doc__)
    for name, (default, meaning) in NUMBERS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int,
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default})",
        )
    parser.add_argument("--limit", type=int, metavar="N", help="train on the first N images (default: all)")
    parser.add_argument("--data-dir", metavar="DIR", help="as for experiments.sweep")
    parser.add_argument("--out", metavar="DIR", help="default: results/warm-up, with --limit results/warm-up-firstN")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    add_debug(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    again = "give the same command again to go on"
    stopped = f"stopped; {again} from the last finished epoch"
    return guarded(lambda: run(options), stopped, again, debug=options.debug)


def pairs(options: argparse.Namespace, images: int) -> list[tuple[RunConfig, RunConfig]]:
    """Of each seed the run without warm-up and the one with it."""
    from jaxvae.config import RunConfig
    from jaxvae.models import VAE, Conv
    from jaxvae.objectives import ELBO
    from jaxvae.schedules import Linear

    rising = ELBO(Linear(0.0, 1.0, options.warm_up * (images // BATCH), by="step"))
    vae, epochs = VAE(options.latent_dim, Conv()), options.epochs
    how: dict[str, Any] = {"batch_size": BATCH, "epochs": epochs}
    return [
        (RunConfig(vae, ELBO(), seed=seed, **how), RunConfig(vae, rising, seed=seed, **how))
        for seed in range(options.seeds)
    ]


def run(options: argparse.Namespace) -> int:
    for name in (*NUMBERS, *(["limit"] if options.limit is not None else [])):
        least = BATCH if name == "limit" else 1
        if not is_whole(value := getattr(options, name), least):
            raise InputError(
                f"{name.replace('_', '-')} must be a whole number of at least {least}, not {quoted(value)}"
            )
    set_environment(cpu_devices=len(cores()))
    start_jax()

    from jaxvae import data
    from jaxvae.runs import manifest
    from jaxvae.study import Study, settle_precision
    from jaxvae.training import automatic_workers

    mnist: Any = data.load("mnist", options.data_dir)
    first = slice(options.limit)
    mnist = mnist._replace(train_images=mnist.train_images[first], train_labels=mnist.train_labels[first])
    limited = f"-first{options.limit}" if options.limit else ""
    folder = as_path(options.out or f"results/warm-up{limited}")
    both = [run for pair in pairs(options, len(mnist.train_images)) for run in pair]
    runs = settle_precision(both, folder)
    Study(folder, runs, mnist).train("loop", automatic_workers(len(runs)), quiet=options.quiet)
    found = _compared([_measured(folder / run.name, mnist.test_images) for run in runs])
    content = {"images": len(mnist.train_images), "options": {name: getattr(options, name) for name in NUMBERS}}
    manifest.write(folder / OUTPUT, json.dumps(content | found, indent=1, ensure_ascii=False) + "\n")
    console(width=120).print(_table(found, options))
    return 0


def _measured(folder: Any, images: Any) -> dict[str, Any]:
    import numpy as np

    from jaxvae.evaluation import codes
    from jaxvae.runs import load

    run = load(folder)
    test = run.metrics[-1]["test"]
    active = int(codes.active(np.asarray(run.codes(images).mean)).sum())
    return {
        "name": run.config.name,
        "active units": active,
        "KL": test["kl"],
        "−ELBO": test["reconstruction"] + test["kl"],
    }


def _compared(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """What each run came to, and by how much warm-up raised each quantity, over seeds."""
    from jaxvae.results import mean

    without, with_it = measured[::2], measured[1::2]
    differences = {
        what: mean([float(b[what] - a[what]) for a, b in zip(without, with_it, strict=True)])
        for what in ("active units", "KL", "−ELBO")
    }
    interval = differences["active units"].interval
    verdict = "undecided, as the interval has zero in it" if interval else "not tested, as one seed has no interval"
    if interval and (interval[0] > 0 or interval[1] <= 0):
        verdict = "holds" if interval[0] > 0 else "does not hold"
    return {
        "without": without, "with": with_it, "difference": {name: d._asdict() for name, d in differences.items()},
        "claim": "warm-up keeps more units active than none", "verdict": verdict,
    }  # fmt: skip


def _table(found: dict[str, Any], options: argparse.Namespace) -> Any:
    from rich.table import Table

    title = f"conv-{options.latent_dim} on MNIST after {options.epochs} epochs; warm-up over {options.warm_up} of them"
    table = Table(title=title, title_justify="left", caption=f"{found['claim']}: {found['verdict']}")
    for heading in ("", *(f"seed {seed}" for seed in range(options.seeds)), "difference", "95 % interval"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, difference in found["difference"].items():
        places = 0 if what == "active units" else 2
        for which in ("without", "with"):
            row = [f"{one[what]:.{places}f}" for one in found[which]]
            interval = difference["interval"]
            limits = f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "–"
            last = [f"{difference['mean']:+.2f}", limits] if which == "with" else ["", ""]
            table.add_row(f"{what}, {which}", *row, *last)
    return table


if __name__ == "__main__":
    leave(main())
