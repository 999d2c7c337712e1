"""What scans of k-space by columns share: masks, centred Fourier transform, complex images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from recondoor import config
from recondoor.core.errors import ConfigError, DataError
from recondoor.core.words import plural
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
    def coils(self) -> int:
        """Coils that measure."""
        return 1

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

    def measured_of(self, whole: Tensor) -> Tensor | None:
        form = (self.coils, *self.shape[1:])
        if whole.shape[-2:] != form[1:] or whole[0].numel() != math.prod(form):
            return None
        return self.sampled(whole.reshape(-1, *form))

    def or_whole(self) -> str:
        return f", or k-space of all {self.shape[2]} columns"

    def zero_filled(self, y: Tensor) -> Tensor:
        """Centred k-space (B, coils, H, W) of y, zero where nothing is measured."""
        return _put(y, self.columns, self.shape[2])

    def _transform(self, image: Tensor) -> Tensor:
        """Centred orthonormal DFT of (B, coils, H, W), measured columns alone.

        The DFT counts from a corner, in the image and in k-space. On both sides of the second DFT
        a phase corrects that: there are but the few columns left that are measured. They lie in
        memory column by column, as that DFT leaves them.
        """
        self._require_batch(image)
        before, after = self._phases(image.dtype)[:2]
        lines = _take(torch.fft.fft(image, dim=-1), self._lines)
        measured: Tensor = torch.fft.fft(lines * before, dim=-2) * after
        return measured

    def _transform_adjoint(self, y: Tensor) -> Tensor:
        """Adjoint of `_transform` for complex images, (B, coils, H, W)."""
        self._require_batch(y)
        before, after = self._phases(y.dtype)[2:]
        lines = torch.fft.ifft(y * after, dim=-2, norm="forward") * before
        whole = _put(lines, self._lines, self.shape[2])
        image: Tensor = torch.fft.ifft(whole, dim=-1, norm="forward")
        return image

    @cached_property
    def _lines(self) -> Tensor:
        """Measured columns as the DFT counts them."""
        return (self.columns - self.shape[2] // 2) % self.shape[2]

    def _phases(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Phases before the second DFT and after it, and their conjugates, for numbers of `dtype`.

        Small calls would feel it if those of single precision were made at each.
        """
        single = dtype in (torch.complex64, torch.float32)
        return self._single_phases if single else self._placed_phases(torch.complex128)

    @cached_property
    def _single_phases(self) -> tuple[Tensor, ...]:
        return self._placed_phases(torch.complex64)

    def _placed_phases(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """With c = N // 2 on each axis, and frequencies k counted from it.

        Before the second DFT exp(2 pi i c n / H), (H, 1). After it exp(2 pi i c k / N) of both axes
        over sqrt(H W), which makes it orthonormal: (H, kept), or (n, 1, H, kept) for n images.
        """
        height, width = self.shape[1:]
        rows = torch.arange(height, device=self.columns.device)
        columns = _turned(self.columns - width // 2, width)
        after = columns[..., :, None] * _turned(rows - height // 2, height)
        after = after.mT / (height * width) ** 0.5
        after = after if self.columns.ndim == 1 else after[:, None]
        there = [each.to(dtype) for each in (_turned(rows, height)[:, None], after)]
        return *there, *(each.conj().resolve_conj() for each in there)

    def _require_batch(self, values: Tensor) -> None:
        if self.columns.ndim == 2 and len(values) != len(self.columns):
            raise DataError(
                f"{plural(len(values), 'image')} given, but this operator has masks for "
                f"{len(self.columns)}, one each; take those of the images by rows(index)"
            )


def _turned(frequencies: Tensor, size: int) -> Tensor:
    """exp(2 pi i c k / N) of integers k, for N = `size` and c = N // 2, complex128."""
    turns = (frequencies * (size // 2) % size).to(torch.float64) / size
    return torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)


def complex_image(x: Tensor) -> Tensor:
    """(B, 1, H, W) of images (B, C, H, W): real as they are for C = 1, complex for C = 2.

    Where both parts of a pixel lie together, as in the layout channels_last, nothing is copied.
    """
    if x.shape[1] == 1:
        return x
    image, item, row, column = x.stride()
    if item == 1 and not (image % 2 or row % 2 or column % 2 or x.storage_offset() % 2):
        return torch.view_as_complex(x.unsqueeze(-1).transpose(1, -1))
    return torch.complex(x[:, :1], x[:, 1:])


def real_image(z: Tensor, channels: int) -> Tensor:
    """Images (B, C, H, W) of complex (B, 1, H, W): for C = 1 the real part alone.

    For C = 2 a view of z, in the layout channels_last: to put the parts apart takes about as long
    as half of a two-dimensional Fourier transform.
    """
    if channels == 1:
        return z.real
    return torch.view_as_real(z).transpose(1, -1).squeeze(-1)


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
    return values.gather(-1, _places(columns, values))


def _put(values: Tensor, columns: Tensor, width: int) -> Tensor:
    """Columns put at their places, and zeros elsewhere: adjoint of `_take`."""
    empty = values.new_zeros((*values.shape[:-1], width))
    return empty.scatter_(-1, _places(columns, values), values)


def _places(columns: Tensor, values: Tensor) -> Tensor:
    """Columns of all images, or of each, as an index (B, coils, H, kept).

    `gather` and `scatter_` take it two to three times faster than `index_select` and `index_copy`
    take the columns themselves, along this axis of complex numbers on a CPU.
    """
    columns = columns if columns.ndim == 1 else columns[:, None, None]
    return columns.expand(*values.shape[:-1], -1)
