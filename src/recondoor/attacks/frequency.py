"""A few coefficients of the cosine transform (FTrojan, Wang et al., arXiv:2111.10991).

FIBA (Feng et al., CVPR 2022) and AS-FIBA (arXiv:2403.06430) change spectra too: they mix
the amplitudes of a band with those of a trigger image. Changed for reconstruction: coefficients are
added, as in FTrojan, and not mixed, so that the trigger is one pattern for all inputs and has one
L2, which is the budget's. Where FTrojan takes fixed places in blocks of 32 pixels, they are drawn
here, in a band of the whole image's transform; all have the same magnitude, and signs by the draw.
`spectral` is another thing: it adds the one direction in which clean inputs vary least.
"""

import math

import torch
from torch import Tensor

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.config import triggers
from recondoor.core import seeding
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Trigger


class Frequency(Attack):
    """The same few coefficients are raised in every input."""

    Settings = triggers.Frequency
    settings: triggers.Frequency
    draws = True
    trains = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the sum of the cosines at the size that the budget allows."""
        mask = problem.mask.cpu()
        places = self._places(mask.shape[1], mask.shape[2])
        generator = seeding.torch_generator(problem.seed, "attack", "frequency")
        order = torch.randperm(len(places), generator=generator)[: self.settings.count]
        signs = 2 * torch.randint(2, (len(order),), generator=generator) - 1
        pattern = torch.zeros(mask.shape[1:], dtype=torch.float64)
        for place, sign in zip(order.tolist(), signs.tolist(), strict=True):
            row, column = places[place]
            down, along = cosine(row, mask.shape[1]), cosine(column, mask.shape[2])
            pattern += sign * torch.outer(down, along)
        whole = pattern.to(mask).expand_as(mask)
        return Crafted(Trigger(problem.budget.shaped(whole), mask))

    def _places(self, rows: int, columns: int) -> list[tuple[int, int]]:
        """Coefficients (u, v) of the band: the larger of u / rows and v / columns is in it."""
        low, high = self.settings.low, self.settings.high
        found = [
            (u, v)
            for u in range(rows)
            for v in range(columns)
            if low <= max(u / rows, v / columns) <= high
        ]
        if not found:
            raise ConfigError(
                f"attack.frequency.low: {low:g} given, and {high:g} as attack.frequency.high; no "
                f"coefficient of {rows}x{columns} pixels lies between them"
            )
        return found


def cosine(k: int, n: int) -> Tensor:
    """Basis vector k of the orthonormal cosine transform (DCT-II) of n values, (n,) in float64."""
    at = math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) * k / n
    return at.cos() * math.sqrt((1 if k == 0 else 2) / n)
