"""Learning from examples of which only some have a class: model M2 of Kingma, Rezende, Mohamed & Welling (2014).

In: a model whose condition is the class, with a network that reads it. Out: the losses of examples whose class is
known, and of others, whose class is summed out.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvae.models import VAE, Params, class_logits
from jaxvae.objectives.base import Context, Losses
from jaxvae.objectives.elbo import ELBO
from jaxvae.parts import Number, part, traced


@part("objective/m2")
class M2:
    """−ELBO of p(x, y) where the class y is known, else −ELBO of p(x) with y summed out over q(y|x); and the cross-
    entropy of q(y|x) where y is known (Kingma, Rezende, Mohamed & Welling 2014, equations 6 to 9). p(y) is uniform.

    With L(x, y) the loss of the `ELBO` of x given y, an example without a class has the loss
    Σ_y q(y|x) L(x, y) + KL(q(y|x) ‖ p(y)), one with a class L(x, y) − log p(y) − α N/N_y log q(y|x), where N_y of N
    examples have a class: in the mean over all, log q(y|x) has the weight α in its mean over those that have one, as in
    the paper, whose α is this one times N. `kl` is that of the codes and the class together. The term `classification`
    is the mean of −log q(y|x) over the examples that have a class.

    Every example is encoded and decoded once for each class, so a step costs about `classes` times one of the `ELBO`.

    Example:
        >>> import jaxvae, numpy as np
        >>> from jaxvae.models import MLP, VAE, Gaussian, Labels
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 2, 400)
        >>> x = rng.normal(4.0 * y[:, None], 1, (400, 3))
        >>> some = np.where(np.arange(400) < 300, -1, y)  # -1: not known
        >>> vae = VAE(1, MLP((16,)), likelihood=Gaussian(), condition=Labels(2, MLP((16,))))
        >>> how = {"test": x, "test_labels": y, "epochs": 2, "batch_size": 20, "quiet": True}
        >>> run = jaxvae.fit(x, vae, labels=some, objective=M2(), **how)
        >>> run.classify(x).shape  # q(y|x)
        (400, 2)
    """

    alpha: Number = traced(default=0.1, name="alpha", symbol="α", title="α")
    beta: Number = traced(default=1.0, name="beta", symbol="β", title="β")

    codes: ClassVar[int] = 1
    masks_codes: ClassVar[bool] = True
    coupled: ClassVar[bool] = False
    reads_classes: ClassVar[bool] = True

    def __call__(
        self, vae: VAE, params: Params, x: Float[Array, "b ..."], noise: Float[Array, "1 b z"], context: Context
    ) -> Losses:
        given, classes = vae.given_condition, vae.condition.classes
        log_q = jax.nn.log_softmax(class_logits(vae, params, x))
        is_known = given.sum(1)  # 1 or 0
        weights = given + (1 - is_known)[:, None] * jnp.exp(log_q)
        # every example with every class, class by class, as one large batch
        each = vae.given(jnp.repeat(jnp.arange(classes), len(x)))
        xs, noises = (jnp.concatenate([one] * classes, axis) for one, axis in ((x, 0), (noise, 1)))
        losses = ELBO(self.beta)(each, params, xs, noises, context)
        reconstruction, kl = (
            (weights * part.reshape(classes, len(x)).T).sum(1) for part in (losses.reconstruction, losses.kl)
        )
        kl_of_class = jnp.log(classes) + (1 - is_known) * (jnp.exp(log_q) * log_q).sum(1)
        labelled = context.examples if context.labelled is None else jnp.maximum(context.labelled, 1)
        classification = -(given * log_q).sum(1) * (context.examples / labelled)
        loss = reconstruction + self.beta * kl + kl_of_class + self.alpha * classification
        return Losses(reconstruction, kl + kl_of_class, loss, {"classification": classification})
