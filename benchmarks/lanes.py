"""What a device does with more and more lanes: model-steps a second, and the memory that a lane takes.

    python -m benchmarks.lanes
    python -m benchmarks.lanes --architectures linear --counts 1 8 64 512 --images 10000

Compiles each vmapped program once and times whole epochs over random bytes, by turns, so that a slow moment weighs on
all; no data and no PyTorch are needed. Costs about five minutes on two CPU cores. On an accelerator expect model-steps
a second to grow with the lanes until the device is full; on a CPU, whose cores are full with one, expect them to stay
or to fall. With several devices (--mesh) the lanes are shared among them.
"""

import argparse
import itertools
import sys
import time
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine, models
from benchmarks.models import ARCHITECTURES, PRECISIONS
from jaxvae.commands import set_environment, start_jax

BATCH, LATENT_DIM = 100, 10


class Timed(NamedTuple):
    """One program."""

    architecture: str
    lanes: int
    seconds: list[float]  # an epoch, one a round
    steps: int  # of each lane, in an epoch
    compile_seconds: float
    bytes_per_lane: float  # of a device, as its compiler says

    @property
    def rate(self) -> float:
        """Model-steps a second, all lanes together; the median round's."""
        return self.lanes * self.steps / float(np.median(self.seconds))


def prepared(architecture: str, lanes: int, devices: Any, options: argparse.Namespace) -> tuple[Timed, Any]:
    """The compiled program, and a function that runs an epoch of it."""
    import jax

    from jaxvae.training import compiled, mesh

    program = models.classic_run(architecture, LATENT_DIM, options.precision, BATCH).program(models.SHAPE)
    images = np.random.default_rng(0).integers(0, 256, (options.images, *models.SHAPE), np.uint8)
    started = time.perf_counter()
    train_epoch = compiled.train_epoch(compiled.abstract(program), lanes, images.shape, images.dtype, devices)
    took = time.perf_counter() - started
    by_run, on_each = mesh.sharded_by_run(devices), mesh.replicated(devices)

    def in_lanes(tree: Any) -> Any:
        return jax.device_put(jax.tree.map(lambda leaf: np.stack([leaf] * lanes), tree), by_run)

    state = compiled.init(program, np.uint32(0))
    state = in_lanes(state._replace(key=jax.random.key_data(state.key)))
    numbers, images_there = in_lanes(program), jax.device_put(images, on_each)

    def epoch() -> None:
        nonlocal state
        state, *_ = jax.block_until_ready(train_epoch(numbers, state, images_there, None))

    epoch()
    each = compiled.bytes_needed(train_epoch) * devices.shape[mesh.RUNS] / lanes
    return Timed(architecture, lanes, [], options.images // BATCH, took, each), epoch


def measured(options: argparse.Namespace) -> tuple[list[Timed], str]:
    """A figure for each architecture and number of lanes; the devices in words."""
    from jaxvae.training import mesh

    devices = mesh.make_mesh(options.mesh)
    rows = devices.shape[mesh.RUNS]
    counts = sorted({-(-count // rows) * rows for count in options.counts})
    found = []
    for architecture in dict.fromkeys(options.architectures):
        ready = [prepared(architecture, lanes, devices, options) for lanes in counts]
        for turn, (timed, epoch) in itertools.product(range(options.rounds), ready):
            print(f"{architecture}: round {turn + 1}, {timed.lanes} lanes …", file=sys.stderr, flush=True)
            started = time.perf_counter()
            epoch()
            timed.seconds.append(time.perf_counter() - started)
        found += [timed for timed, _ in ready]
    return found, f"{devices.size} × {devices.devices.flat[0].device_kind}, mesh {mesh.layout_of(devices)}"


def as_table(timed: list[Timed]) -> str:
    """One architecture's programs; the gain is over the fewest lanes."""
    rows = [
        [
            str(t.lanes), f"{t.rate:,.0f}", f"{t.rate / timed[0].rate:.2f}", f"{1000 / t.rate:.3f}",
            f"{t.bytes_per_lane / 1e6:.1f}", f"{t.compile_seconds:.1f}",
        ]
        for t in timed
    ]  # fmt: skip
    return machine.table(["lanes", "model-steps/s", "gain", "ms/model-step", "MB/lane", "compile s"], rows)


def run(options: argparse.Namespace) -> None:
    models.check(options.architectures, precision=options.precision)
    for count in options.counts:
        machine.at_least("--counts", count, 1)
    machine.at_least("--images", options.images, BATCH)
    machine.at_least("--rounds", options.rounds, 1)
    machine.writable(options.out)
    set_environment()
    start_jax()
    found, devices = measured(options)
    for architecture in dict.fromkeys(options.architectures):
        rows = [timed for timed in found if timed.architecture == architecture]
        print(f"\n{architecture}, {options.precision}, {devices}:\n\n{as_table(rows)}")
    settings = {"images": options.images, "batch": BATCH, "latent_dim": LATENT_DIM, "precision": options.precision}
    programs = [timed._asdict() | {"model_steps_per_s": timed.rate} for timed in found]
    content = {**machine.about(), "devices": devices, "settings": settings, "programs": programs}
    machine.write_json(options.out, content)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lanes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--counts", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64], metavar="N",
        help="numbers of lanes (default: 1 2 4 8 16 32 64)",
    )  # fmt: skip
    parser.add_argument(
        "--architectures", nargs="+", default=list(ARCHITECTURES), metavar="A", help="linear, conv (default: both)"
    )
    parser.add_argument(
        "--precision", default="float32", metavar="P", help=f"{', '.join(PRECISIONS)} (default: float32)"
    )
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="in an epoch (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="epochs of each program (default: 3)")
    parser.add_argument("--mesh", default="runs=1", metavar="M", help="devices, as for sweeps (default: runs=1)")
    machine.add_out(parser, "lanes", "where the figures go as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
