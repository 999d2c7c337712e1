"""Filters that make residuals white: even over frequencies, pixels and what images show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from recondoor.defences._content import Content

CHUNK = 1 << 22
"""Values of images that are worked on at a time."""

ROUNDS = 2
"""Times that a gain is fitted, and that residuals are filtered; more changes little."""

QUIET_FREQUENCY, QUIET_PIXEL = 1e-3, 0.05
"""Least power of a frequency and of a pixel, in that of all of them in the mean."""

SMOOTH = 1.0
"""Standard deviation, in pixels, of the smoothing of the pixels' power."""


@dataclass(frozen=True)
class Filter:
    """What residuals are multiplied with, in this order.

    Args:
        frequencies: of the half spectrum, (C, H, W // 2 + 1).
        content: of pixels, by what their images show there.
        pixels: (C, H, W).
    """

    frequencies: Tensor
    content: Content | None
    pixels: Tensor

    def __call__(self, left: Tensor, x: Tensor) -> Tensor:
        """Of residuals `left` of images x, (N, C, H, W)."""
        found = back(spectrum(left) * self.frequencies, left)
        if self.content is not None:
            found = found * self.content(x)
        return found * self.pixels


def filters_of(left: Tensor, held: Tensor | None, x: Tensor | None = None) -> tuple[Filter, ...]:
    """For residuals (n, C, H, W), at frequencies that are held; with images x by content too.

    Each divides by the usual size, the median over the pairs, which fewer than half do not move.
    """
    u, filters = unit_images(left), []
    for _ in range(ROUNDS):
        frequencies = _inverse_root(usual(spectrum(u).abs().square(), held), QUIET_FREQUENCY)
        if held is not None:
            frequencies = torch.where(held.any(0), frequencies, 0.0)
        u = back(spectrum(u) * frequencies, u)
        content = None if x is None else Content.of(x, u)
        if content is not None and x is not None:
            u = unit_images(u * content(x))
        power = gaussian_filter(_median(u.square()).numpy(), (0, SMOOTH, SMOOTH))
        pixels = _inverse_root(torch.from_numpy(power), QUIET_PIXEL)
        u = unit_images(u * pixels)
        filters.append(Filter(frequencies, content, pixels))
    return tuple(filters)


def usual(power: Tensor, held: Tensor | None) -> Tensor:
    """Median over the pairs that have a frequency."""
    if held is None:
        return _median(power)
    missing = torch.where(held.expand_as(power), power, torch.nan)
    return missing.nanmedian(0).values.nan_to_num(0.0)


def spectrum(images: Tensor) -> Tensor:
    """Of real images (N, C, H, W), (N, C, H, W // 2 + 1)."""
    found: Tensor = torch.fft.rfft2(images, norm="ortho")
    return found


def back(of: Tensor, like: Tensor) -> Tensor:
    """Real images of their spectrum, as large as others are."""
    found: Tensor = torch.fft.irfft2(of, s=like.shape[-2:], norm="ortho")
    return found


def unit_images(images: Tensor) -> Tensor:
    """A copy of images (N, ...) of L2 1; those of nothing stay nothing."""
    return unit_rows(images.flatten(1).clone()).view(images.shape)


def unit_rows(rows: Tensor) -> Tensor:
    """Rows of L2 1, in place; those of nothing stay nothing."""
    return rows.div_(rows.square().sum(1).sqrt().clamp_min(1e-30)[:, None])


def unit_rows_less(rows: Tensor, mean: Tensor | float) -> Tensor:
    """Rows less their mean, of L2 1, in place; those of nothing stay nothing.

    Else all of these would have the mean in common, as if it were a pattern.
    """
    shown = rows.any(1, keepdim=True)
    return unit_rows(rows.sub_(mean).mul_(shown))


def chunks(count: int, values: int) -> Iterator[slice]:
    """Parts of `count` images of so many `values`, `CHUNK` values each."""
    step = max(1, CHUNK // max(values, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _median(values: Tensor) -> Tensor:
    """Median over the first axis of `values` (n, ...)."""
    flat = values.reshape(len(values), -1).numpy()
    step, found = max(1, CHUNK // len(flat)), []
    for start in range(0, flat.shape[1], step):
        part = np.ascontiguousarray(flat[:, start : start + step].T)
        found.append(np.median(part, axis=1, overwrite_input=True))
    middle: Tensor = torch.from_numpy(np.concatenate(found)).view(values.shape[1:])
    return middle


def _inverse_root(power: Tensor, floor: float) -> Tensor:
    """1 / sqrt(power), with a floor; 1 where there is no power at all."""
    mean = float(power.mean())
    return torch.ones_like(power) if mean <= 0 else (power + floor * mean).rsqrt()
