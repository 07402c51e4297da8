"""Numbers from the literature and what this code measures when it follows their protocols.

    python -m experiments.published                                the first six stages, all rows that suit a CPU
    python -m experiments.published --rows iwae-50 --budget 1      one row, its whole schedule

Costs on two cores, at the default budget: an hour for vae and iwae-5 side by side, a minute for small, ten for the
evaluation; iwae-50 takes five hours more. The whole schedule is nine times that. Expect the rows of the default budget
within a nat of the published ones and short of them, as the last two stages are missing.

Rows vae, iwae-5, iwae-50: Burda, Grosse & Salakhutdinov 2016, "Importance weighted autoencoders", section 5, table 1,
one stochastic layer.
    architecture   784 – 200 – 200 – 50 and mirrored, tanh, Glorot's uniform initialisation, the output's bias at the
                   logit of the mean training image
    data           MNIST, pixels drawn anew at each step, the test split drawn once; the first 59,600 training images,
                   as their released code keeps 400 for validation
    objective      the importance-weighted bound with K = 1 ("VAE", its KL sampled too), 5, 50; batch 20
    optimiser      Adam, β₁ 0.99, β₂ 0.999, ε 1e-4, second moment from one (released code). Their gradients are sums
                   over a batch, ours are means: the same steps need ε/20 and a second moment from 1/400
    schedule       stage i = 1…8: 3^(i − 1) epochs at 1e-3 · 10^(−(i − 1)/7); 3,280 epochs
    evaluation     L_5000 on the test split; units active on it, by the variance of their posterior means
    differences    their bias-corrected step adds ε before the correction (gone after some thousand steps); they do not
                   shuffle between epochs
    an independent reimplementation reports 87.78, 85.46 and 84.59

Row small: the VAE of Flax's examples (Kingma & Welling 2014): 784 – 500 – 20 and mirrored, relu, statically binarised
MNIST, 50,000 training images, batch 128, Adam 1e-3, 10 epochs; negative ELBO on the test split, analytic KL.
    differences    the binarisation is ours, not Larochelle's; the first 50,000 images
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxvae.commands import Parser, add_debug, guarded, leave, set_environment, start_jax
from jaxvae.errors import InputError, quoted
from jaxvae.system import as_path, console, cores

if TYPE_CHECKING:
    from experiments.protocols import Protocol
    from jaxvae.config import RunConfig

OUTPUT = "published.json"
SHARE = re.compile(r"[0-9.]{1,20}(/[0-9]{1,20}|e-?[0-9])?")  # a longer exponent would fill the memory with digits
ROWS = ("vae", "iwae-5", "iwae-50", "small")  # of the table; their protocols are in experiments.protocols
SIX_STAGES = Fraction(364, 3280)


def parser() -> argparse.ArgumentParser:
    assert __doc__
    parser = Parser("python -m experiments.published", __doc__)
    parser.add_argument(
        "--rows", nargs="+", default=["vae", "iwae-5", "small"], metavar="ROW",
        help=f"{', '.join(ROWS)} (default: vae iwae-5 small); rows trained before stay in the table",
    )  # fmt: skip
    parser.add_argument(
        "--budget", default=None, metavar="SHARE",
        help="share of a protocol's epochs to train, such as 0.1 or 1; the table says how far each row got. Given "
        "again with a larger one, training goes on (default: six of the eight stages, 364/3280; all of small's)",
    )  # fmt: skip
    parser.add_argument("--data-dir", metavar="DIR", help="as for experiments.sweep")
    parser.add_argument("--out", default="results/published", metavar="DIR", help="default: results/published")
    parser.add_argument("--no-training", action="store_true", help="evaluate what is there")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    add_debug(parser)
    return parser


def protocol(row: str) -> Protocol:
    from experiments.protocols import PROTOCOLS  # when JAX's environment is set

    return PROTOCOLS[row]


def epochs(row: str, budget: str | None) -> int:
    """How many epochs of a row's protocol a budget is.

    Raises:
        InputError: it is no number between 0 and 1.
    """
    whole = protocol(row).run.epochs
    if budget is None:
        return whole if row == "small" else round(SIX_STAGES * whole)
    try:
        share = Fraction(budget if SHARE.fullmatch(budget) else "")
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if not 0 < share <= 1:
        raise InputError(f"budget must be a share of the epochs above 0 and at most 1, not {quoted(budget)}")
    return max(1, round(share * whole))


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    again = "give the same command again to go on"
    stopped = f"stopped; {again} from the last finished epoch"
    return guarded(lambda: run(options), stopped, again, debug=options.debug)


def run(options: argparse.Namespace) -> int:
    if unknown := [row for row in options.rows if row not in ROWS]:
        raise InputError(f"unknown row {quoted(unknown[0])}: choose of {', '.join(ROWS)}")
    set_environment(cpu_devices=len(cores()))
    lengths = {row: epochs(row, options.budget) for row in dict.fromkeys(options.rows)}
    folder = as_path(options.out)
    start_jax()

    from jaxvae import data
    from jaxvae.evaluation import Evaluation, Plan
    from jaxvae.runs import checkpoint, load, manifest
    from jaxvae.study import Stages

    mnist = data.load("mnist", options.data_dir)
    entries = _read(folder)
    for row, length in list(lengths.items()):
        behind = checkpoint.epochs(folder / protocol(row).run.name)
        if behind and behind[-1] >= length:
            del lengths[row]  # trained as far, or farther
        elif row in entries and entries[row]["epochs"] > length:
            raise InputError(
                f"{folder / OUTPUT} has {row} after {entries[row]['epochs']} epochs, whose checkpoint is not there; "
                f"{length} would take its place: use another --out, or a larger --budget"
            )
    if not options.no_training:
        _train(lengths, mnist, folder, options.quiet)
    output = console(width=160)
    done = [row for row in ROWS if checkpoint.epochs(folder / protocol(row).run.name)]
    with Stages(console(quiet=True) if options.quiet else output) as stages:
        evaluation = Evaluation(Plan(samples=(1, 50, 5000), codes=False), stages.advance)
        for row in done:
            found = load(folder / protocol(row).run.name)
            if (entries.get(row) or {}).get("epochs") == found.metrics[-1]["epoch"]:
                continue  # evaluated before
            stages.begin(row)
            entries[row] = _evaluated(row, found, evaluation.evaluate(found, mnist))
            content = {name: entries[name] for name in ROWS if name in entries}
            manifest.write(folder / OUTPUT, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    output.print(_table({row: entries[row] for row in ROWS if row in entries}))
    return 0


def _train(lengths: dict[str, int], mnist: Any, folder: Path, quiet: bool) -> None:
    """Rows that see the same images are trained side by side."""
    from jaxvae.study import Study
    from jaxvae.training import automatic_workers

    together: dict[tuple[int, str], list[RunConfig]] = {}
    for row, length in lengths.items():
        run = replace(protocol(row).run, epochs=length)
        together.setdefault((protocol(row).train_images, run.binarize), []).append(run)
    for (images, _), runs in together.items():
        Study(folder, runs, _first(mnist, images)).train("loop", automatic_workers(len(runs)), quiet=quiet)


def _first(dataset: Any, images: int) -> Any:
    return dataset._replace(train_images=dataset.train_images[:images], train_labels=dataset.train_labels[:images])


def _read(folder: Path) -> dict[str, Any]:
    try:
        entries = json.loads((folder / OUTPUT).read_text(encoding="utf-8"))
        _table(entries)
        return entries
    except FileNotFoundError:
        return {}
    except (ArithmeticError, AttributeError, LookupError, RecursionError, StopIteration, TypeError, ValueError):
        raise InputError(f"{folder / OUTPUT} is damaged; move it aside, and the rows are evaluated again") from None


def _evaluated(row: str, run: Any, report: Any) -> dict[str, Any]:
    return {
        "what": protocol(row).what,
        "epochs": run.metrics[-1]["epoch"],
        "of_epochs": protocol(row).run.epochs,
        "training_seconds": round(sum(epoch["seconds"] for epoch in run.metrics)),
        "published": {"nats": protocol(row).value, "active_units": protocol(row).active_units},
        "elsewhere_nats": protocol(row).elsewhere,
        "records": [record._asdict() for record in report.records],
        "config": run.config.to_json(),
        **run.about,
    }


def _table(entries: dict[str, Any]) -> Any:
    from rich.table import Table

    from jaxvae.evaluation import from_json

    title = "Negative log-likelihood of 10,000 binarised MNIST test images, nats; ± standard error over images"
    table = Table(
        title=title, title_justify="left", caption="?, –: not given. small: negative ELBO, from its 5,000 codes"
    )
    for heading in ("row", "published", "elsewhere", "measured", "active units published", "measured", "trained"):
        table.add_column(heading, justify="left" if heading == "row" else "right")
    for row, entry in entries.items():
        records = [from_json(record) for record in entry["records"]]
        asked = protocol(row)
        last = [r for r in records if r.metric == asked.metric][-1]
        units = next(r for r in records if r.metric == "active units")
        share = entry["epochs"] / entry["of_epochs"]
        table.add_row(
            asked.what, f"{asked.value:.2f} ± ?", f"{asked.elsewhere:.2f}" if asked.elsewhere else "–",
            f"{-last.value:.2f} ± {last.standard_error:.2f}", str(asked.active_units or "–"), f"{units.value:.0f}",
            f"{entry['epochs']:,} of {entry['of_epochs']:,} epochs ({100 * share:.0f} %)",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    leave(main())
