"""Finding the best setting of many without training all of them to the end."""

from jaxvae.search.halving import Rank, cost, rungs
from jaxvae.search.outputs import Outputs, standings
from jaxvae.search.search import EXAMPLES, FILE, VALIDATION, Rung, Search
from jaxvae.search.space import settings

__all__ = [
    "EXAMPLES", "FILE", "VALIDATION", "Outputs", "Rank", "Rung", "Search", "cost", "rungs", "settings", "standings",
]  # fmt: skip
