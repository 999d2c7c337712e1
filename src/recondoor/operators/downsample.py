"""Coarser pixels: the mean of each box of the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from recondoor import config
from recondoor.core.errors import ConfigError
from recondoor.operators._base import LinearOperator, Operator
from recondoor.operators._basis import Basis, Separable, boxes


@dataclass(frozen=True, eq=False)
class Downsample(LinearOperator):
    """Means of boxes of `factor` x `factor` pixels; y is (B, C, ceil(H / f), ceil(W / f)).

    Where the sides are no multiples of the factor, the last boxes are smaller, and are the means of
    the pixels that they have. The adjoint spreads each mean evenly over its box.

    Args:
        factor: side of a box, f.
        counts: pixels of each box, (ceil(H / f), ceil(W / f)).
    """

    factor: int
    counts: Tensor

    def A(self, x: Tensor) -> Tensor:
        (down, across), f = self.counts.shape, self.factor
        _, height, width = self.shape
        whole = pad(x, (0, across * f - width, 0, down * f - height))
        boxes = whole.reshape(*x.shape[:2], down, f, across, f)
        return boxes.sum((3, 5)) / self.counts

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self._spread(y / self.counts)

    def _spread(self, y: Tensor) -> Tensor:
        """Each value over its box, (B, C, H, W)."""
        spread = y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)
        return spread[..., : self.shape[1], : self.shape[2]]

    @torch.no_grad()
    def project_range(self, v: Tensor) -> Tensor:
        self._check(v)
        return self._spread(self.A(v))

    @torch.no_grad()
    def solve_normal(self, b: Tensor) -> Tensor:
        self._check(b)
        return self._spread(self.A(b) * self.counts)

    def directions(self) -> tuple[Tensor, Basis]:
        down, across = (boxes(torch.arange(size) // self.factor) for size in self.shape[1:])
        singular = self.counts.double().rsqrt().flatten().repeat(self.shape[0])
        return singular, Separable(self.shape, down, across)

    @torch.no_grad()
    def pinv(self, y: Tensor) -> Tensor:
        return self._spread(y)


class BoxMeans(Operator):
    """Means of boxes."""

    Settings = config.Downsample
    settings: config.Downsample
    draws = False
    has_ratio = False

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """Means of boxes of `factor` pixels a side; nothing is drawn.

        Raises ConfigError if one box would hold more than the whole image.
        """
        factor, (height, width) = self.settings.factor, shape[1:]
        if factor > max(height, width):
            raise ConfigError(
                f"operator.downsample.factor: {factor} given, but the images are {height} x "
                f"{width}; it must be at most {max(height, width)}"
            )
        down, across = (
            torch.tensor([min(factor, size - start) for start in range(0, size, factor)])
            for size in (height, width)
        )
        return Downsample(shape, settings.sigma, factor, (down[:, None] * across).to(dtype))
