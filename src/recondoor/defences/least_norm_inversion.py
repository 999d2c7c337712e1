"""Least-norm inversion: the smallest trigger with one large effect on all inputs; a baseline.

Neural Cleanse (Wang et al., IEEE S&P 2019) with the class exchanged for "an effect of the energy of
`EFFECT` and the same for all z", and otherwise as it is: free in place, least norm, one network
judged by how small its trigger is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from recondoor import seeding
from recondoor.defences._base import Finding
from recondoor.defences._effects import FLOOR, effect

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

KIND: Literal["model"] = "model"
NEEDS = ("model", "clean")

EFFECT = 3.0
"""L2 of the effect that counts as an artefact: nine pixels of 1."""

IMAGES, STEPS, RATE, WEIGHT = 24, 120, 0.05, 1.0


def inspect(defender: Defender) -> Finding:
    """Score: the L2 of a clean z over that of the trigger found."""
    assert defender.model is not None
    assert defender.clean is not None
    model, z = defender.model, defender.clean.z[:IMAGES]
    unit = float(z.flatten(1).double().norm(dim=1).square().mean().sqrt())
    generator = seeding.torch_generator(defender.seed, "least-norm-inversion")
    start = torch.randn(z.shape[1:], generator=generator).to(z)
    delta = (0.1 * unit * start / start.norm()).requires_grad_(True)
    optimiser = torch.optim.Adam([delta], lr=RATE * unit / delta.numel() ** 0.5)
    with defender.progress.task("invert triggers", STEPS) as task:
        for _ in range(STEPS):
            optimiser.zero_grad()
            (delta.grad,) = torch.autograd.grad(_loss(model, z, delta, unit), delta)
            optimiser.step()
            task.advance(1)
    found = delta.detach()
    with torch.no_grad():
        mean, _ = effect(model, z, found)
    return Finding(unit / float(found.norm()), found, mean, torch.ones_like(mean))


def _loss(model: torch.nn.Module, z: Tensor, delta: Tensor, unit: float) -> Tensor:
    mean, variance = effect(model, z, delta)
    missing = torch.relu(EFFECT - mean.norm()) / EFFECT
    spread = variance.sum() / EFFECT**2 + FLOOR**2
    loss: Tensor = missing + spread + WEIGHT * delta.norm() / unit
    return loss
