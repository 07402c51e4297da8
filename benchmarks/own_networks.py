"""What an own network of `nn.Conv` costs beside the built-in one of equal layers: training steps by turns, and ratios.

    python -m benchmarks.own_networks
    python -m benchmarks.own_networks --rounds 3 --xla

Pictures of 32×32×3, layers 32, 64, 128 of kernel 4 and stride 2, mirrored by `nn.ConvTranspose`; each program trains
whole epochs on random bytes, on one core, as a process of a sweep does. No data and no PyTorch are needed. Costs two
minutes; five with --xla, which adds the same network with its convolutions left to XLA. Expect the own network to reach
at least 0.8 times the built-in one's speed, and XLA's convolutions a twentieth. Trust the ratios, medians over rounds.
"""

import argparse
import os
import sys
import time
from typing import Any

import numpy as np

from benchmarks import machine
from jaxvae.commands import set_environment, start_jax

BATCH, LATENT_DIM, SHAPE, CHANNELS = 100, 10, (32, 32, 3), (32, 64, 128)
XLA_STEPS = 2  # in an epoch of what is many times slower


def models() -> dict[str, Any]:
    """Of each contender its VAE."""
    from flax import linen as nn

    from jaxvae.models import VAE, Conv
    from jaxvae.parts import part

    @part("network/benchmarked")
    class Encoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            for width in CHANNELS:
                x = nn.relu(nn.Conv(width, (4, 4), 2)(x))
            return x.reshape(len(x), -1)

    @part("decoder/benchmarked")
    class Decoder(nn.Module):
        features: int = 4 * 4 * CHANNELS[-1]

        @nn.compact
        def __call__(self, h):
            h = nn.relu(h).reshape(-1, 4, 4, CHANNELS[-1])
            for width in CHANNELS[-2::-1]:
                h = nn.relu(nn.ConvTranspose(width, (4, 4), (2, 2))(h))
            return nn.ConvTranspose(SHAPE[-1], (4, 4), (2, 2))(h)

    own = VAE(LATENT_DIM, Encoder(), Decoder())
    return {"built in": VAE(LATENT_DIM, Conv(CHANNELS)), "nn.Conv": own, "nn.Conv, left to XLA": own}


def prepared(name: str, vae: Any, steps: int) -> Any:
    """A function that trains an epoch of as many steps."""
    import jax

    from jaxvae.config import RunConfig
    from jaxvae.nn import substitution
    from jaxvae.training import compiled, run_mesh

    program = RunConfig(vae, batch_size=BATCH).program(SHAPE)
    images = np.random.default_rng(0).integers(0, 256, (steps * BATCH, *SHAPE), np.uint8)
    platform = substitution.platform
    if name.endswith("XLA"):
        substitution.platform = lambda: "none whose convolutions are slow"
    try:
        train = compiled.train_epoch.__wrapped__(
            compiled.abstract(program), None, images.shape, images.dtype, run_mesh(jax.local_devices())
        )
    finally:
        substitution.platform = platform
    state = compiled.init(program, np.uint32(0))
    state = state._replace(key=jax.random.key_data(state.key))

    def epoch() -> None:
        nonlocal state
        state, *_ = jax.block_until_ready(train(program, state, images, None))

    epoch()
    return epoch


def measured(options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of a step of each contender, one a round."""
    contenders = {name: vae for name, vae in models().items() if options.xla or not name.endswith("XLA")}
    steps = {name: XLA_STEPS if name.endswith("XLA") else options.steps for name in contenders}
    ready = {name: prepared(name, vae, steps[name]) for name, vae in contenders.items()}
    found: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(options.rounds):
        for name, epoch in ready.items():
            started = time.perf_counter()
            epoch()
            found[name].append(1000 * (time.perf_counter() - started) / steps[name])
    return found


def as_table(found: dict[str, list[float]]) -> str:
    first = next(iter(found.values()))
    rows = [[name, f"{np.median(own):.1f}", f"{np.median(np.divide(first, own)):.2f}"] for name, own in found.items()]
    return machine.table(["network", "ms/step", "× built in"], rows)


def run(options: argparse.Namespace) -> None:
    machine.at_least("--steps", options.steps, 1)
    machine.at_least("--rounds", options.rounds, 1)
    machine.writable(options.out)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, machine.cores()[:1])
    os.environ["PJRT_NPROC"] = "1"
    set_environment()
    start_jax()
    found = measured(options)
    print(as_table(found))
    settings = {"batch": BATCH, "latent_dim": LATENT_DIM, "shape": SHAPE, "channels": CHANNELS, "steps": options.steps}
    machine.write_json(options.out, {**machine.about(), "settings": settings, "ms_per_step": found})


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.own_networks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="in a round (default: 20)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="of each network (default: 7)")
    parser.add_argument("--xla", action="store_true", help="the own network as XLA computes it, too")
    machine.add_out(parser, "own-networks", "all rounds, versions and the machine as JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return machine.command(parser(), run, arguments)


if __name__ == "__main__":
    sys.exit(main())
