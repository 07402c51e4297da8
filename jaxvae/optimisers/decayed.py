"""AdamW, Lion and SGD: Optax's directions, and weight decay beside them.

In: gradients, Optax's state. Out: parameters p − rate · (direction + decay · p), all of them decayed alike (Loshchilov
& Hutter 2019, algorithm 2, as Optax and PyTorch have it: the decay is multiplied by the rate). Numbers are traced.
"""

from abc import ABC, abstractmethod
from typing import Any

import jax
import optax

from jaxvae.models import Params
from jaxvae.optimisers.adam import LEARNING_RATE
from jaxvae.parts import Number, part, require_bool, require_number, static, traced
from jaxvae.schedules import require_share


class _Decayed(ABC):
    """Steps along `_direction` and towards zero."""

    learning_rate: Number
    weight_decay: Number

    @property
    @abstractmethod
    def _direction(self) -> optax.GradientTransformation:
        """What Optax makes of gradients."""

    def init(self, params: Params) -> Any:
        return self._direction.init(params)

    def update(self, gradients: Params, state: Any, params: Params) -> tuple[Params, Any]:
        directions, state = self._direction.update(gradients, state, params)

        def moved(p, direction):
            return p - self.learning_rate * (direction + self.weight_decay * p)

        return jax.tree.map(moved, params, directions), state


@part("optimiser/adamw")
class AdamW(_Decayed):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    learning_rate: Number = traced(default=LEARNING_RATE, name="lr", symbol="lr", title="learning rate")
    weight_decay: Number = traced(default=0.01, name="decay", symbol="decay", title="weight decay")
    b1: Number = traced(default=0.9, name="b1=", symbol="β₁", title="decay of the first moment")
    b2: Number = traced(default=0.999, name="b2=", symbol="β₂", title="decay of the second moment")
    epsilon: float = static(default=1e-8, symbol="ε", title="ε")

    def check(self) -> None:
        require_share(self, "b1", "b2")
        require_number(self, "epsilon")

    @property
    def _direction(self) -> optax.GradientTransformation:
        return optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.epsilon)


@part("optimiser/lion")
class Lion(_Decayed):
    """The sign of a momentum (Chen et al. 2023, algorithm 2); its rate is a third to a tenth of Adam's."""

    learning_rate: Number = traced(default=1e-4, name="lr", symbol="lr", title="learning rate")
    weight_decay: Number = traced(default=0.01, name="decay", symbol="decay", title="weight decay")
    b1: Number = traced(default=0.9, name="b1=", symbol="β₁", title="share of the momentum in a step")
    b2: Number = traced(default=0.99, name="b2=", symbol="β₂", title="decay of the momentum")

    def check(self) -> None:
        require_share(self, "b1", "b2")

    @property
    def _direction(self) -> optax.GradientTransformation:
        return optax.scale_by_lion(b1=self.b1, b2=self.b2)


@part("optimiser/sgd")
class SGD(_Decayed):
    """Gradient descent with momentum, v ← momentum · v + g (Polyak 1964); `nesterov`: along g + momentum · v (Sutskever
    et al. 2013, section 2). Losses are sums over an example's numbers, so that rates are small."""

    learning_rate: Number = traced(default=1e-4, name="lr", symbol="lr", title="learning rate")
    momentum: Number = traced(default=0.9, name="momentum", symbol="momentum", title="decay of the momentum")
    weight_decay: Number = traced(default=0.0, name="decay", symbol="decay", title="weight decay")
    nesterov: Any = static(default=False, title="Nesterov's momentum")

    def check(self) -> None:
        require_share(self, "momentum")
        require_bool(self, "nesterov")

    @property
    def _direction(self) -> optax.GradientTransformation:
        return optax.trace(decay=self.momentum, nesterov=self.nesterov)
