"""Images on another grid of pixels: each new pixel is the mean of what it covers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def area_means(
    images: NDArray[Any],
    spacing: tuple[float, float],
    side: int,
    pixel: float,
    background: float = 0.0,
) -> NDArray[np.float32]:
    """Images (..., H, W) on `side` times `side` pixels, about the same centre.

    A pixel of the source is a rectangle of one value, `spacing` (between rows, between columns)
    long; a new one is a square of side `pixel`. Beyond the source everything is `background`. This
    filters before it samples, so that nothing is aliased, and creates no value that is not between
    those that are there.
    """
    rows = _shares(images.shape[-2], spacing[0], side, pixel)
    columns = _shares(images.shape[-1], spacing[1], side, pixel)
    inside = np.asarray(images, dtype=np.float64) - background
    means: NDArray[np.float32] = (rows @ inside @ columns.T + background).astype(np.float32)
    return means


def _shares(count: int, spacing: float, side: int, pixel: float) -> NDArray[np.float64]:
    """Share of each new pixel (rows) that each old one (columns) covers, (side, count)."""
    old = (np.arange(count + 1) - count / 2) * spacing
    new = (np.arange(side + 1) - side / 2) * pixel
    ends = np.minimum(new[1:, None], old[None, 1:])
    starts = np.maximum(new[:-1, None], old[None, :-1])
    shares: NDArray[np.float64] = np.clip(ends - starts, 0, None) / pixel
    return shares
