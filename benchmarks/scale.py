"""A model on paper of a large study: hours of computing, sending, saving and writing tables, by number of devices.

    python -m benchmarks.scale
    python -m benchmarks.scale --runs 1000 --devices 1 8 --processes 1 8

Computes and times nothing; costs a moment. What a study needs follows from the layers' shapes and from the code; what a
save and a table take was measured on this project's machine, docs/scale.md says how; what a device computes, and what a
link and a disk carry, is assumed, and can be given. Expect computing to fall with the devices, saving with the
processes, and writing to a shared disk and the first process's tables to stay: that is where it stops scaling.
"""

import argparse
import sys
from typing import NamedTuple

from benchmarks import machine, products
from benchmarks.models import ARCHITECTURES

LATENT_DIMS = (2, 3, 5, 10, 50)
BATCH, TRAIN_IMAGES, TEST_IMAGES = 100, 60_000, 10_000
NUMBERS = 33  # bytes of a lane's losses and flags, which each process sends to all after each epoch
PARAMETERS = {
    "linear": {2: 404_244, 3: 405_014, 5: 406_554, 10: 410_404, 50: 441_204},
    "conv": {2: 228_677, 3: 234_823, 5: 247_115, 10: 277_845, 50: 523_685},
}
# that `jaxvae.training.compiled.bytes_expected` allows, float32, d = 50
LANE_BYTES = {"linear": 24.9e6, "conv": 71.2e6}
KEPT = 3  # checkpoints of a run


class Rates(NamedTuple):
    """What a device, a process and what they share can do."""

    flops: float  # of a device, achieved, a second: assumed
    memory: float  # bytes of a device: assumed
    link: float  # bytes a second between a process and its devices, each way: assumed
    disk: float  # bytes a second onto the disk that all share: assumed
    save_seconds: float  # of a process for a checkpoint: measured
    table_seconds: float  # of the first process to load a run for its tables: measured
    closing_seconds: float  # of the first process for tables, figures, page, and digits read in fifty runs: measured


class Cost(NamedTuple):
    """Of a whole study, in seconds; what goes on at the same time is listed apart."""

    computing: float  # of the busiest device
    sending: float  # states to and from the host, by the busiest process
    saving: float  # checkpoints, by the busiest process, while the next epoch is computed
    writing: float  # the same onto the shared disk, by all
    tables: float  # by the first process, when all else has ended

    @property
    def total(self) -> float:
        return max(self.computing + self.sending, self.saving, self.writing) + self.tables

    @property
    def bound(self) -> str:
        """What the study waits for longest."""
        times = self._asdict() | {"computing": self.computing + self.sending}
        del times["sending"]
        return max(times, key=lambda name: times[name])


def epoch_flops(architecture: str, latent_dim: int) -> float:
    """Of training on all images, and of a pass over the test images, which is a third of a step's work."""
    step = products.step_flops(architecture, latent_dim, BATCH)
    return step * (TRAIN_IMAGES + TEST_IMAGES / 3) / BATCH


def state_bytes(architecture: str, latent_dim: int) -> int:
    """Parameters and Adam's two moments."""
    return 3 * 4 * PARAMETERS[architecture][latent_dim]


def mean_over_models(quantity) -> float:
    """Over the ten models, which a study has equally many runs of."""
    values = [quantity(architecture, latent_dim) for architecture in ARCHITECTURES for latent_dim in LATENT_DIMS]
    return sum(values) / len(values)


def cost(runs: int, epochs: int, devices: int, processes: int, rates: Rates) -> Cost:
    """`runs` of the ten models, dealt equally."""
    state = mean_over_models(state_bytes)
    saves = runs * (epochs + 1)
    return Cost(
        computing=runs * epochs * mean_over_models(epoch_flops) / devices / rates.flops,
        sending=saves * state / processes / rates.link,
        saving=saves * rates.save_seconds / processes,
        writing=saves * state / rates.disk,
        tables=runs * rates.table_seconds + rates.closing_seconds,
    )


def waves(architecture: str, runs: int, devices: int, rates: Rates) -> tuple[int, int]:
    """Lanes that a device has room for, and how many groups one after the other that makes."""
    fit = max(1, int(rates.memory // LANE_BYTES[architecture]))
    return fit, -(-runs // (fit * devices))


def as_tables(options: argparse.Namespace, rates: Rates) -> str:
    rows = []
    for devices, processes in zip(options.devices, options.processes, strict=True):
        found = cost(options.runs, options.epochs, devices, processes, rates)
        hours = [f"{seconds / 3600:.2f}" for seconds in (*found, found.total)]
        rows.append([f"{devices} in {processes}", *hours, found.bound])
    names = [f"{name}, h" for name in Cost._fields]
    times = machine.table(["devices in processes", *names, "in all, h", "waits for"], rows)
    half = options.runs // 2
    lanes = []
    for architecture in ARCHITECTURES:
        for devices in options.devices:
            fit, groups = waves(architecture, half, devices, rates)
            lanes.append([f"{half:,} {architecture} on {devices}", f"{min(fit, -(-half // devices)):,}", str(groups)])
    memory = machine.table(["runs on devices", "lanes a device", "waves"], lanes)
    state = mean_over_models(state_bytes)
    saves, most = options.runs * (options.epochs + 1), max(options.processes)
    rest = "\n".join([
        f"checkpoints written: {saves:,}, {saves * state / 1e9:,.0f} GB",
        f"checkpoints kept: {KEPT * options.runs:,}, {KEPT * options.runs * state / 1e9:,.0f} GB",
        f"losses that each of {most} processes receives after an epoch: {options.runs * NUMBERS * most / 1e6:.1f} MB",
        f"data on each device: {(TRAIN_IMAGES + TEST_IMAGES) * 784 / 1e6:.0f} MB",
    ])  # fmt: skip
    return f"{times}\n\n{memory}\n\n{rest}"


def run(options: argparse.Namespace) -> None:
    machine.at_least("--runs", options.runs, 1)
    machine.at_least("--epochs", options.epochs, 1)
    for name in ("devices", "processes"):
        for count in getattr(options, name):
            machine.at_least(f"--{name}", count, 1)
    if len(options.devices) != len(options.processes):
        raise machine.InputError("--devices and --processes must be as many numbers: each pair is a row")
    given = (options.tflops, options.memory_gb, options.link_gb, options.disk_gb, options.save_ms, options.table_ms)
    given += (options.closing_s,)
    if not all(0 < value < 1e12 for value in given):
        raise machine.InputError("rates must be positive numbers")
    tflops, memory, link, disk, save, table, closing = given
    rates = Rates(tflops * 1e12, memory * 1e9, link * 1e9, disk * 1e9, save / 1e3, table / 1e3, closing)
    print(as_tables(options, rates))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def number(name: str, default: float, what: str) -> None:
        parser.add_argument(name, type=float, default=default, metavar="X", help=f"{what} (default: {default:g})")

    parser.add_argument("--runs", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--epochs", type=int, default=15, metavar="N", help="of each (default: 15)")
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 8, 64], metavar="N", help="default: 1 8 64")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 8, 64], metavar="N", help="default: 1 8 64")
    number("--tflops", 30, "what a device computes, 10¹² operations a second, assumed")
    number("--memory-gb", 70, "of a device, assumed")
    number("--link-gb", 20, "a second between a process and its devices, assumed")
    number("--disk-gb", 2, "a second onto the shared disk, assumed")
    number("--save-ms", 38, "for a checkpoint, measured")
    number("--table-ms", 82, "to load a run for its tables, measured")
    number("--closing-s", 110, "for all tables, figures and the page, and to read digits in fifty runs, measured")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
