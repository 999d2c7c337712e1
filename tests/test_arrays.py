"""Files that claim more than they hold are refused before memory is taken, wherever they enter."""

import gzip
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recondoor import config, data, operators, poisoning, rundir
from recondoor.core.errors import DataError, RecondoorError
from recondoor.data._idx import read_bytes

MIB = 1 << 20


def head(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    text = str({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def claiming(folder: Path, name: str, shape: tuple[int, ...]) -> Path:
    """An .npy, or an .npz with x, z and delta, whose head gives `shape` and that holds 1 KiB."""
    path, content = folder / name, head(shape) + bytes(1024)
    if path.suffix == ".npy":
        path.write_bytes(content)
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in ("x", "z", "delta"):
            archive.writestr(f"{member}.npy", content)
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "images.npy": lambda path: data.load(str(path)),
    "images.npz": lambda path: data.load(str(path)),
    "patch.npy": lambda path: poisoning.make_trigger(config.TriggerSettings(file=path), (1, 9, 9)),
    "matrix.npy": lambda path: operators.build(
        (1, 28, 28), config.Operator(name="matrix", file=path), 0
    ),
    "plan.npz": lambda path: rundir.RunDir(path.parent).read_npz(path),
}


@pytest.mark.parametrize("name", READERS)
def test_a_claim_is_refused_before_memory_is_taken(name: str, tmp_path: Path) -> None:
    shape = (300_000, 784) if "matrix" in name else (300, 784, 784)  # 0.9 and 0.7 GiB
    path = claiming(tmp_path, name, shape)
    tracemalloc.start()
    try:
        with pytest.raises(RecondoorError, match="declares .* MiB of numbers but holds"):
            READERS[name](path)
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", READERS)
def test_a_shape_that_no_computer_has(name: str, tmp_path: Path) -> None:
    for shape in ((2**70, 784), (-1, 784), (2**32, 2**32)):
        with pytest.raises(RecondoorError):
            READERS[name](claiming(tmp_path, name, shape))


def test_an_archive_that_expands_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recondoor.io.arrays._claims.FREE", MIB)
    path = tmp_path / "images.npz"
    np.savez_compressed(path, x=np.zeros((40, 256, 256), np.uint8))
    with pytest.raises(DataError, match="bytes would expand to"):
        data.load(str(path))
    np.savez_compressed(path, x=np.random.default_rng(0).integers(0, 9, (40, 256, 256), np.uint8))
    assert data.load(str(path)).train.shape == (40, 1, 256, 256)


def test_a_gzip_stream_is_read_no_further_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recondoor.io.arrays._claims.FREE", MIB)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(bytes(64 * MIB)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="would expand"):
            read_bytes(path)
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()


def test_a_picture_that_declares_too_many_pixels_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    size = struct.pack(">IIBBBBB", 8000, 8000, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(RecondoorError, match="8000x8000 pixels are declared"):
        data.load(str(tmp_path))
    with pytest.raises(RecondoorError, match="8000x8000 pixels are declared"):
        READERS["patch.npy"](tmp_path / "0.png")


def test_names_that_lead_elsewhere_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "images.npz", "w") as archive:
        archive.writestr("../../x.npy", head((3, 5, 5), "|u1") + bytes(75))
    data.load(str(folder / "images.npz"))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["images.npz"]


def test_a_picture_chunk_that_claims_gibibytes_is_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save(tmp_path / "0.png")
    content = bytearray((tmp_path / "0.png").read_bytes())
    content[content.index(b"IDAT") - 4] = 0x80
    (tmp_path / "0.png").write_bytes(content)
    for read in (
        lambda: data.load(str(tmp_path)),
        lambda: READERS["patch.npy"](tmp_path / "0.png"),
    ):
        with pytest.raises(RecondoorError, match="a chunk declares 21474836.. bytes"):
            read()


def test_a_patch_in_a_format_that_others_run_is_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save(tmp_path / "patch.png", format="EPS")
    with pytest.raises(RecondoorError, match="not an image"):
        READERS["patch.npy"](tmp_path / "patch.png")


def test_a_head_of_many_brackets_is_no_lack_of_memory(tmp_path: Path) -> None:
    text = b"(" * 200
    (tmp_path / "images.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 200) + text)
    with pytest.raises(DataError, match="is not a readable .npy file"):
        data.load(str(tmp_path / "images.npy"))
