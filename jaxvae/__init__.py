"""Variational auto-encoders as pure JAX functions, trained many at a time.

import jaxvae

run = jaxvae.fit(images, latent_dim=16)
run = jaxvae.load("results/mnist/conv-2")
q = run.encode(images)
print(run.evaluate())
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxvae.study import Run as Run
    from jaxvae.study import fit as fit
    from jaxvae.study import load as load

__version__ = "0.1.0"
__all__ = ["Run", "fit", "load"]


def __getattr__(name: str):
    # JAX is imported when it is first needed: a command line's --help does not
    if name in __all__:
        from jaxvae import study

        return getattr(study, name)
    raise AttributeError(f"module 'jaxvae' has no attribute {name!r}")
