"""What came of a sweep: losses, settings, the original experiment's claims, as tables."""

from jaxvae.results.claims import mean
from jaxvae.results.dataset import MAX_FOLLOWED_CLASSES, about, probe_dataset, probes
from jaxvae.results.labels import AxisTable, Words, caption, in_order, labels, precisions, written
from jaxvae.results.results import MAX_LISTED_RUNS, PARTS, PLOTTED, Results
from jaxvae.results.settings import Model, Setting, evenly_spaced, first_seeds, ranked, thin_out
from jaxvae.results.summary import summary
from jaxvae.results.tables import (
    DAMAGE,
    SWEEP,
    damaged,
    divergence,
    read_json,
    read_results,
    read_sweep,
    write_sweep,
    write_tables,
)

__all__ = [
    "DAMAGE", "MAX_FOLLOWED_CLASSES", "MAX_LISTED_RUNS", "PARTS", "PLOTTED", "SWEEP", "AxisTable", "Model", "Results",
    "Setting", "Words", "about", "caption", "damaged", "divergence", "evenly_spaced", "first_seeds", "in_order",
    "labels", "mean", "precisions", "probe_dataset", "probes", "ranked", "read_json", "read_results", "read_sweep",
    "summary", "thin_out", "write_sweep", "write_tables", "written",
]  # fmt: skip
