"""A matrix as an operator."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recondoor.operators._base import LinearOperator


@dataclass(frozen=True, eq=False)
class Matrix(LinearOperator):
    """y = M x with x flattened from (C, H, W); y is (B, 1, m), complex if M is.

    Args:
        matrix: M, (m, C * H * W).
    """

    matrix: Tensor

    def A(self, x: Tensor) -> Tensor:
        y: Tensor = (x.flatten(1).to(self.matrix.dtype) @ self.matrix.T)[:, None]
        return y

    def A_adjoint(self, y: Tensor) -> Tensor:
        z: Tensor = (y.flatten(1) @ self.matrix.conj()).reshape(-1, *self.shape)
        # Images are real, so the adjoint of x -> M x as a map from real space drops the rest.
        return z.real if z.is_complex() else z
