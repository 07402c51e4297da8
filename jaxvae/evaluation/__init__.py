"""What trained runs are worth, as records that say how each number came about.

The list of metrics is here at once, as a command's --help shows it; what computes them is imported when it is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxvae.evaluation import likelihood_metrics  # before the next, as tables have its metrics first

# isort: split
from jaxvae.evaluation import code_metrics
from jaxvae.evaluation.metrics import METRICS, NEEDS, Column, Measured, Metric, metric

if TYPE_CHECKING:
    from jaxvae.evaluation import classifier, codes, likelihood, records
    from jaxvae.evaluation.evaluation import Evaluation, Report, data_of, in_float32
    from jaxvae.evaluation.readings import by_class, read_classes, reader
    from jaxvae.evaluation.records import Record, from_json
    from jaxvae.evaluation.subject import Plan, Subject

__all__ = [
    "METRICS", "NEEDS", "Column", "Evaluation", "Measured", "Metric", "Plan", "Record", "Report", "Subject", "by_class",
    "classifier", "code_metrics", "codes", "data_of", "from_json", "in_float32", "likelihood",
    "likelihood_metrics", "metric", "read_classes", "reader", "records",
]  # fmt: skip
_HOMES = {
    "evaluation": ("Evaluation", "Report", "data_of", "in_float32"),
    "records": ("Record", "from_json"),
    "readings": ("by_class", "read_classes", "reader"),
    "subject": ("Plan", "Subject"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"jaxvae.evaluation.{module}"), name)
    if name in __all__:
        return import_module(f"jaxvae.evaluation.{name}")
    raise AttributeError(f"module 'jaxvae.evaluation' has no attribute {name!r}")
