"""What the borders of images explain of what a filter leaves at the borders of inputs.

A gain for each frequency is a filter that goes on at the other side of the image. Others reflect
the image there, or go on with zeros. The difference lies along the borders and is linear in what
the image has there, the same from place to place along them: so at each frequency along a border
the rows of the residuals are fitted by those of the images, over the pairs. Poison is no such
thing, as its pattern does not follow the images.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHARE, FEWEST_ROWS = 12, 2
"""Which part of the shorter side is a border, and how many rows at least."""

PER_ROW = 20
"""Pairs for each row of a border, at least: fewer fit noise."""

SLIGHT = 1e-3
"""Of the fit, in units of the mean power of a row."""


def told_by_borders(left: Tensor, x: Tensor, slopes: Tensor) -> Tensor:
    """Of residuals (N, C, H, W) what the borders of images x explain, zero elsewhere.

    `slopes` (N, 1, 1, 1) are the scales of the images in the residuals' inputs.
    """
    rows = _rows(left)
    told = torch.zeros_like(left)
    if rows < 1 or 2 * rows > min(x.shape[2:]):
        return told
    border = torch.cat((torch.arange(rows), torch.arange(-rows, 0)))
    for turned in (False, True):
        mine, images, out = (each.transpose(2, 3) if turned else each for each in (left, x, told))
        out[:, :, border] += _fitted(
            mine[:, :, border] - out[:, :, border], slopes * images[:, :, border]
        )
    return told


def share_of_borders(left: Tensor, told: Tensor) -> float:
    """How much of the energy of residuals at the borders, but for their mean, is `told`."""
    rows = _rows(left)
    if rows < 1:
        return 0.0
    whole = 0.0
    for part in (left[:, :, :rows], left[:, :, -rows:]):
        whole += float((part - part.mean(0)).square().sum())
    for part in (left[:, :, rows:-rows, :rows], left[:, :, rows:-rows, -rows:]):
        whole += float((part - part.mean(0)).square().sum())
    return float(told.square().sum()) / max(whole, 1e-30)


def _rows(left: Tensor) -> int:
    """Rows of a border."""
    return min(max(FEWEST_ROWS, min(left.shape[2:]) // SHARE), len(left) // PER_ROW)


def _fitted(left: Tensor, x: Tensor) -> Tensor:
    """What rows x (N, C, R, W) explain of rows `left` at each frequency along them."""
    a, b = (_spectrum_along(each - each.mean(0)) for each in (x, left))
    gram = a.mH @ a
    power = gram.diagonal(dim1=-2, dim2=-1).real.mean(-1)
    ridge = (SLIGHT * power).clamp_min(1e-30)[..., None, None] * torch.eye(x.shape[2])
    coefficients = torch.linalg.solve(gram + ridge, a.mH @ b)
    found = (a @ coefficients).permute(2, 0, 3, 1)
    told: Tensor = torch.fft.irfft(found, n=x.shape[3], norm="ortho")
    return told


def _spectrum_along(rows: Tensor) -> Tensor:
    """Rows (N, C, R, W) as (C, K, N, R), K frequencies along them."""
    found: Tensor = torch.fft.rfft(rows, norm="ortho")
    return found.permute(1, 3, 0, 2)
