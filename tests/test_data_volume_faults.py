"""Volumes that cannot be read: what is at fault is said in a line, with the remedy."""

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

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
    write_slice,
)

WHOLE = anatomy()


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
    "h5-raw": ("a.h5", lambda p: write_ismrmrd(p, None), "or raw lines with their header"),
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
