"""A measurement operator taken apart: what can be in z, and what must agree between z and x."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from scipy.special import chdtri
from scipy.stats import beta, chi2
from torch import Tensor

from recondoor.defences._decomposition import Map, decomposed
from recondoor.defences._storage import Storage
from recondoor.operators import Basis, LinearOperator

COMPUTED = 1e-5
"""Share of the norm of z that computing it in 32 bits may put outside its range: 168 units."""

SURE = 1e-12
"""Probability at most with which a clean z is called outside its range, for Gaussian noise."""

ROUNDING = 2.0**-21
"""Rounding error of z's pixels, as a share of their root mean square; some units in 32 bits."""

NOTHING = 1e-5
"""Share of the noise's energy below which rounding does not matter."""

DEPENDENT = 2.0
"""Factor of coarse rounding in residuals: its components depend on each other, unlike noise."""

CHUNK = 1 << 22
"""Values of images that are looked at at a time."""

SAMPLED = 40_000_000
"""Values of images from which the noise level is estimated, at most."""

STEPS, SETTLED = 60, 1e-9
"""Steps at most in which the noise level is found, and the relative change that ends them."""


@dataclass(frozen=True)
class Physics:
    """Singular values and right singular vectors of A, the noise, and how z was stored.

    Args:
        singular: singular values of A as a real map that are inverted, (rank,), float64.
        basis: their right singular vectors.
        sigma: standard deviation of the measurement noise.
        dropped: upper bounds of the other singular values, (pixels - rank,), float64.
        stored: what storing z rounded away beyond 32 bits.
        doubt: factor by which the true noise may exceed `sigma`, where that is an estimate.
        clean: network inputs of images (N, C, H, W) without noise, where the basis does not tell;
            then `singular` and `basis` are those of the noise in z.
        partial: whether the basis is only a part of what z can be.
        inside: all that z can be, where that is known.
    """

    singular: Tensor
    basis: Basis
    sigma: float
    dropped: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    stored: Storage = field(default_factory=Storage)
    doubt: float = 1.0
    clean: Map | None = None
    partial: bool = False
    inside: Basis | None = None

    @classmethod
    def of(cls, operator: LinearOperator, way: str = "adjoint", partial: bool = False) -> Physics:
        """Take `operator` apart, which is one of float64.

        Args:
            operator: what measured.
            way: its input map that made z of y.
            partial: whether a part will do, where all of it is too much.

        Raises:
            ConfigError: an input map without a linear law, or images too large for all of it.
        """
        return cls(sigma=operator.sigma, **decomposed(operator, way, partial))

    @property
    def rank(self) -> int:
        """Dimensions that are measured."""
        return len(self.singular)

    @property
    def whole(self) -> bool:
        """Whether range(A_adjoint) is all of space, so that nothing can be outside of it."""
        return self._range is not None and self._range.rank == self.basis.pixels

    @property
    def knows_range(self) -> bool:
        """Whether it is known what z cannot be."""
        return self._range is not None

    @property
    def _range(self) -> Basis | None:
        return self.inside if self.partial else self.basis

    @property
    def varies(self) -> bool:
        """Whether each pair was measured in its own way."""
        return False

    def rows(self, index: Tensor | slice) -> Self:
        """Of the physics of n pairs that of those at `index`; where nothing varies the same."""
        return self

    def project(self, v: Tensor) -> Tensor:
        """Projection of v (N, C, H, W) on range(A_adjoint), of 64 bits; v where it is not known."""
        basis = self._range
        if basis is None:
            return v.double()
        found = torch.empty(v.shape, dtype=torch.float64)
        for part in parts_of(v):
            inside = self.rows(part).seen(basis.along(v[part].flatten(1).double()))
            found[part] = basis.back(inside).view(v[part].shape)
        return found

    def measured_again(self, x: Tensor) -> Tensor:
        """A_adjoint A x of images (N, C, H, W), without noise, in float64."""
        if self.clean is not None:
            return self.clean(x.double())
        inside = self.basis.along(x.flatten(1).double()) * self.singular.square()
        return self.basis.back(inside).view(x.shape)

    def pseudo_inverse(self) -> Tensor:
        """Of each direction what turns z = A_adjoint y into A^+ y, (rank,).

        0 in those in which the rounding of z would become larger than the image.
        """
        values = self.singular.square()
        usable = values > max(ROUNDING, self.stored.unit) * values.max()
        return torch.where(usable, 1 / values, 0.0)

    def invert(self, z: Tensor) -> Tensor:
        """A^+ y of z = A_adjoint y (N, C, H, W): the image of least norm that explains it."""
        inside = self.basis.along(z.flatten(1).double()) * self.pseudo_inverse()
        return self.basis.back(inside).view(z.shape)

    def tolerance(self, z: Tensor, norms: Tensor) -> Tensor:
        """L2 that clean z (N, C, H, W) may have outside the basis, (N,); `norms` (N,): of images.

        docs/limits.md derives it: rounding, the part of the image that is measured too weakly to
        be inverted, and its noise, which exceeds its bound with probability `SURE` (Laurent and
        Massart, Annals of Statistics 28, 2000, lemma 1).
        """
        flat = z.flatten(1).double()
        allowed: Tensor = COMPUTED * flat.norm(dim=1) + self.stored.worst(flat)
        if len(self.dropped) == 0:
            return allowed
        energy = self.dropped.square()
        most, rare = energy.max(), -math.log(SURE)
        spread = energy.sum() + 2 * (rare * energy.square().sum()).sqrt() + 2 * rare * most
        noise = self.doubt * self.sigma * spread.sqrt()
        total: Tensor = allowed + most * norms.double() + noise
        return total

    def outside(self, z: Tensor, norms: Tensor) -> Tensor:
        """Share of the energy of each z (N, C, H, W) that no measurement can have put there, (N,).

        Of images with `norms` (N,). What a clean z may have outside the basis says nothing, and
        would rank inputs all the same: it counts as 0.
        """
        parts = parts_of(z)
        return torch.cat([self.rows(part)._outside(z[part], norms[part]) for part in parts])

    def _outside(self, z: Tensor, norms: Tensor) -> Tensor:
        rest = (z.double() - self.project(z)).flatten(1).norm(dim=1)
        share = rest.square() / z.double().flatten(1).square().sum(1).clamp_min(1e-300)
        return torch.where(rest > self.tolerance(z, norms), share, 0.0)

    def residual(self, z: Tensor, x: Tensor) -> Tensor:
        """Whitened y - A x of pairs, (N, rank): independent N(0, 1) if the pairs are what they say.

        With A = U S V^T, z = A_adjoint y gives U^T y = S^-1 V^T z, so that y itself is not needed:
        S^-1 V^T z - S V^T x = U^T v ~ N(0, sigma^2). Each component is divided by its standard
        deviation, that of the noise and of the rounding of z together.
        """
        found = torch.empty(len(z), self.basis.rank, dtype=torch.float64)
        for part in parts_of(z):
            mine = self.rows(part)
            rounding = mine.rounding(z[part], DEPENDENT)
            scale = (self.sigma**2 + rounding).clamp_min(1e-300).sqrt()
            found[part] = mine.contradiction(z[part], x[part]) / scale
        return found

    def energies(self, z: Tensor, x: Tensor) -> Tensor:
        """Squared L2 of the whitened residuals, (N,), by a chi-square law of `rank` degrees."""
        parts = (self.rows(part).residual(z[part], x[part]) for part in parts_of(z))
        return torch.cat([part.square().sum(1) for part in parts])

    def contradiction(self, z: Tensor, x: Tensor) -> Tensor:
        """Y - A x along the left singular vectors, (N, rank)."""
        flat = z.flatten(1).double()
        if self.clean is not None:
            return self._over(self.basis.along(flat - self.clean(x.double()).flatten(1)))
        return self._over(self.basis.along(flat)) - self.measured(x)

    def measured(self, x: Tensor) -> Tensor:
        """A x of images (N, C, H, W) along the left singular vectors, (N, rank)."""
        if self.clean is not None:
            return self._over(self.basis.along(self.clean(x.double()).flatten(1)))
        return self.basis.along(x.flatten(1).double()) * self.singular

    def _over(self, parts: Tensor) -> Tensor:
        """Parts along the basis over the singular values, (N, rank)."""
        return parts / self.singular

    def seen(self, parts: Tensor) -> Tensor:
        """Those of the parts along the basis that are measured, and 0."""
        return parts

    def rounding(self, z: Tensor, factor: float = 1.0) -> Tensor:
        """Mean square of what the rounding of z makes of each component of y, (N, rank).

        Rounding beyond 32 bits counts `factor` times.
        """
        flat = z.flatten(1).double()
        size = ROUNDING * flat.square().mean(1, keepdim=True).sqrt()
        found = self._over(size.expand(-1, self.basis.rank)).square()
        # All of it may be at the few pixels that one direction sees. Where that is nothing beside
        # the noise, it need not be looked at.
        most = flat.shape[1] * float(found.max()) if len(found) else 0.0
        if self.stored.coarse or most > NOTHING * self.sigma**2:
            pixels = (ROUNDING * flat).square() + factor * self.stored.variance(flat)
            found = found + self._over(self._over(self.basis.squares(pixels)))
        return found

    @property
    def lines(self) -> Tensor | None:
        """Of each pair which lines it measured, 0 or 1, (N, W); None where all measured the same.

        Residuals (N, k * W) hold all W lines k times.
        """
        return None

    def in_common(self, white: Tensor) -> tuple[float, int]:
        """Energy of the mean of whitened residuals (N, rank), and its degrees of freedom.

        It follows the chi-square law of these, if the residuals are noise.
        """
        return len(white) * float(white.mean(0).square().sum()), self.rank

    def middle(self) -> Tensor | float:
        """Median of the energy of noise of level 1 in a residual; of each pair where it varies."""
        return float(chdtri(self.rank, 0.5))

    def noise(self, z: Tensor, x: Tensor) -> float:
        """Standard deviation of the noise, from pairs of which fewer than half are poisoned.

        With it, the median over pairs of the whitened ||y - A x||^2 is that of a chi-square law
        with `rank` degrees of freedom. With a share p poisoned it is that law's 0.5 / (1 - p)
        quantile at the most: too large by a share of 0.4 / sqrt(rank) for p = 0.3.
        """
        some = evenly(len(z), SAMPLED // max(1, z[0].numel()))
        return self.rows(some)._noise(z[some], x[some])

    def _noise(self, z: Tensor, x: Tensor) -> float:
        middle, found = self.middle(), 0.0
        mine = [self.rows(part) for part in parts_of(z)]
        energy = torch.cat(
            [
                each.contradiction(z[part], x[part]).square()
                for each, part in zip(mine, parts_of(z), strict=True)
            ]
        )
        rounding = torch.cat(
            [each.rounding(z[part]) for each, part in zip(mine, parts_of(z), strict=True)]
        )
        if float(((energy / rounding.clamp_min(1e-300)).sum(1) / middle).median()) <= 1:
            return 0.0  # rounding explains all of it
        found = math.sqrt(float((energy.sum(1) / middle).median()))
        for _ in range(STEPS):
            whitened = (energy / (found**2 + rounding).clamp_min(1e-300)).sum(1)
            factor = math.sqrt(float((whitened / middle).median()))
            found *= factor
            if abs(factor - 1) < SETTLED:
                break
        return found

    def estimated(self, z: Tensor, x: Tensor) -> Self:
        """With the noise level of `noise`, and how much larger the true one may be.

        The median of N energies lies below the quantile of their law that a Beta law gives, with
        probability `SURE` at most.
        """
        middle = (len(z) + 1) // 2
        low = chi2.ppf(beta.ppf(SURE, middle, len(z) - middle + 1), self.rank)
        doubt = math.sqrt(float(chdtri(self.rank, 0.5)) / max(low, 1e-300))
        return replace(self, sigma=self.noise(z, x), doubt=doubt)


def parts_of(images: Tensor) -> list[slice]:
    """Parts of images (N, C, H, W), `CHUNK` values each; one at least."""
    step = max(1, CHUNK // max(1, images[0].numel() if len(images) else 1))
    return [slice(start, start + step) for start in range(0, max(1, len(images)), step)]


def evenly(count: int, most: int) -> Tensor | slice:
    """All of `count` pairs, or at most so many, evenly taken; a hundred at least."""
    most = max(100, most)
    if count <= most:
        return slice(None)
    return torch.linspace(0, count - 1, most).round().long()
