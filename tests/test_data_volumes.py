"""Volumes of a team's own: what independent writers wrote is read upright, scaled and labelled."""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from recondoor import data
from recondoor.config import Data
from recondoor.errors import DataError
from recondoor.progress import NO_PROGRESS
from volume_files import (
    Array,
    anatomy,
    write_cfl,
    write_fastmri,
    write_ismrmrd,
    write_nifti,
    write_nrrd,
    write_series,
    write_slice,
)

WHOLE = anatomy()


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def task(self, what: str, total: int) -> Iterator[Any]:
        with NO_PROGRESS.task(what, total) as task:
            yield task


def refused(path: Path, **given: Any) -> str:
    with pytest.raises(DataError) as caught:
        data.load(str(path), **given)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def expect(path: Path, slices: Array = WHOLE, **given: Any) -> data.Images:
    images = data.load(str(path), **given)
    assert images.train.dtype == np.float32
    np.testing.assert_allclose(images.train[:, 0], slices / slices.max(), atol=1e-6)
    return images


@pytest.mark.parametrize("codes", ["LPS", "RAS", "RPI", "LIA", "SPL", "AIR"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_read_upright_however_it_lies(tmp_path: Path, codes: str, suffix: str) -> None:
    """The anterior right foot comes first, whatever way the axes of the file go."""
    write_nifti(tmp_path / f"a{suffix}", WHOLE, codes)
    expect(tmp_path / f"a{suffix}")


def test_thick_slices_stay_in_the_plane_that_was_scanned(tmp_path: Path) -> None:
    sagittal = np.flip(WHOLE, 0).transpose(2, 0, 1)  # right to left; head up; front at the left
    write_nifti(tmp_path / "a.nii", WHOLE, zooms=(5, 1, 1))
    expect(tmp_path / "a.nii", sagittal)
    coronal = np.flip(np.flip(WHOLE, 0).transpose(1, 0, 2), 0)  # back to front; head up; right left
    write_nifti(tmp_path / "b.nii", WHOLE, zooms=(1, 5, 1))
    expect(tmp_path / "b.nii", coronal)


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_types_of_voxels(tmp_path: Path, kind: str) -> None:
    values = (WHOLE // 4).astype(kind)
    write_nifti(tmp_path / "a.nii.gz", values)
    expect(tmp_path / "a.nii.gz", values.astype(float))


def test_slope_and_intercept_of_nifti_count(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(
        np.ascontiguousarray(WHOLE.transpose(2, 1, 0)), np.diag([-1, -1, 1, 1])
    )
    image.header.set_slope_inter(2, 10)
    with (tmp_path / "a.nii").open("wb") as file:
        image.header["vox_offset"] = 352
        image.header.write_to(file)
        file.write(WHOLE.transpose(2, 1, 0).tobytes(order="F"))
    expect(tmp_path / "a.nii", 2.0 * WHOLE + 10)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd(tmp_path: Path, encoding: str) -> None:
    write_nrrd(tmp_path / "a.nrrd", WHOLE, encoding=encoding)
    expect(tmp_path / "a.nrrd")
    other = np.flip(WHOLE, (1, 2)).copy()  # to the right and to the front
    write_nrrd(tmp_path / "b.nrrd", other, encoding=encoding, space="right-anterior-superior")
    expect(tmp_path / "b.nrrd")


def test_dicom_series_in_the_order_of_their_positions(tmp_path: Path) -> None:
    write_series(tmp_path / "s", WHOLE)
    expect(tmp_path / "s")
    (tmp_path / "s" / "0-.dcm").rename(tmp_path / "s" / "IM000000")
    expect(tmp_path / "s")
    down = {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}
    write_series(tmp_path / "t", np.flip(WHOLE, (1, 2)), **down)
    expect(tmp_path / "t")


def test_dicom_without_positions_goes_by_number(tmp_path: Path) -> None:
    write_series(tmp_path, WHOLE, ImagePositionPatient=None)
    expect(tmp_path)


def test_ct_is_windowed_in_hu_by_itself(tmp_path: Path) -> None:
    listener = Listener()
    stored = WHOLE.astype(np.int16) * 3
    write_series(tmp_path, stored, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024)
    images = data.load(str(tmp_path), progress=listener)  # type: ignore[arg-type]
    hu = stored.astype(float) - 1024
    np.testing.assert_allclose(images.train[:, 0], np.clip((hu + 1000) / 2000, 0, 1), atol=1e-6)
    assert "-1000 became 0 and 1000 became 1 as the files are CT" in listener.said[0]


def test_a_window_for_what_has_negative_values(tmp_path: Path) -> None:
    hu = WHOLE - 500
    write_nrrd(tmp_path / "a.nrrd", hu)
    assert "data.window=-1000,1000 for HU" in refused(tmp_path / "a.nrrd")
    images = data.read(Data(name=str(tmp_path / "a.nrrd"), window="-400, 400"))
    np.testing.assert_allclose(images.train[:, 0], np.clip((hu + 400) / 800, 0, 1), atol=1e-6)
    np.save(tmp_path / "b.npy", hu)
    assert "numbers of type int16" in refused(tmp_path / "b.npy")
    found = data.load(str(tmp_path / "b.npy"), window=(-400, 400)).train
    np.testing.assert_array_equal(found, images.train)
    np.savez(tmp_path / "c.npz", x=hu)
    for name in ("mnist5k", str(tmp_path / "c.npz")):
        with pytest.raises(DataError, match=r"data\.window: given, but"):
            data.load(name, window=(0, 1))


def test_fastmri_gives_its_target(tmp_path: Path) -> None:
    target = WHOLE.astype(np.float32) * 1e-7
    write_fastmri(tmp_path / "a.h5", None, reconstruction_rss=target)
    expect(tmp_path / "a.h5", target)
    both = {"reconstruction_rss": target[::-1], "reconstruction_esc": target}
    write_fastmri(tmp_path / "b.h5", None, **both)
    expect(tmp_path / "b.h5", target)


def test_ismrmrd_gives_its_images(tmp_path: Path) -> None:
    write_ismrmrd(tmp_path / "a.h5", WHOLE.astype(np.float32))
    expect(tmp_path / "a.h5")


@pytest.mark.parametrize("along", [2, 13])
def test_bart_gives_complex_images(tmp_path: Path, along: int) -> None:
    complex_ = WHOLE.transpose(1, 2, 0) * np.exp(0.3j)
    shape = [7, 6, *[1] * 14]
    shape[along] = 5
    write_cfl(tmp_path / "a.cfl", complex_.reshape(shape))
    images = data.load(str(tmp_path / "a.cfl"))
    assert images.is_complex
    assert images.shape == (2, 7, 6)
    found = images.train[:, 0] + 1j * images.train[:, 1]
    np.testing.assert_allclose(found, WHOLE / WHOLE.max() * np.exp(0.3j), atol=1e-6)


def test_a_file_is_a_subject_and_a_subfolder_is_one(tmp_path: Path) -> None:
    listener = Listener()
    for place, seed in (("a.nii", 1), ("p1/x.nii.gz", 2), ("p1/y.nii", 3), ("p2/deep/z.nii", 4)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(tmp_path / place, anatomy(seed))
    (tmp_path / "notes.txt").write_text("not an image")
    images = data.load(str(tmp_path), progress=listener)  # type: ignore[arg-type]
    assert images.train_subjects is not None
    assert np.bincount(images.train_subjects).tolist() == [5, 10, 5]
    assert "4 volumes of 3 subjects, 20 slices of 7x6" in listener.said[0]
    splits = data.split(images, Data(validation=0.5), 0)
    train, validation, test = (set(map(int, part)) for part in splits.subjects if part is not None)
    assert not test & (train | validation)


def test_series_of_one_patient_are_one_subject(tmp_path: Path) -> None:
    for number, person in enumerate(("anna", "anna", "bert")):
        uid = f"1.2.{number}"
        write_series(tmp_path, anatomy(number), SeriesInstanceUID=uid, PatientID=person)
    images = data.load(str(tmp_path))
    assert images.train_subjects is not None
    assert sorted(np.bincount(images.train_subjects)) == [5, 10]
    assert len(images.train_stack.parts) == 3


def test_pngs_in_subfolders_are_of_subjects(tmp_path: Path) -> None:
    from PIL import Image

    for subject in ("a", "b", "c"):
        (tmp_path / subject).mkdir()
        for index in range(3):
            pixels = anatomy(index)[0].astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / subject / f"{index}.png")
    images = data.load(str(tmp_path))
    assert images.train_subjects is not None
    assert images.train_subjects.tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_slices_of_other_sizes_are_cut_or_filled(tmp_path: Path) -> None:
    listener = Listener()
    for name, shape in (("a", (4, 8, 8)), ("b", (5, 8, 8)), ("c", (3, 10, 4))):
        write_nrrd(tmp_path / f"{name}.nrrd", np.full(shape, 50, np.int16))
    images = data.load(str(tmp_path), progress=listener)  # type: ignore[arg-type]
    assert images.shape == (1, 8, 8)
    assert "3 slices of another size were cut or filled with 0" in listener.said[0]
    last = images.train[-1, 0]
    assert last[:, 2:6].min() == 1
    assert last[:, :2].max() == last[:, 6:].max() == 0


def test_kspace_and_target_of_a_file_belong_together(tmp_path: Path) -> None:
    """|RSS(F^-1 k) - target| / max, by NumPy's own FFT: 0 to rounding."""
    rng = np.random.default_rng(0)
    coils = rng.normal(size=(3, 4, 20, 12)) + 1j * rng.normal(size=(3, 4, 20, 12))
    axes = (-2, -1)
    forward = np.fft.fft2(np.fft.ifftshift(coils, axes), norm="ortho")
    kspace = np.fft.fftshift(forward, axes).astype(np.complex64)
    target = np.sqrt((np.abs(coils) ** 2).sum(1))[:, 4:16].astype(np.float32)
    mask = np.arange(12) % 2 == 0
    write_fastmri(tmp_path / "a.h5", kspace, reconstruction_rss=target, mask=mask)
    found = data.read_kspace(tmp_path / "a.h5")
    assert found.target is not None
    assert found.mask is not None
    assert found.mask.tolist() == mask.tolist()
    assert found.maximum == pytest.approx(float(target.max()))
    back = np.fft.ifft2(np.fft.ifftshift(found.kspace, axes), norm="ortho")
    rss = np.sqrt((np.abs(np.fft.fftshift(back, axes)) ** 2).sum(1))[:, 4:16]
    assert np.abs(rss - found.target).max() / found.maximum < 1e-6
    write_fastmri(tmp_path / "b.h5", kspace[:, 0], reconstruction_esc=target)
    assert data.read_kspace(tmp_path / "b.h5").kspace.shape == (3, 1, 20, 12)
    with pytest.raises(DataError, match="expected kspace"):
        data.read_kspace(_other(tmp_path))


def _other(folder: Path) -> Path:
    write_fastmri(folder / "c.h5", None, reconstruction_rss=np.ones((1, 2, 2)))
    return folder / "c.h5"


def test_large_files_that_are_not_packed_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recondoor.arrays._voxels.MAPPED", 100)
    monkeypatch.setattr("recondoor.data._files.MAPPED", 100)
    write_nifti(tmp_path / "a.nii", WHOLE)
    write_nrrd(tmp_path / "b.nrrd", WHOLE, encoding="raw")
    write_cfl(tmp_path / "c.cfl", WHOLE.transpose(1, 2, 0) + 0j)
    for name, kind in (("d", np.float32), ("e", np.float16), ("f", np.float64)):
        np.save(tmp_path / f"{name}.npy", (WHOLE / 1000).astype(kind))
    np.save(tmp_path / "g.npy", np.asfortranarray(WHOLE.astype(np.uint8)))
    for path in sorted(tmp_path.glob("[a-g].*")):
        if path.suffix == ".hdr":
            continue
        images = data.load(str(path))
        assert isinstance(images.train_pixels if path.stem > "c" else _pixels(images), np.memmap)
        whole = WHOLE.astype(np.uint8) / 255 if path.stem == "g" else WHOLE / 1000
        np.testing.assert_allclose(
            images.train[:, 0], whole, atol=1e-3 if path.stem == "e" else 1e-6
        )
        splits = data.split(images, Data(), 0)
        np.testing.assert_array_equal(splits.train, images.train[splits.train_index])


def _pixels(images: data.Images) -> Array:
    return images.train_stack.parts[0].pixels


def test_a_mapped_set_is_the_same_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", (WHOLE / 1000).astype(np.float32))
    read = data.load(str(tmp_path / "a.npy")).fingerprint
    monkeypatch.setattr("recondoor.data._files.MAPPED", 100)
    assert data.load(str(tmp_path / "a.npy")).fingerprint == read


def nifti_that_claims(path: Path, side: int) -> None:
    write_nifti(path, WHOLE)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([side] * 3, "<i2").tobytes()
    path.write_bytes(content)


Write = Callable[[Path], object]
FAULTS: dict[str, tuple[str, Write, str]] = {
    "nifti-claims": ("a.nii", lambda p: nifti_that_claims(p, 30_000), "it declares"),
    "nifti-gz-claims": (
        "a.nii.gz",
        lambda p: (
            nifti_that_claims(p.with_suffix(""), 30_000),
            p.write_bytes(gzip.compress(p.with_suffix("").read_bytes())),
            p.with_suffix("").unlink(),
        ),
        "would expand to",
    ),
    "nifti-cut": ("a.nii", lambda p: (write_nifti(p, WHOLE), _cut(p, 40)), "cut short"),
    "nifti-gz-cut": ("a.nii.gz", lambda p: (write_nifti(p, WHOLE), _cut(p, 40)), "cut short"),
    "nifti-4d": ("a.nii", lambda p: _four(p), "expected one volume of 3 dimensions"),
    "nifti-nan": (
        "a.nii",
        lambda p: write_nifti(p, _nan()),
        "NaN or infinite values in its slices",
    ),
    "nifti-empty": ("a.nii", lambda p: p.write_bytes(b""), "it holds no head"),
    "nifti-text": ("a.nii", lambda p: p.write_bytes(b"x" * 600), "does not start like one"),
    "nifti-zero": ("a.nii", lambda p: write_nifti(p, WHOLE * 0), "all its values are 0"),
    "nrrd-claims": ("a.nrrd", lambda p: _nrrd_that_claims(p, "gzip"), "would expand to"),
    "nrrd-raw-claims": ("a.nrrd", lambda p: _nrrd_that_claims(p, "raw"), "cut short"),
    "nrrd-detached": ("a.nrrd", lambda p: _detached(p), "voxels are in another file"),
    "nrrd-ascii": ("a.nrrd", lambda p: write_nrrd(p, WHOLE, encoding="ascii"), "raw or gzip"),
    "nrrd-cut": ("a.nrrd", lambda p: (write_nrrd(p, WHOLE), _cut(p, 9)), "cut short"),
    "nrrd-nan": ("a.nrrd", lambda p: write_nrrd(p, _nan()), "NaN or infinite values"),
    "cfl-alone": (
        "a.cfl",
        lambda p: (write_cfl(p, WHOLE + 0j), p.with_suffix(".hdr").unlink()),
        "has no a.hdr beside it",
    ),
    "cfl-cut": ("a.cfl", lambda p: (write_cfl(p, WHOLE + 0j), _cut(p, 4)), "cut short"),
    "cfl-coils": ("a.cfl", lambda p: write_cfl(p, np.ones((4, 4, 1, 3)) + 0j), "bart rss 8"),
    "cfl-hdr": (
        "a.cfl",
        lambda p: (write_cfl(p, WHOLE + 0j), p.with_suffix(".hdr").write_text("9" * 99)),
        "names no dimensions",
    ),
    "h5-kspace": (
        "a.h5",
        lambda p: write_fastmri(p, np.ones((2, 3, 4), np.complex64)),
        "ismrmrd_header, kspace: k-space without a reconstruction",
    ),
    "h5-keys": (
        "a.h5",
        lambda p: write_fastmri(p, None, foo=WHOLE),
        "foo, ismrmrd_header; expected",
    ),
    "h5-raw": ("a.h5", lambda p: write_ismrmrd(p, None), "k-space without a reconstruction"),
    "h5-nan": (
        "a.h5",
        lambda p: write_fastmri(p, None, reconstruction_rss=_nan()),
        "NaN or infinite",
    ),
    "h5-shape": (
        "a.h5",
        lambda p: write_fastmri(p, None, reconstruction_rss=np.ones((3, 4))),
        "expected real (slices, H, W)",
    ),
    "h5-cut": (
        "a.h5",
        lambda p: (write_fastmri(p, None, reconstruction_rss=WHOLE / 1.0), _cut(p, 900)),
        "not a readable HDF5 file",
    ),
    "dicom-gap": (
        "s",
        lambda p: (write_series(p, WHOLE), _remove(p, 2)),
        "a slice is missing between 2 and 6 mm",
    ),
    "dicom-number-gap": (
        "s",
        lambda p: (write_series(p, WHOLE, ImagePositionPatient=None), _remove(p, 2)),
        "instance 2 is followed by 4",
    ),
    "dicom-twice": (
        "s",
        lambda p: (write_series(p, WHOLE), write_slice(p / "again.dcm", WHOLE[1], 1)),
        "two of its slices lie at one place",
    ),
    "dicom-sizes": (
        "s",
        lambda p: (write_series(p, WHOLE), write_slice(p / "z.dcm", WHOLE[0][:4], 5)),
        "expected one size in a series",
    ),
    "dicom-colours": (
        "s",
        lambda p: write_series(p, WHOLE, PhotometricInterpretation="MONOCHROME1"),
        "expected MONOCHROME2",
    ),
    "dicom-frames": ("s", lambda p: write_series(p, WHOLE, NumberOfFrames=5), "one slice a file"),
    "dicom-claims": (
        "s",
        lambda p: write_series(p, WHOLE, Rows=60_000, Columns=60_000),
        "declares",
    ),
    "dicom-cut": ("s", lambda p: (write_series(p, WHOLE), _cut(p / "0-.dcm", 30)), "DICOM file"),
    "dicom-length": ("s", lambda p: _with_odd_length(p), "a length that its type cannot have"),
    "dicom-text": ("a.dcm", lambda p: p.write_bytes(b"text" * 99), "does not start like one"),
    "folder-empty": ("s", lambda p: p.mkdir(), "holds no PNG and no volume"),
    "folder-mixed": ("s", lambda p: _mixed(p), "holds 1 NIfTI, 1 NRRD files; expected one format"),
    "folder-kinds": ("s", lambda p: _kinds(p), "expected one kind"),
}


def _with_odd_length(folder: Path) -> None:
    write_series(folder, WHOLE)
    content = bytearray((folder / "0-.dcm").read_bytes())
    content[132 + 6] = 6  # bytes of the first element, a number of 4
    (folder / "0-.dcm").write_bytes(content)


def _cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:-count])


def _four(path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)), path)


def _nan() -> Array:
    values = WHOLE.astype(np.float32)
    values[2, 3, 4] = np.nan
    return values


def _nrrd_that_claims(path: Path, encoding: str) -> None:
    write_nrrd(path, WHOLE, encoding=encoding)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"sizes: 6 7 5", b"sizes: 90000 90000 90000"))


def _detached(path: Path) -> None:
    content = path.parent / "hidden.raw"
    content.write_bytes(b"0" * 420)
    path.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 6 7 5\nencoding: raw\nendian: little\n"
        f"data file: {content}\n\n"
    )


def _remove(folder: Path, at: int) -> None:
    (folder / f"{(at * 3 + 1) % len(WHOLE)}-.dcm").unlink()


def _mixed(folder: Path) -> None:
    folder.mkdir()
    write_nifti(folder / "a.nii", WHOLE)
    write_nrrd(folder / "b.nrrd", WHOLE)


def _kinds(folder: Path) -> None:
    folder.mkdir()
    write_nifti(folder / "a.nii", WHOLE)
    write_nifti(folder / "b.nii", WHOLE.astype(np.complex64))


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_at_fault_is_said_in_a_line(tmp_path: Path, fault: str) -> None:
    name, write, words = FAULTS[fault]
    write(tmp_path / name)
    text = refused(tmp_path / name)
    assert words in text
    assert str(tmp_path / name) in text


@pytest.mark.parametrize(
    ("name", "write", "package", "extra"),
    [
        ("a.nii", lambda p: write_nifti(p, WHOLE), "nibabel", "mri"),
        ("a.nrrd", lambda p: write_nrrd(p, WHOLE), "pynrrd", "mri"),
        ("a.h5", lambda p: write_ismrmrd(p, WHOLE), "h5py", "mri"),
        ("s", lambda p: write_series(p, WHOLE), "pydicom", "dicom"),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    write: Write,
    package: str,
    extra: str,
) -> None:
    write(tmp_path / name)
    module = {"pynrrd": "nrrd"}.get(package, package)
    monkeypatch.setitem(__import__("sys").modules, module, None)
    words = f"needs {package} to be read: pip install recondoor[{extra}]"
    assert words in refused(tmp_path / name)


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Behind a head of few voxels lie 2 GiB of zeros; what the head says is unpacked, no more."""
    write_nifti(tmp_path / "a.nii", WHOLE)
    with gzip.open(tmp_path / "b.nii.gz", "wb", compresslevel=9) as file:
        file.write((tmp_path / "a.nii").read_bytes())
        for _ in range(64):
            file.write(bytes(1 << 25))
    assert "more follows its voxels" in refused(tmp_path / "b.nii.gz")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", WHOLE)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.nii").symlink_to(tmp_path / "a.nii")
    assert "is a link" in refused(tmp_path / "s")
    write_fastmri(tmp_path / "a.h5", None, reconstruction_rss=WHOLE / 1.0)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["reconstruction_rss"] = h5py.ExternalLink("a.h5", "reconstruction_rss")
    assert "is a link" in refused(tmp_path / "b.h5")


def test_the_command_line_refuses_in_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from recondoor.cli import main

    write_fastmri(tmp_path / "k.h5", np.ones((2, 3, 4), np.complex64))
    out = tmp_path / "run"
    given = ["study", "--preset", "smoke", "--dataset", str(tmp_path / "k.h5"), "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(given)
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert told.count("\n") == 0
    assert "k-space without a reconstruction" in told
    assert not out.exists()
