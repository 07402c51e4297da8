"""A run's folder: checkpoints that tell when they are damaged, and the run loaded from them."""

from jaxvae.runs import checkpoint, manifest, run_folder
from jaxvae.runs.batches import blocks_given
from jaxvae.runs.history import Divergence, Past, Progress, criterion, history_entry, metrics_lines
from jaxvae.runs.manifest import write
from jaxvae.runs.run import SPLITS, Outcome, Run, load

__all__ = [
    "SPLITS", "Divergence", "Outcome", "Past", "Progress", "Run", "blocks_given", "checkpoint", "criterion",
    "history_entry", "load", "manifest", "metrics_lines", "run_folder", "write",
]  # fmt: skip
