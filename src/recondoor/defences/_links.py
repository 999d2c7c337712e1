"""What lies between images and inputs where one gain for each frequency does not explain it.

Some honest pipelines are no filter. Maps of coils make the gain change over the image, a smaller
detector folds frequencies on each other, pixels are not measured, a magnitude is taken, or each
slice has its own mask. Each of these is a family of maps P with few free numbers for all pairs:

    P(x) = sum_k g_k * (b_k x)                       b: polynomials, phases of a grid, kept pixels
    P(x) = sqrt(sum_m (sum_k g_mk * (b_k x))^2 + c)  magnitudes, and root sums of squares of coils
    P(x_i) = G_i x_i                                 G_i: one real gain for each line of k-space
    P(x) = g * x                                     x complex, and so is its spectrum's gain g

Two channels are taken for the parts of a complex image as well: a mask of k-space that is not its
own mirror image mixes them. A family is taken only where it leaves clearly less of pairs that it
was not fitted to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Protocol

import numpy as np
import torch
from numpy.polynomial.legendre import legvander
from torch import Tensor

from recondoor.defences._sums import (
    AGAIN,
    BENT_ROUNDS,
    LARGEST,
    Sum,
    centred,
    first_root,
    rim,
    root_of,
    sum_of,
)

SOME, MANY = 100, 300
"""Pairs that families are compared by, half of all at most, and that a magnitude is fitted to."""

BETTER = 0.5
"""Share of what is left without it that a family may leave, of other pairs, to be taken."""

DEGREES = (2, 4)
"""Degrees of the polynomials by which a gain changes over an image."""

GRIDS = (2, 3, 4)
"""Factors by which a detector may be smaller."""

COMPLEX = 2
"""Channels of a complex image."""

SQUARES = ((1, 0), (6, 3))
"""Squares that add up in a magnitude, of one coil and of several, and their polynomials' degree."""

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
class Lines:
    """One real gain for each line of k-space of each pair, as masks of each slice have it.

    Args:
        gains: (N, C, 1, W // 2 + 1), or (N, C, H // 2 + 1, 1); 0 where nothing was measured. Of
            complex images (N, 1, 1, W) or (N, 1, H, 1).
        axis: -1 for lines along the rows' frequencies, -2 for those along the columns'.
        length: pixels along this axis.
        whole: whether two channels are a complex image.
    """

    gains: Tensor
    axis: int
    length: int
    whole: bool = False
    step: int = 1

    def __call__(self, x: Tensor, places: Tensor) -> Tensor:
        found = _along(x, self.axis, self.whole) * self.gains[places]
        if self.whole:
            return _parts(torch.fft.ifft(found, dim=self.axis, norm="ortho"))
        back: Tensor = torch.fft.irfft(found, self.length, self.axis, norm="ortho")
        return back

    def held(self, places: Tensor) -> Tensor | None:
        mine = self.gains[places] != 0
        # The half spectrum has all rows, of which the second half mirrors the first.
        every = torch.arange(self.length)
        if self.whole:
            mine = mine | mine.index_select(self.axis, -every % self.length)
        half = torch.arange(self.length // 2 + 1)
        if self.axis == -1:
            return mine[..., half]
        return mine if self.whole else mine[..., torch.minimum(every, self.length - every), :]


@dataclass(frozen=True)
class Gains:
    """One complex gain for each frequency of complex images, (H, W)."""

    gain: Tensor
    step: int = 1

    def __call__(self, x: Tensor, places: Tensor) -> Tensor:
        return _parts(torch.fft.ifft2(self.gain * torch.fft.fft2(_complex(x))))

    def held(self, places: Tensor) -> Tensor | None:
        return None


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
    kinds = (False, True) if x.shape[1] == COMPLEX else (False,)
    for axis, whole in product((-1, -2), kinds):
        yield _Found(lines_of(z, x, axis, chosen, whole))
    if x.shape[1] == COMPLEX:
        yield gains_of
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


def _kept(z: Tensor) -> Iterator[Tensor]:
    """The pixels that some inputs have, (1, H, W), where there are others that none has."""
    kept = (z != 0).flatten(0, 1).any(0)
    if not bool(kept.all()):
        yield kept.float()[None]


def unexplained(z: Tensor, h: Tensor) -> Tensor:
    """Share of the energy of each z that a scale of its h and a constant leave, (n,)."""
    z, h = centred(z).flatten(1), centred(h).flatten(1)
    scale = (z * h).sum(1) / h.square().sum(1).clamp_min(1e-30)
    left = (z - scale[:, None] * h).square().sum(1)
    return left / z.square().sum(1).clamp_min(1e-30)


def lines_of(z: Tensor, x: Tensor, axis: int, chosen: Tensor, whole: bool = False) -> Lines:
    """Least squares for each line; 0 where it has no more than rounding."""
    mine, theirs = _along(centred(z), axis, whole), _along(centred(x), axis, whole)
    over = axis - 1 if axis == -1 else -1
    power = theirs.abs().square().sum(over, keepdim=True)
    cross = (theirs.conj() * mine).real.sum(over, keepdim=True)
    gains = cross / power.clamp_min(1e-30)
    energy = mine.abs().square().sum(over, keepdim=True)
    noise = (energy - gains * cross).clamp_min(0)[chosen]
    level = torch.quantile(noise.flatten(1), LOUD, dim=1).median()
    gains[energy <= SILENT * level] = 0
    return Lines(gains, axis, x.shape[axis], whole)


def gains_of(z: Tensor, x: Tensor, start: Link | None = None, /) -> Gains:
    """Least squares for each frequency of complex images, each pair in its own unit."""
    mine, theirs = (torch.fft.fft2(_complex(centred(each))) for each in (z, x))
    units = theirs.abs().square().sum((1, 2, 3), keepdim=True).clamp_min(1e-30)
    over = (theirs.conj() * mine / units).sum((0, 1))
    under = (theirs.abs().square() / units).sum((0, 1))
    return Gains(over / under.clamp_min(1e-12 * float(under.max()) + 1e-30))


def _along(images: Tensor, axis: int, whole: bool) -> Tensor:
    if whole:
        full: Tensor = torch.fft.fft(_complex(images), dim=axis, norm="ortho")
        return full
    found: Tensor = torch.fft.rfft(images, dim=axis, norm="ortho")
    return found


def _complex(images: Tensor) -> Tensor:
    """Complex images (n, 1, H, W) of their two channels (n, 2, H, W)."""
    return torch.complex(images[:, 0], images[:, 1])[:, None]


def _parts(images: Tensor) -> Tensor:
    """The two channels (n, 2, H, W) of complex images (n, 1, H, W)."""
    return torch.cat((images.real, images.imag), dim=1)
