"""What lies between images and inputs where one gain for each frequency does not explain it.

Some honest pipelines are no filter. Maps of coils make the gain change over the image, a smaller
detector folds frequencies on each other, pixels are not measured, a magnitude is taken, or each
slice has its own mask. Each of these is a family of maps P with few free numbers for all pairs:

    P(x) = sum_k g_k * (b_k x)                       b: polynomials, phases of a grid, kept pixels
    P(x) = sqrt(sum_m (sum_k g_mk * (b_k x))^2 + c)  magnitudes, and root sums of squares of coils
    P(x_i) = G_i x_i                                 G_i: one real gain for each line of k-space

A family is taken only where it leaves clearly less of pairs that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.polynomial.legendre import legvander
from torch import Tensor

SOME, MANY = 100, 300
"""Pairs that families are compared by, half of all at most, and that a magnitude is fitted to."""

PART = 64
"""Pairs that are worked on at a time."""

LARGEST = 1 << 25
"""Values of terms that are kept in memory, and that a magnitude is fitted to at most."""

BETTER = 0.5
"""Share of what is left without it that a family may leave, of other pairs, to be taken."""

DEGREES = (2, 4)
"""Degrees of the polynomials by which a gain changes over an image."""

GRIDS = (2, 3, 4)
"""Factors by which a detector may be smaller."""

SQUARES = ((1, 0), (6, 3))
"""Squares that add up in a magnitude, of one coil and of several, and their polynomials' degree."""

ROUNDS, BENT_ROUNDS, AGAIN = 2, 20, 8
"""Times that gains and scales are fitted: of sums, of magnitudes, and of those to more pairs."""

SETTLED = 5
"""Rounds of a magnitude's fit after which the constant under the root is fitted too."""

FASTER = 1.5
"""Over-relaxation of the steps of a magnitude's fit."""

START = 0.3
"""Size of the random gains from which further squares start, in that of the first."""

RIDGE, LEAST = 1e-6, 1e-9
"""Ridge of a frequency's equations, in the mean power of its terms and of all frequencies."""

SILENT = 1e-3
"""Power of a line, in that of the noise, up to which it counts as not measured."""

LOUD = 0.9
"""Quantile of the lines' residual powers that stands for that of the noise."""


class Link(Protocol):
    """From images (n, C, H, W) and their places among all pairs (n,) to inputs but for a scale.

    One of `step` pixels along each axis tells all that inputs have.
    """

    @property
    def step(self) -> int: ...

    def __call__(self, x: Tensor, places: Tensor) -> Tensor: ...

    def held(self, places: Tensor) -> Tensor | None:
        """Frequencies of the half spectrum that each pair has; None if all pairs have the same."""


class Fit(Protocol):
    """Fits a family to pairs z and x, perhaps from what was found before."""

    def __call__(self, z: Tensor, x: Tensor, start: Link | None = None, /) -> Link: ...


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
        parts = [self._of(x[part]) for part in torch.arange(len(x)).split(PART)]
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
        parts = (terms @ self.gains).permute(1, 2, 0).unflatten(2, half)
        found = torch.fft.irfft2(parts, s=shape[-2:], norm="ortho")
        if self.floor is None:
            return found[:, 0], found
        return (found.square().sum(1) + self.floor).sqrt(), found


@dataclass(frozen=True)
class Lines:
    """One real gain for each line of k-space of each pair, as masks of each slice have it.

    Args:
        gains: (N, C, 1, W // 2 + 1), or (N, C, H // 2 + 1, 1); 0 where nothing was measured.
        axis: -1 for lines along the rows' frequencies, -2 for those along the columns'.
        length: pixels along this axis.
    """

    gains: Tensor
    axis: int
    length: int
    step: int = 1

    def __call__(self, x: Tensor, places: Tensor) -> Tensor:
        found: Tensor = torch.fft.irfft(
            _along(x, self.axis) * self.gains[places], self.length, self.axis, norm="ortho"
        )
        return found

    def held(self, places: Tensor) -> Tensor | None:
        mine = self.gains[places] != 0
        if self.axis == -1:
            return mine
        # The half spectrum has all rows, of which the second half mirrors the first.
        rows = torch.arange(self.length)
        return mine[..., torch.minimum(rows, self.length - rows), :]


def link_of(z: Tensor, x: Tensor, chosen: Tensor, left: Tensor) -> Link | None:
    """What leaves clearly less of the pairs than `left`, a share (n,) of those `chosen`, or None.

    z and x (N, C, H, W) are in their units. Lines have gains of all pairs, the rest is fitted to
    those `chosen`.
    """
    half = min(SOME, len(chosen) // 2)
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))
    train, test = chosen[order[:half]], chosen[order[half : 2 * half]]
    least = BETTER * float(left[order[half : 2 * half]].median())
    best: tuple[Link, Fit] | None = None
    for fit in _families(z, x, chosen):
        link = fit(z[train], x[train])
        found = float(unexplained(z[test], link(x[test], test)).median())
        if found < least:
            least, best = found, (link, fit)
    if best is None:
        return None
    link, fit = best
    return fit(z[chosen[order]], x[chosen[order]], link)


def _families(z: Tensor, x: Tensor, chosen: Tensor) -> Iterator[Fit]:
    """Fits of each family."""
    for axis in (-1, -2):
        yield _Found(lines_of(z, x, axis, chosen))
    shape = z.shape[-2:]
    for maps in (*map(partial(polynomials, shape), DEGREES), *_kept(z[chosen])):
        yield _SumFit(maps)
    for step in GRIDS:
        if not any(size % step or size < rim(step) for size in shape):
            yield _SumFit(_phases(shape, step), step)
    if float(z.min()) >= 0:
        for squares, degree in SQUARES:
            yield _RootFit(polynomials(shape, degree), squares)


@dataclass(frozen=True)
class _Found:
    link: Link

    def __call__(self, z: Tensor, x: Tensor, start: Link | None = None, /) -> Link:
        return self.link


@dataclass(frozen=True)
class _SumFit:
    maps: Tensor
    step: int = 1

    def __call__(self, z: Tensor, x: Tensor, start: Link | None = None, /) -> Link:
        return sum_of(z, x, self.maps, self.step)


@dataclass(frozen=True)
class _RootFit:
    maps: Tensor
    squares: int

    def __call__(self, z: Tensor, x: Tensor, start: Link | None = None, /) -> Link:
        most = min(MANY, max(2, LARGEST // (len(self.maps) * x[0].numel())))
        z, x = z[:most], x[:most]
        if isinstance(start, Sum):
            return root_of(z, x, start, AGAIN)
        return root_of(z, x, first_root(z, x, self.maps, self.squares), BENT_ROUNDS)


def polynomials(shape: torch.Size, degree: int) -> Tensor:
    """Products of Legendre polynomials of rows and columns, up to `degree` together, (K, H, W)."""
    rows, columns = (legvander(np.linspace(-1, 1, size), degree) for size in shape)
    found = [
        np.outer(rows[:, i], columns[:, j])
        for i in range(degree + 1)
        for j in range(degree + 1 - i)
    ]
    return torch.from_numpy(np.stack(found)).float()


def _phases(shape: torch.Size, step: int) -> Tensor:
    """The pixels of a mirrored image by their place in a cell, (step^2, H, W)."""
    rows, columns = (torch.arange(size + 2 * rim(step)) % step for size in shape)
    cells = rows[:, None] * step + columns
    return torch.stack([(cells == k).float() for k in range(step**2)])


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


def _kept(z: Tensor) -> Iterator[Tensor]:
    """The pixels that some inputs have, (1, H, W), where there are others that none has."""
    kept = (z != 0).flatten(0, 1).any(0)
    if not bool(kept.all()):
        yield kept.float()[None]


def terms_of(x: Tensor, maps: Tensor) -> Tensor:
    """Half spectra of images (n, C, H, W) times each map, (F, n, K), F of C * H * (W // 2 + 1)."""
    return _flat(x[:, None] * maps[:, None])


def _flat(images: Tensor) -> Tensor:
    """Half spectra of images (n, K, C, H, W), (F, n, K)."""
    spectra = torch.fft.rfft2(images, norm="ortho").flatten(2)
    return spectra.permute(2, 0, 1).contiguous()


def _turned(terms: Tensor) -> Tensor:
    return terms.conj().transpose(-1, -2)


def unexplained(z: Tensor, h: Tensor) -> Tensor:
    """Share of the energy of each z that a scale of its h and a constant leave, (n,)."""
    z, h = _centred(z).flatten(1), _centred(h).flatten(1)
    scale = (z * h).sum(1) / h.square().sum(1).clamp_min(1e-30)
    left = (z - scale[:, None] * h).square().sum(1)
    return left / z.square().sum(1).clamp_min(1e-30)


def _centred(images: Tensor) -> Tensor:
    return images - images.mean((-2, -1), keepdim=True)


class _Equations:
    """Normal equations of the gains, of images (n, C, H, W), maps and the pairs' weights (n,)."""

    def __init__(self, x: Tensor, maps: Tensor, weights: Tensor) -> None:
        self.parts = torch.arange(len(x)).split(PART)
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
        return (self.inverse @ total).to(torch.complex64)


def _of_one(z: Tensor, part: Tensor, terms: Tensor) -> Tensor:
    """Inputs as what one sum should be."""
    return z[part][:, None]


def sum_of(z: Tensor, x: Tensor, maps: Tensor, step: int = 1) -> Sum:
    """Least squares, with a scale of each pair and weights by its precision."""
    z = _centred(z)
    wide_z, wide_x = (mirrored(images, rim(step)) for images in (z, x))
    scales, weights = torch.ones(len(z)), torch.ones(len(z))
    link = Sum(maps, torch.zeros(0), None, step)
    for _ in range(ROUNDS):
        equations = _Equations(wide_x, maps, weights * scales.square())
        usable = torch.where(scales == 0, torch.ones_like(scales), scales)
        gains = equations.solve(partial(_of_one, wide_z / _wide(usable)))
        link = replace(link, gains=gains)
        scales, left = _scales(z, _centred(link(x, torch.arange(len(x)))))
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
        scales = _scales(self.z[part], found)[0].clamp_min(1e-6)
        z = self.z[part] / _wide(scales)
        self.rest.append(z.square() - parts.square().sum(1))
        return parts * (1 + FASTER * (z / found.clamp_min(1e-6) - 1))[:, None]

    @property
    def floor(self) -> float:
        return max(0.0, float(torch.cat(self.rest).median()))


def lines_of(z: Tensor, x: Tensor, axis: int, chosen: Tensor) -> Lines:
    """Least squares for each line; 0 where it has no more than rounding."""
    mine, theirs = _along(_centred(z), axis), _along(_centred(x), axis)
    over = axis - 1 if axis == -1 else -1
    power = theirs.abs().square().sum(over, keepdim=True)
    cross = (theirs.conj() * mine).real.sum(over, keepdim=True)
    gains = cross / power.clamp_min(1e-30)
    energy = mine.abs().square().sum(over, keepdim=True)
    noise = (energy - gains * cross).clamp_min(0)[chosen]
    level = torch.quantile(noise.flatten(1), LOUD, dim=1).median()
    gains[energy <= SILENT * level] = 0
    return Lines(gains, axis, x.shape[axis])


def _along(images: Tensor, axis: int) -> Tensor:
    found: Tensor = torch.fft.rfft(images, dim=axis, norm="ortho")
    return found


def _scales(z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """Scale of each h (n, C, H, W) that is nearest to z, and what it leaves, (n,)."""
    z, h = z.flatten(1), h.flatten(1)
    scale = (z * h).sum(1) / h.square().sum(1).clamp_min(1e-30)
    return scale, (z - scale[:, None] * h).square().sum(1)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]
