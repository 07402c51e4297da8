"""Linear models that grow in width and code together, which no grid of options can say.

    python -m experiments.sweep --study experiments/studies/capacity.py --limit 6000 --out results/capacity-first6000

A study: `runs` is all that a sweep asks of it. Costs a minute on two cores. Expect a test loss that falls from 192 nats
per image (d = 2) to 138 (d = 16).
"""

from jaxvae.config import RunConfig
from jaxvae.models import MLP, VAE

WIDTHS = {2: (64,), 4: (128,), 8: (256,), 16: (512, 256)}  # latent size → hidden layers

runs = [
    RunConfig(VAE(latent_dim, MLP(hidden)), epochs=5, seed=seed)
    for seed in (0, 1)
    for latent_dim, hidden in WIDTHS.items()
]
