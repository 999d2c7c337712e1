"""The IDX reader: round trip, and one clear line for anything that is not whole."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recondoor.core.errors import DataError
from recondoor.data._idx import parse_images, read_bytes


def idx(images: np.ndarray) -> bytes:
    """The format as published: magic 2051, three lengths, bytes; all big-endian."""
    return struct.pack(">4i", 2051, *images.shape) + images.tobytes()


shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
pixels = shapes.flatmap(lambda shape: arrays(np.uint8, shape))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx")


@given(images=pixels, zipped=st.booleans())
def test_round_trip(folder: Path, images: np.ndarray, zipped: bool) -> None:
    path = folder / "images"
    path.write_bytes(gzip.compress(idx(images)) if zipped else idx(images))
    np.testing.assert_array_equal(parse_images(read_bytes(path), path), images)


@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_at_any_byte(folder: Path, zipped: bool) -> None:
    whole = idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    content = gzip.compress(whole) if zipped else whole
    path = folder / "cut"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError) as caught:
            parse_images(read_bytes(path), path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@given(data=st.data())
@settings(max_examples=200)
def test_damaged_gzip_is_refused_or_unharmed(folder: Path, data: st.DataObject) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    content = bytearray(gzip.compress(idx(images)))
    position = data.draw(st.integers(2, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = folder / "damaged.gz"
    path.write_bytes(content)
    try:
        found = parse_images(read_bytes(path), path)
    except DataError:
        return
    # Only the header's time stamp, system and flags do not matter to the pixels, and the bits that
    # fill up the last byte in front of the checksum and the length.
    assert position < 10 or position == len(content) - 9
    np.testing.assert_array_equal(found, images)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (struct.pack(">4i", 2049, 3, 1, 1) + b"abc", "0x00000801"),
        (struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abc", "cut short"),
        (struct.pack(">4i", 2051, 0, 28, 28), "no images"),
        (struct.pack(">4i", 2051, 5, 0, 28), "no images"),
        (idx(np.zeros((1, 2, 2), np.uint8)) + b"\0", "too long"),
        (b"<!DOCTYPE html> not a data file", "not an IDX file"),
    ],
)
def test_wrong_content(content: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_images(content, "some-file")


def test_trailing_garbage_after_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((1, 2, 2), np.uint8))) + b"garbage")
    with pytest.raises(DataError, match="damaged"):
        read_bytes(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_bytes(tmp_path / "none")
    with pytest.raises(DataError, match="is a folder, no regular file"):
        read_bytes(tmp_path)
