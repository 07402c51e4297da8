"""Muon, which makes the steps of matrices orthogonal.

In: gradients, Optax's state. Out: parameters after a step.
"""

from typing import Any, ClassVar

import jax
import optax
from optax.contrib import MuonDimensionNumbers

from jaxvae.models import Params
from jaxvae.optimisers.adam import LEARNING_RATE
from jaxvae.parts import Number, part, traced
from jaxvae.schedules import require_share

NETWORKS = ("encoder", "decoder")
RMS = 0.2  # of a step's numbers, in units of the rate


@part("optimiser/muon")
class Muon:
    """Muon (Jordan et al. 2024) for the networks' matrices; for all else – biases, kernels of convolutions, what prior
    and likelihood learn – AdamW with Nesterov's momentum.

    The numbers of a matrix's step have a root mean square of 0.2 rates (Liu et al. 2025, section 2.2). On 6,000 images
    of MNIST, a rate of 0.01 suits linear-10, whose parameters are nearly all in matrices, and 0.001 suits conv-10.
    Steps depend on the shapes of matrices: runs of different latent sizes are no lanes of one program.
    """

    learning_rate: Number = traced(default=LEARNING_RATE, name="lr", symbol="lr", title="learning rate")
    momentum: Number = traced(default=0.95, name="momentum", symbol="momentum", title="decay of the momentum")
    weight_decay: Number = traced(default=0.0, name="decay", symbol="decay", title="weight decay")

    scales_by_shape: ClassVar[bool] = True

    def check(self) -> None:
        require_share(self, "momentum")

    def init(self, params: Params) -> Any:
        return self._chain.init(params)

    def update(self, gradients: Params, state: Any, params: Params) -> tuple[Params, Any]:
        steps, state = self._chain.update(gradients, state, params)
        return optax.apply_updates(params, steps), state

    @property
    def _chain(self) -> optax.GradientTransformation:
        return optax.contrib.muon(
            self.learning_rate, beta=self.momentum, weight_decay=self.weight_decay, adam_weight_decay=self.weight_decay,
            consistent_rms=RMS, muon_weight_dimension_numbers=_matrices,
        )  # fmt: skip


def _matrices(params: Params) -> Any:
    """Dimension numbers of the networks' matrices, None for all else."""

    def one(path, leaf):
        return MuonDimensionNumbers() if path[0].key in NETWORKS and leaf.ndim == 2 else None

    return jax.tree_util.tree_map_with_path(one, params)
