"""How much of a linear model's loss is its width: hidden layers of several widths, each with a code that suits it.

    python -m experiments.sweep --study experiments/studies/capacity.py --limit 6000 --out results/capacity-first6000

A study: `runs` is all that a sweep asks of it. Expect eight runs, which take a minute on two cores, and lower losses
with more width until the code is what is too narrow.
"""

from jaxvae.config import ModelConfig, RunConfig

WIDTHS = {2: (64,), 4: (128,), 8: (256,), 16: (512, 256)}  # latent size → hidden layers

runs = [
    RunConfig(ModelConfig("linear", latent_dim, hidden=hidden), epochs=5, seed=seed)
    for seed in (0, 1)
    for latent_dim, hidden in WIDTHS.items()
]
