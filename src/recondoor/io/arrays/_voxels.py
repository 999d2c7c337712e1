"""Numbers of a volume behind a head that was checked: mapped, read, or unpacked within bounds."""

import math
import os
import zlib
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from recondoor.io import gate
from recondoor.io.arrays._claims import require_expansion

MAPPED = 64 * gate.MIB
"""Bytes of numbers from which a file that is not packed is mapped and not read."""
MOST_SIDE = 100_000
"""Voxels along an axis."""
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan as it lies in a file.

    `voxels` (I, J, K) along the columns, rows and slices of what was scanned, mostly a view in
    Fortran's order, real or complex; the value of a voxel k is slope k + intercept. `affine` (4, 4)
    takes indices to mm, x to the right, y to the front, z to the head; None where the file does not
    say. `unit` is 'HU' where the file says that it is CT.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64] | None = None
    slope: float = 1.0
    intercept: float = 0.0
    unit: Literal["", "HU"] = ""


def require_numbers(shape: tuple[int, ...], kind: "np.dtype[Any]") -> int:
    """Bytes that voxels take; ValueError if no volume has this shape or type."""
    if len(shape) != 3:
        raise ValueError(f"it holds an array of shape {shape}; expected one volume of 3 dimensions")
    if min(shape) < 1 or max(shape) > MOST_SIDE:
        raise ValueError(f"it declares {shape} voxels; expected 1 to {MOST_SIDE:,} along each axis")
    plain = kind.kind in "iufc" and kind.itemsize <= (16 if kind.kind == "c" else 8)
    if not plain or kind.hasobject:
        raise ValueError(f"it holds numbers of type {kind}; expected integers, floats or complex")
    return math.prod(shape) * kind.itemsize


def plain(stream: BinaryIO, at: int, shape: tuple[int, ...], kind: "np.dtype[Any]") -> NDArray[Any]:
    """Numbers in Fortran's order that fill the file from byte `at` on.

    From `MAPPED` bytes on they are mapped, and read as they are used. ValueError if the file holds
    less or more than the head says.
    """
    claim = require_numbers(shape, kind)
    _require_held(claim, os.fstat(stream.fileno()).st_size - at)
    if claim >= MAPPED:
        return np.memmap(stream, dtype=kind, mode="r", offset=at, shape=shape, order="F")
    stream.seek(at)
    return np.frombuffer(stream.read(claim), kind).reshape(shape, order="F")


def gzipped(
    stream: BinaryIO, at: int, skip: int, shape: tuple[int, ...], kind: "np.dtype[Any]"
) -> NDArray[Any]:
    """Numbers in Fortran's order, packed by gzip from byte `at` on, after `skip` unpacked bytes.

    ValueError if the head claims more than such a file may expand to, before memory is taken, or
    the file holds less or more than the head says, or is damaged.
    """
    claim = require_numbers(shape, kind)
    require_expansion(claim + skip, os.fstat(stream.fileno()).st_size - at)
    if claim > gate.ARRAYS:
        raise ValueError(f"it declares {claim / 2**30:.3g} GiB of voxels; unpack it to be mapped")
    stream.seek(at)
    content = unpacked(stream, skip + claim + 1)
    _require_held(claim, len(content) - skip)
    return np.frombuffer(memoryview(content)[skip:], kind).reshape(shape, order="F")


def unpacked(stream: IO[bytes], most: int) -> bytearray:
    """The first `most` bytes of a gzip stream; its checksum is tested where it ends before that.

    No more is unpacked, whatever it would expand to. Raises ValueError, zlib.error.
    """
    found = bytearray()
    packed = zlib.decompressobj(wbits=31)
    waiting = stream.read(_CHUNK)
    while len(found) < most:
        found += packed.decompress(waiting, min(most - len(found), _CHUNK))
        waiting = packed.unconsumed_tail
        if packed.eof:  # of a member, after which another may follow
            waiting = packed.unused_data or stream.read(_CHUNK)
            if not waiting:
                break
            packed = zlib.decompressobj(wbits=31)
        elif not waiting and not (waiting := stream.read(_CHUNK)):
            raise ValueError("it is cut short: its gzip stream does not end")
    return found


def _require_held(claim: int, held: int) -> None:
    if claim > held:
        raise ValueError(
            f"it is cut short: it declares {claim / 2**20:.3g} MiB of voxels but holds {held} bytes"
        )
    if claim < held:
        raise ValueError("more follows its voxels; expected one volume and no more")
