"""Volumes to slices that are shown as a reader of pictures expects: nose or head up.

Coordinates are those of NIfTI: x grows to the person's right, y to the front, z to the head.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PLANES = ("sagittal", "coronal", "axial")
"""Names of the planes across x, y and z."""

THICK = 1.2
"""Slices thicker than this many times the pixels lie in the plane that was scanned."""


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices of one volume.

    `pixels` are (N, H, W), a view of the voxels; `spacing` is (between slices, between rows,
    between columns), in the unit of the affine, mostly mm.
    """

    pixels: NDArray[Any]
    spacing: tuple[float, float, float]
    plane: str


def upright(voxels: NDArray[Any], affine: NDArray[np.float64]) -> Slices:
    """Slices of `voxels` (I, J, K), whose indices `affine` (3, 3) or (4, 4) takes to x, y and z.

    Slices are axial, or where one spacing is the largest by far, in the plane that was scanned.
    Axial ones go from the feet to the head, with the front up and the person's right at the left;
    coronal ones from back to front, head up, right at the left; sagittal ones from right to left,
    head up, front at the left. Oblique volumes take the nearest of these, without resampling.
    Raises ValueError if `affine` has no inverse or is not finite.
    """
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError("its directions in space cannot be used: they have no inverse")
    steps = np.linalg.norm(matrix, axis=0)
    axes = _nearest_axes(matrix / steps)
    spacing = steps[list(axes)]
    across = int(np.argmax(spacing))
    if spacing[across] <= THICK * np.delete(spacing, across).max():
        across = 2
    # Order and direction, by x, y and z, of slices, rows and columns.
    order, signs = {
        0: ((0, 2, 1), (-1, -1, -1)),
        1: ((1, 2, 0), (1, -1, -1)),
        2: ((2, 1, 0), (1, -1, -1)),
    }[across]
    pixels = voxels.transpose([axes[world] for world in order])
    for place, (world, sign) in enumerate(zip(order, signs, strict=True)):
        if matrix[world, axes[world]] * sign < 0:
            pixels = np.flip(pixels, place)
    between = tuple(float(spacing[world]) for world in order)
    return Slices(pixels, (between[0], between[1], between[2]), PLANES[across])


def _nearest_axes(directions: NDArray[np.float64]) -> tuple[int, int, int]:
    """Index axis that goes along x, along y and along z, the surest first."""
    left = np.abs(directions)
    found = [0, 0, 0]
    for _ in range(3):
        world, axis = np.unravel_index(int(np.argmax(left)), left.shape)
        found[int(world)] = int(axis)
        left[world, :] = -1
        left[:, axis] = -1
    return found[0], found[1], found[2]
