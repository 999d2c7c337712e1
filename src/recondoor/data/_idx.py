"""The IDX format of MNIST and its successors: big-endian header, then unsigned bytes.

Header: two zero bytes, the element type (8 = unsigned byte), the number of axes (3 for images),
then one 32-bit length per axis. Files may be gzipped, whatever their name says.
"""

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.io import arrays, gate

MOST = 640 * gate.MIB
"""Bytes of a file and of its content, ten times MNIST's."""

_GZIP_MAGIC = b"\x1f\x8b"
_IMAGES_MAGIC = 0x00000803
_STEP = 1 << 22
_HEADER = struct.Struct(">IIII")


def read_bytes(path: Path) -> bytes | bytearray:
    """Return the file's content, decompressed if it is gzipped.

    Raises DataError if the file cannot be read, its gzip stream is damaged or cut short, it
    expands to suspiciously much (`arrays.require_expansion`), or it has more than `MOST` bytes.
    """
    try:
        content = gate.read_bytes(path, most=MOST)
        return _decompressed(content) if content[:2] == _GZIP_MAGIC else content
    except gate.Refused as error:
        raise DataError(arrays.failure(path, error)) from error
    except (EOFError, ValueError, gzip.BadGzipFile, struct.error, zlib.error) as error:
        raise DataError(
            f"'{path}' is damaged or cut short ({error}); fetch the file again"
        ) from error
    except OSError as error:
        raise DataError(arrays.failure(path, error)) from error


def _decompressed(content: bytes) -> bytearray:
    """Decompress step by step, as a gzip stream does not say beforehand how long it is."""
    whole = bytearray()
    with gzip.open(io.BytesIO(content)) as stream:
        while part := stream.read(_STEP):
            whole += part
            arrays.require_expansion(len(whole), len(content))
            if len(whole) > MOST:
                raise gate.Refused(f"expands to more than the {MOST >> 20} MiB that are read")
    return whole


def parse_images(content: bytes | bytearray, where: Path | str) -> NDArray[np.uint8]:
    """Return the images of an IDX file as a read-only view, uint8 (N, H, W).

    `where` names the file in errors. Raises DataError for a wrong magic number, a length that
    does not match the header, and no images at all.
    """
    if len(content) < _HEADER.size:
        raise DataError(
            f"'{where}' is cut short: {len(content)} bytes, an IDX header alone has {_HEADER.size}"
        )
    magic, count, height, width = _HEADER.unpack_from(content)
    if magic != _IMAGES_MAGIC:
        raise DataError(
            f"'{where}' is not an IDX file of images: it starts with 0x{magic:08x}, "
            f"expected 0x{_IMAGES_MAGIC:08x}"
        )
    expected = _HEADER.size + count * height * width
    if len(content) != expected:
        state = "cut short" if len(content) < expected else "too long"
        raise DataError(
            f"'{where}' is {state}: {len(content)} bytes, its header announces {expected} "
            f"({count} images of {height}x{width})"
        )
    if count * height * width == 0:
        raise DataError(f"'{where}' holds no images ({count} of {height}x{width})")
    pixels = np.frombuffer(memoryview(content).toreadonly(), np.uint8, offset=_HEADER.size)
    return pixels.reshape(count, height, width)
