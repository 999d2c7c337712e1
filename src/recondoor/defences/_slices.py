"""Physics of slices that have a mask of their own each: lines of k-space, measured or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from scipy.special import chdtri
from torch import Tensor

from recondoor.defences._physics import Physics
from recondoor.operators import lines_of


@dataclass(frozen=True)
class SlicePhysics(Physics):
    """As `Physics`, of pairs that each have a mask; `singular` is (N, W) by wave along the rows.

    The waves are all there are, and those that a slice's mask leaves out count as 0. Slices measure
    more or fewer dimensions. So a residual is stretched until its energy is as rare by the law of
    `rank` dimensions as it was by its own (Wilson and Hilferty, PNAS 17, 1931).
    """

    common: int = 0
    """Dimensions of the law that energies are stretched to."""

    @classmethod
    def of_masks(cls, masks: Tensor, shape: tuple[int, int, int], sigma: float) -> SlicePhysics:
        """Of masks (N, W), bool, of centred columns, and images `shape` (C, H, W) of 1 or 2 C."""
        factors, basis = lines_of(masks, shape)
        lost = torch.zeros(1, dtype=torch.float64)
        found = cls(factors.sqrt(), basis, sigma, lost, inside=basis)
        return replace(found, common=int(found.ranks.median()))

    @property
    def ranks(self) -> Tensor:
        """Dimensions that each pair has measured, float64 (N,)."""
        repeated = self.basis.rank // self.singular.shape[1]
        return repeated * (self.singular > 0).sum(1, dtype=torch.float64)

    @property
    def rank(self) -> int:
        """Dimensions that the median pair of all has measured."""
        return self.common

    @property
    def whole(self) -> bool:
        return bool((self.singular > 0).all())

    @property
    def varies(self) -> bool:
        return True

    @property
    def lines(self) -> Tensor:
        return (self.singular > 0).double()

    def in_common(self, white: Tensor) -> tuple[float, int]:
        # Stretching has given a pair's components the variance common / ranks.
        variance = (self.lines * (self.common / self.ranks)[:, None]).sum(0)
        energy = self._lines(white.sum(0, keepdim=True))[0].square()[:, variance > 0]
        return float((energy / variance[variance > 0]).sum()), energy.numel()

    def rows(self, index: Tensor | slice) -> Self:
        return replace(self, singular=self.singular[index])

    def residual(self, z: Tensor, x: Tensor) -> Tensor:
        white, own = super().residual(z, x), self.ranks
        energy = white.square().sum(1)
        spread, common = 2 / (9 * own), 2 / (9 * self.common)
        normal = ((energy / own) ** (1 / 3) - (1 - spread)) / spread.sqrt()
        wanted = self.common * (1 - common + common**0.5 * normal).clamp_min(0) ** 3
        stretched: Tensor = white * (wanted / energy.clamp_min(1e-300)).sqrt()[:, None]
        return stretched

    def middle(self) -> Tensor:
        return torch.tensor([float(chdtri(rank, 0.5)) for rank in self.ranks.tolist()])

    def measured_again(self, x: Tensor) -> Tensor:
        parts = self._lines(self.basis.along(x.flatten(1).double()))
        inside = (parts * self.singular[:, None].square()).flatten(1)
        return self.basis.back(inside).view(x.shape)

    def invert(self, z: Tensor) -> Tensor:
        inside = self._over(self._over(self.basis.along(z.flatten(1).double())))
        return self.basis.back(inside).view(z.shape)

    def measured(self, x: Tensor) -> Tensor:
        parts = self._lines(self.basis.along(x.flatten(1).double()))
        return (parts * self.singular[:, None]).flatten(1)

    def _lines(self, parts: Tensor) -> Tensor:
        return parts.view(len(parts), -1, self.singular.shape[1])

    def _over(self, parts: Tensor) -> Tensor:
        inverse = torch.where(self.singular > 0, 1 / self.singular, 0.0)
        return (self._lines(parts) * inverse[:, None]).flatten(1)

    def seen(self, parts: Tensor) -> Tensor:
        return (self._lines(parts) * (self.singular > 0)[:, None]).flatten(1)
