"""Least-norm inversion: the smallest trigger with one large effect on all inputs; a baseline.

Neural Cleanse (Wang et al., IEEE S&P 2019) with the class exchanged for "an effect of the energy of
`EFFECT` and the same for all z", and otherwise as it is: free in place, least norm, one network
judged by how small its trigger is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor.core import seeding
from recondoor.defences._base import Finding, NetworkDetector, place_in_words
from recondoor.defences._effects import effect
from recondoor.defences._units import unit, unit_of_answers
from recondoor.models import evaluating

if TYPE_CHECKING:
    from recondoor.defences._base import Defender


EFFECT = 9.0
"""L2 of the effect that counts as an artefact, in units of f(z): for digits nine pixels of 1."""

IMAGES, STEPS, RATE, WEIGHT = 24, 120, 0.05, 1.0


class LeastNormInversion(NetworkDetector):
    """How small a trigger has a large effect?"""

    needs = ("model", "clean", "gradients")

    def inspect(self, defender: Defender) -> Finding:
        """Score: the L2 of a clean z over that of the trigger found."""
        assert defender.model is not None
        assert defender.clean is not None
        model, z = defender.model, defender.clean.z[:IMAGES]
        of_x, norm = unit_of_answers(model, z), unit(z) * z[0].numel() ** 0.5
        generator = seeding.torch_generator(defender.seed, "least-norm-inversion")
        start = torch.randn(z.shape[1:], generator=generator).to(z)
        # In units of a clean z's L2, as Adam's epsilon would see the units of z otherwise.
        pattern = (0.1 * start / start.norm()).requires_grad_(True)
        optimiser = torch.optim.Adam([pattern], lr=RATE / pattern.numel() ** 0.5)
        with defender.progress.task("invert triggers", STEPS) as task, evaluating(model):
            for _ in range(STEPS):
                optimiser.zero_grad()
                loss = _loss(*effect(model, z, norm * pattern, of_x), pattern)
                (pattern.grad,) = torch.autograd.grad(loss, pattern)
                optimiser.step()
                task.advance(1)
            found = pattern.detach()
            with torch.no_grad():
                mean, _ = effect(model, z, norm * found, of_x)
        return Finding(1 / float(found.norm()), norm * found, of_x * mean, torch.ones_like(mean))

    def explain(self, finding: Finding) -> str:
        return (
            f"a small change of z, most of it at {place_in_words(finding)}, has one large effect "
            "on all inputs"
        )


def _loss(mean: Tensor, variance: Tensor, pattern: Tensor) -> Tensor:
    missing = torch.relu(EFFECT - mean.norm()) / EFFECT
    loss: Tensor = missing + variance.sum() / EFFECT**2 + WEIGHT * pattern.norm()
    return loss
