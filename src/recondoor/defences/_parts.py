"""Parts of images in which residuals are compared: all of it, and windows.

A lesion is small. Over the whole image its energy stands against the noise of all pixels, in a
window around it against that of fewer. So cosines are taken in windows as well, which overlap by
more than a lesion's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from recondoor.defences._cosines import Edges
from recondoor.defences._dispersion import dispersion_of
from recondoor.defences._white import unit_rows, unit_rows_less

SIDE, ALONG = 0.375, 4
"""Side of a window, in the image's, and how many there are along each axis."""

WHOLE = 0.75
"""Share of the level that tests of the whole image have; windows share the rest."""

LOOKED = 4_000_000
"""Values of a window's residuals that the dispersion is read off, about."""

SMALLEST = 8
"""Pixels of a window's side, at least: in fewer, few cosines are large by chance alone."""

Window = tuple[tuple[int, int], tuple[int, int]]
"""First row and the one after the last; the same of the columns."""


@dataclass(frozen=True)
class Part:
    """Residuals of a window, or of the whole image, and their cosines among some pairs.

    Args:
        shape: (C, H, W) of residuals.
        window: None for the whole image.
        mean: mean of the residuals in the window, which is taken away, (C * h * w,).
        cosines: among pairs, as `Edges.among`, (n, n).
        dispersion: how far the residuals are from noise, 1 or more.
        level: share of the level that a test of this part has.
    """

    shape: torch.Size
    window: Window | None
    mean: Tensor | float
    cosines: Tensor
    dispersion: float
    level: float

    @property
    def values(self) -> int:
        """How many values a residual has here."""
        channels, height, width = self.shape
        rows, columns = self.window or ((0, height), (0, width))
        return channels * (rows[1] - rows[0]) * (columns[1] - columns[0])

    def of(self, rows: Tensor) -> Tensor:
        """Residuals here of those of the whole image (N, C * H * W), of L2 1."""
        if self.window is None:
            return rows
        own = unit_rows(_cut(rows, self.shape, self.window))
        return unit_rows_less(own, self.mean)

    def shows(self, row: float, column: float) -> bool:
        """Whether a place is in it, of residuals' pixels."""
        if self.window is None:
            return True
        (top, bottom), (left, right) = self.window
        return top <= row < bottom and left <= column < right


def windows_of(edges: Edges, shape: torch.Size, chosen: Tensor, least: float) -> list[Part]:
    """Windows of residuals (C, H, W), and cosines among those `chosen`.

    Residuals are no nearer to noise there than in all of the image, whose dispersion is `least`.
    """
    whole = edges.rows if len(chosen) == len(edges.rows) else edges.rows[chosen]
    found, windows = [], list(product(_along(shape[1]), _along(shape[2])))
    for window in windows:
        rows = unit_rows(_cut(whole, shape, window))
        mean = rows.mean(0)
        rows = unit_rows_less(rows, mean)
        size = [stop - start for start, stop in window]
        some = rows[:: -(-rows.numel() // LOOKED)].view(-1, shape[0], *size)
        dispersion = max(least, dispersion_of(some))
        cosines = Edges(rows, edges.likes[chosen], edges.limit).among(torch.arange(len(rows)))
        found.append(Part(shape, window, mean, cosines, dispersion, (1 - WHOLE) / len(windows)))
    return found


def _along(size: int) -> list[tuple[int, int]]:
    """Windows along an axis, evenly from border to border; none where they are too small."""
    side = round(SIDE * size)
    if side < SMALLEST:
        return []
    starts = torch.linspace(0, size - side, ALONG).round().int().tolist()
    return [(start, start + side) for start in starts]


def _cut(rows: Tensor, shape: torch.Size, window: Window) -> Tensor:
    """A copy of the window of rows (N, C * H * W), (N, C * h * w)."""
    images = rows.view(len(rows), *shape)
    cut = images[:, :, slice(*window[0]), slice(*window[1])]
    return cut.clone(memory_format=torch.contiguous_format).view(len(rows), -1)
