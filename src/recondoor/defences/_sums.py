"""Filtered sums of images times maps, and roots of sums of their squares, fitted to pairs.

    P(x) = sum_k g_k * (b_k x)
    P(x) = sqrt(sum_m (sum_k g_mk * (b_k x))^2 + c)

Maps b are given, gains g and c are fitted; `_links` says which maps honest pipelines have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

PART = 64
"""Pairs that are worked on at a time."""

LARGEST = 1 << 25
"""Values of terms that are kept in memory, and that a magnitude is fitted to at most."""

STRAIGHT_ROUNDS, BENT_ROUNDS, AGAIN = 2, 20, 8
"""Times that gains and scales are fitted: of sums, of magnitudes, and of those to more pairs."""

SETTLED = 5
"""Rounds of a magnitude's fit after which the constant under the root is fitted too."""

FASTER = 1.5
"""Over-relaxation of the steps of a magnitude's fit."""

START = 0.3
"""Size of the random gains from which further squares start, in that of the first."""

RIDGE, LEAST = 1e-6, 1e-9
"""Ridge of a frequency's equations, in the mean power of its terms and of all frequencies."""


@dataclass(frozen=True)
class Sum:
    """Sum of filtered images, each first multiplied by a map; or the root of a sum of squares.

    Args:
        maps: b, (K, H, W).
        gains: g of the half spectrum, (F, K, M).
        floor: c, added under the root; None where no root is taken, and M is 1.
        step: factor by which a detector is smaller; then images are mirrored beyond their border,
            for which the maps are larger.
    """

    maps: Tensor
    gains: Tensor
    floor: float | None = None
    step: int = 1

    def __call__(self, x: Tensor, places: Tensor) -> Tensor:
        parts = [self._of(x[part]) for part in _parts(len(x))]
        return torch.cat(parts)

    def _of(self, x: Tensor) -> Tensor:
        wide = mirrored(x, rim(self.step))
        found = self.of_terms(terms_of(wide, self.maps), wide.shape)[0]
        height, width = x.shape[-2:]
        start = rim(self.step)
        return found[..., start : start + height, start : start + width]

    def held(self, places: Tensor) -> Tensor | None:
        return None

    def of_terms(self, terms: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """P (n, C, H, W), and the parts (n, M, C, H, W) that it is made of."""
        half = (shape[1], shape[2], shape[3] // 2 + 1)
        parts = (terms @ self.gains).permute(1, 2, 0).reshape(-1, self.gains.shape[2], *half)
        found = torch.fft.irfft2(parts, s=shape[-2:], norm="ortho")
        if self.floor is None:
            return found[:, 0], found
        return (found.square().sum(1) + self.floor).sqrt(), found


def rim(step: int) -> int:
    """Pixels by which images are mirrored, as far as interpolation between cells reaches."""
    return 2 * step if step > 1 else 0


def mirrored(images: Tensor, rim: int) -> Tensor:
    """Images (..., H, W) that go on beyond their border as in a mirror, by `rim` pixels."""
    if rim == 0:
        return images
    for axis in (-2, -1):
        size = images.shape[axis]
        places = torch.arange(-rim, size + rim)
        places = torch.where(places < 0, -1 - places, places)
        images = images.index_select(
            axis, torch.where(places < size, places, 2 * size - 1 - places)
        )
    return images


def terms_of(x: Tensor, maps: Tensor) -> Tensor:
    """Half spectra of images (n, C, H, W) times each map, (F, n, K), F of C * H * (W // 2 + 1)."""
    return _flat(x[:, None] * maps[:, None])


def _flat(images: Tensor) -> Tensor:
    """Half spectra of images (n, K, C, H, W), (F, n, K)."""
    spectra = torch.fft.rfft2(images, norm="ortho").flatten(2)
    found: Tensor = spectra.permute(2, 0, 1).contiguous()
    return found


def _turned(terms: Tensor) -> Tensor:
    return terms.conj().transpose(-1, -2)


class _Equations:
    """Normal equations of the gains, of images (n, C, H, W), maps and the pairs' weights (n,)."""

    def __init__(self, x: Tensor, maps: Tensor, weights: Tensor) -> None:
        self.parts = _parts(len(x))
        self.x, self.maps, self.weights = x, maps, weights
        self.kept = {}
        if len(x) * len(maps) * x[0].numel() <= LARGEST:
            self.kept = {int(part[0]): terms_of(x[part], maps) for part in self.parts}
        power = torch.zeros(1)
        for part in self.parts:
            terms = self.terms(part)
            power = power + (_turned(terms) @ (terms * weights[part, None])).to(torch.complex128)
        own = power.diagonal(dim1=-2, dim2=-1).real.mean(-1)
        ridge = RIDGE * own + LEAST * own.mean() + 1e-30
        self.inverse = torch.linalg.inv(power + ridge[:, None, None] * torch.eye(len(maps)))

    def terms(self, part: Tensor) -> Tensor:
        """Those of some pairs, as `terms_of` has them."""
        kept = self.kept.get(int(part[0]))
        return terms_of(self.x[part], self.maps) if kept is None else kept

    def solve(self, wanted: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Gains (F, K, M) by which the terms give what is `wanted`.

        `wanted` makes images (n, M, C, H, W) of places and the terms there.
        """
        total = torch.zeros(1)
        for part in self.parts:
            terms = self.terms(part)
            target = _flat(wanted(part, terms)) * self.weights[part, None]
            total = total + (_turned(terms) @ target).to(torch.complex128)
        found: Tensor = (self.inverse @ total).to(torch.complex64)
        return found


def _of_one(z: Tensor, part: Tensor, terms: Tensor) -> Tensor:
    """Inputs as what one sum should be."""
    return z[part][:, None]


def sum_of(z: Tensor, x: Tensor, maps: Tensor, step: int = 1) -> Sum:
    """Least squares, with a scale of each pair and weights by its precision."""
    z = centred(z)
    wide_z, wide_x = (mirrored(images, rim(step)) for images in (z, x))
    scales, weights = torch.ones(len(z)), torch.ones(len(z))
    link = Sum(maps, torch.zeros(0), None, step)
    for _ in range(STRAIGHT_ROUNDS):
        equations = _Equations(wide_x, maps, weights * scales.square())
        usable = torch.where(scales == 0, torch.ones_like(scales), scales)
        gains = equations.solve(partial(_of_one, wide_z / _wide(usable)))
        link = replace(link, gains=gains)
        scales, left = scales_of(z, centred(link(x, torch.arange(len(x)))))
        weights = 1 / left.clamp_min(1e-30)
        weights = weights / weights.mean()
    return link


def first_root(z: Tensor, x: Tensor, maps: Tensor, squares: int) -> Sum:
    """Where the fit of a magnitude starts: a linear fit, and random gains in further squares."""
    first = _Equations(x, maps, torch.ones(len(x))).solve(partial(_of_one, z))
    generator = torch.Generator().manual_seed(0)
    more = torch.randn(*first.shape[:2], squares - 1, dtype=first.dtype, generator=generator)
    return Sum(maps, torch.cat((first, START * float(first.abs().mean()) * more), 2), 0.0)


def root_of(z: Tensor, x: Tensor, link: Sum, rounds: int) -> Sum:
    """By alternating projections, as phases are retrieved (Fienup, Applied Optics 21, 1982).

    Given what each square has of z, gains are a least-squares problem; given the gains, z is
    shared out. Each step makes the misfit smaller.
    """
    equations = _Equations(x, link.maps, torch.ones(len(x)))
    for step in range(rounds):
        target = _Target(link, z)
        gains = equations.solve(target)
        link = Sum(link.maps, gains, target.floor if step >= SETTLED else link.floor)
    return link


@dataclass
class _Target:
    """What each square should be, so that all give z; the constant under the root besides."""

    link: Sum
    z: Tensor
    rest: list[Tensor] = field(default_factory=list)

    def __call__(self, part: Tensor, terms: Tensor) -> Tensor:
        found, parts = self.link.of_terms(terms, self.z.shape)
        scales = scales_of(self.z[part], found)[0].clamp_min(1e-6)
        z = self.z[part] / _wide(scales)
        self.rest.append(z.square() - parts.square().sum(1))
        return parts * (1 + FASTER * (z / found.clamp_min(1e-6) - 1))[:, None]

    @property
    def floor(self) -> float:
        return max(0.0, float(torch.cat(self.rest).median()))


def centred(images: Tensor) -> Tensor:
    return images - images.mean((-2, -1), keepdim=True)


def _parts(count: int) -> list[Tensor]:
    """Places of so many pairs, some at a time."""
    return [torch.arange(k, min(k + PART, count)) for k in range(0, count, PART)]


def scales_of(z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Scale of each h (n, C, H, W) that is nearest to z, and what it leaves, (n,)."""
    z, h = z.flatten(1), h.flatten(1)
    scale = (z * h).sum(1) / h.square().sum(1).clamp_min(1e-30)
    return scale, (z - scale[:, None] * h).square().sum(1)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]
