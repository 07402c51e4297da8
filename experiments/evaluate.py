"""How good trained runs are: likelihoods with error bars, and what their codes are worth.

    python -m experiments.evaluate results/mnist/conv-2
    python -m experiments.evaluate results/mnist/linear-* --ais 100

Costs, for 10,000 images on two cores: a linear run at K = 5,000 three to four minutes, a conv run at K = 500 as much
and at K = 5,000 ten times that. Expect −log p(x) a few nats below the test loss, more so for two dimensions, and an
effective sample size far below K: how much of the bound is to be believed.
"""

from jaxvae.commands import leave
from jaxvae.commands.evaluate import main

if __name__ == "__main__":
    leave(main())
