"""NumPy's .npy and .npz: heads and lists of members are checked before an array is read."""

import io
import math
import os
import posixpath
import struct
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recondoor.io.arrays._claims import MOST_MEMBERS, require_expansion

Head: TypeAlias = tuple[tuple[int, ...], "np.dtype[Any]"]

LONGEST_HEAD = 10_000
"""Bytes of an .npy's head, as many as NumPy itself reads."""
LONGEST_LIST = 1 << 20
"""Bytes of the list of an archive's members."""

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_SIZE = 20
_LOCAL_SIZE = 30
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def load(stream: IO[bytes]) -> Any:
    """What `np.load` returns, for an open .npy or .npz file.

    Raises one of `UNREADABLE`: ValueError if the file declares another size than it holds, expands
    to more than `require_expansion` allows, names an array twice, or holds Python objects.
    """
    start = stream.read(6)
    stream.seek(0)
    if start == np.lib.format.MAGIC_PREFIX:
        _require_whole(stream, _size(stream))
    elif start[:2] == b"PK":
        with archive(stream):
            pass
    stream.seek(0)
    return np.load(stream, allow_pickle=False)


def mapped(stream: IO[bytes], least: int) -> NDArray[Any] | None:
    """The array of an open .npy file, mapped and not read, if it has `least` bytes or more.

    None if it is smaller, or no .npy of numbers. Raises one of `UNREADABLE` as `load`.
    """
    stream.seek(0)
    if stream.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
        return None
    stream.seek(0)
    _require_whole(stream, _size(stream))
    at = stream.tell()
    stream.seek(0)
    shape, kind, in_columns = _layout(stream)
    if kind.hasobject or math.prod(shape) * kind.itemsize < least:
        return None
    order: Literal["F", "C"] = "F" if in_columns else "C"
    return np.memmap(stream, dtype=kind, mode="r", offset=at, shape=shape, order=order)


def head(stream: IO[bytes]) -> Head:
    """Shape and type that an .npy declares; `stream` is left where its numbers begin."""
    shape, kind, _ = _layout(stream)
    return shape, kind


def _layout(stream: IO[bytes]) -> tuple[tuple[int, ...], "np.dtype[Any]", bool]:
    """The same, and whether the numbers are in Fortran's order."""
    first = np.lib.format.read_magic(stream) == (1, 0)
    width = stream.read(2 if first else 4)
    length = int.from_bytes(width, "little")
    if length > LONGEST_HEAD:
        raise ValueError(f"its head declares {length} bytes of text")
    # Version 3 differs from 2 in the encoding of field names, which are no numbers.
    form = np.lib.format
    parse = form.read_array_header_1_0 if first else form.read_array_header_2_0
    try:
        shape, in_columns, kind = parse(io.BytesIO(width + stream.read(length)))
    except MemoryError:
        # Python's parser says so of brackets that are nested too deep.
        raise ValueError("its head cannot be parsed") from None
    if any(length < 0 for length in shape):
        raise ValueError(f"it declares the shape {shape}")
    return shape, kind, in_columns


@contextmanager
def archive(stream: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """The .npz in `stream`, each of whose arrays has one name and the size that it declares.

    Raises one of `UNREADABLE` as `load`.
    """
    size = _size(stream)
    _require_one_list(stream, size)
    stream.seek(0)
    with zipfile.ZipFile(stream) as members:
        _require_members(members.infolist())
        require_expansion(sum(info.file_size for info in members.infolist()), size)
        for info in members.infolist():
            with members.open(info) as member:
                start = member.read(len(np.lib.format.MAGIC_PREFIX))
            # NumPy goes by how a member begins, whatever its name.
            if start == np.lib.format.MAGIC_PREFIX or info.filename.endswith(".npy"):
                with members.open(info) as member:
                    _require_whole(member, info.file_size)
        yield members


def _require_whole(stream: IO[bytes], size: int) -> None:
    """Refuse an .npy of `size` bytes that does not hold one array exactly."""
    shape, kind = head(stream)
    if kind.hasobject:  # nobody reads these, and their size is not known
        return
    claim, held = math.prod(shape) * kind.itemsize, size - stream.tell()
    if claim > held:
        raise ValueError(f"it declares {claim / 2**20:.3g} MiB of numbers but holds {held} bytes")
    if claim < held:
        raise ValueError(f"{held - claim} bytes follow its array; expected one array and no more")


def _require_one_list(stream: IO[bytes], size: int) -> None:
    """Refuse an archive unless its list of members, of bounded size, is the last thing in it.

    Readers find the list in different ways. Where something lies in front of the archive or behind
    it, they may not find the same one.
    """
    stream.seek(max(0, size - _END.size - _LOCATOR_SIZE - _END_64.size))
    tail = stream.read()
    end, rest = tail[-_END.size :], tail[: -_END.size]
    if len(end) < _END.size or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise ValueError("it does not end with its list of members")
    count, length, offset = _END.unpack(end)[4:7]
    at = size - _END.size
    if rest[-_LOCATOR_SIZE:].startswith(b"PK\6\7"):
        record = rest[:-_LOCATOR_SIZE][-_END_64.size :]
        if len(record) < _END_64.size or record[:4] != b"PK\6\6":
            raise ValueError("its list of members is not where it says")
        count, length, offset = _END_64.unpack(record)[7:10]
        at -= _LOCATOR_SIZE + _END_64.size
    if count > MOST_MEMBERS or length > LONGEST_LIST:
        raise ValueError(f"it lists {count:,} members; at most {MOST_MEMBERS:,} are read")
    if offset + length != at:
        raise ValueError("something lies in front of its members or behind their list")


def _require_members(members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that are named twice, overlap, or are packed as NumPy packs none."""
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it lists {len(members):,} members; at most {MOST_MEMBERS:,} are read")
    seen: dict[str, str] = {}
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        same = spelling(info.filename)
        if same in seen:
            raise ValueError(
                f"it holds both '{seen[same]}' and '{info.filename}'; an array has one name"
            )
        seen[same] = info.filename
        if info.header_offset < end:
            raise ValueError(f"its member '{info.filename}' lies inside another")
        if info.compress_type not in _METHODS or info.flag_bits & 1:
            raise ValueError(f"its member '{info.filename}' is encrypted or packed in another way")
        end = info.header_offset + _LOCAL_SIZE + info.compress_size


def spelling(name: str) -> str:
    """What two names have in common that a person, or another program, would take for one."""
    plain = unicodedata.normalize("NFKC", name).replace("\\", "/").casefold()
    return posixpath.normpath(f"/{plain.removesuffix('.npy')}")


def _size(stream: IO[bytes]) -> int:
    here = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return size
