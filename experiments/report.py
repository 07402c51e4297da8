"""A page to look at: a sweep's tables, curves, reconstructions, and its latent spaces to walk in.

    python -m experiments.report results/mnist

Costs some seconds. Expect results/mnist/report.html, one file that opens by double click and needs no network. A sweep
writes it at its end; this writes it anew, with what experiments.evaluate has found since.
"""

from jaxvae.commands import leave
from jaxvae.commands.report import main

if __name__ == "__main__":
    leave(main())
