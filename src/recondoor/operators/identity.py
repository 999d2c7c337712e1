"""Identity (denoising): z is the image plus noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor.operators._base import LinearOperator, Operator
from recondoor.operators._basis import Basis, Separable

if TYPE_CHECKING:
    from recondoor import config


@dataclass(frozen=True, eq=False)
class Identity(LinearOperator):
    """y = x, (B, C, H, W); a copy, so that editing y never edits the images."""

    def A(self, x: Tensor) -> Tensor:
        return x.clone()

    def directions(self) -> tuple[Tensor, Basis]:
        pixels = Separable(self.shape, None, None)
        return torch.ones(pixels.rank, dtype=torch.float64), pixels

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y.clone()


class NoMeasurement(Operator):
    """The image itself."""

    draws = False
    has_ratio = False

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """Identity on images of `shape`; only `settings.sigma` matters, and nothing is drawn."""
        return Identity(shape, settings.sigma)
