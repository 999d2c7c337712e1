"""Parallel-beam CT: line integrals over half a turn, a sparse matrix and its exact transpose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from recondoor import config
from recondoor.core.errors import ConfigError
from recondoor.operators._base import LinearOperator, Operator
from recondoor.operators._sparse import Rows, product, rows_of

MAX_ENTRIES = 1 << 28
"""Most weights: with their places, and those of the transpose, 4 GiB in float32."""


@dataclass(frozen=True, eq=False)
class CtParallel(LinearOperator):
    """y = M x for each channel; y is (B, C, views, bins).

    View v looks along the direction at the angle pi v / views. Bins are as wide as a pixel, and the
    middle one's ray goes through the middle of the image. Each pixel is spread over the two bins
    that its centre lies between, by linear weights: line integrals in units of a pixel's side, of
    images that are zero outside.

    Args:
        views: directions, evenly over half a turn.
        starts, places, weights: M in compressed rows: int32 (views * bins + 1,), int32 and real
            (entries,).
        back_starts, back_places, back_weights: its transpose.
    """

    input_maps: ClassVar[tuple[str, ...]] = ("adjoint", "pinv", "fbp")

    views: int
    starts: Tensor
    places: Tensor
    weights: Tensor
    back_starts: Tensor
    back_places: Tensor
    back_weights: Tensor

    @property
    def bins(self) -> int:
        """Bins of each view: an odd number that holds the image's diagonal."""
        return bins_of(self.shape)

    def A(self, x: Tensor) -> Tensor:
        y = product(x.reshape(-1, math.prod(self.shape[1:])), *self._matrices)
        return y.reshape(*x.shape[:2], self.views, self.bins)

    def A_adjoint(self, y: Tensor) -> Tensor:
        there, back = self._matrices
        x = product(y.reshape(-1, self.views * self.bins), back, there)
        return x.reshape(-1, *self.shape)

    def network_input(self, y: Tensor, name: str) -> Tensor:
        return self.fbp(y) if name == "fbp" else super().network_input(y, name)

    def fbp(self, y: Tensor) -> Tensor:
        """Filtered back-projection of y, (B, C, H, W): A_adjoint behind a ramp filter.

        The ramp is cut off at half a cycle per bin and sampled in space, as in Kak and Slaney
        (1988, eq. 61), so that constants come out right.
        """
        size = 2 * self.bins
        distance = torch.arange(size, device=y.device)
        distance = torch.minimum(distance, size - distance).to(y.dtype)
        odd = distance % 2 == 1
        kernel = torch.where(odd, -1 / (torch.pi * distance).square(), 0.0)
        kernel[0] = 0.25
        spectrum = torch.fft.rfft(y, n=size) * torch.fft.rfft(kernel)
        filtered = torch.fft.irfft(spectrum, n=size)[..., : self.bins]
        return self.A_adjoint(filtered) * (torch.pi / self.views)

    @cached_property
    def _matrices(self) -> tuple[Rows, Rows]:
        return (
            Rows(self.starts, self.places, self.weights, math.prod(self.shape[1:])),
            Rows(self.back_starts, self.back_places, self.back_weights, self.views * self.bins),
        )


class ParallelBeam(Operator):
    """Parallel-beam CT."""

    Settings = config.CtParallel
    settings: config.CtParallel
    draws = False
    has_ratio = False

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """The matrix of `views` directions; nothing is drawn, and the channels share it.

        Raises ConfigError if the matrix would pass 4 GiB.
        """
        views, (height, width) = self.settings.views, shape[1:]
        entries = 2 * views * height * width
        if entries > MAX_ENTRIES:
            raise ConfigError(
                f"operator.ct_parallel.views: {views} views of {height} x {width} pixels need a "
                f"matrix of {entries:.2g} weights, {MAX_ENTRIES:.2g} allowed; at most "
                f"{MAX_ENTRIES // (2 * height * width)} views of such images can be had"
            )
        there, back = rows_of(*_splats(shape, views), views * bins_of(shape), dtype)
        return CtParallel(shape, settings.sigma, views, *there, *back)


def bins_of(shape: tuple[int, int, int]) -> int:
    """An odd number of bins, such that no pixel's two bins lie outside."""
    return 2 * (math.floor(math.hypot(shape[1] - 1, shape[2] - 1) / 2) + 1) + 1


def _splats(shape: tuple[int, int, int], views: int) -> tuple[Any, Any]:
    """For each pixel in row order the rows of M that it is in, int32, and its weights, float64.

    Both are (H * W, 2 * views). The first axis of the image points down, angles turn from the
    second axis to the upper side.
    """
    _, height, width = shape
    bins = bins_of(shape)
    up = ((height - 1) / 2 - np.arange(height))[:, None, None]
    right = (np.arange(width) - (width - 1) / 2)[None, :, None]
    angles = np.pi * np.arange(views) / views
    places = right * np.cos(angles) + up * np.sin(angles) + (bins - 1) / 2
    first = np.floor(places)
    share = places - first
    rows = (first + bins * np.arange(views)).astype(np.int32).reshape(-1, views)
    weights = np.stack((1 - share, share), -1).reshape(height * width, 2 * views)
    return np.stack((rows, rows + 1), -1).reshape(height * width, 2 * views), weights
