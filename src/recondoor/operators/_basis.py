"""Orthonormal directions of images, as a matrix or as what is fast: cosines, lines, boxes, pixels.

Images are flat here, (N, D) of float64, and what lies along the directions is (N, rank).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

Shape = tuple[int, int, int]


class Basis(ABC):
    """So many orthonormal columns `rank` of images with so many values `pixels`."""

    pixels: int
    rank: int

    @abstractmethod
    def along(self, flat: Tensor) -> Tensor:
        """Inner products of images (N, D) with the columns, (N, rank)."""

    @abstractmethod
    def back(self, parts: Tensor) -> Tensor:
        """Sums of the columns, (N, D), with the weights `parts` (N, rank)."""

    @abstractmethod
    def squares(self, flat: Tensor) -> Tensor:
        """Inner products of images (N, D) with the squared columns, (N, rank)."""


@dataclass(frozen=True, eq=False)
class Dense(Basis):
    """The columns of a matrix (D, rank)."""

    matrix: Tensor

    @property
    def pixels(self) -> int:  # type: ignore[override]
        return len(self.matrix)

    @property
    def rank(self) -> int:  # type: ignore[override]
        return self.matrix.shape[1]

    def along(self, flat: Tensor) -> Tensor:
        return flat @ self.matrix

    def back(self, parts: Tensor) -> Tensor:
        return parts @ self.matrix.T

    def squares(self, flat: Tensor) -> Tensor:
        return flat @ self.matrix.square()


@dataclass(frozen=True, eq=False)
class Separable(Basis):
    """Products of a column of `down` (H, a) and one of `across` (W, b), in each channel.

    Args:
        shape: (C, H, W) of an image.
        down, across: orthonormal columns; None for the pixels themselves.
        kept: which of the C * a * b products count, sorted indices; None for all.
    """

    shape: Shape
    down: Tensor | None
    across: Tensor | None
    kept: Tensor | None = None

    @property
    def pixels(self) -> int:  # type: ignore[override]
        return math.prod(self.shape)

    @property
    def rank(self) -> int:  # type: ignore[override]
        return math.prod(self.sides) if self.kept is None else len(self.kept)

    @property
    def sides(self) -> Shape:
        """(C, a, b)."""
        channels, height, width = self.shape
        a = height if self.down is None else self.down.shape[1]
        b = width if self.across is None else self.across.shape[1]
        return channels, a, b

    def along(self, flat: Tensor) -> Tensor:
        found = flat.view(-1, *self.shape)
        found = found if self.across is None else found @ self.across
        found = found if self.down is None else self.down.T @ found
        found = found.flatten(1)
        return found if self.kept is None else found[:, self.kept]

    def back(self, parts: Tensor) -> Tensor:
        if self.kept is not None:
            empty = parts.new_zeros(len(parts), math.prod(self.sides))
            parts = empty.index_copy(1, self.kept, parts)
        found = parts.view(-1, *self.sides)
        found = found if self.across is None else found @ self.across.T
        found = found if self.down is None else self.down @ found
        return found.flatten(1)

    def squares(self, flat: Tensor) -> Tensor:
        return self._squared.along(flat)

    @cached_property
    def _squared(self) -> Separable:
        down = None if self.down is None else self.down.square()
        across = None if self.across is None else self.across.square()
        return replace(self, down=down, across=across)


@dataclass(frozen=True, eq=False)
class ComplexLines(Basis):
    """Waves along the rows of complex images, whose two channels are real and imaginary part.

    A wave e = cos + i sin of unit length, at one row, is two directions: real and imaginary part of
    <e, image>. Parts are (N, 2 * H * k), the real ones first.

    Args:
        shape: (2, H, W).
        cos, sin: of the k waves, (W, k).
    """

    shape: Shape
    cos: Tensor
    sin: Tensor

    @property
    def pixels(self) -> int:  # type: ignore[override]
        return math.prod(self.shape)

    @property
    def rank(self) -> int:  # type: ignore[override]
        return 2 * self.shape[1] * self.cos.shape[1]

    def along(self, flat: Tensor) -> Tensor:
        real, imaginary = flat.view(-1, *self.shape).unbind(1)
        parts = (real @ self.cos + imaginary @ self.sin, imaginary @ self.cos - real @ self.sin)
        return torch.stack(parts, 1).flatten(1)

    def back(self, parts: Tensor) -> Tensor:
        real, imaginary = parts.view(-1, 2, self.shape[1], self.cos.shape[1]).unbind(1)
        cos, sin = self.cos.T, self.sin.T
        found = (real @ cos - imaginary @ sin, real @ sin + imaginary @ cos)
        return torch.stack(found, 1).flatten(1)

    def squares(self, flat: Tensor) -> Tensor:
        real, imaginary = flat.view(-1, *self.shape).unbind(1)
        cos, sin = self.cos.square(), self.sin.square()
        parts = (real @ cos + imaginary @ sin, imaginary @ cos + real @ sin)
        return torch.stack(parts, 1).flatten(1)


@dataclass(frozen=True, eq=False)
class Turned(Basis):
    """Columns of another basis, turned among themselves: its columns times `matrix` (k, rank)."""

    inner: Basis
    matrix: Tensor

    @property
    def pixels(self) -> int:  # type: ignore[override]
        return self.inner.pixels

    @property
    def rank(self) -> int:  # type: ignore[override]
        return self.matrix.shape[1]

    def along(self, flat: Tensor) -> Tensor:
        return self.inner.along(flat) @ self.matrix

    def back(self, parts: Tensor) -> Tensor:
        return self.inner.back(parts @ self.matrix.T)

    def squares(self, flat: Tensor) -> Tensor:
        columns = self.inner.back(self.matrix.T)
        return flat @ columns.square().T


def real_lines(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., W) of the mask (..., W), in FFT order, on real images; and their waves.

    The waves (W, W) are the same whatever the mask is. A real image has the frequencies k and -k
    alike, so each counts by half.
    """
    width = mask.shape[-1]
    across, frequencies = waves(width)
    found = mask.double()[..., frequencies] + mask.double()[..., -frequencies % width]
    return found / 2, across


def lines_of(mask: Tensor, shape: Shape) -> tuple[Tensor, Separable | ComplexLines]:
    """Eigenvalues (..., W) of a mask (..., W) of centred columns, and their lines in images.

    Of real images, one channel, or complex ones, two.
    """
    mask = torch.fft.ifftshift(mask, dim=-1)
    if shape[0] == 1:
        factors, across = real_lines(mask)
        return factors, Separable(shape, None, across)
    places = torch.arange(shape[2], dtype=torch.float64)
    turns = 2 * torch.pi * torch.outer(places, places) / shape[2]
    size: float = shape[2] ** -0.5
    return mask.double(), ComplexLines(shape, size * turns.cos(), size * turns.sin())


def waves(width: int) -> tuple[Tensor, Tensor]:
    """Orthonormal real waves (W, W), and the frequency of each, int64, from 0 to W // 2."""
    places = torch.arange(width, dtype=torch.float64)
    columns, frequencies = [], []
    for k in range(width // 2 + 1):
        turns = 2 * torch.pi * k * places / width
        alone = k == 0 or 2 * k == width
        for wave in (turns.cos(),) if alone else (turns.cos(), turns.sin()):
            columns.append(wave / width**0.5 if alone else wave * (2 / width) ** 0.5)
            frequencies.append(k)
    return torch.stack(columns, 1), torch.tensor(frequencies)


def boxes(places: Tensor) -> Tensor:
    """Indicators of unit length of the parts 0, 1, ... that `places` (n,) are in, (n, parts)."""
    found = torch.nn.functional.one_hot(places).double()
    unit: Tensor = found / found.sum(0).sqrt()
    return unit
