"""Files that are well formed and hostile: false sizes, odd types, pickles, names with ../."""

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.mutate import ODD_VALUES, Random, damage, pick, retree

_SIZES = (0, 1, 2, 7, 28, 1 << 16, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, 1 << 64)
_TYPES = (
    "|O", "<f8", "<f4", "<f2", ">f4", "|u1", "|b1", "<i8", "<c8", "<c16", "<U5", "|S1000000",
    "|V10", "<M8[s]", "<m8", "|O8", "<f16", "", "nonsense", "<f4,<f4", "|S0",
)  # fmt: skip
_HEADS = (
    "{" * 500, "(" * 90, "__import__('os').system('touch executed')", "[]", "{}", "1" * 5000,
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
    "{'descr': ('<f4', (1000000, 1000000)), 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<f4', 'fortran_order': 2, 'shape': (1,)}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': 'x'}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2)}", "\x00", "'" , "\\",
)  # fmt: skip


class Plant:
    """Writes a file named `executed` where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def npy_bytes(array: Any) -> bytes:
    """An array as .npy; one of objects is pickled."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz_bytes(members: Mapping[str, bytes]) -> bytes:
    """A compressed archive of files by their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def planted() -> bytes:
    """An array of objects whose pickle writes a file."""
    return npy_bytes(np.array([Plant(), 1], dtype=object))


def _dimension(shape: tuple[int, ...], random: Random) -> tuple[int, ...]:
    sizes = list(shape) or [1]
    for _ in range(int(random.integers(1, 3))):
        at = int(random.integers(len(sizes)))
        change = random.random()
        if change < 0.6:
            sizes[at] = int(pick(random, _SIZES)) * (-1 if random.random() < 0.1 else 1)
        elif change < 0.8:
            sizes.insert(at, int(pick(random, (1, 2, 3))))
        elif len(sizes) > 1:
            del sizes[at]
    return tuple(sizes) * (20 if random.random() < 0.03 else 1)


def npy_head(content: bytes, random: Random) -> bytes:
    """The same numbers under a head that says otherwise."""
    array = np.load(io.BytesIO(content))
    kind = pick(random, _TYPES) if random.random() < 0.4 else array.dtype.str
    shape = _dimension(array.shape, random) if random.random() < 0.7 else array.shape
    order = bool(random.random() < 0.1)
    head = f"{{'descr': {kind!r}, 'fortran_order': {order}, 'shape': {shape!r}, }}"
    head = pick(random, _HEADS) if random.random() < 0.15 else head
    version = bytes(pick(random, ((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9))))
    text = head.encode("latin1")
    size = struct.pack("<H" if version[0] < 2 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + array.tobytes()


def npy_values(content: bytes, random: Random) -> bytes:
    """Another type, shape or some odd numbers, all well formed."""
    array = np.load(io.BytesIO(content))
    change = random.random()
    if change < 0.25:
        types = ("f2", "f8", ">f4", "u1", "i8", "c8", "?", "U3", "O", "u2", "M8[s]")
        with np.errstate(all="ignore"):
            array = array.astype(pick(random, types))
    elif change < 0.5:
        array = np.atleast_1d(array)
        array = pick(random, (array[None], array[..., :0], array[:1], array.ravel(), array[0:0]))
    elif change < 0.6:
        array = np.asarray(pick(random, (3.0, "x", [], [[["x"]]], np.zeros((1,) * 40))))
    elif array.size:
        odd = (np.nan, np.inf, -np.inf, 1e38, -1.0, 2.0, 1e-45, 0.0, 1e300)
        flat = array.astype(array.dtype if array.dtype.kind == "f" else np.float64).ravel()
        with np.errstate(all="ignore"):
            flat[random.integers(flat.size, size=3)] = pick(random, odd)
        array = flat.reshape(array.shape)
    return npy_bytes(array)


def npy_pickle(content: bytes, random: Random) -> bytes:
    """Objects instead of numbers: in an array, or a pickle alone."""
    return pick(random, (planted(), pickle.dumps(Plant())))


_NPY: tuple[Callable[[bytes, Random], bytes], ...] = (
    npy_head, npy_head, npy_values, npy_values, npy_pickle, damage,
)  # fmt: skip


def npz(content: bytes, random: Random) -> bytes:
    """An archive of which one member is changed, renamed, left out or there in addition."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = pick(random, sorted(members))
    change = random.random()
    if change < 0.7:
        members[name] = pick(random, _NPY)(members[name], random)
    elif change < 0.8:
        members[pick(random, _NAMES)] = pick(random, (members[name], planted(), b"", b"text"))
    elif change < 0.9:
        members[pick(random, _NAMES)] = members.pop(name)
    else:
        del members[name]
    return npz_bytes(members)


_NAMES = ("../../x.npy", "/tmp/recondoor-fuzz.npy", "x", "a/b.npy", "executed", "x\ny\nz.npy",
          "score-<script>.npy", "x.npy.npy", "\x1b[31m.npy", "n" * 5000 + ".npy")  # fmt: skip


def npz_sizes(content: bytes, random: Random) -> bytes:
    """An archive whose directory gives false sizes, offsets or methods."""
    at = content.rfind(b"PK\x01\x02")
    changed = bytearray(content)
    field = int(pick(random, (10, 16, 20, 24, 28, 30, 42)))
    struct.pack_into("<I", changed, at + field, int(pick(random, _SIZES)) % (1 << 32))
    return bytes(changed)


def npz_bomb(content: bytes, random: Random) -> bytes:
    """A first member that says it is huge, in a file of some KiB."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = pick(random, sorted(members))
    shape = (int(pick(random, (1 << 24, 1 << 30, 1 << 40))), 28, 28)
    head = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)  # type: ignore[arg-type]
    return npz_bytes(members | {name: head.getvalue() + bytes(1 << 16)})


def idx(content: bytes, random: Random) -> bytes:
    """An IDX file, gzipped or not, with false counts."""
    plain = bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    field = 4 * int(random.integers(4))
    struct.pack_into(">I", plain, field, int(pick(random, _SIZES)) % (1 << 32))
    if random.random() < 0.2:
        plain = bytearray(damage(bytes(plain), random))
    if random.random() < 0.1:
        plain += bytes(1 << 24)
    return gzip.compress(bytes(plain), 1) if random.random() < 0.7 else bytes(plain)


def png(content: bytes, random: Random) -> bytes:
    """A PNG with one chunk changed, its checksum right again."""
    chunks, at = [], 8
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    which = 0 if random.random() < 0.6 else int(random.integers(len(chunks)))
    kind, body = chunks[which]
    body = _image_head(body, random) if which == 0 else damage(body or b"\0", random)
    chunks[which] = (kind, body)
    if random.random() < 0.2:
        chunks.insert(1, (pick(random, (b"tEXt", b"zTXt", b"iCCP", b"PLTE", b"tRNS")), body * 9))
    return content[:8] + b"".join(_chunk(*chunk) for chunk in chunks)


def _image_head(body: bytes, random: Random) -> bytes:
    changed = bytearray(body)
    if random.random() < 0.5:
        side = int(pick(random, (0, 1, 9, 1 << 14, 1 << 20, (1 << 31) - 1, 1 << 31)))
        struct.pack_into(">I", changed, int(pick(random, (0, 4))), side)
    else:
        changed[int(random.integers(8, 13))] = int(pick(random, (0, 1, 2, 3, 4, 6, 8, 16, 255)))
    return bytes(changed)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def safetensors(content: bytes, random: Random) -> bytes:
    """A file whose head of JSON is changed, its length right again."""
    (size,) = struct.unpack_from("<Q", content)
    head = json.loads(content[8 : 8 + size])
    text = json.dumps(retree(head, random)).encode()
    if random.random() < 0.1:
        text = b'{"a":' * 20_000
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def parquet(content: bytes, random: Random) -> bytes:
    """A table with some cells, columns or types changed."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    table = pq.read_table(io.BytesIO(content))
    columns = {name: table[name].to_pylist() for name in table.column_names}
    for _ in range(int(random.integers(1, 4))):
        name = pick(random, sorted(columns))
        change = random.random()
        if change < 0.15:
            del columns[name]
        elif change < 0.3:
            columns[str(pick(random, ODD_VALUES)) + ".x"] = columns.pop(name)
        else:
            _cells(columns, name, random)
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: _column(values) for name, values in columns.items()}), buffer)
    return buffer.getvalue()


def _cells(columns: dict[str, list[Any]], name: str, random: Random) -> None:
    values, odd = columns[name], pick(random, ODD_VALUES)
    if random.random() < 0.5:
        columns[name] = [odd] * len(values)
    elif values:
        values[int(random.integers(len(values)))] = odd


def _column(values: list[Any]) -> Any:
    """Values as they are where they have one type, else as text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        texts = [None if v is None else str(v).encode(errors="replace").decode() for v in values]
        return pa.array(texts)


def h5(content: bytes, random: Random) -> bytes:
    """A file made anew with one dataset of another shape, type or kind."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(content), "r") as old, h5py.File(buffer, "w") as new:
        name = pick(random, sorted(old))
        for key in old:
            if key != name:
                new[key] = old[key][()]
        _dataset(new, name, old[name][()], random)
    return buffer.getvalue()


def _dataset(file: Any, name: str, values: Any, random: Random) -> None:
    import h5py

    change = int(random.integers(8))
    if change == 0:
        file.create_dataset(name, shape=(1 << 40, 28, 28), dtype="f4", chunks=(64, 28, 28))
    elif change == 1:
        file[name] = h5py.ExternalLink(str(pick(random, ("/etc/passwd", "../x.h5", ""))), "x")
    elif change == 2:
        file[name] = h5py.SoftLink("/" + name)
    elif change == 3:
        file[name] = np.array(["text"], dtype=h5py.string_dtype())
    elif change == 4:
        file.create_group(name)
    elif change == 5:
        file[name] = h5py.Empty("f4")
    elif change == 6:
        file[name] = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")])
    else:
        file[name] = values.reshape(-1) if random.random() < 0.5 else np.full_like(values, np.nan)
