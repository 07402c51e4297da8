"""What one more model costs: time and memory of sweeps of more and more runs, looped and vmapped.

    python -m benchmarks.growth
    python -m benchmarks.growth --architectures linear --counts 1 10 100

Needs no PyTorch. Each sweep is a command of its own, `python -m experiments.sweep`, into a folder that is removed
again: N runs of one architecture over latent sizes and seeds, 6,000 images, two epochs. Costs about an hour on two CPU
cores. Time is that of training with evaluation, checkpoints and compilation, without start-up and figures, over all
runs' training steps: expect it to fall as compilation is shared, then to stay; what more runs cost by themselves is
the difference between two sweeps' training seconds, which the JSON has. Expect memory to stay where runs are looped,
and to grow with their number where they are vmapped. A sweep that fails, say for want of memory, is left out.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks import machine, models
from benchmarks.models import ARCHITECTURES
from benchmarks.watched import watch

LATENT_DIMS = (10, 2, 50, 3, 5)
STRATEGIES = ("loop", "vmap")
BATCH = 100


class Grown(NamedTuple):
    """One sweep."""

    architecture: str
    strategy: str
    runs: int
    training_seconds: float | None  # with evaluation, checkpoints and compilation; None where the sweep failed
    ms_per_model_step: float | None
    peak_bytes: int  # the whole command's
    wall_seconds: float  # the whole command's
    failure: str | None


def grid(count: int) -> tuple[list[int], list[int]]:
    """Latent sizes and seeds whose combinations are `count` runs, with as many latent sizes as can be."""
    sizes = max(n for n in range(1, len(LATENT_DIMS) + 1) if count % n == 0)
    return list(LATENT_DIMS[:sizes]), list(range(count // sizes))


def grow(architecture: str, strategy: str, count: int, options: argparse.Namespace) -> Grown:
    """Trains `count` runs."""
    latent_dims, seeds = grid(count)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "sweep"
        arguments = ["--architectures", architecture, "--latent-dims", *map(str, latent_dims)]
        arguments += ["--seeds", *map(str, seeds), "--strategy", strategy, "--batch-size", str(BATCH)]
        arguments += ["--limit", str(options.limit), "--epochs", str(options.epochs), "--quiet", "--out", str(out)]
        arguments += ["--data-dir", options.data_dir] if options.data_dir else []
        watched = watch("experiments.sweep", arguments, Path(folder))
        training = ms = None
        if not watched.failure:
            training = float(json.loads((out / "sweep.json").read_text(encoding="utf-8"))["wall_seconds"])
            ms = 1000 * training / (count * options.epochs * (options.limit // BATCH))
    return Grown(architecture, strategy, count, training, ms, watched.peak_bytes, watched.seconds, watched.failure)


def as_table(grown: list[Grown]) -> str:
    """One architecture's sweeps, the strategies side by side."""
    by_count: dict[int, list[str]] = {}
    for one in grown:
        time = "failed" if one.ms_per_model_step is None else f"{one.ms_per_model_step:.2f}"
        by_count.setdefault(one.runs, [str(one.runs)]).extend([time, f"{one.peak_bytes / 2**30:.2f}"])
    head = ["runs"] + [text for s in STRATEGIES for text in (f"{s}, ms/model-step", f"{s}, peak GiB")]
    return machine.table(head, list(by_count.values()))


def run(options: argparse.Namespace) -> None:
    models.check(options.architectures)
    for count in options.counts:
        machine.at_least("--counts", count, 1)
    machine.at_least("--epochs", options.epochs, 1)
    machine.at_least("--limit", options.limit, BATCH)
    machine.writable(options.out)
    from jaxvae import data

    dataset = data.load("auto", options.data_dir, limit=options.limit)  # not within a sweep that is watched
    grown: list[Grown] = []
    for architecture in dict.fromkeys(options.architectures):
        for count in sorted(set(options.counts)):
            for strategy in STRATEGIES:
                print(f"{architecture}: {count} runs, {strategy} …", file=sys.stderr, flush=True)
                grown.append(grow(architecture, strategy, count, options))
        print(f"\n{architecture}:\n\n{as_table([g for g in grown if g.architecture == architecture])}\n", flush=True)
    for one in grown:
        if one.failure:
            print(f"{one.architecture}, {one.runs} runs, {one.strategy}: {one.failure}")
    settings = {"limit": options.limit, "epochs": options.epochs, "batch": BATCH, "images": dataset.name}
    sweeps = [one._asdict() for one in grown]
    machine.write_json(options.out, {**machine.about(), "settings": settings, "sweeps": sweeps})


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--counts", nargs="+", type=int, default=[1, 2, 5, 10, 20, 50, 100], metavar="N",
        help="how many runs (default: 1 2 5 10 20 50 100)",
    )  # fmt: skip
    parser.add_argument(
        "--architectures", nargs="+", default=list(ARCHITECTURES), metavar="A", help="linear, conv (default: both)"
    )
    parser.add_argument("--limit", type=int, default=6000, metavar="N", help="training images (default: 6000)")
    parser.add_argument("--epochs", type=int, default=2, metavar="N", help="passes over the data (default: 2)")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with mnist/ (default: $JAXVAE_DATA_DIR)")
    machine.add_out(parser, "growth", "where the figures go as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
