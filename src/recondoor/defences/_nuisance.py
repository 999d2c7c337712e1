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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from recondoor.defences._borders import told_by_borders
from recondoor.defences._links import link_of
from recondoor.operators import LinearOperator

Map = Callable[[Tensor, Tensor], Tensor]
"""From images (B, C, H, W) and their places among all pairs, int64 (B,), to images."""

Held = Callable[[Tensor], Tensor | None]
"""From places (B,) to the frequencies that those pairs have, (B, C, H, W // 2 + 1) or None."""

FITTED, VALUES = 1_000, 40_000_000
"""Pairs at most that the shared quantities are fitted to, and values of their images."""

CHUNK = 1 << 22
"""Values of images that are worked on at a time."""

ROUNDS = 2
"""Times that the gain is fitted, and that the residuals are whitened; more changes little."""

QUIET_FREQUENCY, QUIET_PIXEL = 1e-3, 0.05
"""Least power of a frequency and of a pixel, in that of all of them in the mean."""

LOUD = 0.03
"""Power of a frequency, in that of all in the mean, up to which it may be left out as rounding."""

SMOOTH = 1.0
"""Standard deviation, in pixels, of the smoothing of the pixels' power."""

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
        filters: per round, what each frequency and each pixel is multiplied with.
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
    filters: tuple[tuple[Tensor, Tensor], ...] = ()
    mean: Tensor | float = 0.0
    explained: float = 0.0
    held: Held = _all
    step: int = 1

    @classmethod
    def of(cls, z: Tensor, x: Tensor, operator: LinearOperator | None, chosen: Tensor) -> Nuisance:
        """Fitted to those `chosen`, indices (n,), of z and x (N, C, H, W); the mean to all."""
        mine_z, mine_x = z[chosen], x[chosen]
        shape = x.shape[1:]
        normal = _identity if operator is None else _normal(operator)
        columns = _offsets(normal, shape, operator is not None and not operator.varies)
        none = torch.zeros((*shape[:-1], shape[-1] // 2 + 1), dtype=torch.complex64)
        found = cls(normal, _unit(mine_z), _unit(mine_x), columns, none)
        return found._with_gain(mine_z, mine_x, chosen)._whitening(mine_z, mine_x, chosen)

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
            _usual(_spectrum(each / units[:, None, None, None]).abs().square(), held)
            for each in (left, z[chosen] / self.of_z)
        )
        loud = (power > LOUD * power.mean()) | (whole < power.mean())
        if bool(loud.all()):
            return None
        found = replace(self, held=_Both(self.held, loud))
        return found._with_filters(left, found.held(chosen))

    def _whitening(self, z: Tensor, x: Tensor, places: Tensor) -> Nuisance:
        """With the filters for what is left of these, and how much the fit explains of them."""
        left, energy = self._left_of_all(z, x, places)
        share = 1 - left.square().sum(1) / energy.clamp_min(1e-30)
        found = replace(self, explained=float(share[energy > 0].median()) if len(share) else 0.0)
        return found._with_filters(self._told(left.view(x.shape)), self.held(places))

    def _told(self, left: Tensor) -> Tensor:
        """The pixels of residuals (N, C, H, W) that tell all."""
        return left if self.step == 1 else left[..., :: self.step, :: self.step].contiguous()

    def rows(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """Whitened residuals of pairs (N, C, H, W), of L2 1 or 0, (N, C * H * W).

        `places` (N,) are theirs among all pairs.
        """
        found = torch.empty(len(z), self._told(z[:1]).numel())
        for part in chunks(len(z), z[0].numel()):
            found[part] = _less(self._white(z[part], x[part], places[part]), self.mean)
        return found

    def centred(self, rows: Tensor) -> tuple[Nuisance, Tensor]:
        """With the mean of `rows` that were made without one, and those less it; in place."""
        mean = rows.mean(0, dtype=torch.float64).float()
        return replace(self, mean=mean), _less(rows, mean)

    def residual(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """What the fit leaves of z (N, C, H, W), in units of z and of scale 1."""
        left, slope = self._usable(z, x, places)
        return left / slope

    def without_borders(self, z: Tensor, x: Tensor) -> Tensor:
        """Inputs (N, C, H, W) less what the borders of their images explain of what is left."""
        left, slopes = torch.empty_like(z), torch.empty(len(z), 1, 1, 1)
        places = torch.arange(len(z))
        for part in chunks(len(z), z[0].numel()):
            left[part], slopes[part] = self._usable(z[part], x[part], places[part])
        return z - told_by_borders(left, slopes * x)

    def _usable(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """What the fit leaves of z (N, C, H, W), in its units, and scales to divide by."""
        left, slope, _ = self._left(z, x, places)
        usable = torch.where(slope.abs() > 1e-12, slope, torch.ones_like(slope))
        return (left * self.of_z).view(z.shape), usable.view(-1, 1, 1, 1)

    def residual_power(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of `residual`, (C, H, W), and the usual power of what differs from it, as g."""
        left = self.residual(z, x, places)
        mean = left.mean(0)
        return mean, _usual(_spectrum(left - mean).abs().square(), self.held(places))

    def unexplained(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        """Energy of each z (N, C, H, W) that x does not explain, in units of z squared, (N,)."""
        return self._left(z, x, places)[0].square().sum(1)

    def is_noise_on(self, z: Tensor, x: Tensor, places: Tensor) -> bool:
        """Whether z (N, C, H, W) is x and white noise, in the units in which they are."""
        left = self._left_of_all(z, x, places)[0].square().sum(1) * self.of_z**2
        plain = (z - x).flatten(1)
        plain = plain - plain.mean(1, keepdim=True)
        white = all(_uneven(each) < UNEVEN for each in self.filters[0])
        return white and float((plain.square().sum(1) / left.clamp_min(1e-30)).median()) < AS_IT_IS

    def _left(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals (N, D), scales (N,), and the energy of z but for its offsets (N,)."""
        scaled = x / self.of_x
        h = self.normal(scaled, places) + _back(self.gain * _spectrum(scaled), x)
        return _fit((z / self.of_z).flatten(1), h.flatten(1), self.fixed)

    def _left_of_all(self, z: Tensor, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals and energies of `_left`, a part of the pairs at a time."""
        left, energy = torch.empty(len(z), z[0].numel()), torch.empty(len(z))
        for part in chunks(len(z), z[0].numel()):
            left[part], _, energy[part] = self._left(z[part], x[part], places[part])
        return left, energy

    def _with_gain(self, z: Tensor, x: Tensor, places: Tensor) -> Nuisance:
        """With the gain that the pairs' residuals ask for, each weighted by its precision."""
        found, values = self, x[0].numel()
        for _ in range(ROUNDS):
            over = torch.zeros(self.gain.shape, dtype=torch.complex128)
            under = torch.zeros(self.gain.shape, dtype=torch.float64)
            for part in chunks(len(z), values):
                spectrum = _spectrum(x[part] / self.of_x)
                left, slope, _ = found._left(z[part], x[part], places[part])
                precision = slope.square() / left.square().sum(1).clamp_min(1e-30)
                weight = precision[:, None, None, None]
                usable = torch.where(slope == 0, torch.ones_like(slope), slope)
                residual = _spectrum(left.view(z[part].shape)) / usable[:, None, None, None]
                over += (weight * spectrum.conj() * residual).sum(0, dtype=torch.complex128)
                under += (weight * spectrum.abs().square()).sum(0, dtype=torch.float64)
            step = over / (under + 1e-12 * under.max() + 1e-30)
            found = replace(found, gain=found.gain + step.to(torch.complex64))
        return found

    def _with_filters(self, left: Tensor, held: Tensor | None) -> Nuisance:
        """With the filters that make residuals (n, C, H, W) white, at frequencies that are held."""
        u, filters = _unit_images(left), []
        for _ in range(ROUNDS):
            power = _usual(_spectrum(u).abs().square(), held)
            frequencies = _inverse_root(power, QUIET_FREQUENCY)
            if held is not None:
                frequencies = torch.where(held.any(0), frequencies, 0.0)
            u = _back(_spectrum(u) * frequencies, u)
            power = gaussian_filter(_median(u.square()).numpy(), (0, SMOOTH, SMOOTH))
            pixels = _inverse_root(torch.from_numpy(power), QUIET_PIXEL)
            u = _unit_images(u * pixels)
            filters.append((frequencies, pixels))
        return replace(self, filters=tuple(filters))

    def _white(self, z: Tensor, x: Tensor, places: Tensor) -> Tensor:
        left, _, energy = self._left(z, x, places)
        left[left.square().sum(1) <= COMPUTED**2 * energy] = 0
        return self.whitened(self._told(left.view(z.shape)))

    def whitened(self, left: Tensor) -> Tensor:
        """Residuals (N, C, H, W) through the filters, of L2 1, (N, C * H * W)."""
        u = _unit_images(left)
        for frequencies, pixels in self.filters:
            u = _back(_spectrum(u) * frequencies, u) * pixels
        return _unit_rows(u.flatten(1))


def chunks(count: int, values: int) -> Iterator[slice]:
    """Parts of `count` images of so many `values`, `CHUNK` values each."""
    step = max(1, CHUNK // max(values, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


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


def _spectrum(images: Tensor) -> Tensor:
    found: Tensor = torch.fft.rfft2(images, norm="ortho")
    return found


def _back(spectrum: Tensor, like: Tensor) -> Tensor:
    found: Tensor = torch.fft.irfft2(spectrum, s=like.shape[-2:], norm="ortho")
    return found


def _median(values: Tensor) -> Tensor:
    """Median over the first axis of `values` (n, ...)."""
    flat = values.reshape(len(values), -1).numpy()
    step, found = max(1, CHUNK // len(flat)), []
    for start in range(0, flat.shape[1], step):
        part = np.ascontiguousarray(flat[:, start : start + step].T)
        found.append(np.median(part, axis=1, overwrite_input=True))
    middle: Tensor = torch.from_numpy(np.concatenate(found)).view(values.shape[1:])
    return middle


def _usual(power: Tensor, held: Tensor | None) -> Tensor:
    """Median over the pairs that have a frequency."""
    if held is None:
        return _median(power)
    missing = torch.where(held.expand_as(power), power, torch.nan)
    return missing.nanmedian(0).values.nan_to_num(0.0)


def _inverse_root(power: Tensor, floor: float) -> Tensor:
    """1 / sqrt(power), with a floor; 1 where there is no power at all."""
    mean = float(power.mean())
    return torch.ones_like(power) if mean <= 0 else (power + floor * mean).rsqrt()


def _unit_images(images: Tensor) -> Tensor:
    return _unit_rows(images.flatten(1).clone()).view(images.shape)


def _uneven(values: Tensor) -> float:
    """Spread of nearly all values in their median; a few, as that of the mean, do not count."""
    low, middle, high = np.quantile(values.numpy(), (0.1, 0.5, 0.9))
    return float((high - low) / middle) if middle > 0 else math.inf


def _less(rows: Tensor, mean: Tensor | float) -> Tensor:
    """Rows less their mean, of L2 1, in place; those of nothing stay nothing.

    Else all of these would have the mean in common, as if it were a pattern.
    """
    shown = rows.any(1, keepdim=True)
    return _unit_rows(rows.sub_(mean).mul_(shown))


def _unit_rows(rows: Tensor) -> Tensor:
    """Rows of L2 1, in place; those of nothing stay nothing."""
    return rows.div_(rows.square().sum(1).sqrt().clamp_min(1e-30)[:, None])
