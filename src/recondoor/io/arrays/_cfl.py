"""BART's pair of files: a text `.hdr` with the dimensions, and complex numbers in `.cfl`."""

from typing import BinaryIO

import numpy as np

from recondoor.io.arrays._voxels import Volume, plain

MOST_TEXT = 1 << 16
"""Bytes of a .hdr."""
_NAMES = {3: "coils", 4: "maps", 5: "echoes", 10: "times", 11: "times"}
_SLICES = (2, 13)
"""Dimensions along which slices of one volume may lie."""


def read_cfl(head: str, stream: BinaryIO) -> Volume:
    """The volume in an open `.cfl`, whose `.hdr` holds the text `head`.

    Rows and columns are BART's dimensions 0 and 1, slices lie along 2 or 13; all others have the
    length 1. Raises one of `UNREADABLE` for what is damaged, not one volume, or claims more or less
    than the file holds.
    """
    lines = [line.strip() for line in head.splitlines()]
    if "# Dimensions" not in lines[:-1]:
        raise ValueError("its .hdr names no dimensions")
    sides = [int(word) for word in lines[lines.index("# Dimensions") + 1].split()]
    if len(sides) > 64 or any(side < 1 for side in sides):
        raise ValueError("its .hdr declares no dimensions that can be")
    sides += [1] * (16 - len(sides))
    for number, side in enumerate(sides[2:], 2):
        if side > 1 and number not in _SLICES:
            name = _NAMES.get(number, f"dimension {number}")
            hint = "; combine them with `bart rss 8`" if number == 3 else ""
            raise ValueError(f"it has {side} {name}; expected images alone{hint}")
    if sides[2] > 1 and sides[13] > 1:
        raise ValueError("it has slices along the dimensions 2 and 13; expected one of them")
    stored = plain(stream, 0, (*sides[:2], sides[2] * sides[13]), np.dtype("<c8"))
    return Volume(stored.transpose(1, 0, 2))  # voxels are columns, rows, slices
