"""Dense Gaussian matrix: m = ratio * H * W random projections of each channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recondoor import config
from recondoor.core.errors import ConfigError
from recondoor.operators._base import LinearOperator, Operator, share

MAX_ENTRIES = 1 << 29
"""Largest matrix built: 2 GiB in float32."""


@dataclass(frozen=True, eq=False)
class Gaussian(LinearOperator):
    """y = M x for each channel, with one matrix M of shape (m, H * W); y is (B, C, m).

    A_adjoint(A(x)) is two products with M. The Gram matrix M^T M is never formed: the noise has to
    pass through M^T anyway, so for m <= H * W it saves nothing.
    """

    matrix: Tensor

    def A(self, x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x.flatten(2), self.matrix)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix).reshape(-1, *self.shape)


class GaussianMatrix(Operator):
    """A dense matrix of normal entries."""

    Settings = config.Sampled
    settings: config.Sampled
    draws = True
    has_ratio = True

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """Matrix with independent N(0, 1/m) entries, so that A_adjoint(A(x)) is x on average.

        The channels share the matrix. `ratio` is m / (H * W), in (0, 1]. Raises ConfigError if it
        is out of range or keeps no row, or if the matrix would pass 2 GiB.
        """
        n = shape[1] * shape[2]
        m = share(self.settings.ratio, n, "rows", "operator.gaussian.ratio")
        if m * n > MAX_ENTRIES:
            raise ConfigError(
                f"operator.name: 'gaussian' needs a dense {m} x {n} matrix "
                f"({m * n / 2**28:.1f} GiB, 2 GiB allowed) for these images; lower "
                "operator.gaussian.ratio or use 'fourier'"
            )
        matrix = torch.randn(m, n, generator=generator, dtype=torch.float64).div_(m**0.5)
        return Gaussian(shape, settings.sigma, matrix.to(dtype))
