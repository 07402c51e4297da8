"""What PyTorch's processes run: training, as the comparison's script does it and in the faster ways there are.

In: a contender and the common settings. Out: a program, compiled (if at all) at its first call.
"""
# pyright: reportMissingImports=false

import os

import torch

from benchmarks import pytorch_vae
from benchmarks.contenders import Contender
from benchmarks.workers import Program, Settings, Task

_images: dict[int, torch.Tensor] = {}  # by steps; float32 images of 500 steps are 157 MB, and the same for all


def build(task: Task, settings: Settings) -> Program:
    assert isinstance(task, Contender)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    device = "cuda" if settings.device == "gpu" else "cpu"
    model = pytorch_vae.MODELS[task.architecture](settings.latent_dim).to(device)
    if "channels_last" in task.options:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # None lets PyTorch choose, as most people do; fused cannot be said to be False without choosing
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused="fused" in task.options or None)
    autocast = task.precision == "bfloat16"
    objective = pytorch_vae.negative_elbo_autocast if autocast else pytorch_vae.negative_elbo
    if "compile" in task.options:
        objective = torch.compile(objective, mode="reduce-overhead" if "graphs" in task.options else None)
    if task.steps not in _images:
        _images[task.steps] = pytorch_vae.pixels(settings.images_for(task.steps)).to(device)
    images = _images[task.steps]

    def run() -> None:
        pytorch_vae.train_epoch(model, optimiser, images, settings.batch, objective)
        if device == "cuda":
            torch.cuda.synchronize()

    return run
