"""What trained runs are worth, as records that say how each number came about."""

from typing import TYPE_CHECKING

from jaxvae.evaluation import records
from jaxvae.evaluation.records import METRICS, Record, from_json

if TYPE_CHECKING:
    from jaxvae.evaluation import annealing, classifier, codes, likelihood
    from jaxvae.evaluation.evaluation import Evaluation, Plan, as_seen, data_of, digits, reader

__all__ = [
    "METRICS",
    "Evaluation",
    "Plan",
    "Record",
    "annealing",
    "as_seen",
    "classifier",
    "codes",
    "data_of",
    "digits",
    "from_json",
    "likelihood",
    "reader",
    "records",
]


def __getattr__(name: str):
    # what imports JAX is imported when it is first needed: a command line's --help needs METRICS alone
    if name in __all__:
        import jaxvae.evaluation.evaluation as module

        for names in (vars(module), globals()):  # not there while these are being imported themselves
            if name in names:
                return names[name]
    raise AttributeError(f"module 'jaxvae.evaluation' has no attribute {name!r}")
