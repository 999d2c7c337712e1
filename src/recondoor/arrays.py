"""Arrays of a stranger's .npy and .npz files: claims are checked before memory is taken.

Nothing is ever unpickled, and no member of an archive is written anywhere.
"""

import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    SyntaxError,
    RuntimeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy, zipfile, Pillow and h5py raise on damaged files, found by damaging some."""

FREE = 1 << 28
"""Bytes that a small file may expand to, 256 MiB."""
EXPANSION = 200
"""Largest ratio of what a larger one expands to and its size; images compress far less."""

MOST_PIXELS = 1 << 25
"""Pixels of one picture that are decoded: 33 million."""

_HEADS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def load(stream: IO[bytes]) -> Any:
    """What `np.load` returns, for an open .npy or .npz file.

    Raises one of `UNREADABLE`: ValueError if the file declares more numbers than it holds, or
    expands to more than `require_expansion` allows, or holds Python objects.
    """
    start = stream.read(6)
    stream.seek(0)
    if start == np.lib.format.MAGIC_PREFIX:
        size = Path(stream.name).stat().st_size
        require_held(declared(stream), size)
    elif start[:2] == b"PK":
        require_archive(stream)
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def declared(stream: IO[bytes]) -> int:
    """Bytes that an .npy says its numbers take; 0 for Python objects, which nobody reads."""
    shape, kind = head(stream)
    return 0 if kind.hasobject else math.prod(shape) * kind.itemsize


def head(stream: IO[bytes]) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    """Shape and type that an .npy declares."""
    version = np.lib.format.read_magic(stream)
    # Version 3 differs from 2 in the encoding of field names, which are no numbers.
    try:
        shape, _, kind = _HEADS.get(version, np.lib.format.read_array_header_2_0)(stream)
    except MemoryError:
        # Python's parser says so of brackets that are nested too deep.
        raise ValueError("its head cannot be parsed") from None
    if any(length < 0 for length in shape):
        raise ValueError(f"it declares the shape {shape}")
    return shape, kind


def require_archive(stream: IO[bytes]) -> None:
    """Refuse an .npz whose members declare more than they hold, or expand too much together."""
    with zipfile.ZipFile(stream) as archive:
        whole = 0
        for info in archive.infolist():
            whole += info.file_size
            if info.filename.endswith(".npy"):
                with archive.open(info) as member:
                    require_held(declared(member), info.file_size)
    require_expansion(whole, Path(stream.name).stat().st_size)


def require_held(claim: int, size: int) -> None:
    """Refuse a claim of more bytes than there are."""
    if claim > size:
        raise ValueError(f"it declares {claim / 2**20:.3g} MiB of numbers but holds {size} bytes")


def require_decodable(size: tuple[int, int]) -> None:
    """Refuse a picture of more than `MOST_PIXELS`; some KiB of PNG may declare any size."""
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"{size[0]}x{size[1]} pixels are declared, {MOST_PIXELS:,} are allowed")


def require_chunks(path: Path) -> None:
    """Refuse a PNG in which a chunk declares more bytes than follow; anything else passes."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(8) != b"\x89PNG\r\n\x1a\n":
            return
        while len(start := stream.read(8)) == 8 and start[4:] != b"IEND":
            length = int.from_bytes(start[:4], "big")
            if length > size - stream.tell():
                raise ValueError(f"it is cut short: a chunk declares {length} bytes")
            stream.seek(length + 4, os.SEEK_CUR)


def require_expansion(expanded: int, size: int) -> None:
    """Refuse what a compressed file of `size` bytes would expand to, if that is suspiciously much.

    Allowed are `FREE` bytes, and `EXPANSION` times the size.
    """
    if expanded > max(FREE, EXPANSION * size):
        raise ValueError(f"its {size} bytes would expand to {expanded / 2**30:.3g} GiB")
