"""The same VAEs as a competent PyTorch user writes them.

In: images in [0, 1], [n, 1, 28, 28], in one tensor. Out: modules, losses in nats per image, trained weights.
Layers are those of jaxvae/models/mlp.py and conv.py; their initial weights are PyTorch's own.
"""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class VAE(nn.Module):
    """A trunk, two heads for q(z|x), and a decoder that gives the logits of p(x|z)."""

    def __init__(self, trunk: nn.Module, features: int, latent_dim: int, decoder: nn.Module):
        super().__init__()
        self.latent_dim = latent_dim
        self.trunk, self.decoder = trunk, decoder
        self.mean, self.log_std = nn.Linear(features, latent_dim), nn.Linear(features, latent_dim)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), self.log_std(h)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def linear_vae(latent_dim: int) -> VAE:
    """784 – 256 – d and d; d – 256 – 784."""
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(latent_dim, 256), nn.ReLU(), nn.Linear(256, 784), nn.Unflatten(1, (1, 28, 28)))
    return VAE(trunk, 256, latent_dim, decoder)


def conv_vae(latent_dim: int) -> VAE:
    """1×28×28 – 32×14×14 – 64×7×7 – 128×4×4 – d and d, and mirrored."""
    trunk = nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, 2048),
        nn.ReLU(),
        nn.Unflatten(1, (128, 4, 4)),
        nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
    )
    return VAE(trunk, 2048, latent_dim, decoder)


MODELS = {"linear": linear_vae, "conv": conv_vae}


class Losses(NamedTuple):
    """Means over images, in nats."""

    reconstruction: Tensor
    kl: Tensor

    @property
    def loss(self) -> Tensor:
        return self.reconstruction + self.kl


Objective = Callable[[VAE, Tensor, Tensor], Losses]


def negative_elbo(model: VAE, x: Tensor, noise: Tensor) -> Losses:
    """The negative evidence lower bound, its mean over `x`, from one sample of z = mean + std · noise."""
    mean, log_std = (output.float() for output in model.encode(x))
    logits = model.decode(mean + log_std.exp() * noise).float()
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum()
    return Losses(reconstruction / len(x), kl / len(x))


def negative_elbo_autocast(model: VAE, x: Tensor, noise: Tensor) -> Losses:
    """The same, with what PyTorch's autocast holds fit for bfloat16 in it; the losses stay float32."""
    with torch.autocast(x.device.type, torch.bfloat16):
        return negative_elbo(model, x, noise)


def train_epoch(
    model: VAE, optimiser: torch.optim.Optimizer, images: Tensor, batch: int, objective: Objective = negative_elbo
) -> Losses:
    """One pass over a fresh permutation, whole batches only, where the images are; the running means of the losses."""
    steps, device = len(images) // batch, images.device
    reconstruction, kl = torch.zeros((), device=device), torch.zeros((), device=device)
    for indices in torch.randperm(len(images), device=device)[: steps * batch].split(batch):
        optimiser.zero_grad()
        losses = objective(model, images[indices], torch.randn(batch, model.latent_dim, device=device))
        losses.loss.backward()
        optimiser.step()
        reconstruction += losses.reconstruction.detach()
        kl += losses.kl.detach()
    return Losses(reconstruction / steps, kl / steps)


@torch.no_grad()
def evaluate(model: VAE, images: Tensor, batch: int = 100) -> Losses:
    """Mean losses over `images`, each counted exactly once."""
    total = torch.zeros(2)
    for x in images.split(batch):
        losses = negative_elbo(model, x, torch.randn(len(x), model.latent_dim))
        total += len(x) * torch.stack([losses.reconstruction, losses.kl])
    reconstruction, kl = total / len(images)
    return Losses(reconstruction, kl)


def pixels(images) -> Tensor:
    """Bytes, a NumPy array [n, 28, 28] → float32 in [0, 1], [n, 1, 28, 28]."""
    return torch.tensor(images, dtype=torch.float32)[:, None] / 255


def parameter_count(model: VAE) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
