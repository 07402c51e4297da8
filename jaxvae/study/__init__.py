"""A sweep with a folder: what is missing is trained, results are written."""

from jaxvae.study import suitable
from jaxvae.study.fit import fit
from jaxvae.study.progress import Stages
from jaxvae.study.resume import settle_precision
from jaxvae.study.study import Study

__all__ = ["Stages", "Study", "fit", "settle_precision", "suitable"]
