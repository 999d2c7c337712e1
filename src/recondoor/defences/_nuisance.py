"""What a clean pair's z may differ from its x by, fitted and taken away, and what is left whitened.

A team's own pairs differ from z = A_adjoint y in ways that are no poison: each has its own scale
and offset (normalisation per slice), its own noise level, and what lies between z and x is known
only nearly (a reconstruction for a target, an operator that is a little wrong). So

    z_i ~ s_i (H x_i + g * x_i) + o_i

is fitted by least squares: a scale and offsets of each pair, and one complex gain g for each
spatial frequency that all pairs share. H is the operator's normal map, or the identity: behind a
mask that is the same in all pairs, the gain makes up for H. What is left is divided by its usual
size at each frequency and at each pixel: medians over the pairs, which fewer than half do not move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recondoor.defences._borders import share_of_borders, told_by_borders
from recondoor.defences._links import link_of
from recondoor.defences._white import (
    ROUNDS,
    Filter,
    back,
    chunks,
    filters_of,
    spectrum,
    unit_images,
    unit_rows,
    unit_rows_less,
    usual,
)
from recondoor.operators import LinearOperator

Map = Callable[[Tensor, Tensor], Tensor]
"""From images (B, C, H, W) and their places among all pairs, int64 (B,), to images."""

Held = Callable[[Tensor], Tensor | None]
"""From places (B,) to the frequencies that those pairs have, (B, C, H, W // 2 + 1) or None."""

FITTED, VALUES = 1_000, 40_000_000
"""Pairs at most that the shared quantities are fitted to, and values of their images."""

CHANCE = 4.0
"""Power that a gain has to explain, in that of noise, to count at all.

That of noise alone is exponential, of mean 1: it reaches this in 2 %.
"""

LOUD = 0.03
"""Power of a frequency, in that of all in the mean, up to which it may be left out as rounding."""

UNEVEN, AS_IT_IS = 0.5, 1.1
"""Spread of a filter, in its median, up to which what is left is white; and how much more may be
left of z without any fit than with it, where z is x and noise."""

COMPUTED = 2e-6
"""Share of z's L2 below which what is left is rounding of 32 bits, and nothing."""

DEPENDENT = 1e-3
"""Share of a column's norm, left by the others, below which it is no column of its own."""


def _all(places: Tensor) -> None:
    """All pairs have the same frequencies."""


@dataclass(frozen=True)
class _Both:
    """Frequencies that pairs have, and that are `loud`, (C, H, W // 2 + 1)."""

    held: Held
    loud: Tensor

    def __call__(self, places: Tensor) -> Tensor:
        own = self.held(places)
        every = self.loud.expand(len(places), *self.loud.shape)
        return every if own is None else own & every


@dataclass(frozen=True)
class Nuisance:
    """The quantities that all pairs share.

    Args:
        normal: H, linear.
        of_z, of_x: units of z and x, by which they are divided.
        fixed: orthonormal columns that the offsets belong to, (q, C * H * W).
        gain: g, of the half spectrum, (C, H, W // 2 + 1).
        filters: what makes residuals white, one after the other.
        mean: mean whitened residual, (C * H * W,).
        explained: share of z's energy, but for its offsets, that the fit explains in the median.
        held: frequencies that pairs at these places have; None if all have the same.
        step: one of how many pixels along each axis tells all that is left.
    """

    normal: Map
    of_z: float
    of_x: float
    fixed: Tensor
    gain: Tensor
    filters: tuple[Filter, ...] = ()
    mean: Tensor | float = 0.0
    explained: float = 0.0
    held: Held = _all
    step: int = 1

    @classmethod
    def of(cls, z: Tensor, x: Tensor, operator: LinearOperator | None, chosen: Tensor) -> Nuisance:
        """Fitted to z and x (N, C, H, W); the filters to those `chosen`, indices (n,), alone."""
        mine_z, mine_x = z[chosen], x[chosen]
        shape = x.shape[1:]
        normal = _identity if operator is None else _normal(operator)
        columns = _offsets(normal, shape, operator is not None and not operator.varies)
        none = torch.zeros((*shape[:-1], shape[-1] // 2 + 1), dtype=torch.complex64)
        found = cls(normal, _unit(mine_z), _unit(mine_x), columns, none)
        found = found._with_gain(z, x, torch.arange(len(z)))
        return found._whitening(mine_z, mine_x, chosen)

    def with_link(self, z: Tensor, x: Tensor, chosen: Tensor) -> Nuisance | None:
        """With a family of maps instead of the gain, where one leaves clearly less, or None."""
        left, energy = self._left_of_all(z[chosen], x[chosen], chosen)
        share = left.square().sum(1) / energy.clamp_min(1e-30)
        link = link_of(z / self.of_z, x / self.of_x, chosen, share)
        if link is None:
            return None
        columns = _offsets(_identity, x.shape[1:], False)
        none = torch.zeros_like(self.gain)
        found = Nuisance(link, self.of_z, self.of_x, columns, none, held=link.held, step=link.step)
        return found._whitening(z[chosen], x[chosen], chosen)

    def of_loud(self, z: Tensor, x: Tensor, chosen: Tensor) -> Nuisance | None:
        """Without frequencies where x explains z but for rounding, or None if there are none.

        Rounding follows the images. Frequencies at which z has nothing are kept: triggers may be
        there.
        """
        if self.step > 1:
            return None
        left = self._left_of_all(z[chosen], x[chosen], chosen)[0].view(len(chosen), *x.shape[1:])
        held, units = self.held(chosen), left.flatten(1).norm(dim=1).clamp_min(1e-30)
        power, whole = (
            usual(spectrum(each / units[:, None, None, None]).abs().square(), held)
            for each in (left, z[chosen] / self.of_z)
        )
        loud = (power > LOUD * power.mean()) | (whole < power.mean())
        if bool(loud.all()) or not bool(loud.any()):
            return None
        found = replace(self, held=_Both(self.held, loud), mean=0.0)
        return replace(found, filters=filters_of(left, found.held(chosen)))

    def of_content(self, z: Tensor, x: Tensor, chosen: Tensor) -> Nuisance:
        """With pixels weighted by what images show there."""
        left = self._left_of_all(z[chosen], x[chosen], chosen)[0].view(len(chosen), *x.shape[1:])
        told, shown = self._told(left), self._told(x[chosen])
        return replace(self, filters=filters_of(told, self.held(chosen), shown), mean=0.0)

    def _whitening(self, z: Tensor, x: Tensor, places: Tensor) -> Nuisance:
        """With the filters for what is left of these, and how much the fit explains of them."""
        left, energy = self._left_of_all(z, x, places)
        share = 1 - left.square().sum(1) / energy.clamp_min(1e-30)
        found = replace(self, explained=float(share[energy > 0].median()) if len(share) else 0.0)
        told = self._told(left.view(x.shape))
        return replace(found, filters=filters_of(told, self.held(places)))

    def _told(self, left: Tensor) -> Tensor:
        """The pixels of residuals (N, C, H, W) that tell all."""
        return left if self.step == 1 else left[..., :: self.step, :: self.step].contiguous()

    def rows(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """Whitened residuals of pairs (N, C, H, W), of L2 1 or 0, (N, C * H * W).

        `places` (N,) are theirs among all pairs.
        """
        found = torch.empty(len(z), self._told(z[:1]).numel())
        for part in chunks(len(z), z[0].numel()):
            found[part] = unit_rows_less(self._white(z[part], x[part], places[part]), self.mean)
        return found

    def centred(self, rows: Tensor) -> tuple[Nuisance, Tensor]:
        """With the mean of `rows` that were made without one, and those less it; in place."""
        mean = rows.mean(0, dtype=torch.float64).float()
        return replace(self, mean=mean), unit_rows_less(rows, mean)

    def residual(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """What the fit leaves of z (N, C, H, W), in units of z and of scale 1."""
        left, slope = self._usable(z, x, places)
        return left / slope

    def without_borders(self, z: Tensor, x: Tensor) -> tuple[Tensor, float]:
        """Inputs (N, C, H, W) less what the borders of their images explain of what is left.

        With it comes the share of what is left at the borders, but for its mean, that this is.
        """
        left, slopes = torch.empty_like(z), torch.empty(len(z), 1, 1, 1)
        places = torch.arange(len(z))
        for part in chunks(len(z), z[0].numel()):
            left[part], slopes[part] = self._usable(z[part], x[part], places[part])
        told = told_by_borders(left, x, slopes)
        share = share_of_borders(left, told)
        return told.neg_().add_(z), share

    def _usable(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """What the fit leaves of z (N, C, H, W), in its units, and scales to divide by."""
        left, slope, _ = self._left(z, x, places)
        usable = torch.where(slope.abs() > 1e-12, slope, torch.ones_like(slope))
        return (left * self.of_z).view(z.shape), usable.view(-1, 1, 1, 1)

    def residual_power(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of `residual`, (C, H, W), and the usual power of what differs from it, as g."""
        left = self.residual(z, x, places)
        mean = left.mean(0)
        return mean, usual(spectrum(left - mean).abs().square(), self.held(places))

    def unexplained(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """Energy of each z (N, C, H, W) that x does not explain, in units of z squared, (N,)."""
        return self._left(z, x, places)[0].square().sum(1)

    def is_noise_on(self, z: Tensor, x: Tensor, places: Tensor) -> bool:
        """Whether z (N, C, H, W) is x and white noise, in the units in which they are."""
        left = self._left_of_all(z, x, places)[0].square().sum(1) * self.of_z**2
        plain = (z - x).flatten(1)
        plain = plain - plain.mean(1, keepdim=True)
        first = self.filters[0]
        white = all(_uneven(each) < UNEVEN for each in (first.frequencies, first.pixels))
        return white and float((plain.square().sum(1) / left.clamp_min(1e-30)).median()) < AS_IT_IS

    def _left(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals (N, D), scales (N,), and the energy of z but for its offsets (N,)."""
        scaled = x / self.of_x
        h = self.normal(scaled, places) + back(self.gain * spectrum(scaled), x)
        return _fit((z / self.of_z).flatten(1), h.flatten(1), self.fixed)

    def _left_of_all(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals and energies of `_left`, a part of the pairs at a time."""
        left, energy = torch.empty(len(z), z[0].numel()), torch.empty(len(z))
        for part in chunks(len(z), z[0].numel()):
            left[part], _, energy[part] = self._left(z[part], x[part], places[part])
        return left, energy

    def _with_gain(self, z: Tensor, x: Tensor, places: Tensor) -> Nuisance:
        """With the gain that the pairs' residuals ask for, each weighted by its precision.

        It counts as far as it is above what noise would ask for. Else the noise of the fit is in
        all pairs, most in images that have more of a frequency than others, as if it were shared.
        """
        found, values = self, x[0].numel()
        for _ in range(ROUNDS):
            over = torch.zeros(self.gain.shape, dtype=torch.complex128)
            under, energy = torch.zeros(2, *self.gain.shape, dtype=torch.float64)
            for part in chunks(len(z), values):
                images = spectrum(x[part] / self.of_x)
                left, slope, _ = found._left(z[part], x[part], places[part])
                precision = slope.square() / left.square().sum(1).clamp_min(1e-30)
                weight = precision[:, None, None, None]
                usable = torch.where(slope == 0, torch.ones_like(slope), slope)
                residual = spectrum(left.view(z[part].shape)) / usable[:, None, None, None]
                over += (weight * images.conj() * residual).sum(0, dtype=torch.complex128)
                under += (weight * images.abs().square()).sum(0, dtype=torch.float64)
                energy += (weight * residual.abs().square()).sum(0, dtype=torch.float64)
            step = over / (under + 1e-12 * under.max() + 1e-30)
            explained = (step.conj() * over).real
            noise = (energy - explained).clamp_min(0) / max(1, len(z) - 1)
            told = (1 - CHANCE * noise / explained.clamp_min(1e-300)).clamp_min(0)
            found = replace(found, gain=found.gain + (told * step).to(torch.complex64))
        return found

    def _white(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """Residuals through the filters, of L2 1, (N, C * H * W)."""
        left, _, energy = self._left(z, x, places)
        left[left.square().sum(1) <= COMPUTED**2 * energy] = 0
        u = unit_images(self._told(left.view(z.shape)))
        shown = self._told(x)
        for each in self.filters:
            u = each(u, shown)
        return unit_rows(u.flatten(1))


def fitted_to(count: int, values: int, generator: torch.Generator) -> Tensor:
    """Indices of the pairs that the shared quantities are fitted to: all, or as many as fit."""
    most = min(FITTED, max(100, VALUES // max(values, 1)))
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:most].sort().values


def _identity(x: Tensor, places: Tensor) -> Tensor:
    return x


def _normal(operator: LinearOperator) -> Map:
    """A_adjoint A, of 32 bits to 32 bits, however the operator itself computes."""

    def apply(x: Tensor, places: Tensor) -> Tensor:
        parts = []
        for part in chunks(len(x), x[0].numel()):
            mine = operator.rows(places[part])
            parts.append(mine.A_adjoint(mine.A(x[part].double())).float())
        return torch.cat(parts)

    return apply


def _offsets(normal: Map, shape: torch.Size, measured: bool) -> Tensor:
    """Orthonormal columns (q, D): a constant of each channel, and what H makes of it."""
    channels = len(shape) and shape[0]
    ones = torch.zeros(channels, *shape)
    for k in range(channels):
        ones[k, k] = 1
    columns = torch.cat((ones, normal(ones, torch.arange(channels)))) if measured else ones
    q, r = torch.linalg.qr(columns.flatten(1).double().T)
    kept = r.diagonal().abs() > DEPENDENT * r.abs().max()
    found: Tensor = q[:, kept].T.float().contiguous()
    return found


def _fit(z: Tensor, h: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals and slopes of each of z (n, D) on its own h and on the `fixed` columns."""
    z = z - (z @ fixed.T) @ fixed
    h = h - (h @ fixed.T) @ fixed
    slope = (z * h).sum(1) / h.square().sum(1).clamp_min(1e-30)
    return z - slope[:, None] * h, slope, z.square().sum(1)


def _unit(images: Tensor) -> float:
    """Standard deviation of all values of images; 1 if they are all the same."""
    found = float(images.double().std(correction=0))
    return found if found > 0 and math.isfinite(found) else 1.0


def _uneven(values: Tensor) -> float:
    """Spread of nearly all values in their median; a few, as that of the mean, do not count."""
    low, middle, high = np.quantile(values.numpy(), (0.1, 0.5, 0.9))
    return float((high - low) / middle) if middle > 0 else math.inf
