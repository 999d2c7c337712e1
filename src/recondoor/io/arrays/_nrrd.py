"""NRRD with its voxels attached: pynrrd reads the head, we the voxels."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recondoor.io.arrays._voxels import Volume, gzipped, plain

LONGEST_HEAD = 1 << 16
"""Bytes of text in front of the voxels."""

_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int"), "i2"),
    **dict.fromkeys(("int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int"), "u2"),
    **dict.fromkeys(("uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
_ENDS = {"little": "<", "big": ">"}
_SIGNS = {"right": 1, "left": -1, "anterior": 1, "posterior": -1, "superior": 1, "inferior": -1}
_SHORT = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
}


def read_nrrd(stream: BinaryIO) -> Volume:
    """The volume in an open file, stored raw or by gzip.

    Raises ImportError without pynrrd, one of `UNREADABLE` for what is damaged, not one volume, in
    another file, packed in another way, or claims more than it holds.
    """
    text = stream.read(LONGEST_HEAD)
    if not text.startswith(b"NRRD"):
        raise ValueError("it does not start like one")
    ends = [(text.find(end), len(end)) for end in (b"\n\n", b"\r\n\r\n") if end in text]
    if not ends:
        raise ValueError(f"its head does not end within {LONGEST_HEAD:,} bytes")
    end, width = min(ends)
    head = _head(text[:end].decode("ascii", "replace").splitlines())
    at, shape, kind = end + width, _shape(head), _kind(head)
    packed = str(head.get("encoding", "")).lower()
    if packed == "raw":
        voxels = plain(stream, at, shape, kind)
    elif packed in ("gzip", "gz"):
        voxels = gzipped(stream, at, 0, shape, kind)
    else:
        raise ValueError(f"its encoding is '{packed}'; expected raw or gzip, so save it anew")
    return Volume(voxels, _affine(head))


def _head(lines: list[str]) -> Mapping[str, Any]:
    import nrrd

    try:
        head: Mapping[str, Any] = nrrd.read_header([f"{line}\n" for line in lines])
    except nrrd.NRRDError as error:
        raise ValueError(str(error)) from None
    for key in ("data file", "datafile"):
        if key in head:
            raise ValueError("its voxels are in another file, which is not opened; save it as one")
    for key in ("line skip", "lineskip", "byte skip", "byteskip"):
        if head.get(key, 0) != 0:
            raise ValueError(f"it has a {key}, which is not read; save it anew")
    return head


def _shape(head: Mapping[str, Any]) -> tuple[int, ...]:
    if head.get("dimension") != 3 or len(head["sizes"]) != 3:
        raise ValueError(f"it has {head.get('dimension')} dimensions; expected one volume of 3")
    return tuple(int(side) for side in head["sizes"])


def _kind(head: Mapping[str, Any]) -> "np.dtype[Any]":
    name = str(head.get("type")).lower()
    if name not in _TYPES:
        raise ValueError(f"it holds numbers of type '{name}'; expected 8 to 32 bits, or floats")
    end = str(head.get("endian", "little")).lower()
    if end not in _ENDS:
        raise ValueError(f"its byte order is '{end}'; expected little or big")
    return np.dtype(_ENDS[end] + _TYPES[name])


def _affine(head: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Directions of the axes in NIfTI's coordinates, where the head says enough."""
    space = str(head.get("space", "")).lower()
    words = _SHORT.get(space, space).split("-")
    if len(words) != 3 or not set(words) <= set(_SIGNS) or "space directions" not in head:
        return None
    columns = np.asarray(head["space directions"], dtype=np.float64)
    if columns.shape != (3, 3):
        raise ValueError("its space directions are no 3 vectors of 3 numbers")
    affine = np.eye(4)
    affine[:3, :3] = np.diag([_SIGNS[word] for word in words]) @ columns.T
    return affine
