"""Adam, with what published experiments set otherwise."""

from typing import Any

import jax
import optax

from jaxvae.models import Params
from jaxvae.parts import Number, part, require_number, static, traced

LEARNING_RATE = 1e-3  # where nothing else is asked for


@part("optimiser/adam")
class Adam:
    """Kingma & Ba 2015, with β₂ = 0.999."""

    learning_rate: Number = traced(default=LEARNING_RATE, name="lr", symbol="lr", title="learning rate")
    b1: float = static(default=0.9, symbol="β₁", title="β₁")  # decay of the first moment
    epsilon: float = static(default=1e-8, symbol="ε", title="ε")

    def check(self) -> None:
        require_number(self, "b1", below=1.0)
        require_number(self, "epsilon")

    def init(self, params: Params) -> Any:
        return self._scaled.init(params)

    def update(self, gradients: Params, state: Any, params: Params) -> tuple[Params, Any]:
        directions, state = self._scaled.update(gradients, state)
        return jax.tree.map(lambda p, d: p - self.learning_rate * d, params, directions), state

    @property
    def _scaled(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(b1=self.b1, eps=self.epsilon)
