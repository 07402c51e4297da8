"""The command that evaluates trained runs: likelihoods with error bars, and what their codes are worth.

In: runs' folders. Out: an exit code; a table, and evaluation.json in each folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

from jaxvae.commands import data_options
from jaxvae.commands.advice import command_line
from jaxvae.commands.command import Parser, add_debug, guarded, set_environment, start_jax
from jaxvae.errors import InputError, reason
from jaxvae.system import as_path, console, cores

SUMMARY = "says how good trained models are: likelihoods with error bars, what codes are worth"
OUTPUT = "evaluation.json"
HEAD = """\
Evaluates trained runs and prints a table, a column a run; writes evaluation.json into each run's folder,
where one that was made by another plan is moved aside.

Pixels are what the run was trained on. Grey ones make a Bernoulli decoder's "log p(x)" a cross-entropy, no
log-probability of data: such numbers are comparable with each other, not with the literature's. Runs whose
numbers differ in kind – binarisation, data, estimator – are not put into one table.

"""
EXAMPLES = """\

examples:
  %(prog)s results/mnist/conv-2
      everything but annealing, K = 1 5 50 500 5000
  %(prog)s results/mnist/linear-2 results/mnist/linear-10 --samples 1 500
      two runs in one table, with smaller K
  %(prog)s results/mnist/linear-2 --samples --ais 100
      annealed importance sampling on 100 images, and the bracket on 100 simulated ones
  %(prog)s results/mnist/conv-* --images 500 --samples 1 50 --no-codes
      a quick look at the first 500 test images
  %(prog)s results/mnist/linear-* results/mnist/conv-* --read
      one table of what was evaluated before
"""


def parser() -> argparse.ArgumentParser:
    from jaxvae.evaluation import METRICS  # JAX is not imported for it

    width = max(map(len, METRICS)) + 2
    metrics = "metrics:\n" + "".join(f"  {name:{width}}{metric.meaning}\n" for name, metric in METRICS.items())
    parser = Parser(command_line("evaluate"), HEAD + metrics, EXAMPLES)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a trained run, such as results/mnist/conv-2")
    data_options.add_for_trained(parser)
    parser.add_argument(
        "--samples", nargs="*", type=int, default=[1, 5, 50, 500, 5000], metavar="K",
        help="K of the importance-weighted bounds, in one pass; none to leave them out (default: 1 5 50 500 5000)",
    )  # fmt: skip
    parser.add_argument("--repeats", type=int, default=1, metavar="R", help="passes with fresh draws (default: 1)")
    parser.add_argument("--split", default="test", metavar="S", help="test or train (default: test)")
    parser.add_argument("--images", type=int, metavar="N", help="the first N of the split (default: all)")
    parser.add_argument(
        "--ais", type=int, default=0, metavar="N",
        help="annealed importance sampling on the first N images and on N simulated ones (default: 0, none)",
    )  # fmt: skip
    parser.add_argument("--ais-steps", type=int, default=1000, metavar="T", help="densities on the way (default: 1000)")
    parser.add_argument("--ais-chains", type=int, default=16, metavar="C", help="chains for an image (default: 16)")
    parser.add_argument("--no-codes", action="store_true", help="likelihoods and active units only")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the evaluation's draws (default: 0)")
    parser.add_argument("--read", action="store_true", help="compute nothing: the table of what was evaluated before")
    parser.add_argument("--table", metavar="FILE", help="write the records of all runs into one JSON file, too")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the table")
    add_debug(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return guarded(lambda: run(options), f"stopped; runs that were finished have their {OUTPUT}", debug=options.debug)


def run(options: argparse.Namespace) -> int:
    folders, table = list(dict.fromkeys(map(as_path, options.runs))), _to_write(options.table)
    set_environment(cpu_devices=len(cores()))  # batches are dealt over devices
    start_jax()

    output = console(width=max(160, 60 + 18 * len(options.runs)))
    contents = _read(folders) if options.read else _computed(folders, options, output)
    _show(contents, output)
    if table:
        _write(table, {"evaluations": contents})
    return 0


def _to_write(table: str | None) -> Path | None:
    """Where the table goes: said before hours are spent, if it cannot."""
    if table is None:
        return None
    path = as_path(table)
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is no folder; --table {table} cannot be written")
    if path.is_dir():
        raise InputError(f"{path} is a folder; --table writes a file")
    return path


def _read(folders: list[Path]) -> list[dict[str, Any]]:
    from jaxvae.evaluation import records

    contents = []
    for folder in folders:
        path = folder / OUTPUT
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["run"] = folder.as_posix()  # wherever it was when it was evaluated
            found = [records.from_json(record)._replace(run=content["run"]) for record in content["records"]]
            content |= {"records": [record._asdict() for record in found]}
            if not all(isinstance(value, int | float) for value in content["kl_per_dimension"]):
                raise ValueError("kl_per_dimension holds other things than numbers")
            contents.append(content | {name: content[name] for name in ("kl_per_dimension", "remarks")})
        except FileNotFoundError:
            raise InputError(f"{path} is not there; evaluate the run without --read") from None
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            what = str(error) if isinstance(error, InputError) else reason(error)
            raise InputError(f"{path} cannot be used ({what}); evaluate the run again") from None
    return contents


def _show(contents: list[dict[str, Any]], output: Any) -> None:
    from jaxvae.evaluation import records

    output.print(records.table([records.from_json(record) for content in contents for record in content["records"]]))
    output.print("KL per latent dimension, nats, largest first:")
    for content in contents:
        kl = " ".join(f"{value:.2f}" for value in sorted(content["kl_per_dimension"], reverse=True))
        output.print(f"  {content['run']}: {kl}")
    for content in contents:
        for remark in content["remarks"]:
            output.print(f"{content['run']}: {remark}")


def _keep_other(path: Path, content: dict[str, Any]) -> None:
    """Moves an evaluation by another plan, or of another epoch, aside: it may have taken an hour."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        same = all(before[key] == json.loads(json.dumps(content[key])) for key in ("plan", "epoch"))
    except FileNotFoundError:
        return
    except (KeyError, RecursionError, TypeError, ValueError):
        same = False
    if not same:
        free = (path.with_name(f"evaluation.before-{i}.json") for i in itertools.count(1))
        path.rename(next(aside for aside in free if not aside.exists()))


def _write(path: Path, content: dict[str, Any]) -> None:
    from jaxvae.runs import write

    write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _computed(folders: list[Path], options: argparse.Namespace, output: Any) -> list[dict[str, Any]]:
    from jaxvae.evaluation import Evaluation, Plan, data_of
    from jaxvae.results import about
    from jaxvae.runs import load
    from jaxvae.study import Stages

    plan = Plan(
        tuple(options.samples), options.split, options.images, options.repeats,
        options.ais, options.ais_steps, options.ais_chains, not options.no_codes, options.seed,
    )  # fmt: skip
    plan.check()
    data_options.register_parts(options)
    runs = [load(folder) for folder in folders]
    first = {str(run.about["dataset"].get("source") or run.dataset): run for run in runs}
    datasets = {source: data_options.of_run(run, options) for source, run in first.items()}
    parts = [data_of(run, datasets[str(run.about["dataset"].get("source") or run.dataset)]) for run in runs]
    kinds: dict[tuple[str, str], str] = {}  # by what images are, the first run that sees them
    for run, part in zip(runs, parts, strict=True):
        kinds.setdefault((run.config.sees, part.fingerprint), run.config.name)
    if len(kinds) > 1:  # said before hours are spent
        one, other, *_ = (f"{name} ({how}, data {data[:12]})" for (how, data), name in kinds.items())
        raise InputError(f"{one} and {other} see different images: their numbers cannot be compared; evaluate apart")
    contents = []
    with Stages(console(quiet=True) if options.quiet else output) as stages:
        evaluation = Evaluation(plan, stages.advance)
        for run, part in zip(runs, parts, strict=True):
            stages.begin(run.config.name)
            started = time.perf_counter()
            report = evaluation.evaluate(run, part)
            content = {
                "run": run.folder.as_posix(), "config": run.config.to_json(), "epoch": run.metrics[-1]["epoch"],
                "plan": plan._asdict(), **about(part), "seconds": round(time.perf_counter() - started, 1),
                "records": [record._asdict() for record in report.records],
                "kl_per_dimension": report.kl_per_dimension, "digits": report.digits,
                "remarks": [*report.remarks, *([f"{run.diverged}; evaluated before it"] if run.diverged else [])],
            }  # fmt: skip
            _keep_other(run.folder / OUTPUT, content)
            _write(run.folder / OUTPUT, content)
            contents.append(content)
    output.print(f"{OUTPUT} written into {', '.join(str(run.folder) for run in runs)}\n")
    return contents
