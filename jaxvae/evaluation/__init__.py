"""What trained runs are worth, as records that say how each number came about."""

from jaxvae.evaluation import annealing, classifier, codes, likelihood, records
from jaxvae.evaluation.evaluation import Evaluation, Plan, as_seen, data_of, digits, reader
from jaxvae.evaluation.records import METRICS, Record, from_json

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
