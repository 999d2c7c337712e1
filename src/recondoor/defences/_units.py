"""The units of x and z: settings of defences count in them, so that no score depends on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def unit(images: Tensor) -> float:
    """Root mean square of all values of images (N, C, H, W); 1 if all of them are 0.

    About a third for x of the digits that settings were chosen on, and 0.6 for their z.
    """
    return float(images.double().square().mean().sqrt()) or 1.0
