"""Multi-coil Cartesian MRI: some columns of the k-space that each receiver coil sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from recondoor import config
from recondoor.core.errors import ConfigError
from recondoor.operators._base import LinearOperator, Operator
from recondoor.operators._cartesian import (
    CHANNELS,
    Cartesian,
    complex_image,
    drawn_columns,
    real_image,
)
from recondoor.operators._maps import birdcage, estimate_maps, maps_of
from recondoor.operators._sampling import whole_centre


@dataclass(frozen=True, eq=False)
class Multicoil(Cartesian):
    """A_c x = M F S_c x for each coil c; y is (B, coils, H, kept), complex.

    Args:
        maps: sensitivities S, complex (coils, H, W), or (n, coils, H, W) for n images; their
            squares add up to 1 where there is signal.
        estimated: whether the receiver does not know them, and makes the network's input with what
            it estimates from the measured centre of each image.
    """

    input_maps: ClassVar[tuple[str, ...]] = ("adjoint", "pinv", "rss")

    maps: Tensor
    estimated: bool

    @property
    def coils(self) -> int:
        return self.maps.shape[-3]

    @property
    def varies(self) -> bool:
        return self.estimated or super().varies

    def A(self, x: Tensor) -> Tensor:
        return self._transform(complex_image(x) * self.maps)

    def A_adjoint(self, y: Tensor) -> Tensor:
        coils = self._transform_adjoint(y) * self.maps.conj()
        return real_image(coils.sum(1, keepdim=True), self.shape[0])

    def rows(self, index: Tensor | slice) -> Self:
        those = super().rows(index)
        return replace(those, maps=self.maps[index]) if self.maps.ndim == 4 else those

    def coil_images(self, y: Tensor) -> Tensor:
        """Zero-filled images of each coil, real and then imaginary parts: (B, 2 * coils, H, W)."""
        images = self._transform_adjoint(y)
        return torch.cat((images.real, images.imag), 1)

    def assumed(self, y: Tensor) -> Self:
        """The operator as its receiver has it: of `estimated` maps with those of y, an image each.

        Raises ConfigError if no column around the zero frequency is measured of all.
        """
        if not self.estimated:
            return self
        maps = estimate_maps(self.zero_filled(y), self._whole_centre())
        return replace(self, maps=maps, estimated=False)

    def network_input(self, y: Tensor, name: str) -> Tensor:
        if name == "rss":
            raise ConfigError(
                "input map 'rss' given, which is not linear: take the root sum of squares of "
                "coil_images(y)"
            )
        return LinearOperator.network_input(self.assumed(y), y, name)

    def _whole_centre(self) -> int:
        """Columns around the zero frequency that are measured of every image; raises ConfigError.

        Of masks that are drawn for each image only what all have in common: maps of an image may
        not depend on which others are beside it.
        """
        count = whole_centre(self.mask) if self.sampling is None else self.sampling.centre
        if count == 0:
            raise ConfigError(
                "operator.mri_multicoil.maps: estimated given, but no centre is measured; raise "
                "operator.mri_multicoil.centre"
            )
        return count


class ReceiverCoils(Operator):
    """Multi-coil Cartesian MRI."""

    Settings = config.MriMulticoil
    settings: config.MriMulticoil
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
        """Columns as of `mri`, and sensitivities simulated as a birdcage or read from a file.

        `sigma` is the noise of the real and of the imaginary part. Raises ConfigError for images
        that are neither real nor complex, and for a mask or maps that do not fit.
        """
        own, (height, width) = self.settings, shape[1:]
        columns, sampling = drawn_columns(own, shape, generator)
        if own.maps in config.SIMULATED:
            maps = birdcage(own.coils, height, width)
        else:
            maps = maps_of(Path(own.maps), own.coils, height, width, own.place)
        return Multicoil(
            shape,
            settings.sigma,
            columns,
            sampling,
            maps.to(dtype.to_complex()),
            own.maps == "estimated",
        )
