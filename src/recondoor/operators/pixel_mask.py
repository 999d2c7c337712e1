"""Random pixel mask (inpainting): a share of the pixels is seen, the others are zero in z."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recondoor import config
from recondoor.operators._base import LinearOperator, Operator, share
from recondoor.operators._basis import Basis, Separable


@dataclass(frozen=True, eq=False)
class PixelMask(LinearOperator):
    """Keeps some pixels of each channel; y is (B, C, m).

    Args:
        pixels: kept pixels, sorted indices into the H * W pixels in row order, int64 (m,).
    """

    pixels: Tensor

    def A(self, x: Tensor) -> Tensor:
        return x.flatten(2).index_select(-1, self.pixels)

    def directions(self) -> tuple[Tensor, Basis]:
        starts = torch.arange(self.shape[0])[:, None] * self.shape[1] * self.shape[2]
        kept = (starts + self.pixels).flatten()
        return torch.ones(len(kept), dtype=torch.float64), Separable(self.shape, None, None, kept)

    def A_adjoint(self, y: Tensor) -> Tensor:
        empty = y.new_zeros((*y.shape[:-1], self.shape[1] * self.shape[2]))
        return empty.index_copy(-1, self.pixels, y).reshape(-1, *self.shape)


class RandomPixels(Operator):
    """Pixels drawn at random."""

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
        """Pixels drawn at random without replacement, the same ones in every channel.

        `ratio` is the share of the H * W pixels kept, in (0, 1]. Raises ConfigError if it is out of
        range or keeps no pixel.
        """
        n = shape[1] * shape[2]
        kept = share(self.settings.ratio, n, "pixels", "operator.pixel_mask.ratio")
        pixels = torch.randperm(n, generator=generator)[:kept].sort().values
        return PixelMask(shape, settings.sigma, pixels)
