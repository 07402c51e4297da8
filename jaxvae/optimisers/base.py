"""What an optimiser must offer.

A class with these members, decorated with `jaxvae.parts.part`, is used like the built-in ones. Its numbers can be
traced fields, so that lanes of one program have learning rates of their own.
"""

from typing import Any, Protocol

from jaxvae.models import Params


class Optimiser(Protocol):
    """How gradients change parameters."""

    def init(self, params: Params) -> Any:
        """The state before the first step: a pytree of arrays."""
        ...

    def update(self, gradients: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """Parameters and state after a step."""
        ...
