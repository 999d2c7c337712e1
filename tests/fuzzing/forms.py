"""One array in the many forms in which a file may hold it."""

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.forge import npy_bytes, npz_bytes
from fuzzing.mutate import Random, pick

Array = NDArray[Any]

FLOATS = ("<f4", "<f8", ">f4", ">f8")
HALVES = ("<f2", ">f2")
INTEGERS = ("|i1", "<i2", ">i2", "<i4", "<i8", "<u2", ">u2", "<u4", "<u8")
COMPLEX = ("<c8", "<c16", ">c16")
SCALES = (1e-5, 1e-3, 1.0, 1.0, 1e3, 1e5)
SIZES = ((1, 7), (7, 1), (2, 5), (3, 4), (5, 3), (8, 8), (27, 31), (31, 27), (1, 1), (11, 10))


def laid_out(values: Array, random: Random) -> Array:
    """The same numbers in another order of memory, or with gaps between them."""
    form = int(random.integers(4))
    if form == 0:
        return np.asfortranarray(values)
    if form == 1:
        return np.repeat(values, 2, axis=0)[::2]
    if form == 2:
        return np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    return values


def npz(arrays: Mapping[str, Array]) -> bytes:
    """An .npz of arrays."""
    return npz_bytes({f"{name}.npy": npy_bytes(values) for name, values in arrays.items()})


def h5(arrays: Mapping[str, Array], random: Random) -> bytes:
    """An .h5 of arrays, each whole or in chunks, through filters or not."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in arrays.items():
            how: dict[str, Any] = {}
            if values.size and random.random() < 0.7:
                chunks = tuple(int(random.integers(1, side + 1)) for side in values.shape)
                packed = pick(random, (None, "gzip", "lzf"))
                bits = random.integers(2, size=2).astype(bool)
                how = {"chunks": chunks, "compression": packed}
                how |= {"shuffle": bool(bits[0]), "fletcher32": bool(bits[1])}
            file.create_dataset(name, data=np.asarray(values), **how)
    return buffer.getvalue()


def archive(arrays: Mapping[str, Array], random: Random) -> tuple[str, bytes]:
    """A suffix, in capitals or not, and the content of a file that holds arrays."""
    if random.random() < 0.5:
        return str(pick(random, (".npz", ".NPZ", ".Npz"))), npz(arrays)
    return str(pick(random, (".h5", ".H5", ".hdf5", ".HDF5"))), h5(arrays, random)


def png(samples: Array, depth: int, colour: int) -> bytes:
    """A PNG of samples (H, W, channels) by the specification, written without Pillow."""
    height, width, channels = samples.shape
    rows = []
    for row in samples.reshape(height, width * channels):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        else:
            bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
            packed = np.packbits(bits.astype(np.uint8)).tobytes()
        rows.append(b"\0" + packed)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    if colour == 3:
        chunks.insert(1, (b"PLTE", bytes(range(256)) * 3))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
