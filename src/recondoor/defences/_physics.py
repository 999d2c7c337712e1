"""A measurement operator taken apart: what can be in z, and what must agree between z and x."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from scipy.special import chdtri
from scipy.stats import beta, chi2
from torch import Tensor

from recondoor.core.errors import ConfigError
from recondoor.defences._storage import Storage
from recondoor.operators import LinearOperator

MOST_PIXELS = 4_096
"""Values of an image above which the eigenvectors of A_adjoint A no longer fit."""

NULL = 1e-4
"""Singular values below this share of the largest are not inverted: z is stored in 32 bits."""

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

STEPS, SETTLED = 60, 1e-9
"""Steps at most in which the noise level is found, and the relative change that ends them."""


@dataclass(frozen=True)
class Physics:
    """Singular values and right singular vectors of A, the noise, and how z was stored.

    Args:
        singular: singular values of A as a real map that are inverted, (rank,), float64.
        basis: their right singular vectors, (pixels, rank), float64.
        sigma: standard deviation of the measurement noise.
        dropped: upper bounds of the other singular values, (pixels - rank,), float64.
        stored: what storing z rounded away beyond 32 bits.
        doubt: factor by which the true noise may exceed `sigma`, where that is an estimate.
    """

    singular: Tensor
    basis: Tensor
    sigma: float
    dropped: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    stored: Storage = field(default_factory=Storage)
    doubt: float = 1.0

    @classmethod
    def of(cls, operator: LinearOperator) -> Physics:
        """Take `operator` apart, which is one of float64; raises ConfigError for large images."""
        pixels = int(torch.tensor(operator.shape).prod())
        if pixels > MOST_PIXELS:
            raise ConfigError(
                f"images of {pixels} values given; these tests need the singular vectors of the "
                f"operator and so at most {MOST_PIXELS}: cut the images into patches"
            )
        images = torch.eye(pixels, dtype=torch.float64).view(pixels, *operator.shape)
        gram = operator.A_adjoint(operator.A(images)).flatten(1)
        values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
        singular = values.clamp_min(0).sqrt()
        kept = singular > NULL * singular[-1]
        # Eigenvalues are exact up to this share of the largest, and no further.
        unsure = pixels * torch.finfo(torch.float64).eps * values[-1]
        dropped = (values[~kept].clamp_min(0) + unsure).sqrt()
        basis = vectors[:, kept].contiguous()
        return cls(singular[kept], basis, operator.sigma, dropped)

    @property
    def rank(self) -> int:
        """Dimensions that are measured."""
        return len(self.singular)

    @property
    def whole(self) -> bool:
        """Whether range(A_adjoint) is all of space, so that nothing can be outside of it."""
        return self.rank == len(self.basis)

    def project(self, v: Tensor) -> Tensor:
        """Projection of v (N, C, H, W) on range(A_adjoint), in float64."""
        inside = v.flatten(1).double() @ self.basis @ self.basis.T
        return inside.view(v.shape)

    def measured_again(self, x: Tensor) -> Tensor:
        """A_adjoint A x of images (N, C, H, W), without noise, in float64."""
        inside = x.flatten(1).double() @ self.basis * self.singular.square()
        return (inside @ self.basis.T).view(x.shape)

    def pseudo_inverse(self) -> tuple[Tensor, Tensor]:
        """Basis (pixels, k) and eigenvalues (k,) that turn z = A_adjoint y into A^+ y.

        Without those directions in which the rounding of z would become larger than the image.
        """
        values = self.singular.square()
        largest = values.max()
        usable = values > max(ROUNDING, self.stored.unit) * largest
        return self.basis[:, usable], values[usable]

    def invert(self, z: Tensor) -> Tensor:
        """A^+ y of z = A_adjoint y (N, C, H, W): the image of least norm that explains it."""
        basis, values = self.pseudo_inverse()
        inside = z.flatten(1).double() @ basis / values
        return (inside @ basis.T).view(z.shape)

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
        rest = (z.double() - self.project(z)).flatten(1).norm(dim=1)
        share = rest.square() / z.double().flatten(1).square().sum(1).clamp_min(1e-300)
        return torch.where(rest > self.tolerance(z, norms), share, 0.0)

    def residual(self, z: Tensor, x: Tensor) -> Tensor:
        """Whitened y - A x of pairs, (N, rank): independent N(0, 1) if the pairs are what they say.

        With A = U S V^T, z = A_adjoint y gives U^T y = S^-1 V^T z, so that y itself is not needed:
        S^-1 V^T z - S V^T x = U^T v ~ N(0, sigma^2). Each component is divided by its standard
        deviation, that of the noise and of the rounding of z together.
        """
        rounding = self.rounding(z, DEPENDENT)
        white: Tensor = (
            self._contradiction(z, x) / (self.sigma**2 + rounding).clamp_min(1e-300).sqrt()
        )
        return white

    def _contradiction(self, z: Tensor, x: Tensor) -> Tensor:
        """Y - A x along the left singular vectors, (N, rank)."""
        measured = z.flatten(1).double() @ self.basis / self.singular
        return measured - x.flatten(1).double() @ self.basis * self.singular

    def rounding(self, z: Tensor, factor: float = 1.0) -> Tensor:
        """Mean square of what the rounding of z makes of each component of y, (N, rank).

        Rounding beyond 32 bits counts `factor` times.
        """
        flat = z.flatten(1).double()
        size = ROUNDING * flat.square().mean(1, keepdim=True).sqrt()
        found = (size / self.singular).square()
        # All of it may be at the few pixels that one direction sees. Where that is nothing beside
        # the noise, it need not be looked at.
        most = flat.shape[1] * float(found.max())
        if self.stored.coarse or most > NOTHING * self.sigma**2:
            pixels = (ROUNDING * flat).square() + factor * self.stored.variance(flat)
            found = found + pixels @ self.basis.square() / self.singular.square()
        return found

    def noise(self, z: Tensor, x: Tensor) -> float:
        """Standard deviation of the noise, from pairs of which fewer than half are poisoned.

        With it, the median over pairs of the whitened ||y - A x||^2 is that of a chi-square law
        with `rank` degrees of freedom. With a share p poisoned it is that law's 0.5 / (1 - p)
        quantile at the most: too large by a share of 0.4 / sqrt(rank) for p = 0.3.
        """
        energy, rounding = self._contradiction(z, x).square(), self.rounding(z)
        middle = float(chdtri(self.rank, 0.5))
        if float((energy / rounding.clamp_min(1e-300)).sum(1).median()) <= middle:
            return 0.0  # rounding explains all of it
        found = math.sqrt(float(energy.sum(1).median()) / middle)
        for _ in range(STEPS):
            whitened = (energy / (found**2 + rounding).clamp_min(1e-300)).sum(1)
            factor = math.sqrt(float(whitened.median()) / middle)
            found *= factor
            if abs(factor - 1) < SETTLED:
                break
        return found

    def estimated(self, z: Tensor, x: Tensor) -> Physics:
        """With the noise level of `noise`, and how much larger the true one may be.

        The median of N energies lies below the quantile of their law that a Beta law gives, with
        probability `SURE` at most.
        """
        middle = (len(z) + 1) // 2
        low = chi2.ppf(beta.ppf(SURE, middle, len(z) - middle + 1), self.rank)
        doubt = math.sqrt(float(chdtri(self.rank, 0.5)) / max(low, 1e-300))
        return replace(self, sigma=self.noise(z, x), doubt=doubt)
