"""A sweep with a folder: what is missing is trained, results are written; a run as a user holds it."""

from jaxvae.study import suitable
from jaxvae.study.fit import fit, model_for
from jaxvae.study.progress import Stages
from jaxvae.study.resume import settle_precision
from jaxvae.study.run import Run, load
from jaxvae.study.study import Study

__all__ = ["Run", "Stages", "Study", "fit", "load", "model_for", "settle_precision", "suitable"]
