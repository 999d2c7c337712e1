"""Scans of k-space by columns of which each slice's mask is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from recondoor.core.errors import ConfigError, DataError
from recondoor.core.words import plural
from recondoor.operators._base import LinearOperator
from recondoor.operators._cartesian import Cartesian


@dataclass(frozen=True, eq=False)
class Slices(LinearOperator):
    """y is the whole centred k-space (B, coils, H, W) of each slice, 0 where its mask is.

    Masks may measure more or fewer columns.

    Args:
        scan: the scan that measures all columns.
        masks: whether a column is measured, bool (n, W), the zero frequency being W // 2.
    """

    scan: Cartesian
    masks: Tensor

    @property
    def coils(self) -> int:
        """Coils that measure."""
        return self.scan.coils

    @property
    def varies(self) -> bool:
        return True

    def rows(self, index: Tensor | slice) -> Self:
        return replace(self, masks=self.masks[index])

    def A(self, x: Tensor) -> Tensor:
        return self.scan.A(x) * self._masks(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.scan.A_adjoint(y * self._masks(y))

    def _masks(self, values: Tensor) -> Tensor:
        if len(values) != len(self.masks):
            raise DataError(
                f"{plural(len(values), 'image')} given, but masks of {len(self.masks)}; take "
                "those of the "
                "images by rows(index)"
            )
        return self.masks[:, None, None]


def with_masks(operator: LinearOperator, masks: Tensor) -> LinearOperator:
    """The scan `operator` with a mask (W,), or a mask for each of n slices, (n, W), bool.

    Raises ConfigError for what is no Cartesian scan, and for masks that measure nothing.
    """
    if not isinstance(operator, Cartesian):
        raise ConfigError("mask: only the operators mri and mri-multicoil have columns to measure")
    if masks.shape[-1] != operator.shape[2]:
        raise ConfigError(
            f"mask: of {masks.shape[-1]} columns given; these images have {operator.shape[2]}"
        )
    if not bool(masks.any(-1).all()):
        raise ConfigError("mask: measures no column of some slice")
    if masks.ndim == 1:
        return replace(operator, columns=torch.nonzero(masks)[:, 0], sampling=None)
    scan = replace(operator, columns=torch.arange(operator.shape[2]), sampling=None)
    return Slices(operator.shape, operator.sigma, scan, masks)
