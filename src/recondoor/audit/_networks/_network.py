"""A network of the audit's own, one epoch old: it has seen every pair once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recondoor import config, models
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan
from recondoor.training import loop

if TYPE_CHECKING:
    from recondoor.core.progress import Progress

BATCH = 50
STEPS = 80
"""Steps at least, for which the batch is made smaller where there are few pairs."""


USUAL = 2.0**-6, 2.0**4
"""Root mean squares at which the default network is trained as it is: of images in [0, 1]."""


class InUnits(nn.Module):
    """A network for inputs in units of `of_z` and images in units of `of_x`."""

    def __init__(self, model: nn.Module, of_z: float, of_x: float) -> None:
        super().__init__()
        self.model, self.of_z, self.of_x = model, of_z, of_x

    def forward(self, z: Tensor) -> Tensor:
        """Images (B, C, H, W) of z (B, C, H, W)."""
        out: Tensor = self.of_x * self.model(z / self.of_z)
        return out

    def features(self, z: Tensor) -> Tensor:
        """The bottleneck of the network itself, (B, ...)."""
        found: Tensor = self.model.features(z / self.of_z)  # type: ignore[operator]
        return found


def unit_of(images: Tensor) -> float:
    """A power of 2 near the root mean square of images in other units than [0, 1]'s, else 1."""
    size = float(images.double().square().mean().sqrt())
    if size == 0 or USUAL[0] <= size <= USUAL[1]:
        return 1.0
    return float(2.0 ** round(math.log2(size)))


def young_network(pairs: Pairs, seed: int, progress: Progress) -> nn.Module:
    """The default network after one epoch on `pairs`, as they are.

    One epoch is what the detectors want: before the backdoor is learnt, poisoned pairs stand out.
    Pairs in other units are brought near those of [0, 1] first.
    """
    of_z, of_x = unit_of(pairs.z), unit_of(pairs.x)
    if (of_z, of_x) != (1.0, 1.0):
        small = Pairs(pairs.z / of_z, pairs.x / of_x)
        return InUnits(young_network(small, seed, progress), of_z, of_x)
    shape = (pairs.x.shape[1], pairs.x.shape[2], pairs.x.shape[3])
    batch = max(1, min(BATCH, len(pairs) // STEPS))
    settings = config.Train(max_epochs=1, batch=batch)
    model = models.build(shape, config.Model(), seed, "audit")
    nobody = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    plain = PoisonedPairs(pairs, nobody, None, Artefact(torch.zeros(shape)))
    with progress.task("training a network for one epoch", len(pairs)) as task:
        loop.fit(model, plain, settings, seed=seed, validate=lambda _: {"val_loss": 0.0}, task=task)
    return model
