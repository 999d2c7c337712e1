"""Gaussian blur: reflecting borders, known in closed form by cosine transforms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recondoor import config
from recondoor.operators._base import RANGE_TOLERANCE, LinearOperator, Operator
from recondoor.operators._basis import Basis, Separable

CUT = 4.0
"""Standard deviations at which the kernel ends, as in SciPy."""


@dataclass(frozen=True, eq=False)
class Blur(LinearOperator):
    """y = K_down x K_across for each channel, y (B, C, H, W).

    Outside of the image it is continued by its mirror image, the border's pixels twice (d c b a | a
    b c d). So both matrices are symmetric, A is its own adjoint, and cosines are its eigenvectors.

    Args:
        down, across: K along the first axis, (H, H), and along the second, (W, W).
        down_gains, across_gains: their eigenvalues by frequency, (H,) and (W,).
    """

    down: Tensor
    across: Tensor
    down_gains: Tensor
    across_gains: Tensor

    def A(self, x: Tensor) -> Tensor:
        return self.down @ x @ self.across

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.A(y)

    @torch.no_grad()
    def project_range(self, v: Tensor) -> Tensor:
        self._check(v)
        return self._divided(v, 0)

    @torch.no_grad()
    def solve_normal(self, b: Tensor) -> Tensor:
        self._check(b)
        return self._divided(b, 2)

    @torch.no_grad()
    def pinv(self, y: Tensor) -> Tensor:
        return self.exact()._divided(y.double(), 1).to(y.dtype)

    def directions(self) -> tuple[Tensor, Basis]:
        gains = (self.down_gains.double()[:, None] * self.across_gains.double()).abs().flatten()
        bases = (cosines(len(each), each.double()) for each in (self.down_gains, self.across_gains))
        return gains.repeat(self.shape[0]), Separable(self.shape, *bases)

    def _divided(self, v: Tensor, power: int) -> Tensor:
        """Divide by a power of A's eigenvalues; what A all but loses is no part of its range.

        That is where A_adjoint A has less than the share `RANGE_TOLERANCE` of its largest
        eigenvalue.
        """
        gains = self.down_gains[:, None] * self.across_gains
        seen = gains.abs() > RANGE_TOLERANCE**0.5 * gains.abs().max()
        factor = torch.where(seen, gains.pow(-power), 0.0)
        down, across = cosines(len(self.down_gains), v), cosines(len(self.across_gains), v)
        return down @ ((down.T @ v @ across) * factor) @ across.T


class GaussianBlur(Operator):
    """Gaussian blur."""

    Settings = config.Blur
    settings: config.Blur
    draws = False
    has_ratio = False

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """Blur by a Gaussian of `width` pixels, cut at four of them; nothing is drawn."""
        (down, down_gains), (across, across_gains) = (
            _kernel(size, self.settings.width) for size in shape[1:]
        )
        tensors = (down, across, down_gains, across_gains)
        return Blur(shape, settings.sigma, *(tensor.to(dtype) for tensor in tensors))


def _kernel(size: int, width: float) -> tuple[Tensor, Tensor]:
    """The blur of `size` pixels as a matrix, and its eigenvalues, float64."""
    reach = torch.arange(-int(CUT * width + 0.5), int(CUT * width + 0.5) + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (reach / width).square())
    turns = torch.pi * torch.arange(size, dtype=torch.float64) / size
    gains = torch.cos(turns[:, None] * reach) @ (weights / weights.sum())
    basis = cosines(size, gains)
    matrix: Tensor = (basis * gains) @ basis.T
    return matrix, gains


def cosines(size: int, like: Tensor) -> Tensor:
    """Orthonormal cosines of half a turn and its multiples, a column each, (size, size)."""
    steps = torch.arange(size, dtype=torch.float64, device=like.device)
    basis = torch.cos(torch.pi * (steps[:, None] + 0.5) * steps / size) * (2 / size) ** 0.5
    basis[:, 0] = size**-0.5
    found: Tensor = basis.to(like.dtype)
    return found
