"""The experiment's ten models trained by a straightforward PyTorch script: what jaxvae is compared with.

    python -m benchmarks.pytorch --data-dir ~/data --out losses.json
    python -m benchmarks.pytorch --architectures conv --latent-dims 2 --epochs 1

Needs PyTorch (pip install -e '.[bench]') and MNIST. Costs about half an hour on two CPU cores for all ten models, one
after another on all cores, with batches of 100 indexed from one tensor in memory. Expect test losses within a few
tenths of a nat to a nat of the sweep's: the layers, the loss and Adam are the same, the initial weights are PyTorch's.
"""
# pyright: reportMissingImports=false

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine, models
from benchmarks.models import ARCHITECTURES

BATCH = 100
LEARNING_RATE = 1e-3


def train(architecture: str, latent_dim: int, epochs: int, dataset) -> Iterator[dict[str, Any]]:
    """Trains one model on a `jaxvae.data.Dataset`; after each epoch its losses, nats per image, and seconds."""
    import torch

    from benchmarks import pytorch_vae

    torch.manual_seed(0)
    train_images, test_images = map(pytorch_vae.pixels, (dataset.train_images, dataset.test_images))
    model = pytorch_vae.MODELS[architecture](latent_dim)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        losses = {
            "train": pytorch_vae.train_epoch(model, optimiser, train_images, BATCH),
            "test": pytorch_vae.evaluate(model, test_images),
        }
        parts = {
            split: {"reconstruction": float(v.reconstruction), "kl": float(v.kl), "loss": float(v.loss)}
            for split, v in losses.items()
        }
        yield {"epoch": epoch, **parts, "seconds": round(time.perf_counter() - started, 2)}


def check(options: argparse.Namespace) -> None:
    """Refuses, before anything is trained, what `grid` cannot have; and a machine without PyTorch.

    Raises:
        InputError: one line that says what is wrong.
    """
    machine.at_least("--epochs", options.epochs, 1)
    if options.limit is not None:
        machine.at_least("--limit", options.limit, BATCH)
    models.check(options.architectures, options.latent_dims)
    machine.require_torch()


def run(options: argparse.Namespace) -> None:
    check(options)
    from jaxvae import data

    dataset = data.load("mnist", options.data_dir, limit=options.limit)
    if options.out:
        machine.writable(options.out)
    trained = []
    for architecture in options.architectures:
        for latent_dim in options.latent_dims:
            epochs = []
            for entry in train(architecture, latent_dim, options.epochs, dataset):
                epochs.append(entry)
                print(
                    f"{architecture}-{latent_dim} epoch {entry['epoch']}: train {entry['train']['loss']:.2f}, "
                    f"test {entry['test']['loss']:.2f} nats, {entry['seconds']:.1f} s",
                    flush=True,
                )
            trained.append({"architecture": architecture, "latent_dim": latent_dim, "epochs": epochs})
    if options.out:
        options.out.write_text(json.dumps(trained, indent=2) + "\n", encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pytorch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    grid(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the losses of every epoch here, as JSON")
    return parser


def grid(parser: argparse.ArgumentParser) -> None:
    """The options that say which models are trained, on what and for how long."""
    parser.add_argument("--epochs", type=int, default=15, metavar="N", help="passes over the data (default: 15)")
    parser.add_argument(
        "--architectures", nargs="+", default=list(ARCHITECTURES), metavar="A", help="linear, conv (default: both)"
    )
    parser.add_argument(
        "--latent-dims", nargs="+", type=int, default=[2, 3, 5, 10, 50], metavar="D",
        help="latent sizes (default: 2 3 5 10 50)",
    )  # fmt: skip
    parser.add_argument("--data-dir", metavar="DIR", help="folder with mnist/ (default: $JAXVAE_DATA_DIR)")
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N training images and N/6 test images")


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    return machine.guarded(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
