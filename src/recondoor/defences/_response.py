"""How a network shows patterns in general: the linear filter that fits its answers best.

A network's answers f(z + delta) - f(z) depend on z and are not linear. Over many patterns of many
kinds the filter keeps what they have in common, and what is particular to a single one is lost. It
shows a pattern near where it is: an artefact that follows a patch at a distance, wherever the patch
is, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

PROBES = 360
"""Patterns that a filter is fitted to."""

RIDGE = 1e-3
"""Of least squares, as a share of the usual power of a frequency."""


@dataclass(frozen=True)
class Filter:
    """A gain at each frequency, from each channel of z to each of f(z), (H, W, D, C), complex."""

    gains: Tensor

    @classmethod
    def fitted(cls, added: Tensor, change: Tensor, reach: int) -> Filter:
        """By least squares, frequency by frequency.

        Args:
            added: patterns (K, C, H, W); each counts alike, whatever its L2.
            change: the network's answers (K, D, H, W).
            reach: pixels along each side beyond which nothing of a pattern is shown.
        """
        norms = torch.linalg.vector_norm(added, dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        given, found = (_by_frequency(each / norms) for each in (added, change))
        power = given @ given.mH
        diagonal = power.diagonal(dim1=-2, dim2=-1).real
        ridge = (RIDGE * diagonal.mean()).clamp_min(1e-12) * torch.eye(given.shape[-2]).to(power)
        gains = torch.linalg.solve(power + ridge, found @ given.mH, left=False)
        impulse = torch.fft.ifft2(gains, dim=(0, 1))
        down, right = (_near(side, reach).to(added) for side in gains.shape[:2])
        near = (down[:, None] * right)[..., None, None]
        return cls(torch.fft.fft2(impulse * near, dim=(0, 1)))

    def __call__(self, added: Tensor) -> Tensor:
        """What the network shows of patterns (K, C, H, W), (K, D, H, W)."""
        answer = (self.gains @ _by_frequency(added)).permute(3, 2, 0, 1)
        found: Tensor = torch.fft.ifft2(answer).real
        return found


def _near(side: int, reach: int) -> Tensor:
    """1 up to `reach` steps from 0 around a circle of `side`, else 0."""
    at = torch.arange(side)
    return (torch.minimum(at, side - at) <= reach).float()


def _by_frequency(images: Tensor) -> Tensor:
    """Spectra of (K, C, H, W) as matrices (H, W, C, K)."""
    spectra: Tensor = torch.fft.fft2(images)
    return spectra.permute(2, 3, 1, 0)
