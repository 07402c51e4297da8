"""Who takes part in the comparison of training steps.

In: an architecture and a number of steps. Out: contenders, each with all that a worker needs to build it.
"""

from typing import NamedTuple

from benchmarks.models import PRECISIONS

BASELINE = "PyTorch eager"
LINEAR_STEPS = 10  # linear steps for one conv step: they take about a tenth of the time
VMAPPED = (2, 3, 5, 10, 50)  # latent sizes of the models that are vmapped, padded to the largest


class Contender(NamedTuple):
    """A way to train a model; one call of its program is `steps` steps."""

    name: str
    architecture: str
    family: str  # "jaxvae", "PyTorch" or "stock Flax"
    steps: int
    precision: str = "float32"  # dtype of the operands of its matrix products
    strategy: str = "alone"  # one model on all cores; "side by side", one a core; "vmap", several in one program
    # PyTorch's "fused", "channels_last", "compile" and, with it, CUDA's "graphs"; stock Flax's "scan"
    options: frozenset[str] = frozenset()

    @property
    def vmapped(self) -> bool:
        return self.strategy == "vmap"

    def models(self, cores: int) -> int:
        """How many models one call trains."""
        return {"alone": 1, "side by side": cores, "vmap": len(VMAPPED)}[self.strategy]

    def latent_dims(self, latent_dim: int) -> tuple[int, ...]:
        """The latent sizes of the models trained; `latent_dim` is the one asked for."""
        return VMAPPED if self.vmapped else (latent_dim,)


def contenders(architecture: str, steps: int, device: str = "cpu") -> list[Contender]:
    """All of them, PyTorch's baseline first.

    On a CPU `steps` is for the conv model, and others take as many as last as long. On a GPU, where a step lasts about
    as long as its kernels take to start, all take `steps`; and it is one device, so that nothing runs side by side.
    """
    if device == "gpu":
        found = [contender for contender in contenders(architecture, steps) if contender.strategy != "side by side"]
        compiled = next(contender for contender in found if contender.name == "PyTorch compile")
        graphs = compiled._replace(name="PyTorch compile, CUDA graphs", options=compiled.options | {"graphs"})
        return [contender._replace(steps=steps) for contender in [*found, graphs]]
    steps *= LINEAR_STEPS if architecture == "linear" else 1
    found = _pytorch(architecture, steps) + _jaxvae(architecture, steps)
    return found + _stock_flax(architecture, steps) if architecture == "conv" else found


def _jaxvae(architecture: str, steps: int) -> list[Contender]:
    return [
        Contender(
            f"jaxvae {precision}, {strategy}", architecture, "jaxvae",
            max(1, steps // len(VMAPPED)) if strategy == "vmap" else steps, precision, strategy,
        )
        for precision in PRECISIONS
        for strategy in ("alone", "side by side", "vmap")
    ]  # fmt: skip


def _pytorch(architecture: str, steps: int) -> list[Contender]:
    """The baseline is what most people run; the others, with fused Adam, are candidates for PyTorch's best.

    Autocast leaves to PyTorch what is read in bfloat16. Channels last is for convolutions alone.
    """

    def contender(name: str, *options: str, precision: str = "float32", strategy: str = "alone") -> Contender:
        return Contender(name, architecture, "PyTorch", steps, precision, strategy, frozenset(options))

    last = ("channels_last",) if architecture == "conv" else ()
    and_last = ", channels last" if last else ""
    found = [contender(BASELINE), contender("PyTorch eager, fused Adam", "fused")]
    if last:
        found += [
            contender("PyTorch channels last", "fused", *last),
            contender("PyTorch bf16 autocast", "fused", precision="bfloat16"),
        ]
    autocast, compiled = f"PyTorch bf16 autocast{and_last}", f"PyTorch compile, bf16 autocast{and_last}"
    found += [
        contender(autocast, "fused", *last, precision="bfloat16"),
        contender("PyTorch compile", "fused", "compile"),
        contender(compiled, "fused", "compile", *last, precision="bfloat16"),
    ]
    # PyTorch can be run once a core as well
    found += [
        contender("PyTorch eager, fused Adam, side by side", "fused", strategy="side by side"),
        contender(f"{autocast}, side by side", "fused", *last, precision="bfloat16", strategy="side by side"),
    ]
    return found


def _stock_flax(architecture: str, steps: int) -> list[Contender]:
    """`nn.Conv` as it comes; a step took 25 times as long as PyTorch's in a scan, and 5 times by itself."""
    return [
        Contender(
            "stock Flax, in a scan", architecture, "stock Flax", max(1, steps // 25), options=frozenset({"scan"})
        ),
        Contender("stock Flax, step by step", architecture, "stock Flax", max(1, steps // 5)),
    ]
