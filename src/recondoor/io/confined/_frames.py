"""What goes through the pipes to and from a confined process: a header of fixed size, raw bytes."""

import struct
from typing import IO

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Numbers = tuple[int, int, int, int]

HEADER = struct.Struct("<c4q")
"""Kind of frame and four numbers: sizes of an image batch, or the length of what follows."""

MODEL, IMAGES, READY, FAULT = b"M", b"Z", b"R", b"E"
LONGEST_FAULT = 600
"""Bytes of a fault in words."""


class Ended(Exception):
    """The pipe ended before the frame did."""


def read_exactly(stream: IO[bytes], size: int) -> bytearray:
    """The next `size` bytes; raises Ended."""
    content = bytearray(size)
    view, place = memoryview(content), 0
    while place < size:
        count = stream.readinto(view[place:])  # type: ignore[attr-defined]
        if not count:
            raise Ended
        place += count
    return content


def read_header(stream: IO[bytes]) -> tuple[bytes, Numbers]:
    """Kind and numbers of the next frame; raises Ended."""
    kind, *numbers = HEADER.unpack(read_exactly(stream, HEADER.size))
    return kind, (numbers[0], numbers[1], numbers[2], numbers[3])


def read_images(stream: IO[bytes], shape: tuple[int, ...]) -> Floats:
    """Images of a shape that the reader knows beforehand; raises Ended."""
    content = read_exactly(stream, 4 * int(np.prod(shape)))
    return np.frombuffer(content, dtype="<f4").reshape(shape)


def write_frame(stream: IO[bytes], kind: bytes, numbers: Numbers, content: bytes) -> None:
    """Write one frame."""
    stream.write(HEADER.pack(kind, *numbers))
    stream.write(content)
    stream.flush()
