"""What an optimiser must offer.

A class with these members, decorated with `jaxvae.parts.part`, is used like the built-in ones. Its numbers can be
traced fields, so that lanes of one program have learning rates of their own.
"""

from typing import Any, Protocol

from jaxvae.models import Params


class Optimiser(Protocol):
    """How gradients change parameters. Optional:

    evaluation_params(params, state)      what is evaluated, and kept as the run's parameters, in place of `params`
    scales_by_shape                       True where a step depends on the shapes of parameters: then runs of different
                                          latent sizes are not padded to be lanes of one program
    """

    def init(self, params: Params) -> Any:
        """The state before the first step: a pytree of arrays."""
        ...

    def update(self, gradients: Params, state: Any, params: Params) -> tuple[Params, Any]:
        """Parameters and state after a step."""
        ...
