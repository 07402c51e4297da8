"""When a run ends before its last epoch: once the loss on examples that are held out has not fallen for a while.

In: the loss after each epoch. Out: whether to stop, and the parameters of the best epoch; all of it is part of a state.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxvae.errors import MAX_INT32
from jaxvae.models import Params
from jaxvae.parts import Number, part, require_whole, static, traced
from jaxvae.values import Whole


class Watch(NamedTuple):
    """What a run that may stop early carries beside parameters and optimiser."""

    loss: Float[Array, ""]  # the lowest on the validation split, nats per example
    params: Params  # as they were then: what the run ends with
    epoch: Int[Array, ""]  # when it was
    waited: Int[Array, ""]  # epochs since


@runtime_checkable
class Stopping(Protocol):
    """When a run stops."""

    def init(self, params: Params) -> Watch:
        """Before training."""
        ...

    def update(self, watch: Watch, params: Params, epoch: Int[Array, ""], loss: Float[Array, ""]) -> Watch:
        """After an epoch, counted from 1.

        Args:
            loss: the objective's, on the validation split.
        """
        ...

    def stops(self, watch: Watch) -> Any:
        """Whether that was the last one: a truth value, as an array."""
        ...


@part("stopping/patience")
class Patience:
    """Stops after so many epochs whose validation loss was not lower, and restores the parameters of the best epoch
    (Prechelt 1998, "Early stopping – but when?", criterion UP).

    The loss is the objective's own. While a schedule raises the weight of one of its terms, losses of two epochs cannot
    be compared; `after` leaves those epochs out.
    """

    epochs: Whole = static(default=10, name="", title="patience")
    min_delta: Number = traced(default=0.0, title="least improvement")  # nats, by which a loss must be lower to count
    after: Whole = static(default=0, title="patience begins after epoch")

    def check(self) -> None:
        require_whole(self, "epochs", 1, MAX_INT32)
        require_whole(self, "after", 0, MAX_INT32)

    def init(self, params: Params) -> Watch:
        return Watch(jnp.float32(jnp.inf), params, jnp.int32(0), jnp.int32(0))

    def update(self, watch: Watch, params: Params, epoch: Int[Array, ""], loss: Float[Array, ""]) -> Watch:
        counts = epoch > self.after
        better = ~counts | (loss < watch.loss - self.min_delta)
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), params, watch.params)
        return Watch(
            jnp.where(better & counts, loss, watch.loss), best, jnp.where(better, epoch, watch.epoch),
            jnp.where(better, 0, watch.waited + 1),
        )  # fmt: skip

    def stops(self, watch: Watch) -> Any:
        return watch.waited >= self.epochs
