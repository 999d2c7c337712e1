"""What scans of k-space by columns share: masks, centred Fourier transform, complex images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from recondoor import config
from recondoor.core.errors import ConfigError, DataError
from recondoor.operators._base import LinearOperator
from recondoor.operators._sampling import Sampling, columns_of

Shape = tuple[int, int, int]

CHANNELS = (1, 2)
"""Of a real image, and of a complex one: its real and its imaginary part."""


@dataclass(frozen=True, eq=False)
class Cartesian(LinearOperator):
    """Measures columns of centred k-space; y is (B, coils, H, columns measured), complex.

    Where each image has a mask of its own, `per_sample` draws them. Before that the first mask
    drawn is that of all.

    Args:
        columns: measured columns, sorted, the zero frequency being W // 2: int64 (kept,), or
            (n, kept) for n images.
        sampling: how masks are drawn, if each image has its own; else None.
    """

    columns: Tensor
    sampling: Sampling | None

    @property
    def varies(self) -> bool:
        return self.sampling is not None

    @property
    def acceleration(self) -> float:
        """Columns of k-space for each that is measured, as it is and not as it was asked for."""
        return self.shape[2] / self.columns.shape[-1]

    @property
    def mask(self) -> Tensor:
        """Whether a column is measured: bool (W,), or (n, W) for n images."""
        empty = self.columns.new_zeros((*self.columns.shape[:-1], self.shape[2]), dtype=torch.bool)
        return empty.scatter(-1, self.columns, True)

    def per_sample(self, n: int, generator: torch.Generator) -> Self:
        if self.sampling is None:
            return self
        drawn = [self.sampling.draw(generator) for _ in range(n)]
        kept = self.columns.shape[-1]
        stacked = torch.stack(drawn) if drawn else torch.empty(0, kept, dtype=torch.int64)
        return replace(self, columns=stacked.to(self.columns.device))

    def rows(self, index: Tensor | slice) -> Self:
        return replace(self, columns=self.columns[index]) if self.columns.ndim == 2 else self

    def sampled(self, kspace: Tensor) -> Tensor:
        """The measured columns (B, coils, H, kept) of centred k-space (B, coils, H, W)."""
        return _take(kspace, self.columns)

    def zero_filled(self, y: Tensor) -> Tensor:
        """Centred k-space (B, coils, H, W) of y, zero where nothing is measured."""
        return _put(y, self.columns, self.shape[2])

    def _transform(self, image: Tensor) -> Tensor:
        """Centred orthonormal DFT of (B, coils, H, W), measured columns alone.

        The DFT counts from a corner. Of an image that is centred that is a phase in k-space, and
        rows of k-space are rolled at last: on the few columns that are measured.
        """
        self._require_batch(image)
        lines, phase = self._frame
        rows = torch.fft.fft(_take(torch.fft.fft(image, dim=-1), lines), dim=-2)
        return torch.roll(rows * phase.to(rows.dtype), self.shape[1] // 2, -2)

    def _transform_adjoint(self, y: Tensor) -> Tensor:
        """Adjoint of `_transform` for complex images, (B, coils, H, W)."""
        self._require_batch(y)
        lines, phase = self._frame
        turned = torch.roll(y, -(self.shape[1] // 2), -2) * phase.conj().to(y.dtype)
        rows = torch.fft.ifft(turned, dim=-2, norm="forward")
        whole = _put(rows, lines, self.shape[2])
        image: Tensor = torch.fft.ifft(whole, dim=-1, norm="forward")
        return image

    @cached_property
    def _frame(self) -> tuple[Tensor, Tensor]:
        """Measured columns as the DFT counts them, and what it is multiplied by in k-space.

        That is exp(2 pi i k c / N) / sqrt(N) for the centre c = N // 2 on both axes, which makes it
        centred and orthonormal: (H, kept), or (n, 1, H, kept) for n images.
        """
        height, width = self.shape[1:]
        rows = torch.arange(height, device=self.columns.device)
        lines = self.columns - width // 2
        phase = _turned(rows, height)[:, None] * _turned(lines, width)[..., None, :]
        return lines % width, phase if self.columns.ndim == 1 else phase[:, None]

    def _require_batch(self, values: Tensor) -> None:
        if self.columns.ndim == 2 and len(values) != len(self.columns):
            raise DataError(
                f"{len(values)} images given, but this operator has masks for "
                f"{len(self.columns)}, one each; take those of the images by rows(index)"
            )


def _turned(frequencies: Tensor, size: int) -> Tensor:
    """exp(2 pi i k c / N) / sqrt(N) of integers k, for N = `size` and c = N // 2, complex128."""
    turns = (frequencies * (size // 2) % size).to(torch.float64) / size
    return torch.polar(torch.full_like(turns, size**-0.5), 2 * torch.pi * turns)


def complex_image(x: Tensor) -> Tensor:
    """(B, 1, H, W) of images (B, C, H, W): real as they are for C = 1, complex for C = 2."""
    return x if x.shape[1] == 1 else torch.complex(x[:, :1], x[:, 1:])


def real_image(z: Tensor, channels: int) -> Tensor:
    """Images (B, C, H, W) of complex (B, 1, H, W): for C = 1 the real part alone."""
    return z.real if channels == 1 else torch.cat((z.real, z.imag), 1)


def drawn_columns(
    settings: config.Mri, shape: Shape, generator: torch.Generator
) -> tuple[Tensor, Sampling | None]:
    """Measured columns of images of `shape`, and how further masks are drawn if each has its own.

    Raises ConfigError for images of other channels than `CHANNELS`, and a mask that does not fit.
    """
    if shape[0] not in CHANNELS:
        raise ConfigError(
            f"operator.name: '{settings.place.split('.')[1].replace('_', '-')}' measures images of "
            f"1 channel, real, or 2, real and imaginary part; these have {shape[0]}"
        )
    if settings.file is not None:
        return columns_of(settings.file, shape[2], f"{settings.place}.file"), None
    sampling = Sampling.of(settings, shape[2])
    columns = sampling.draw(generator)
    return columns, sampling if settings.mask_per == "slice" else None


def _take(values: Tensor, columns: Tensor) -> Tensor:
    """Some columns (B, coils, H, kept) of (B, coils, H, W)."""
    if columns.ndim == 1:
        return values.index_select(-1, columns)
    return values.gather(-1, columns[:, None, None].expand(*values.shape[:-1], -1))


def _put(values: Tensor, columns: Tensor, width: int) -> Tensor:
    """Columns put at their places, and zeros elsewhere: adjoint of `_take`."""
    empty = values.new_zeros((*values.shape[:-1], width))
    if columns.ndim == 1:
        return empty.index_copy(-1, columns, values)
    return empty.scatter(-1, columns[:, None, None].expand(*values.shape[:-1], -1), values)
