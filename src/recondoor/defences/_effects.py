"""What a trigger makes a network do: the same for all inputs, or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

FLOOR = 0.048
"""Root mean square of a pixel, in units of f(z), below which the spread of an effect does not
matter: 0.016 for digits."""


def effect(model: nn.Module, z: Tensor, delta: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """Mean and variance over z (N, C, H, W) of f(z + delta) - f(z), each (C, H, W).

    Both count in `unit`, that of f(z), and in its square. With delta (K, C, H, W) each is
    (K, C, H, W), one for each trigger.
    """
    triggers = delta.unsqueeze(0) if delta.dim() == 3 else delta
    inputs = (z.unsqueeze(0) + triggers.unsqueeze(1)).flatten(0, 1)
    change = (model(inputs).view(len(triggers), *z.shape) - model(z)) / unit
    mean, variance = change.mean(1), change.var(1, correction=0)
    return (mean[0], variance[0]) if delta.dim() == 3 else (mean, variance)


def constancy(mean: Tensor, variance: Tensor, counts: Tensor) -> Tensor:
    """M / (V + floor) over the pixels that count (..., C, H, W; 0 or 1): (...), 0 or more.

    M is the energy of the mean effect, V the mean energy of what differs from it, both in units of
    f(z) as `effect` gives them.
    """
    pixels = counts.sum((-3, -2, -1))
    signal = (mean.square() * counts).sum((-3, -2, -1))
    spread = (variance * counts).sum((-3, -2, -1))
    ratio: Tensor = signal / (spread + FLOOR**2 * pixels)
    return ratio


def steepest(
    start: Tensor, mask: Tensor, objective: Callable[[Tensor], Tensor], steps: int, rate: float
) -> Tensor:
    """Raise `objective` of a trigger (C, H, W) by Adam, within its mask and at the L2 of `start`.

    Steps are `rate` times the root mean square of the pixels in the mask, in which Adam counts, as
    its epsilon would see the units of z otherwise.
    """
    norm = mask.sum().sqrt()
    usual = float(start.norm() / norm)
    pattern = (start / usual).requires_grad_(True)
    optimiser = torch.optim.Adam([pattern], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        (gradient,) = torch.autograd.grad(-objective(usual * pattern), pattern)
        pattern.grad = gradient * mask
        optimiser.step()
        with torch.no_grad():
            pattern.mul_(norm / pattern.norm())
    return usual * pattern.detach()
