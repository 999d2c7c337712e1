"""Means over windows of images, by sums in a fixed order whatever the batch and the threads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def box(images: Tensor, window: int) -> Tensor:
    """Means over windows of so many rows and columns, valid positions only, (..., H, W)."""
    for axis in (-1, -2):
        size = images.shape[axis] - window + 1
        total = images.narrow(axis, 0, size)
        for start in range(1, window):
            total = total + images.narrow(axis, start, size)
        images = total
    return images / window**2


def gaussian(images: Tensor, radius: int, sigma: float) -> Tensor:
    """Gaussian window over the last two axes, valid positions only, by shifted sums.

    Not a convolution call: those choose their algorithm, hence their rounding, by batch size. Nor a
    fused multiply-add, whose rounding differs between a vectorised loop and its tail.
    """
    weights = [math.exp(-(k**2) / (2 * sigma**2)) for k in range(radius + 1)]
    total = weights[0] + 2 * math.fsum(weights[1:])
    for axis in (-1, -2):
        size = images.shape[axis] - 2 * radius
        shifted = [images.narrow(axis, start, size) for start in range(2 * radius + 1)]
        images = shifted[radius] * (weights[0] / total)
        for k, weight in enumerate(weights[1:], start=1):
            pair = shifted[radius - k] + shifted[radius + k]
            images = images + pair * (weight / total)
    return images
