"""Single-coil Cartesian MRI: some columns of centred k-space, one mask or one for each slice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recondoor import config
from recondoor.operators._base import LinearOperator, Operator
from recondoor.operators._basis import Basis, ComplexLines, lines_of
from recondoor.operators._cartesian import (
    CHANNELS,
    Cartesian,
    complex_image,
    drawn_columns,
    real_image,
)


@dataclass(frozen=True, eq=False)
class Mri(Cartesian):
    """Centred orthonormal DFT, measured columns alone; y is (B, 1, H, kept), complex.

    A complex image is two channels, and then A A^T = I. Of a real image, one channel, two columns
    k and -k measure the same, and A_adjoint takes the real part.
    """

    def A(self, x: Tensor) -> Tensor:
        return self._transform(complex_image(x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        return real_image(self._transform_adjoint(y), self.shape[0])

    @torch.no_grad()
    def project_range(self, v: Tensor) -> Tensor:
        return self._scaled(v, invert=False)

    @torch.no_grad()
    def solve_normal(self, b: Tensor) -> Tensor:
        return self._scaled(b, invert=True)

    def directions(self) -> tuple[Tensor, Basis] | None:
        if self.columns.ndim == 2:
            return None
        factors, basis = lines_of(self.mask, self.shape)
        seen = torch.nonzero(factors > 0)[:, 0]
        singular = factors[seen].sqrt().repeat(self.shape[1])
        if isinstance(basis, ComplexLines):
            kept = replace(basis, cos=basis.cos[:, seen], sin=basis.sin[:, seen])
            return singular.repeat(2), kept
        assert basis.across is not None
        return singular, replace(basis, across=basis.across[:, seen])

    def _scaled(self, v: Tensor, *, invert: bool) -> Tensor:
        """Divide each frequency by its eigenvalue of A_adjoint A, or keep it; zero where that is 0.

        Along the rows of an image A_adjoint A is a convolution whose transform is the mask, for
        real images the mean of the mask and its mirror image.
        """
        self._check(v)
        self._require_batch(v)
        mask = torch.fft.ifftshift(self.mask, dim=-1).to(v.dtype)
        if self.shape[0] == 1:
            mask = (mask + mask.flip(-1).roll(1, -1)) / 2
        factor = torch.where(mask > 0, 1 / mask if invert else 1.0, 0.0)
        factor = factor if factor.ndim == 1 else factor[:, None, None]
        image = torch.fft.ifft(torch.fft.fft(complex_image(v), dim=-1) * factor, dim=-1)
        return real_image(image, self.shape[0])


class ColumnsOfKSpace(Operator):
    """Single-coil Cartesian MRI."""

    Settings = config.Mri
    settings: config.Mri
    draws = True
    has_ratio = False
    mixes_channels = True
    channels = CHANNELS

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """Columns of k-space: a full centre, and others that are drawn or evenly spaced.

        `sigma` is the noise of the real and of the imaginary part. Raises ConfigError for images
        that are neither real nor complex, and for a mask that keeps nothing or does not fit.
        """
        return Mri(shape, settings.sigma, *drawn_columns(self.settings, shape, generator))
