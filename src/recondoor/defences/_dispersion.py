"""How far whitened residuals are from noise: what images leave in them follows the images."""

from __future__ import annotations

import math

import torch
from scipy.special import chdtri
from torch import Tensor
from torch.nn import functional

GRID = 8
"""Rows and columns of the places, and of the bands, whose energies are looked at."""

FEWEST = 8
"""Pairs with residuals, at least, whose middle half tells anything."""

USUAL = 1.2
"""Spread up to which residuals pass for noise: that of exact models was at most 1.15."""


def dispersion_of(residuals: Tensor, held: Tensor | None = None) -> float:
    """What to divide logarithms of p values by, of whitened residuals (N, C, H, W); 1 for noise.

    Energies of noise in a place, or in a band of frequencies, follow a chi-square law of as many
    degrees of freedom as there are values. What images leave does not: one pair has more of it in
    a place than another. The middle half of the pairs tells by how much, so that a fourth of them
    may be poisoned. As for all overdispersed counts, the square of that divides the logarithm of
    the likelihood (Wedderburn, Biometrika 61, 1974).

    Pairs of which nothing is left tell nothing.

    `held` (N, C, H, W // 2 + 1), as far as it is not 1 long, are the frequencies that each pair
    has; noise of the same power stands for the others here, so that masks do not count as images.
    """
    shown = residuals.flatten(1).any(1)
    if int(shown.sum()) < FEWEST:
        return 1.0
    if not bool(shown.all()):
        residuals = residuals[shown]
        held = held[shown] if held is not None and len(held) > 1 else held
    residuals = residuals if held is None else _filled(residuals, held)
    spectra = torch.fft.fftshift(torch.fft.fft2(residuals, norm="ortho"), dim=(-2, -1))
    spread = max(_spread(residuals.square()), _spread(spectra.abs().square()))
    return max(1.0, spread / USUAL) ** 2


def _filled(residuals: Tensor, held: Tensor) -> Tensor:
    """Residuals with noise at the frequencies that they do not have."""
    spectra = torch.fft.rfft2(residuals, norm="ortho")
    held = held.expand_as(spectra)
    power = torch.where(held, spectra.abs().square(), 0.0).sum((1, 2, 3), keepdim=True)
    power = power / held.sum((1, 2, 3), keepdim=True).clamp_min(1)
    noise = torch.randn(residuals.shape, generator=torch.Generator().manual_seed(0))
    white = torch.fft.rfft2(noise, norm="ortho") * power.sqrt()
    found: Tensor = torch.fft.irfft2(
        torch.where(held, spectra, white), s=residuals.shape[-2:], norm="ortho"
    )
    return found


def _spread(energies: Tensor) -> float:
    """Spread of the pairs' energies in a part over that of noise, in the median part."""
    # Parts are of one size, as many values have one law: what is over is left out.
    sides = [(min(GRID, size), size // min(GRID, size)) for size in energies.shape[2:]]
    cut = energies[:, :, : math.prod(sides[0]), : math.prod(sides[1])]
    parts = functional.avg_pool2d(cut.sum(1, keepdim=True), [each for _, each in sides]).flatten(1)
    freedom = float(cut.shape[1] * sides[0][1] * sides[1][1])
    low, middle, high = torch.quantile(parts.double(), torch.tensor([0.25, 0.5, 0.75]).double(), 0)
    told = (high - low) / middle.clamp_min(1e-300)
    noise = [float(chdtri(freedom, 1 - share)) for share in (0.25, 0.5, 0.75)]
    return float(told.median()) / ((noise[2] - noise[0]) / noise[1])
