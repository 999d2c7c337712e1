"""Do suspicious pairs share a pattern, or a filter of their own images?

Poison adds the same to all of them. Pairs of another make (blurred, moved, another mask) differ
from the others by what follows from each image. So what is left of each suspicious pair is foretold
from the others twice: by their mean, and by the gain for each frequency that their images ask for.
Both have as many numbers, and count as far as they are above noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST = 4
"""Pairs of the highest scores that are looked at first; then twice as many, and so on."""

FORETOLD = 0.5
"""Share of what is left of the pairs that a filter of their images may not foretell."""

FLOOR = 1e-3
"""Least power of a frequency, in the mean of all."""


def of_another_make(left: Tensor, x: Tensor, noise: Tensor) -> bool:
    """Whether a filter of their images foretells what is left of pairs, and no pattern is besides.

    It has to be so of the first few as well as of all of them, as poison has the highest scores.
    `left` and images x are (n, C, H, W), all of one scale, the highest scores first; `noise` (C, H,
    W // 2 + 1) is the usual power of what is left of all pairs.
    """
    if len(left) < FIRST:
        return False
    weight = (1 / (noise + FLOOR * noise.mean()).clamp_min(1e-30)).sqrt()
    residual, spectrum = (weight * torch.fft.rfft2(each, norm="ortho") for each in (left, x))
    many = [FIRST]
    while 2 * many[-1] < len(left):
        many.append(2 * many[-1])
    return all(_filter_wins(residual[:k], spectrum[:k]) for k in (*many, len(left)))


def _filter_wins(residual: Tensor, spectrum: Tensor) -> bool:
    filtered = residual - _by_filter(residual, spectrum)
    patterned, both = (each - _by_mean(each) for each in (residual, filtered))
    whole, *rest = (
        float(each.abs().square().sum()) for each in (residual, filtered, patterned, both)
    )
    return rest[0] < min(FORETOLD * whole, *rest[1:])


def _by_mean(residual: Tensor) -> Tensor:
    """Of each (n, ...) the mean of the others, as far as it is above noise."""
    total, others = residual.sum(0) - residual, len(residual) - 1
    return total / others * _told(total.abs().square() / others)


def _by_filter(residual: Tensor, spectrum: Tensor) -> Tensor:
    """Of each (n, ...) what the others' gain makes of its image, as far as it is above noise."""
    cross, power = spectrum.conj() * residual, spectrum.abs().square()
    under = (power.sum(0) - power).clamp_min(1e-30)
    total = cross.sum(0) - cross
    return spectrum * total / under * _told(total.abs().square() / under)


def _told(energy: Tensor) -> Tensor:
    """What to multiply estimates by, of energies in that of noise (James and Stein)."""
    return (1 - 1 / energy.clamp_min(1e-30)).clamp_min(0)
