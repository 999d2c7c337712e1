"""Files that claim, hide or expand, made by hand as a stranger may."""

import gzip
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

MIB = 1 << 20
IMAGES = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 1, 5, 6) / 120


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(path: Path, *members: tuple[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> None:
    """An archive in which a name may occur twice."""
    with zipfile.ZipFile(path, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that occurs twice
        for name, content in members:
            archive.writestr(name, content)


def many_members(path: Path, count: int = 60_000) -> None:
    """An archive that lists one member of no bytes again and again."""
    name = b"x.npy"
    rest = (20, 0, 0, 0, 0x21, 0, 0, 0, len(name))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", *rest, 0) + name
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *rest, 0, 0, 0, 0, 0, 0) + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, count * len(entry), len(local), 0)
    path.write_bytes(local + count * entry + end)


def expanding_npz(path: Path) -> None:
    head = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (300, 1024, 1024)}
    np.lib.format.write_array_header_1_0(head, shape)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(head.getvalue())
        for _ in range(300):
            member.write(bytes(MIB))


def long_head(path: Path) -> None:
    npz(path, ("x.npy", b"\x93NUMPY\x02\x00" + struct.pack("<L", 2**32 - 1) + b"{" * 1000))


def claim_without_suffix(path: Path) -> None:
    head = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (300, 784, 784)}
    np.lib.format.write_array_header_1_0(head, shape)
    npz(path, ("x", head.getvalue() + bytes(64)))


def twice(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        npz(path, ("x.npy", npy(IMAGES)), (name, npy(IMAGES / 2)))

    return write


def two_archives(path: Path) -> None:
    npz(path, ("x.npy", npy(IMAGES)))
    first = path.read_bytes()
    npz(path, ("x.npy", npy(IMAGES / 2)))
    path.write_bytes(first + path.read_bytes())


def prefixed(path: Path) -> None:
    npz(path, ("x.npy", npy(IMAGES)))
    path.write_bytes(b"PK\3\4 something else" + path.read_bytes())


def commented(path: Path) -> None:
    npz(path, ("x.npy", npy(IMAGES)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"PK\5\6" + bytes(18)


def lzma(path: Path) -> None:
    npz(path, ("x.npy", npy(IMAGES)), packing=zipfile.ZIP_LZMA)


def two_in_one_npy(path: Path) -> None:
    path.write_bytes(npy(IMAGES) + npy(IMAGES / 2))


def expanding_h5(path: Path) -> None:
    """640 MiB in some KiB: one compressed chunk of zeros, written again and again."""
    packed = zlib.compress(bytes(64 * MIB), 9)
    with h5py.File(path, "w") as file:
        for name in ("x", "z"):
            values = file.create_dataset(
                name, (5 * 16, MIB), "f4", chunks=(16, MIB), compression="gzip"
            )
            for index in range(5):
                values.id.write_direct_chunk((16 * index, 0), packed)


def never_written_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("x", "z"):
            file.create_dataset(name, (100, 1024, 1024), "f4", chunks=(1, 1024, 1024), fillvalue=1)


def partly_written_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("x", "z"):
            file.create_dataset(name, (4, 5, 6), "f4", chunks=(2, 5, 6))[:2] = 1


def large_chunk_h5(path: Path) -> None:
    """A few images in one chunk that takes 1 GiB to unpack."""
    with h5py.File(path, "w") as file:
        for name in ("x", "z"):
            values = file.create_dataset(
                name, (4, 5, 6), "f4", chunks=(1 << 18, 32, 32), maxshape=(None, None, None),
                compression="gzip",
            )  # fmt: skip
            values.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1000)))


def expanding_gzip(path: Path) -> None:
    head = struct.pack(">4I", 0x803, 320 * 1337, 28, 28)
    path.write_bytes(gzip.compress(head) + 320 * gzip.compress(bytes(MIB)))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: list[bytes],
    width: int,
    depth: int,
    colour: int,
    *,
    more: bytes = b"",
    passes: int = 0,
    size: tuple[int, int] | None = None,
) -> bytes:
    """A PNG of unfiltered rows of samples; `more` are chunks between its size and its pixels."""
    wide, high = size or (width, len(rows))
    head = struct.pack(">IIBBBBB", wide, high, depth, colour, 0, 0, passes)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = chunk(b"IHDR", head) + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def large_png(path: Path) -> None:
    path.write_bytes(png([bytes(4)], 4, 8, 0, size=(2**31 - 1, 2**31 - 1)))


def png_of_many_chunks(path: Path) -> None:
    path.write_bytes(png([bytes(4)], 4, 8, 0, more=200_000 * chunk(b"tEXt", b"a\0b")))


def texts_in_png(path: Path) -> None:
    """An honest picture whose text, colour profile and international text expand to 256 MiB."""
    zeros = zlib.compress(bytes(256 * MIB), 1)
    more = chunk(b"zTXt", b"a\0\0" + zeros) + chunk(b"iCCP", b"a\0\0" + zeros)
    more += chunk(b"iTXt", b"a\0\1\0\0\0" + zeros)
    path.write_bytes(png([bytes([0, 51, 102, 255])] * 3, 4, 8, 0, more=more))
