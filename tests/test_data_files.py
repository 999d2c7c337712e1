"""A user's own .npz and .npy files and folders of PNGs."""

import contextlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from recondoor import data
from recondoor.core.errors import DataError

GREY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


def saved(folder: Path, array: Any) -> str:
    path = folder / "mine.npy"
    np.save(path, array)
    return str(path)


def archive(path: Path, content: dict[str, Any]) -> None:
    np.savez(path, **content)


def refused(name: str | Path) -> str:
    with pytest.raises(DataError) as caught:
        data.load(str(name))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(array=arrays(np.uint8, (3, 4, 5)))
def test_uint8_is_scaled_by_255(folder: Path, array: np.ndarray) -> None:
    images = data.load(saved(folder, array))
    assert images.train.shape == (3, 1, 4, 5)
    assert images.train.dtype == np.float32
    np.testing.assert_allclose(images.train[:, 0], array.astype(np.float64) / 255, rtol=1e-7)
    assert images.test is None
    assert images.name == "mine.npy"


@given(array=arrays(np.float64, (2, 3, 4), elements=st.floats(0, 1)))
def test_floats_in_range_are_kept(folder: Path, array: np.ndarray) -> None:
    images = data.load(saved(folder, array))
    np.testing.assert_array_equal(images.train[:, 0], array.astype(np.float32))


@pytest.mark.parametrize("dtype", [">f4", "<f2", "<f8", ">f8"])
def test_any_float_type(tmp_path: Path, dtype: str) -> None:
    array = np.linspace(0, 1, 24).reshape(2, 3, 4).astype(dtype)
    images = data.load(saved(tmp_path, array))
    assert images.train.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(images.train[:, 0], array.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5, 6), (2, 1, 5, 6)),
        ((2, 1, 5, 6), (2, 1, 5, 6)),
        ((2, 3, 5, 6), (2, 3, 5, 6)),
        ((2, 5, 6, 1), (2, 1, 5, 6)),
        ((2, 5, 6, 3), (2, 3, 5, 6)),
        ((2, 2, 5, 6), (2, 2, 5, 6)),
        ((2, 3, 8, 3), (2, 3, 8, 3)),
        ((2, 1, 8, 1), (2, 1, 8, 1)),
    ],
)
def test_shapes(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    train = data.load(saved(tmp_path, array)).train
    assert train.shape == expected
    assert train.flags.c_contiguous
    first = array if array.ndim == 3 else array[..., 0] if shape != expected else array[:, 0]
    np.testing.assert_allclose(train[:, 0], first / 255.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 28, 28), np.uint8), "no pixels"),
        (np.zeros((5, 28, 0), np.uint8), "no pixels"),
        (np.zeros((28, 28), np.uint8), "shape (28, 28)"),
        (np.zeros((), np.uint8), "shape ()"),
        (np.zeros((2, 3, 4, 5, 6), np.uint8), "shape (2, 3, 4, 5, 6)"),
        (np.zeros((2, 28, 28, 2), np.uint8), "more channels than"),
        (np.zeros((2, 28, 28), np.int64), "save values.astype('float32') / that number"),
        (np.zeros((2, 28, 28), np.uint16), "type uint16"),
        (np.zeros((2, 28, 28), np.int16), "type int16"),
        (np.full((2, 4, 4), "a"), "type <U1"),
        (np.full((2, 4, 4), np.nan), "NaN or infinite"),
        (np.full((2, 4, 4), np.inf, np.float32), "NaN or infinite"),
        (np.full((2, 4, 4), -np.inf), "NaN or infinite"),
        (np.full((2, 4, 4), 255.0), "values from 255 to 255"),
        (np.full((2, 4, 4), -0.1), "values from -0.1"),
        (np.zeros(3, dtype=[("x", "f4")]), "numbers of type"),
    ],
)
def test_refused_arrays(tmp_path: Path, array: np.ndarray, words: str) -> None:
    assert words in refused(saved(tmp_path, array))


def test_one_bad_pixel_among_many(tmp_path: Path) -> None:
    array = np.zeros((50, 8, 8), np.float32)
    array[49, 7, 7] = np.nan
    assert "NaN" in refused(saved(tmp_path, array))


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    array = np.empty(2, dtype=object)
    np.save(tmp_path / "o.npy", array, allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=array)
    assert "Python objects" in refused(tmp_path / "o.npy")
    assert "Python objects" in refused(tmp_path / "o.npz")


@pytest.mark.parametrize("key", ["x", "images", "x_train", "train", "whatever"])
@pytest.mark.parametrize("test", [None, "test", "x_test"])
def test_npz_keys(tmp_path: Path, key: str, test: str | None) -> None:
    own = {test: GREY[:2]} if test else {}
    archive(tmp_path / "m.npz", {key: GREY, **own})
    images = data.load(str(tmp_path / "m.npz"))
    np.testing.assert_allclose(images.train[:, 0], GREY / 255.0, rtol=1e-6)
    if test is None:
        assert images.test is None
    else:
        assert images.test is not None
        np.testing.assert_allclose(images.test[:, 0], GREY[:2] / 255.0, rtol=1e-6)


def test_npz_labels_beside_the_images_are_ignored(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", x=GREY, y=np.arange(4))
    assert data.load(str(tmp_path / "m.npz")).train.shape == (4, 1, 5, 6)


@pytest.mark.parametrize(
    "content",
    [{}, {"a": GREY, "b": GREY}, {"x": GREY, "images": GREY}, {"test": GREY}],
)
def test_npz_without_one_clear_array(tmp_path: Path, content: dict[str, np.ndarray]) -> None:
    archive(tmp_path / "m.npz", content)
    assert "expected the images under one of x, images" in refused(tmp_path / "m.npz")


def test_npz_member_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as members:
        members.writestr("x", "text")
    assert "not a NumPy array" in refused(tmp_path / "m.npz")


def test_npz_test_images_of_another_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", x=GREY, test=GREY[:, :4])
    assert "test images are 1x4x6 but training images 1x5x6" in refused(tmp_path / "m.npz")


def test_wrong_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    assert "rename it to .npy" in refused(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=GREY)
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    assert "rename it to .npz" in refused(tmp_path / "b.npy")
    (tmp_path / "c.jpg").write_bytes(b"")
    assert "neither an .npz or .npy" in refused(tmp_path / "c.jpg")


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("content", [b"", b"hello, this is not an array", b"\x93NUMPY"])
def test_not_an_array_file(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    assert f"not a readable .{suffix} file" in refused(path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@given(data_=st.data())
@settings(max_examples=150, deadline=None)
def test_damage_never_escapes_as_another_error(
    folder: Path, suffix: str, data_: st.DataObject
) -> None:
    path = folder / f"damaged.{suffix}"
    if suffix == "npy":
        np.save(path, GREY)
    else:
        np.savez_compressed(path, x=GREY)
    content = bytearray(path.read_bytes())
    if data_.draw(st.booleans()):
        content = content[: data_.draw(st.integers(0, len(content) - 1))]
    else:
        position = data_.draw(st.integers(0, min(len(content) - 1, 127)))
        content[position] ^= data_.draw(st.integers(1, 255))
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        data.load(str(path))


def png(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_folder_of_grey_pngs_in_the_order_of_names(tmp_path: Path) -> None:
    for index in (2, 0, 3, 1):
        png(tmp_path / "grey" / f"{index}.png", GREY[index])
    (tmp_path / "grey" / "notes.txt").write_text("not an image")
    (tmp_path / "grey" / "._0.png").write_bytes(b"a Mac was here")
    images = data.load(str(tmp_path / "grey"))
    assert images.name == "grey"
    np.testing.assert_allclose(images.train[:, 0], GREY / 255.0, rtol=1e-6)


def test_folder_of_rgb_pngs(tmp_path: Path) -> None:
    colour = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    for index, image in enumerate(colour):
        png(tmp_path / f"{index}.PNG", image)
    images = data.load(str(tmp_path))
    np.testing.assert_allclose(images.train, colour.transpose(0, 3, 1, 2) / 255.0, rtol=1e-6)


def test_black_and_white_pngs(tmp_path: Path) -> None:
    bits = np.array([[True, False], [False, False]])
    png(tmp_path / "0.png", bits)
    np.testing.assert_array_equal(data.load(str(tmp_path)).train[0, 0], bits.astype(np.float32))


def test_folders_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no PNG" in refused(tmp_path / "empty")
    png(tmp_path / "sizes" / "a.png", GREY[0])
    png(tmp_path / "sizes" / "b.png", GREY[0].T)
    message = refused(tmp_path / "sizes")
    assert "b.png" in message
    assert "6x5 greyscale but 'a.png' is 5x6 greyscale" in message
    png(tmp_path / "colours" / "a.png", GREY[0])
    png(tmp_path / "colours" / "b.png", np.zeros((5, 6, 3), np.uint8))
    assert "5x6 RGB" in refused(tmp_path / "colours")
    png(tmp_path / "alpha" / "a.png", np.zeros((5, 6, 4), np.uint8))
    assert "RGBA" in refused(tmp_path / "alpha")
    png(tmp_path / "deep" / "a.png", np.zeros((5, 6), np.uint16))
    assert "8-bit" in refused(tmp_path / "deep")


def test_png_cut_anywhere(tmp_path: Path) -> None:
    png(tmp_path / "a.png", GREY[0])
    content = (tmp_path / "a.png").read_bytes()
    for length in range(len(content) - 4):  # the last 4 bytes are the checksum of nothing
        (tmp_path / "a.png").write_bytes(content[:length])
        assert "not a readable PNG" in refused(tmp_path)


def test_fingerprint_is_stable_and_sees_every_change(tmp_path: Path) -> None:
    def fingerprint(**content: np.ndarray) -> str:
        archive(tmp_path / "f.npz", content)
        return data.load(str(tmp_path / "f.npz")).fingerprint

    changed = GREY.copy()
    changed[3, 4, 5] ^= 1
    seen = [
        fingerprint(x=GREY),
        fingerprint(x=changed),
        fingerprint(x=GREY.reshape(4, 6, 5)),
        fingerprint(x=GREY[:3]),
        fingerprint(x=GREY / 255.0),
        fingerprint(x=GREY[:2], test=GREY[2:]),
        fingerprint(x=GREY[2:], test=GREY[:2]),
    ]
    assert len(set(seen)) == len(seen)
    assert fingerprint(x=GREY) == seen[0]
    assert fingerprint(x=np.asfortranarray(GREY)) == seen[0]
    # Written down once: results of other machines and later versions must stay comparable.
    assert seen[0] == "dbd12b9c63cb363f60757969c3594c1804a7dcd66e6b25b121fcfcfcd07df66a"
