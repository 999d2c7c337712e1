"""Sensitivities of receiver coils: simulated, read, and estimated from the centre of k-space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recondoor.core.errors import ConfigError, DataError
from recondoor.operators._files import read_numbers
from recondoor.operators._sampling import first_of_centre

RADIUS = 1.5
"""Of the ring of coils, in halves of the image's sides."""

SUPPORT = 0.05
"""Share of the largest root sum of squares below which there is no signal to divide by."""


def birdcage(coils: int, height: int, width: int) -> Tensor:
    """Sensitivities of a ring of coils, complex128 (coils, H, W), whose squares add up to 1.

    The field of a coil falls with the distance from it, and its phase turns around it (the
    simulation of BART and SigPy). The phase is relative to the first coil's.
    """
    angles = 2 * torch.pi * torch.arange(coils, dtype=torch.float64)[:, None, None] / coils
    y = _from_centre(height)[:, None] - RADIUS * angles.sin()
    x = _from_centre(width) - RADIUS * angles.cos()
    phase = torch.atan2(x, -y) + angles
    maps = torch.polar(1 / torch.hypot(x, y), phase)
    return normalised(relative_to_first(maps[None]))[0]


def _from_centre(size: int) -> Tensor:
    """Places of pixels, -1 to 1."""
    return (torch.arange(size, dtype=torch.float64) - size // 2) / max(size / 2, 1)


def relative_to_first(maps: Tensor) -> Tensor:
    """Maps (B, coils, H, W) with the phase of the first coil taken out."""
    return maps * torch.sgn(maps[:, :1]).conj()


def normalised(maps: Tensor, least: float = 0.0) -> Tensor:
    """Maps (B, coils, H, W) whose squares add up to 1, and 0 where there is no signal.

    No signal is a root sum of squares of at most the share `least` of the image's largest.
    """
    size = maps.abs().square().sum(1, keepdim=True).sqrt()
    signal = size > least * size.amax((2, 3), keepdim=True)
    return torch.where(signal, maps / torch.where(signal, size, 1.0), 0.0)


def estimate_maps(kspace: Tensor, centre: int) -> Tensor:
    """Sensitivities (B, coils, H, W) estimated from the centre of k-space.

    Each coil's low-pass image is divided by the root sum of squares of all coils' (Roemer and
    others, 1990; McKenzie and others, 2002), so that their squares add up to 1. They have the phase
    of the first coil taken out, and are 0 where there is no signal. What the image itself has of a
    slow phase goes with that of the first coil.

    Args:
        kspace: complex (B, coils, H, W), zero frequency at (H // 2, W // 2); what is outside the
            centre does not count.
        centre: columns around the zero frequency that are all measured, 1 to W.

    Raises:
        DataError: no k-space of coils, or there are no such columns.
    """
    if kspace.ndim != 4 or not kspace.is_complex():
        raise DataError(
            f"k-space of {kspace.dtype} and shape {tuple(kspace.shape)} given; expected complex "
            "(B, coils, H, W)"
        )
    height, width = kspace.shape[2:]
    if not 1 <= centre <= width:
        raise DataError(
            f"centre: {centre} columns given; maps need at least 1, and there are {width}"
        )
    across = _window(width, centre, kspace)
    down = _window(height, max(1, round(height * centre / width)), kspace)
    low = torch.fft.ifftshift(kspace * down[:, None] * across, dim=(-2, -1))
    images = torch.fft.fftshift(torch.fft.ifft2(low, norm="ortho"), dim=(-2, -1))
    return normalised(relative_to_first(images), SUPPORT)


def _window(size: int, centre: int, like: Tensor) -> Tensor:
    """Hann window over the centre, 0 outside of it, (size,)."""
    first = first_of_centre(size, centre)
    window = torch.zeros(size, dtype=like.real.dtype, device=like.device)
    window[first : first + centre] = torch.hann_window(
        centre + 2, periodic=False, dtype=window.dtype, device=window.device
    )[1:-1]
    return window


def maps_of(path: Path, coils: int, height: int, width: int, key: str) -> Tensor:
    """Maps (coils, H, W) in an .npy, complex128, normalised; raises ConfigError."""
    values = read_numbers(path, f"{key}.maps", "(coils, H, W)", 3)
    if values.shape[1:] != (height, width):
        raise ConfigError(
            f"{key}.maps: {path} has maps of {values.shape[1]} x {values.shape[2]}, but the images "
            f"are {height} x {width}; give maps of their size"
        )
    if len(values) != coils:
        raise ConfigError(
            f"{key}.maps: {path} has {len(values)} coils, but {key}.coils is {coils}; "
            f"set {key}.coils={len(values)}"
        )
    if not values.any():
        raise ConfigError(f"{key}.maps: {path} holds zeros alone")
    return normalised(torch.from_numpy(values.astype(np.complex128))[None])[0]
