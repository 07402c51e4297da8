"""Whole sweeps, from the command to the last figure: time, memory and losses of jaxvae and of PyTorch.

    python -m benchmarks.sweep
    python -m benchmarks.sweep --architectures linear --epochs 2 --rounds 3

Needs PyTorch (pip install -e '.[bench]') and MNIST. Trains the same models with `python -m experiments.sweep`, into a
folder that is removed again (see --keep), and with `python -m benchmarks.pytorch`, a straightforward script; one after
the other, by turns in which is first. Costs about half an hour a round on two CPU cores. Expect losses within a nat or
so of each other, jaxvae sooner done, though it also writes checkpoints and figures, and taking more memory. Leave the
machine alone meanwhile. All is compiled anew in each round. Memory is that of all processes together, sampled once a
second, as RSS, in which pages that processes share count in each.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine, pytorch
from benchmarks.watched import Watched, watch
from jaxvae.errors import InputError

Losses = dict[tuple[str, int], float]  # test loss after the last epoch, by architecture and latent size


def common_arguments(options: argparse.Namespace) -> list[str]:
    """The options that both commands have under the same names."""
    arguments = ["--epochs", str(options.epochs)]
    arguments += ["--architectures", *options.architectures]
    arguments += ["--latent-dims", *map(str, options.latent_dims)]
    arguments += ["--data-dir", options.data_dir] if options.data_dir else []
    return arguments + (["--limit", str(options.limit)] if options.limit else [])


def jaxvae_sweep(arguments: Sequence[str], folder: Path) -> tuple[Watched, Losses]:
    from benchmarks.precision import final_losses  # not above: --help would wait for SciPy

    out = folder / "jaxvae"
    watched = finished(
        watch("experiments.sweep", [*arguments, "--dataset", "mnist", "--quiet", "--out", str(out)], folder)
    )
    losses = final_losses(out)
    return watched, {(architecture, latent_dim): loss for (architecture, latent_dim, _), loss in losses.items()}


def pytorch_sweep(arguments: Sequence[str], folder: Path) -> tuple[Watched, Losses]:
    out = folder / "pytorch.json"
    watched = finished(watch("benchmarks.pytorch", [*arguments, "--out", str(out)], folder))
    models = json.loads(out.read_text(encoding="utf-8"))
    return watched, {(m["architecture"], m["latent_dim"]): m["epochs"][-1]["test"]["loss"] for m in models}


def finished(watched: Watched) -> Watched:
    if watched.failure:
        raise InputError(watched.failure)
    return watched


SWEEPS = {"jaxvae": jaxvae_sweep, "PyTorch": pytorch_sweep}


def measure(options: argparse.Namespace) -> tuple[dict[str, list[Watched]], dict[str, Losses]]:
    """Every round's figures, and the losses of the first, which are those of all up to rounding."""
    watched: dict[str, list[Watched]] = {name: [] for name in SWEEPS}
    losses: dict[str, Losses] = {}
    for turn in range(options.rounds):
        for name in list(SWEEPS)[:: -1 if turn % 2 else 1]:
            print(f"round {turn + 1} of {options.rounds}: {name} …", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                one, found = SWEEPS[name](common_arguments(options), Path(folder))
                if name == "jaxvae" and turn == 0 and options.keep:
                    shutil.move(Path(folder) / "jaxvae", options.keep)
            watched[name].append(one)
            losses.setdefault(name, found)
    return watched, losses


def medians(watched: dict[str, list[Watched]]) -> dict[str, tuple[float, float]]:
    """Seconds and peak GiB of each, the median of its rounds."""
    return {
        name: (float(np.median([w.seconds for w in rounds])), float(np.median([w.peak_gib for w in rounds])))
        for name, rounds in watched.items()
    }


def as_tables(watched: dict[str, list[Watched]], losses: dict[str, Losses]) -> str:
    found = medians(watched)
    rows = [[name, f"{seconds:.0f}", f"{gib:.2f}"] for name, (seconds, gib) in found.items()]
    ratios = [theirs / ours for theirs, ours in zip(found["PyTorch"], found["jaxvae"], strict=True)]
    rows.append(["PyTorch / jaxvae", *(f"{ratio:.2f}" for ratio in ratios)])
    cost = machine.table(["", "wall time, s", "peak memory, GiB"], rows)
    models = [
        [f"{architecture}, d = {latent_dim}", *(f"{losses[name][architecture, latent_dim]:.2f}" for name in losses)]
        for architecture, latent_dim in losses["jaxvae"]
    ]
    return f"{cost}\n\n{machine.table(['test loss, nats', *losses], models)}"


def content(
    options: argparse.Namespace, watched: dict[str, list[Watched]], losses: dict[str, Losses]
) -> dict[str, Any]:
    settings = ("epochs", "architectures", "latent_dims", "limit", "rounds")
    return {
        **machine.about(),
        "settings": {name: getattr(options, name) for name in settings} | {"batch": pytorch.BATCH},
        "rounds": {
            name: [{"seconds": w.seconds, "peak_bytes": w.peak_bytes} for w in rounds]
            for name, rounds in watched.items()
        },
        "test_losses": [
            {"architecture": architecture, "latent_dim": dim}
            | {name: losses[name][architecture, dim] for name in losses}
            for architecture, dim in losses["jaxvae"]
        ],
    }


def run(options: argparse.Namespace) -> None:
    options.architectures = list(dict.fromkeys(options.architectures))
    options.latent_dims = list(dict.fromkeys(options.latent_dims))
    pytorch.check(options)
    machine.at_least("--rounds", options.rounds, 1)
    machine.writable(options.out)
    if options.keep and options.keep.exists():
        raise InputError(f"{options.keep} exists already; choose another --keep")
    from jaxvae import data

    data.load("mnist", options.data_dir, limit=options.limit)  # a download, if need be, is no part of the time
    watched, losses = measure(options)
    print(as_tables(watched, losses))
    machine.write_json(options.out, content(options, watched, losses))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sweep", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pytorch.grid(parser)
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="sweeps of each (default: 1)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="where jaxvae's first sweep is to stay (default: it is removed)"
    )
    machine.add_out(parser, "sweep", "where the figures go as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
