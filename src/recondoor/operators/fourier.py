"""Masked Fourier (single-coil Cartesian MRI): random k-space lines and a full centre."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recondoor import config
from recondoor.operators._base import LinearOperator, Operator, share
from recondoor.operators._basis import Basis, Separable, real_lines

CENTRE_SHARE = 0.32
"""Share of the kept lines that lie in the centre: fastMRI's 8 % at 4x and 4 % at 8x."""


@dataclass(frozen=True, eq=False)
class Fourier(LinearOperator):
    """Orthonormal 2-D DFT of each channel, restricted to some columns; y is (B, C, H, lines).

    Args:
        lines: kept columns, sorted indices in FFT order (0 is the zero frequency), int64 (lines,).
    """

    lines: Tensor

    def A(self, x: Tensor) -> Tensor:
        columns = torch.fft.fft(x, dim=-1, norm="ortho").index_select(-1, self.lines)
        y: Tensor = torch.fft.fft(columns, dim=-2, norm="ortho")
        return y

    def directions(self) -> tuple[Tensor, Basis]:
        mask = torch.zeros(self.shape[2], dtype=torch.bool).index_fill(0, self.lines, True)
        factors, across = real_lines(mask)
        seen = factors > 0
        singular = factors[seen].sqrt().repeat(self.shape[0] * self.shape[1])
        return singular, Separable(self.shape, None, across[:, seen])

    def A_adjoint(self, y: Tensor) -> Tensor:
        columns = torch.fft.ifft(y, dim=-2, norm="ortho")
        empty = columns.new_zeros((*y.shape[:-1], self.shape[2]))
        filled = empty.index_copy(-1, self.lines, columns)
        # Images are real, so the adjoint of x -> A x as a map from real space drops the rest.
        z: Tensor = torch.fft.ifft(filled, dim=-1, norm="ortho").real
        return z


class RandomLines(Operator):
    """Random lines of k-space and a full centre."""

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
        """Columns of k-space: about a third in the centre, the others drawn without replacement.

        The channels share the lines. `ratio` is the share of the W lines kept, in (0, 1]; `sigma`
        the noise of the real and of the imaginary part. Raises ConfigError if the ratio is out of
        range or keeps no line.
        """
        width = shape[2]
        kept = share(self.settings.ratio, width, "lines", "operator.fourier.ratio")
        centre = max(1, round(CENTRE_SHARE * kept))
        # 0, -1, 1, -2, 2, ...: frequencies from the centre outwards, as FFT indices.
        outwards = torch.tensor([(i // 2 if i % 2 == 0 else -(i // 2 + 1)) for i in range(width)])
        outwards = outwards % width
        others = outwards[centre:]
        drawn = others[torch.randperm(len(others), generator=generator)[: kept - centre]]
        return Fourier(shape, settings.sigma, torch.cat((outwards[:centre], drawn)).sort().values)
