"""Room for many images: in memory, or in a file without a name where they are too many for that."""

import os
import tempfile
from errno import ENOSPC

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import RunError

IN_MEMORY = 1 << 30
"""Bytes up to which images are held in memory."""


def room(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros of float32 and this shape.

    More than `IN_MEMORY` bytes lie in a file of the folder for temporary files (TMPDIR), which goes
    with the process; pages of it are in memory as long as there is room. Raises RunError where that
    folder is full.
    """
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if size <= IN_MEMORY:
        return np.zeros(shape, dtype=np.float32)
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            _claim(file.fileno(), size)
            return np.memmap(file, dtype=np.float32, mode="r+", shape=shape)
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        raise RunError(
            f"{folder}: has no room for {size / 2**30:.1f} GiB of images; set TMPDIR to a folder "
            "that has, or use fewer images (data.limit)"
        ) from None


def _claim(descriptor: int, size: int) -> None:
    """Take the disk's room now: a full disk would end the process where a page is written."""
    os.posix_fallocate(descriptor, 0, size)
