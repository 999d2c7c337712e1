"""Unlearning of patterns: train the network to ignore whatever is added to its inputs.

Unlearning by inversion asks what the trigger is, and fails where that is not found. A backdoor
needs that the network answers some pattern by an artefact. So patterns of all kinds that triggers
are made of are drawn anew for every input, at strengths between a tenth of and one and a half times
the usual L2 of z, and the target stays clean: patches, waves, lines, smooth patterns, noise, a few
points of k-space that inputs have. A confirmed trigger is drawn as often as a kind.

After Borgnia et al. (ICASSP 2021), who drown triggers of classes in augmentations. Changed: what is
added is not what augments photographs but what enters measurements, and the trained network is
mended by it instead of a new one trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor.core import seeding
from recondoor.defences import _patterns
from recondoor.defences._base import Repair
from recondoor.defences._tune import duplicate, tune
from recondoor.defences._units import unit

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender

EPOCHS = 60

CARRIED = 0.7
"""Share of the inputs of a batch that carry a pattern."""

STRENGTHS = 0.1, 1.5
"""Least and largest L2 of a pattern, in units of the usual L2 of z; uniform in the logarithm."""

KINDS = 6
"""Kinds of patterns that are drawn."""

POINTS = 6
"""Points of k-space that a pattern of measured frequencies has."""


class PatternUnlearning(Repair):
    """Train to ignore patterns of all kinds."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        assert defender.model is not None
        assert defender.clean is not None
        clean, found = defender.clean.z, defender.found
        usual = unit(clean) * clean[0].numel() ** 0.5
        generator = seeding.torch_generator(defender.seed, "pattern-unlearning")
        bank = Patterns(clean, None if found is None else found.trigger, generator)
        least, most = STRENGTHS

        def with_patterns(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            size = least * (most / least) ** torch.rand(len(z), 1, 1, 1, generator=generator)
            carried = torch.rand(len(z), 1, 1, 1, generator=generator) < CARRIED
            return z + (usual * size * carried).to(z) * bank.draw(len(z)), x

        model = duplicate(defender.model)
        tune(model, defender, EPOCHS, with_patterns)
        return model


class Patterns:
    """Patterns of all kinds, at L2 of 1 and of either sign."""

    def __init__(self, z: Tensor, trigger: Tensor | None, generator: torch.Generator) -> None:
        self.z, self.generator = z, generator
        self.trigger = None if trigger is None else _patterns.unit_norm(trigger[None])

    def draw(self, count: int) -> Tensor:
        """(count, C, H, W), of kinds drawn at random."""
        kinds = KINDS + (self.trigger is not None)
        chosen = torch.randint(kinds, (count,), generator=self.generator).tolist()
        signs = 2.0 * torch.randint(2, (count, 1, 1, 1), generator=self.generator) - 1
        return torch.stack([self._one(kind) for kind in chosen]) * signs.to(self.z)

    def _one(self, kind: int) -> Tensor:
        if kind == KINDS and self.trigger is not None:
            return self.trigger[0]
        channels, height, width = self.z.shape[1:]
        if kind < 2:
            flat = self._patch(height, width) if kind == 0 else self._wave(height, width)
            return _patterns.in_channels(flat[None].to(self.z), channels)[0]
        if kind == 2:
            return _patterns.lines(self.z[0], self.generator, 1)[0]
        if kind == 3:
            points = _patterns.measured_waves(self.z[:16], self.generator, POINTS)
            return _patterns.unit_norm(points.sum(0, keepdim=True))[0]
        noise = torch.randn(1, channels, height, width, generator=self.generator).to(self.z)
        return _patterns.unit_norm(_patterns.smooth(noise) if kind == 4 else noise)[0]

    def _patch(self, height: int, width: int) -> Tensor:
        most = max(3, min(height, width) // 5)
        sides = torch.randint(2, most, (2,), generator=self.generator).tolist()
        top, left = (
            int(torch.randint(length - side + 1, (), generator=self.generator))
            for length, side in zip((height, width), sides, strict=True)
        )
        flat = torch.zeros(height, width)
        flat[top : top + sides[0], left : left + sides[1]] = 1
        return flat

    def _wave(self, height: int, width: int) -> Tensor:
        most = min(height, width) // 3
        down, right = torch.randint(-most, most + 1, (2,), generator=self.generator).tolist()
        phase = float(torch.rand((), generator=self.generator))
        turns = down * torch.arange(height)[:, None] / height + right * torch.arange(width) / width
        return torch.cos(2 * torch.pi * (turns + phase))
