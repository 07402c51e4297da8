"""What bfloat16 costs in quality: test losses of the same runs in two precisions, paired by seed.

    python -m experiments.sweep --latent-dims 2 10 50 --seeds 0 1 2 3 4 --precision float32 --out results/float32
    python -m experiments.sweep --latent-dims 2 10 50 --seeds 0 1 2 3 4 --precision bfloat16 --out results/bfloat16
    python -m benchmarks.precision results/float32 results/bfloat16

The two sweeps cost hours, the comparison a second. Expect a mean difference of a few tenths of a nat, of either sign:
runs that differ in rounding alone part ways within an epoch and end a few tenths apart.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats


class Paired(NamedTuple):
    """Second minus first, nats per image, over the seeds that both have."""

    seeds: int
    mean: float
    half_width: float  # of the 95 % interval of the mean, Student's t


def final_losses(folder: Path) -> dict[tuple[str, int, int], float]:
    """Test loss (−ELBO) after the last epoch, by architecture, latent size and seed."""
    with open(folder / "metrics.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    rows.sort(key=lambda row: int(row["epoch"]))
    found = {(row["architecture"], int(row["latent_dim"]), int(row["seed"])): float(row["loss"]) for row in rows}
    if len(found) < len({row["run"] for row in rows}):
        sys.exit(f"{folder} has several β or learning rates; this compares sweeps that have one of each")
    return found


def compare(first: Path, second: Path) -> dict[tuple[str, int], Paired]:
    """The paired difference for each architecture and latent size that has at least two seeds in both folders."""
    one, other = final_losses(first), final_losses(second)
    differences = defaultdict(list)
    for architecture, latent_dim, seed in sorted(one.keys() & other.keys()):
        key = architecture, latent_dim, seed
        differences[architecture, latent_dim].append(other[key] - one[key])
    return {model: paired(values) for model, values in differences.items() if len(values) > 1}


def paired(differences: list[float]) -> Paired:
    n = len(differences)
    error = np.std(differences, ddof=1) / np.sqrt(n)
    return Paired(n, float(np.mean(differences)), float(stats.t.ppf(0.975, n - 1) * error))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.precision", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", type=Path, help="folder of a sweep, say in float32")
    parser.add_argument("second", type=Path, help="folder of the same sweep, say in bfloat16")
    options = parser.parse_args(arguments)
    try:
        found = compare(options.first, options.second)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; give the folders of two finished sweeps", file=sys.stderr)
        return 2
    if not found:
        print("error: no model has two seeds or more in both folders", file=sys.stderr)
        return 2
    print("| model | seeds | second − first, nats | 95 % interval |\n|---|---:|---:|---:|")
    for (architecture, latent_dim), (seeds, mean, half) in found.items():
        print(f"| {architecture}, d = {latent_dim} | {seeds} | {mean:+.2f} | {mean - half:+.2f} … {mean + half:+.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
