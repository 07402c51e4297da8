"""What it costs to train on examples that stay in their file: images a second, against the same examples in memory.

    python -m benchmarks.streaming
    python -m benchmarks.streaming --architectures linear --images 200000 --large 6

Trains the classic models on random bytes, whole epochs, streamed and in memory by turns, so that a slow moment weighs
on both. The file has just been written, so the system has it in its own memory: what a disk adds, no figure here says.
Costs about five minutes on two CPU cores. Expect a ratio near 1: chunks are gathered while the device computes, and
gathering is fast beside a step. `--large` also trains an epoch on a file of so many GiB in a process whose data may
take a quarter of that; expect it to end, and its peak memory to be that of any small run.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from benchmarks import machine, models
from benchmarks.models import ARCHITECTURES, SHAPE
from benchmarks.watched import watch
from jaxvae.commands import set_environment, start_jax

BATCH, LATENT_DIM, TEST_IMAGES = 100, 10, 100
WAYS = ("in memory", "streamed")
BLOCK = 2**14  # random images that a file repeats


class Timed(NamedTuple):
    """One way of one model."""

    architecture: str
    way: str
    images: int
    seconds: list[float]  # an epoch with its small evaluation, one a round

    @property
    def rate(self) -> float:
        """Images a second, the median round's."""
        return self.images / float(np.median(self.seconds))


def write_images(path: Path, count: int) -> None:
    """An .npy of random bytes, written a block at a time."""
    block = np.random.default_rng(0).integers(0, 256, (BLOCK, *SHAPE), np.uint8)
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, *SHAPE))
    for start in range(0, count, BLOCK):
        images[start : start + BLOCK] = block[: count - start]
    images.flush()


def prepared(architecture: str, images: np.ndarray) -> Callable[[], None]:
    """A function that trains an epoch, after one that is not counted."""
    from jaxvae.data import from_arrays
    from jaxvae.jax_settings import local_devices
    from jaxvae.training import run_mesh
    from jaxvae.training.devices import DeviceWorker, Epoch, Work

    run = models.classic_run(architecture, LATENT_DIM, "float32", BATCH)
    dataset = from_arrays(images, test=np.zeros((TEST_IMAGES, *SHAPE), np.uint8))
    worker, states, count = DeviceWorker(run_mesh(local_devices()[:1]), dataset, None), {}, 0

    def epoch() -> None:
        nonlocal count
        worker.begin(Work((run,), states.__getitem__, count, None))
        (report,) = cast(list[Epoch], worker.reports())
        states[run.name], count = report.state, count + 1

    epoch()
    epoch()
    return epoch


def measured(options: argparse.Namespace, path: Path) -> list[Timed]:
    write_images(path, options.images)
    found = []
    for architecture in dict.fromkeys(options.architectures):
        ways = [
            (Timed(architecture, way, options.images, []), prepared(architecture, images))
            for way, images in zip(WAYS, (np.load(path), np.load(path, mmap_mode="r")), strict=True)
        ]
        for turn in range(options.rounds):
            for timed, epoch in ways[:: 1 if turn % 2 else -1]:
                print(f"{architecture}: round {turn + 1}, {timed.way} …", file=sys.stderr, flush=True)
                started = time.perf_counter()
                epoch()
                timed.seconds.append(time.perf_counter() - started)
        found += [timed for timed, _ in ways]
    return found


def as_table(timed: list[Timed]) -> str:
    rows = []
    for memory, streamed in zip(timed[::2], timed[1::2], strict=True):
        ratios = np.array(memory.seconds) / np.array(streamed.seconds)
        spread = f"{ratios.min():.2f} to {ratios.max():.2f}"
        rate = f"{memory.rate:,.0f}", f"{streamed.rate:,.0f}"
        rows.append([memory.architecture, *rate, f"{np.median(ratios):.3f}", spread])
    return machine.table(["model", *(f"{way}, images/s" for way in WAYS), "ratio", "of rounds"], rows)


# ── more than the process may have ───────────────────────────────────────────────────────────────────────────────────


def train_within(path: Path) -> None:
    """An epoch of a small model on a file, of whose size the process may have a quarter for all that it holds."""
    import resource

    limit = path.stat().st_size // 4
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    set_environment()
    start_jax()
    import jaxvae
    from jaxvae.models import MLP, VAE

    images, vae = np.load(path, mmap_mode="r"), VAE(LATENT_DIM, MLP((64,)), precision="float32")
    jaxvae.fit(images, vae, epochs=1, batch_size=1000, quiet=True)


def trained_large(gib: float, path: Path) -> dict[str, Any]:
    write_images(path, math.ceil(gib * 2**30 / math.prod(SHAPE)))
    watched = watch("benchmarks.streaming", ["--within", str(path)], path.parent)
    if watched.failure:
        return {"gib": gib, "failure": watched.failure}
    print(f"\nan epoch of {gib:g} GiB: {watched.seconds:,.0f} s, peak memory {watched.peak_gib:.2f} GiB")
    return {"gib": gib, "seconds": watched.seconds, "peak_bytes": watched.peak_bytes}


def run(options: argparse.Namespace) -> None:
    if options.within:
        return train_within(options.within)
    models.check(options.architectures)
    machine.at_least("--images", options.images, BATCH)
    machine.at_least("--rounds", options.rounds, 1)
    machine.writable(options.out)
    set_environment()
    start_jax()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measured(options, Path(folder) / "images.npy")
        print(f"\n{as_table(found)}")
        large = trained_large(options.large, Path(folder) / "large.npy") if options.large else None
    settings = {"images": options.images, "batch": BATCH, "latent_dim": LATENT_DIM, "precision": "float32"}
    epochs = [timed._asdict() | {"images_per_s": timed.rate} for timed in found]
    machine.write_json(options.out, {**machine.about(), "settings": settings, "epochs": epochs, "large": large})


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streaming", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--architectures", nargs="+", default=list(ARCHITECTURES), metavar="A", help="linear, conv (default: both)"
    )
    parser.add_argument("--images", type=int, default=60_000, metavar="N", help="in an epoch (default: 60,000)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="epochs of each (default: 5)")
    parser.add_argument(
        "--large", type=float, default=0, metavar="GIB", help="a file of this size, too (default: none)"
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where files are made (default: the system's)")
    parser.add_argument(
        "--within", type=Path, metavar="FILE", help="only an epoch on this file, within a quarter of its size"
    )
    machine.add_out(parser, "streaming", "where the figures go as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
