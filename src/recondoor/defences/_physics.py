"""A measurement operator taken apart: what can be in z, and what must agree between z and x."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.special import chdtri
from torch import Tensor

from recondoor.errors import ConfigError
from recondoor.operators import LinearOperator

MOST_PIXELS = 4_096
"""Values of an image above which the eigenvectors of A_adjoint A no longer fit."""

NULL = 1e-4
"""Singular values below this share of the largest count as zero: z is stored in 32 bits."""

TOLERANCE = 1e-10
"""Share of the energy of z that rounding may put outside its range, with room to spare."""

ROUNDING = 2.0**-21
"""Rounding error of z's pixels, as a share of their root mean square; some units in 32 bits."""


@dataclass(frozen=True)
class Physics:
    """Singular values and right singular vectors of A, and the noise.

    Args:
        singular: positive singular values of A as a real map, (rank,), float64.
        basis: orthonormal basis of range(A_adjoint), (pixels, rank), float64.
        sigma: standard deviation of the measurement noise.
    """

    singular: Tensor
    basis: Tensor
    sigma: float

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
        return cls(singular[kept], vectors[:, kept].contiguous(), operator.sigma)

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

    def invert(self, z: Tensor) -> Tensor:
        """A^+ y of z = A_adjoint y (N, C, H, W): the image of least norm that explains it."""
        inside = z.flatten(1).double() @ self.basis / self.singular.square()
        return (inside @ self.basis.T).view(z.shape)

    def outside(self, z: Tensor) -> Tensor:
        """Share of the energy of each z (N, C, H, W) outside range(A_adjoint), (N,)."""
        rest = (z.double() - self.project(z)).flatten(1).square().sum(1)
        share = rest / z.double().flatten(1).square().sum(1).clamp_min(1e-300)
        # What rounding to 32 bits puts outside says nothing, and would rank inputs all the same.
        return torch.where(share > TOLERANCE, share, 0.0)

    def residual(self, z: Tensor, x: Tensor) -> Tensor:
        """Whitened y - A x of pairs, (N, rank): independent N(0, 1) if the pairs are what they say.

        With A = U S V^T, z = A_adjoint y gives U^T y = S^-1 V^T z, so that y itself is not needed:
        S^-1 V^T z - S V^T x = U^T v ~ N(0, sigma^2). Each component is divided by its standard
        deviation, that of the noise and of the rounding of z together.
        """
        measured = z.flatten(1).double() @ self.basis / self.singular
        expected = x.flatten(1).double() @ self.basis * self.singular
        rounding = ROUNDING * z.flatten(1).double().square().mean(1, keepdim=True).sqrt()
        variance = self.sigma**2 + (rounding / self.singular).square()
        white: Tensor = (measured - expected) / variance.clamp_min(1e-300).sqrt()
        return white

    def noise(self, z: Tensor, x: Tensor) -> float:
        """Standard deviation of the noise, from pairs of which fewer than half are poisoned.

        The median over pairs of ||y - A x||^2 / rank, over the median of a chi-square law with
        `rank` degrees of freedom. With a share p poisoned it is that law's 0.5 / (1 - p) quantile
        at the most: too large by a share of 0.4 / sqrt(rank) for p = 0.3.
        """
        energy = replace(self, sigma=1.0).residual(z, x).square().sum(1)
        return float((energy.median() / chdtri(self.rank, 0.5)).sqrt())

    def back(self, z: Tensor) -> Tensor:
        """A^+ y of each z = A_adjoint y (N, C, H, W): the image of least norm that explains y."""
        inside = z.flatten(1).double() @ self.basis / self.singular.square()
        return (inside @ self.basis.T).view(z.shape)
