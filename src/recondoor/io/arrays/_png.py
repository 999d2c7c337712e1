"""The one reader of PNG: what would lose something, or is more than one picture, is refused."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recondoor.io import gate

MOST_PIXELS = 1 << 25
"""Pixels of one picture that are decoded: 33 million."""
MOST_BYTES = 256 * gate.MIB
MOST_CHUNKS = 100_000

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIZE = struct.Struct(">IIBBBBB")
_COLOURS = {0: "greyscale", 2: "RGB", 3: "palette", 4: "LA", 6: "RGBA"}
_READ = {(0, 1), (0, 2), (0, 4), (0, 8), (2, 8)}
_NEEDED = (b"IHDR", b"IDAT", b"IEND")
_EXPECTED = "expected 8-bit greyscale or RGB without transparency or palette"


def read_png(path: Path, inside: Path | None = None) -> NDArray[np.uint8]:
    """Samples of a PNG as they are stored, (H, W) if greyscale or (H, W, 3) if RGB.

    Fewer than 8 bits are scaled to 0 to 255. What a file says of screens (gamma, colour profiles)
    is not applied: it changes what is shown, not what was stored.

    Args:
        path: the file.
        inside: folder that it must lie in, as in `gate.opened`.

    Raises one of `UNREADABLE`: ValueError for a damaged file, 16 bits, a palette, transparency, an
    animation, or more than `MOST_PIXELS`.
    """
    # Imported here because it costs 30 ms that only users of PNGs should pay.
    from PIL import Image

    content = _without_the_rest(memoryview(gate.read_bytes(path, most=MOST_BYTES, inside=inside)))
    # Of other formats some are run by programs outside, as EPS is.
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return np.array(image.convert("L") if image.mode == "1" else image, dtype=np.uint8)


def _without_the_rest(content: memoryview) -> bytes:
    """The PNG with nothing but what makes its pixels: texts and profiles may expand at will."""
    kept = [_SIGNATURE]
    for number, (kind, body, whole) in enumerate(_chunks(content)):
        if (kind == b"IHDR") != (number == 0):
            raise ValueError("its size is not its first chunk")
        if kind == b"IHDR":
            _require_readable(body)
        elif kind == b"tRNS":
            raise ValueError(f"it has transparency (tRNS); {_EXPECTED}")
        elif kind == b"acTL":
            raise ValueError("it is an animation; expected one picture")
        if kind in _NEEDED:
            kept.append(whole)
        elif kind[:1].isupper() and kind != b"PLTE":
            raise ValueError("it needs a chunk that is not in the format")
    return b"".join(kept)


def _chunks(content: memoryview) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and whole of every chunk up to IEND."""
    if content[:8] != _SIGNATURE:
        raise ValueError("it is not an image in the format PNG")
    at = 8
    for _ in range(MOST_CHUNKS):
        length, kind = int.from_bytes(content[at : at + 4], "big"), bytes(content[at + 4 : at + 8])
        if len(content) - at < 12 + length:
            raise ValueError(f"it is cut short: a chunk declares {length} bytes")
        end = at + 8 + length
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ValueError("the checksum of a chunk does not match")
        yield kind, bytes(content[at + 8 : end]), bytes(content[at : end + 4])
        at = end + 4
        if kind == b"IEND":
            return
    raise ValueError(f"it has more than {MOST_CHUNKS:,} chunks")


def _require_readable(body: bytes) -> None:
    if len(body) != _SIZE.size:
        raise ValueError("its size cannot be read")
    width, height, depth, colour, packing, filtering, _ = _SIZE.unpack(body)
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels are declared, {MOST_PIXELS:,} are allowed")
    if width * height == 0 or packing or filtering or colour not in _COLOURS:
        raise ValueError("its size cannot be read")
    if (colour, depth) not in _READ:
        hint = "; save k / 65535 in an .npy file" if depth == 16 else ""
        raise ValueError(f"it holds {depth}-bit {_COLOURS[colour]}; {_EXPECTED}{hint}")
