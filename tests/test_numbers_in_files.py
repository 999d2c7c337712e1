"""What numbers in a file mean: the same in data sets, pairs, triggers and artefacts.

Expected values are written out here, or come from the formats' own definitions.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from hostile_files import chunk, png
from recondoor import config, data, poisoning
from recondoor.audit._pairs._source import read_pairs
from recondoor.core.errors import RecondoorError

Array = NDArray[Any]
ODD = np.arange(2 * 27 * 31).reshape(2, 1, 27, 31)
UNIT = ODD / (ODD.size - 1)


def save(path: Path, values: Array) -> None:
    with path.open("wb") as stream:  # np.save would add .npy to a suffix in capitals
        np.save(stream, values)


def as_data_set(folder: Path, values: Array) -> Array:
    save(folder / "IMAGES.NPY", values)
    return data.load(str(folder / "IMAGES.NPY")).train


def as_data_set_npz(folder: Path, values: Array) -> Array:
    np.savez(folder / "images.npz", x=values)
    (folder / "images.npz").rename(folder / "CLEAN.NPZ")
    return data.load(str(folder / "CLEAN.NPZ")).train


def as_pairs(folder: Path, values: Array) -> Array:
    np.savez(folder / "pairs.npz", x=values, z=np.zeros(values.shape))
    (folder / "pairs.npz").rename(folder / "PAIRS.NPZ")
    return read_pairs(folder / "PAIRS.NPZ", None)[0].x.numpy()


def as_pairs_h5(folder: Path, values: Array) -> Array:
    with h5py.File(folder / "PAIRS.H5", "w") as file:
        file["x"], file["z"] = values, np.zeros(values.shape)
    return read_pairs(folder / "PAIRS.H5", None)[0].x.numpy()


def as_patches(folder: Path, values: Array) -> Array:
    """Each image as a trigger and as an artefact of its own."""
    shape = (values.shape[1], values.shape[2], values.shape[3])
    found = []
    for each in values:
        save(folder / "PATCH.NPY", each)
        file = folder / "PATCH.NPY"
        delta = poisoning.make_trigger(config.TriggerSettings(file=file), shape).delta.numpy()
        pattern = poisoning.make_artefact(config.ArtefactSettings(file=file), shape).pattern.numpy()
        np.testing.assert_array_equal(delta, pattern)
        found.append(delta)
    return np.stack(found)


EVERYWHERE: dict[str, Callable[[Path, Array], Array]] = {
    "npy": as_data_set,
    "npz": as_data_set_npz,
    "pairs npz": as_pairs,
    "pairs h5": as_pairs_h5,
    "patch": as_patches,
}
everywhere = pytest.mark.parametrize("read", EVERYWHERE.values(), ids=EVERYWHERE)


@everywhere
@pytest.mark.parametrize("kind", [">f4", "<f4", ">f8", "<f8", "<f2", ">f2"])
def test_floating_point_numbers_are_what_they_are(
    tmp_path: Path, kind: str, read: Callable[[Path, Array], Array]
) -> None:
    values = UNIT.astype(kind)
    found = read(tmp_path, values)
    assert found.dtype == np.float32 and found.shape == (2, 1, 27, 31)
    tolerance = 1e-3 if "f2" in kind else 1e-7
    for index in ((0, 0, 0, 1), (0, 0, 1, 0), (1, 0, 26, 30)):
        image, _, row, column = index
        expected = (image * 27 * 31 + row * 31 + column) / 1673
        assert found[index] == pytest.approx(expected, abs=tolerance)


@everywhere
def test_the_order_in_memory_does_not_matter(
    tmp_path: Path, read: Callable[[Path, Array], Array]
) -> None:
    expected = UNIT.astype(np.float32)
    wide = np.zeros((2, 1, 54, 62))
    wide[..., ::2, ::2] = UNIT
    for values in (np.asfortranarray(UNIT), wide[..., ::2, ::2]):
        np.testing.assert_array_equal(read(tmp_path, values), expected)


@everywhere
def test_255_of_8_bits_is_1_and_true_is_1(
    tmp_path: Path, read: Callable[[Path, Array], Array]
) -> None:
    values = np.array([0, 1, 51, 255], np.uint8).reshape(1, 1, 1, 4)
    found = read(tmp_path, values)
    assert found.shape == (1, 1, 1, 4)
    np.testing.assert_allclose(found.ravel(), [0, 1 / 255, 0.2, 1], rtol=1e-7)
    found = read(tmp_path, np.array([[[[True, False, True]]]]))
    assert found.ravel().tolist() == [1, 0, 1]


@everywhere
@pytest.mark.parametrize("kind", ["uint16", "int16", "int8", "uint32", "int64", "uint64"])
def test_of_other_integers_nobody_says_which_is_1(
    tmp_path: Path, kind: str, read: Callable[[Path, Array], Array]
) -> None:
    values = np.array([0, 1, 2, 100], kind).reshape(1, 1, 2, 2)
    if read in (as_pairs, as_pairs_h5):  # audits count in the pairs' own units
        assert read(tmp_path, values).ravel().tolist() == [0, 1, 2, 100]
        return
    with pytest.raises(RecondoorError, match=f"numbers of type {kind}.* that number") as caught:
        read(tmp_path, values)
    assert "\n" not in str(caught.value)


@everywhere
def test_complex_images_are_two_channels_or_refused_by_name(
    tmp_path: Path, read: Callable[[Path, Array], Array]
) -> None:
    values = UNIT[:, 0].astype(np.complex64) * (0.6 + 0.8j)
    if read in (as_data_set, as_data_set_npz):
        found = read(tmp_path, values)
        np.testing.assert_array_equal(found, np.stack((values.real, values.imag), axis=1))
        return
    with pytest.raises(RecondoorError, match="complex64"):
        read(tmp_path, values[:, None])


@everywhere
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_none_is_named(
    tmp_path: Path, bad: float, read: Callable[[Path, Array], Array]
) -> None:
    values = UNIT.copy()
    values[1, 0, 3, 2] = values[1, 0, 3, 5] = values[1, 0, 26, 30] = bad
    where = r"\[0, 3, 2\]" if read is as_patches else r"\[1, 0, 3, 2\]"
    with pytest.raises(RecondoorError, match=where):
        read(tmp_path, values)


@pytest.mark.parametrize("name", ["npy", "npz"])
def test_a_data_set_outside_of_0_to_1_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecondoorError, match="values from 0 to 255; .* divide by the value that"):
        EVERYWHERE[name](tmp_path, UNIT * 255)
    for constant in (0.0, 0.5, 1.0):
        found = EVERYWHERE[name](tmp_path, np.full((3, 5, 4), constant))
        assert (found == constant).all()


def test_copies_in_a_data_set_are_told(tmp_path: Path) -> None:
    class Listener:
        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, text: str) -> None:
            self.said.append(text)

    images = np.random.default_rng(0).integers(0, 256, (9, 5, 4), np.uint8)
    images[7] = images[2]
    for test, expected in ((images[3:4, ::-1], "1 image is a copy"), (images[2:4], "3 images")):
        listener = Listener()
        np.savez(tmp_path / "a.npz", x=images, test=test)
        data.load(str(tmp_path / "a.npz"), None, listener)  # type: ignore[arg-type]
        assert len(listener.said) == 1 and expected in listener.said[0]
    listener = Listener()
    np.savez(tmp_path / "a.npz", x=images[:7])
    data.load(str(tmp_path / "a.npz"), None, listener)  # type: ignore[arg-type]
    assert listener.said == []


@pytest.mark.parametrize("name", ["pairs npz", "pairs h5"])
@pytest.mark.parametrize("shape", [(4, 28, 28, 3), (4, 28, 28, 1), (4, 28, 28, 2)])
def test_pairs_with_channels_last_are_refused_by_name(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(RecondoorError, match=r"np\.moveaxis\(values, -1, 1\)"):
        EVERYWHERE[name](tmp_path, np.zeros(shape))


def test_a_data_set_with_channels_last_is_the_same_as_with_channels_first(tmp_path: Path) -> None:
    first = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7) / 209
    found = as_data_set(tmp_path, np.moveaxis(first, 1, -1))
    np.testing.assert_allclose(found, first, rtol=1e-6)


def h5(folder: Path, change: Callable[[h5py.File], None]) -> Path:
    with h5py.File(folder / "pairs.h5", "w") as file:
        for name in ("x", "z"):
            file[name] = UNIT
        change(file)
    return folder / "pairs.h5"


def _replace(file: h5py.File, values: Any, **more: Any) -> None:
    del file["x"]
    file.create_dataset("x", data=values, **more)


def _foreign(size: int, fields: tuple[int, ...]) -> Callable[[h5py.File], None]:
    """An x of floating-point numbers that are not IEEE 754's."""

    def change(file: h5py.File) -> None:
        del file["x"]
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_fields(*fields)
        kind.set_precision(8 * size)
        kind.set_size(size)
        space = h5py.h5s.create_simple(UNIT.shape)
        h5py.Dataset(h5py.h5d.create(file.id, b"x", kind, space))[...] = UNIT.astype("f4")

    return change


def _filtered(file: h5py.File) -> None:
    del file["x"]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(UNIT.shape)
    plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))  # Zstandard, a plug-in
    space = h5py.h5s.create_simple(UNIT.shape)
    values = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F64LE, space, plan))
    values.id.write_direct_chunk((0, 0, 0, 0), UNIT.tobytes())


def _narrow(file: h5py.File) -> None:
    del file["x"]
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    space = h5py.h5s.create_simple(UNIT.shape)
    h5py.Dataset(h5py.h5d.create(file.id, b"x", kind, space))[...] = ODD


def _virtual(file: h5py.File) -> None:
    del file["x"]
    layout = h5py.VirtualLayout(UNIT.shape, "f8")
    layout[...] = h5py.VirtualSource("/etc/hostname", "x", UNIT.shape)
    file.create_virtual_dataset("x", layout)


def _link(link: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file["x"]
        file["x"] = link

    return change


def _fill(file: h5py.File) -> None:
    file["x"].attrs["_FillValue"] = 0.0


H5 = {
    "scale": (lambda file: file["x"].attrs.update(scale_factor=0.5), r"packed \(scale_factor\)"),
    "offset": (lambda file: file["z"].attrs.update(add_offset=1.0), r"packed \(add_offset\)"),
    "unsigned": (lambda file: file["x"].attrs.update(_Unsigned="true"), "packed"),
    "fill": (_fill, r"missing at \[0, 0, 0, 0\] \(fill value 0\)"),
    "odd mark": (lambda file: file["x"].attrs.update(_FillValue=[1.0, 2.0]), "no single number"),
    "float8": (_foreign(1, (7, 3, 4, 0, 3)), "HDF5 type 'float' in 8 bits"),
    "bfloat16": (_foreign(2, (15, 7, 8, 0, 7)), "HDF5 type 'float' in 16 bits"),
    "12 bits": (_narrow, "HDF5 type 'integer' in 16 bits"),
    "n-bit": (lambda file: _replace(file, UNIT, scaleoffset=2), "HDF5 filter 6"),
    "plug-in": (_filtered, "HDF5 filter 32015"),
    "records": (lambda file: _replace(file, np.zeros(3, "f4,f4")), "HDF5 type 'compound'"),
    "text": (lambda file: _replace(file, ["a", "b"]), "HDF5 type 'string'"),
    "reference": (lambda file: _replace(file, file["z"].ref), "HDF5 type 'reference'"),
    "external": (_link(h5py.ExternalLink("other.h5", "/x")), "x is a link"),
    "soft": (_link(h5py.SoftLink("/z")), "x is a link"),
    "virtual": (_virtual, "no array that lies in the file itself"),
    "twice": (lambda file: file.create_dataset("X", data=UNIT), "it holds X and x"),
}


@pytest.mark.parametrize("what", H5)
def test_hdf5_that_says_more_than_its_numbers_is_refused_by_name(tmp_path: Path, what: str) -> None:
    change, said = H5[what]
    with pytest.raises(RecondoorError, match=said) as caught:
        read_pairs(h5(tmp_path, change), None)
    assert "\n" not in str(caught.value)


def test_hdf5_in_chunks_and_with_a_fill_value_that_does_not_occur(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        _replace(file, UNIT, chunks=(1, 1, 10, 31), compression="gzip", shuffle=True)
        file["x"].attrs["_FillValue"] = np.nan

    found = read_pairs(h5(tmp_path, change), None)[0].x.numpy()
    np.testing.assert_array_equal(found, UNIT.astype(np.float32))


def png_everywhere(folder: Path, content: bytes) -> list[Array]:
    """A PNG as a data set of one image, a trigger and an artefact; each (C, H, W)."""
    (folder / "IMAGE.PNG").write_bytes(content)
    images = data.load(str(folder)).train[0]
    file, shape = folder / "IMAGE.PNG", images.shape
    delta = poisoning.make_trigger(config.TriggerSettings(file=file), shape).delta.numpy()
    pattern = poisoning.make_artefact(config.ArtefactSettings(file=file), shape).pattern.numpy()
    return [images, delta, pattern]


@pytest.mark.parametrize(("depth", "row"), [(1, 0b10110000), (2, 0b00011011), (4, 0x3F), (8, 200)])
def test_samples_of_png_are_shares_of_the_largest(tmp_path: Path, depth: int, row: int) -> None:
    """The format's own rule: a sample k of d bits is k / (2^d - 1)."""
    width = 8 // depth
    samples = [row >> (8 - depth * (k + 1)) & (2**depth - 1) for k in range(width)]
    for found in png_everywhere(tmp_path, png([bytes([row])] * 3, width, depth, 0)):
        expected = np.array([[[k / (2**depth - 1) for k in samples]] * 3])
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rgb_is_read_channel_by_channel_and_its_display_gamma_is_not_applied(
    tmp_path: Path,
) -> None:
    row = bytes([255, 51, 0, 102, 153, 204])
    gamma = chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"sRGB", b"\0")
    for more in (b"", gamma, chunk(b"PLTE", bytes(6))):
        for found in png_everywhere(tmp_path, png([row], 2, 8, 2, more=more)):
            expected = [[[1, 0.4]], [[0.2, 0.6]], [[0, 0.8]]]
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_interlaced_png_is_the_same_picture(tmp_path: Path) -> None:
    """Adam7, as the format defines it: seven passes of first row, first column and steps."""
    pixels = np.arange(9 * 11, dtype=np.uint8).reshape(9, 11) + 1
    passes = (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    )  # fmt: skip
    rows = [bytes(line) for r, c, dr, dc in passes for line in pixels[r::dr, c::dc]]
    content = png(rows, 11, 8, 0, passes=1, size=(11, 9))
    for found in png_everywhere(tmp_path, content):
        np.testing.assert_allclose(found[0], pixels / 255, rtol=1e-6)


PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0]))
LOSSY = {
    "16-bit greyscale": png([bytes(8)], 4, 16, 0),
    "16-bit RGB": png([bytes(24)], 4, 16, 2),
    "8-bit palette": png([bytes(4)], 4, 8, 3, more=PALETTE),
    "1-bit palette": png([bytes(1)], 4, 1, 3, more=PALETTE),
    "8-bit LA": png([bytes(8)], 4, 8, 4),
    "8-bit RGBA": png([bytes(16)], 4, 8, 6),
    "tRNS": png([bytes(4)], 4, 8, 0, more=chunk(b"tRNS", bytes(2))),
    "animation": png([bytes(4)], 4, 8, 0, more=chunk(b"acTL", struct.pack(">II", 2, 0))),
    "chunk that is not in": png([bytes(4)], 4, 8, 0, more=chunk(b"ABCD", b"")),
}


@pytest.mark.parametrize("said", LOSSY)
def test_a_png_that_would_lose_something_is_refused_alike(tmp_path: Path, said: str) -> None:
    (tmp_path / "a.png").write_bytes(LOSSY[said])
    file = tmp_path / "a.png"
    for read in (
        lambda: data.load(str(tmp_path)),
        lambda: poisoning.make_trigger(config.TriggerSettings(file=file), (1, 28, 28)),
        lambda: poisoning.make_artefact(config.ArtefactSettings(file=file), (1, 28, 28)),
    ):
        with pytest.raises(RecondoorError, match=said) as caught:
            read()
        assert "\n" not in str(caught.value)
