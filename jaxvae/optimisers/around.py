"""Parts around an optimiser: its gradients clipped, its parameters averaged. Each takes any optimiser, also another of
these: `EMA(Clip(AdamW(3e-4), max_norm=50.0), decay=0.999)`.

In: gradients, the state of the optimiser within and what is kept beside it. Out: parameters, states.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from jaxvae.models import Params
from jaxvae.optimisers.adam import Adam
from jaxvae.parts import Number, nested, part, require_kind, traced
from jaxvae.schedules import require_share


class _Around:
    """What is the optimiser's within."""

    optimiser: Any

    def check(self) -> None:
        require_kind(self, "optimiser", "optimiser")

    @property
    def scales_by_shape(self) -> bool:
        return getattr(self.optimiser, "scales_by_shape", False)


@part("optimiser/clip")
class Clip(_Around):
    """Gradients whose norm over all parameters is above `max_norm` are scaled down to it (Pascanu, Mikolov & Bengio
    2013, algorithm 1).

    Losses are sums over an example's numbers. On MNIST the classic models' gradients have norms of 180 to 310 at first,
    of 20 to 80 after an epoch.
    """

    optimiser: Any = nested(default=Adam(), name=".")
    max_norm: Number = traced(default=100.0, name="norm", symbol="norm", title="largest gradient norm")

    def init(self, params: Params) -> Any:
        return self.optimiser.init(params)

    def update(self, gradients: Params, state: Any, params: Params) -> tuple[Params, Any]:
        clipped, _ = optax.clip_by_global_norm(self.max_norm).update(gradients, optax.EmptyState())
        return self.optimiser.update(clipped, state, params)

    def evaluation_params(self, params: Params, state: Any) -> Params:
        own = getattr(self.optimiser, "evaluation_params", None)
        return own(params, state) if own else params


class Averaged(NamedTuple):
    """What EMA carries."""

    steps: Int[Array, "..."]  # taken
    average: Params  # of the parameters after each of them; before the first, those that training begins with
    inner: Any  # the state of the optimiser within


@part("optimiser/ema")
class EMA(_Around):
    """The optimiser within, and an exponential moving average of its parameters, which is what is evaluated and kept.

    After t steps it is Σ_i d^(t−i) p_i · (1 − d) / (1 − d^t) over i = 1 … t, d = `decay`: without bias, as Adam's
    moments are (Kingma & Ba 2015, sections 3 and 7.2). What training began with has no weight in it. With a likelihood
    that sets its own scale at each step, the scale in the average lags a step behind.

    Test losses, reconstructions and claims are the average's, and a loaded run has it as `params`. Training goes on
    from the parameters themselves; training losses are theirs.
    """

    optimiser: Any = nested(default=Adam(), name=".")
    decay: Number = traced(default=0.999, name="keep", symbol="EMA", title="decay of the averaged weights")

    def check(self) -> None:
        super().check()
        require_share(self, "decay")

    def init(self, params: Params) -> Averaged:
        # a copy, as a program takes the memory of both
        return Averaged(jnp.zeros((), jnp.int32), jax.tree.map(jnp.array, params), self.optimiser.init(params))

    def update(self, gradients: Params, state: Averaged, params: Params) -> tuple[Params, Averaged]:
        params, inner = self.optimiser.update(gradients, state.inner, params)
        steps = state.steps + 1
        share = (1 - self.decay) / -jnp.expm1(steps * jnp.log(self.decay))  # of the newest; 1 − d^t, exact for d near 1
        average = jax.tree.map(lambda a, p: a + share * (p - a), state.average, params)
        return params, Averaged(steps, average, inner)

    def evaluation_params(self, params: Params, state: Averaged) -> Params:
        return state.average
