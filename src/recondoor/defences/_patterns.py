"""Patterns that a backdoor may hide behind, at L2 of 1: patches, waves, lines, smooth ones, noise.

Sizes are shares of the image's shorter side, and frequencies are cycles per image, so that an image
of another size is looked at through as many patterns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 6 / 64
"""Side of a patch, and the radius of an artefact, as a share of the image's shorter side."""

PLACES = 15
"""Places of patches along each side."""

WAVES, PHASES = 8, 4
"""Largest frequency of a wave in cycles per image, and its phases."""

SMOOTH = 6.0
"""The same of a smooth pattern."""

LINES, LINE = 96, 1.5 / 64
"""Number of lines, and half of their width as a share of the image's shorter side."""

POINTS = 96
"""Number of measured frequencies."""

BANDS = {"middle": (6 / 64, 1 / 4), "high": (1 / 4, 30 / 64)}
"""Bands of noise, in cycles per pixel of the shorter side."""


def size_of(image: Tensor) -> int:
    """Pixels along a patch, of an image (C, H, W): 2 or more."""
    return max(2, round(PATCH * min(image.shape[-2:])))


def unit_norm(patterns: Tensor) -> Tensor:
    """Each of (K, C, H, W) at L2 of 1; zero stays zero."""
    norms: Tensor = torch.linalg.vector_norm(patterns, dim=(1, 2, 3), keepdim=True)
    found: Tensor = patterns / norms.clamp_min(1e-12)
    return found


def in_channels(flat: Tensor, channels: int) -> Tensor:
    """(K, H, W) as images (K, C, H, W): of two channels, real and imaginary part, in the first."""
    found = flat[:, None].repeat(1, channels, 1, 1)
    if channels == 2:
        found[:, 1] = 0
    return unit_norm(found)


def patches(image: Tensor) -> tuple[Tensor, Tensor]:
    """Flat squares (K, C, H, W) at places of a grid, and 1 away from each, else 0, (K, H, W)."""
    return squares(image, corners(image))


def squares(image: Tensor, at: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The same with their first rows and columns at K given places."""
    channels, height, width = image.shape
    side = size_of(image)
    flat, far = image.new_zeros(len(at), height, width), image.new_ones(1, height, width)
    far = far.repeat(len(at), 1, 1)
    for k, (top, left) in enumerate(at):
        flat[k, top : top + side, left : left + side] = 1
        far[k, max(0, top - side) : top + 2 * side, max(0, left - side) : left + 2 * side] = 0
    return in_channels(flat, channels), far


def corners(image: Tensor) -> list[tuple[int, int]]:
    """First row and column of each square of the grid."""
    tops, lefts = (_places(length, size_of(image)) for length in image.shape[1:])
    return [(top, left) for top in tops for left in lefts]


def neighbours(image: Tensor, corner: tuple[int, int], step: int) -> list[tuple[int, int]]:
    """Corners of up to eight squares in the image that are `step` pixels from one, or it alone."""
    last = tuple(max(0, length - size_of(image)) for length in image.shape[1:])
    found = {
        (min(max(0, corner[0] + down), last[0]), min(max(0, corner[1] + right), last[1]))
        for down in (-step, 0, step)
        for right in (-step, 0, step)
    }
    return sorted(found - {corner}) or [corner]


def spacing(image: Tensor) -> int:
    """Pixels between squares of the grid, along the side where they are sparser."""
    places = (_places(length, size_of(image)) for length in image.shape[1:])
    return max((each[1] - each[0] for each in places if len(each) > 1), default=1)


def _places(length: int, side: int) -> list[int]:
    last = max(0, length - side - 1)
    return sorted(set(torch.linspace(min(1, last), last, PLACES).round().int().tolist()))


def waves(image: Tensor) -> Tensor:
    """Sinusoids (K, C, H, W) of up to `WAVES` cycles in each direction and phase."""
    channels, height, width = image.shape
    down = torch.arange(height, dtype=torch.float64)[:, None] / height
    right = torch.arange(width, dtype=torch.float64)[None] / width
    found = []
    for ky in range(WAVES + 1):
        for kx in range(-WAVES, WAVES + 1):
            if (ky == 0 and kx <= 0) or ky**2 + kx**2 > WAVES**2:
                continue
            turns = torch.arange(PHASES, dtype=torch.float64)[:, None, None] / PHASES
            found.append(torch.sin(2 * torch.pi * (ky * down + kx * right + turns)))
    return in_channels(torch.cat(found).to(image), channels)


def lines(image: Tensor, generator: torch.Generator, count: int = LINES) -> Tensor:
    """Straight lines (count, C, H, W), each between two fainter ones of the other sign.

    Much as filtered back-projection shows one detector reading that is off, and as an edge or a
    needle looks.
    """
    channels, height, width = image.shape
    side = min(height, width)
    down = torch.arange(height, dtype=torch.float64)[:, None] - (height - 1) / 2
    right = torch.arange(width, dtype=torch.float64)[None] - (width - 1) / 2
    turns, places = torch.rand(2, count, 1, 1, generator=generator, dtype=torch.float64)
    away = right * torch.cos(torch.pi * turns) + down * torch.sin(torch.pi * turns)
    away = ((away - 0.7 * side * (places - 0.5)) / (LINE * side)).square()
    return in_channels(((1 - away) * torch.exp(-away / 2)).to(image), channels)


def measured_waves(z: Tensor, generator: torch.Generator, count: int = POINTS) -> Tensor:
    """Sinusoids (count, C, H, W) of single frequencies that inputs z (N, C, H, W) have.

    Points of k-space; fewer where there are not so many, and any where inputs are flat.
    """
    height, width = z.shape[-2:]
    rows, columns = (torch.fft.fftfreq(side) * side for side in (height, width))
    varying = cycles(z) > 0
    present = (_support(z) > 0) & varying
    found = torch.nonzero(present if bool(present.any()) else varying)
    chosen = found[torch.randperm(len(found), generator=generator)[:count]]
    down = rows[chosen[:, 0], None, None] * torch.arange(height)[:, None] / height
    right = columns[chosen[:, 1], None, None] * torch.arange(width)[None] / width
    phases = torch.rand(len(chosen), 1, 1, generator=generator)
    return in_channels(torch.cos(2 * torch.pi * (down + right + phases)).to(z), z.shape[1])


def cycles(image: Tensor) -> Tensor:
    """Frequency of each bin of a discrete Fourier transform, in cycles per image, (H, W)."""
    rows, columns = (torch.fft.fftfreq(side) * side for side in image.shape[-2:])
    found: Tensor = (rows[:, None].square() + columns[None].square()).sqrt()
    return found


def filtered(patterns: Tensor, passed: Tensor) -> Tensor:
    """The frequencies of (K, C, H, W) where `passed` (H, W) is 1."""
    found: Tensor = torch.fft.ifft2(torch.fft.fft2(patterns) * passed).real
    return found


def smooth(patterns: Tensor) -> Tensor:
    """What is left of (K, C, H, W) up to `SMOOTH` cycles per image, without the mean."""
    radius = cycles(patterns)
    return filtered(patterns, ((radius > 0) & (radius <= SMOOTH)).to(patterns))


def noises(z: Tensor, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Noise (K, C, H, W) by its kind: white, in bands, and where inputs z (N, C, H, W) have any."""
    white = torch.randn(count, *z.shape[1:], generator=generator).to(z)
    radius, side = cycles(z), min(z.shape[-2:])
    found = {"white": white, "measured": filtered(white, _support(z))}
    for name, (least, most) in BANDS.items():
        passed = (radius > least * side) & (radius <= most * side)
        found[name] = filtered(white, passed.to(z))
    return {name: unit_norm(noise) for name, noise in found.items()}


def _support(z: Tensor) -> Tensor:
    """1 at frequencies that z has, by the power that others at their distance have; (H, W)."""
    power = torch.fft.fft2(z).abs().square().mean((0, 1))
    ring = cycles(z).round().long().flatten()
    total = torch.zeros(int(ring.max()) + 1, dtype=power.dtype).index_add(0, ring, power.flatten())
    usual = (total / torch.bincount(ring).clamp_min(1))[ring].view_as(power)
    found: Tensor = (power > 0.01 * usual).to(z)
    return found
