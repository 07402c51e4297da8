"""How long a training step takes: jaxvae, PyTorch and stock Flax by turns, and how near each is to the machine's limit.

    python -m benchmarks.training
    python -m benchmarks.training --architectures linear --rounds 3
    python -m benchmarks.training --device gpu --steps 500

Needs PyTorch (pip install -e '.[bench]'). Costs about a quarter of an hour on two CPU cores and a few GB of memory.
Every contender has the same batch (100), model, optimiser and images, and is timed once in each round, in shuffled
order, by a process that is idle otherwise. Expect jaxvae to take less time than PyTorch's best on two cores, and stock
Flax many times as long. Trust ratios, which are medians over the rounds; absolute times drift. Leave the machine alone
meanwhile.

"side by side" is one single-threaded process pinned to each core, all training at once, and its time is wall time over
the number of models; "vmap" trains latent sizes 2 3 5 10 50 as one program, again for one model. A contender that
trains several models is held against PyTorch's best of all, others against its best with one. The limit is the time
that a step's matrix products, with all their multiplications, would take at the best rate that any product of the same
precision reached: jaxvae's float32 convolutions, which need fewer, can come below it.

On a GPU nothing runs side by side, and PyTorch may use CUDA graphs too. Its convolutions are then TF32 in "float32", as
PyTorch has it by default, while jaxvae's float32 is float32.
"""

import argparse
import math
import random
import sys

from benchmarks import machine, models, products
from benchmarks.contenders import Contender, contenders
from benchmarks.models import ARCHITECTURES, PRECISIONS
from benchmarks.speeds import Speed, Timed, as_table, speeds
from benchmarks.workers import Gemm, Settings, Task, Unavailable, Workers

BATCH = 100
GEMM_FLOPS = 4e10  # of a sample: a fifth of a second at 200 GFLOP/s, many times the reach of a timer


class Pool:
    """The workers of every kind, started together, and who is asked for what."""

    def __init__(self, settings: Settings):
        cores = machine.cores()
        apart = [[core] for core in cores]
        self._workers: dict[tuple[str, bool], Workers] = {}
        for kind in ("jax", "pytorch"):
            self._workers[kind, False] = Workers(kind, [cores], settings)
            if settings.device == "cpu":
                self._workers[kind, True] = Workers(kind, apart, settings)

    def seconds(self, task: Task) -> float:
        if isinstance(task, Gemm):
            return self._workers["jax", False].seconds(task)
        kind = "pytorch" if task.family == "PyTorch" else "jax"
        return self._workers[kind, task.strategy == "side by side"].seconds(task)

    def close(self) -> None:
        for workers in self._workers.values():
            workers.close()


class Samples:
    """Seconds of each task, by round; a task that fails once is left out from then on."""

    def __init__(self, tasks: list[Task]):
        self.first: dict[Task, float] = {}
        self.rounds: dict[Task, list[float]] = {task: [] for task in tasks}
        self.unavailable: dict[Task, str] = {}

    def take(self, pool: Pool, task: Task) -> None:
        try:
            seconds = pool.seconds(task)
        except Unavailable as reason:
            self.unavailable[task] = str(reason)
            del self.rounds[task]
            return
        if task in self.first:
            self.rounds[task].append(seconds)
        else:
            self.first[task] = seconds


def measure(pool: Pool, tasks: list[Task], rounds: int) -> Samples:
    """A first call of every task, then `rounds` rounds, the order shuffled anew in each."""
    samples = Samples(tasks)
    for i, task in enumerate(tasks):
        _progress(f"first calls: {i + 1} of {len(tasks)}")
        samples.take(pool, task)
    shuffle = random.Random(0).shuffle
    for turn in range(rounds):
        _progress(f"round {turn + 1} of {rounds}")
        order = list(samples.rounds)
        shuffle(order)
        for task in order:
            samples.take(pool, task)
    _progress("")
    return samples


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<40}", end="" if text else "\r", file=sys.stderr, flush=True)


def best_rates(samples: Samples) -> dict[str, float]:
    """The most GFLOP/s that any product reached in any round, by precision."""
    rates: dict[str, float] = {precision: 0.0 for precision in PRECISIONS}
    for task, seconds in samples.rounds.items():
        if isinstance(task, Gemm):
            rate = task.product.flops * task.repeats / min(seconds) / 1e9
            rates[task.precision] = max(rates[task.precision], rate)
    return rates


def timed(samples: Samples, architecture: str, cores: int) -> list[Timed]:
    return [
        Timed(task, [1000 * s / (task.steps * task.models(cores)) for s in seconds], samples.first[task])
        for task, seconds in samples.rounds.items()
        if isinstance(task, Contender) and task.architecture == architecture
    ]


def run(options: argparse.Namespace) -> None:
    architectures = list(dict.fromkeys(options.architectures))
    models.check(architectures, [options.latent_dim])
    machine.at_least("--steps", options.steps, 1)
    machine.at_least("--rounds", options.rounds, 1)
    machine.require_torch()
    machine.writable(options.out)
    if options.device == "gpu":
        machine.gpu()
    from jaxvae import data

    dataset = data.load("auto", options.data_dir)
    settings = Settings(options.latent_dim, BATCH, data.at_hand(dataset.train_images), options.device)
    tasks: list[Task] = [
        Gemm(precision, product, math.ceil(GEMM_FLOPS / product.flops))
        for product in products.probes(architectures, options.latent_dim, BATCH)
        for precision in PRECISIONS
    ]
    for architecture in architectures:
        tasks += contenders(architecture, options.steps, options.device)
    pool = Pool(settings)
    try:
        samples = measure(pool, tasks, options.rounds)
    finally:
        pool.close()
    rates = best_rates(samples)
    cores = len(machine.cores())
    found = {a: speeds(timed(samples, a, cores), rates, options.latent_dim, BATCH) for a in architectures}
    _print(found, rates, samples, options)
    _write(found, rates, samples, options, dataset.name)


def _print(found: dict[str, list[Speed]], rates: dict[str, float], samples: Samples, options) -> None:
    print(f"{_device(options)}; batch {BATCH}, {options.rounds} rounds")
    print("best product: " + ", ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in rates.items()))
    for architecture, rows in found.items():
        print(f"\n{architecture}, d = {options.latent_dim}:\n\n{as_table(rows)}")
        for task, reason in samples.unavailable.items():
            if isinstance(task, Contender) and task.architecture == architecture:
                print(f"{task.name}: not available: {reason}")


def _device(options: argparse.Namespace) -> str:
    if options.device == "gpu":
        return machine.gpu()
    about = machine.description()
    return f"{about['cpu']}, {about['cores']} cores, {', '.join(about['flags'])}"


def _write(found, rates, samples: Samples, options: argparse.Namespace, dataset: str) -> None:
    from benchmarks.speed_figure import speed_figure

    about = machine.about()
    content = {
        **about,
        "settings": {
            "batch": BATCH,
            "latent_dim": options.latent_dim,
            "steps": options.steps,
            "rounds": options.rounds,
            "images": dataset,
            "device": _device(options),
        },
        "best_gflops": rates,
        "step_gflop": {a: products.step_flops(a, options.latent_dim, BATCH) / 1e9 for a in found},
        "contenders": [row.to_json() for rows in found.values() for row in rows],
        "not_available": [
            {"name": t.name, "architecture": t.architecture, "reason": reason}
            for t, reason in samples.unavailable.items()
            if isinstance(t, Contender)
        ],
    }
    machine.write_json(options.out, content)
    figure = speed_figure(found, _device(options), BATCH)
    figure.savefig(options.out.with_suffix(".png"))
    print(f"wrote {options.out.with_suffix('.png')}")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--architectures", nargs="+", default=list(ARCHITECTURES), metavar="A", help="linear, conv (default: both)"
    )
    parser.add_argument("--latent-dim", type=int, default=10, metavar="D", help="latent size (default: 10)")
    parser.add_argument(
        "--steps", type=int, default=50, metavar="N",
        help="steps of the conv model in a sample; contenders that are faster or slower take as many more or fewer "
        "(default: 50)",
    )  # fmt: skip
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="cpu, gpu (default: cpu)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="samples of each contender (default: 7)")
    parser.add_argument(
        "--data-dir", metavar="DIR",
        help="folder with mnist/ (default: $JAXVAE_DATA_DIR); where there is no MNIST, the embedded digits will do",
    )  # fmt: skip
    machine.add_out(parser, "training", "all samples, versions and the machine as JSON, a figure beside it")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
