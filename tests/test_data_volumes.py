"""Volumes of a team's own: what independent writers wrote is read upright, scaled and labelled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recondoor import data
from recondoor.config import Data
from recondoor.core.errors import DataError
from recondoor.core.progress import NO_PROGRESS
from volume_files import (
    Array,
    anatomy,
    refused,
    write_cfl,
    write_fastmri,
    write_ismrmrd,
    write_nifti,
    write_nrrd,
    write_series,
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
    monkeypatch.setattr("recondoor.io.arrays._voxels.MAPPED", 100)
    monkeypatch.setattr("recondoor.io.arrays.MAPPED", 100)
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
    monkeypatch.setattr("recondoor.io.arrays.MAPPED", 100)
    assert data.load(str(tmp_path / "a.npy")).fingerprint == read
