"""Small volumes in every format, written by libraries that are not ours."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from recondoor import data
from recondoor.core.errors import DataError

Array = NDArray[Any]


def anatomy(seed: int = 0, shape: tuple[int, int, int] = (5, 7, 6)) -> Array:
    """Whole numbers (slices, rows, columns) of 0 to 1,000, with 1,000 in the upper left front."""
    values = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    values[0, 0, 0] = 1000
    return values


def write_nifti(path: Path, slices: Array, codes: str = "LPS", zooms: Any = (1, 1, 1)) -> None:
    """Slices from the feet up, rows from front to back, columns from the person's right to left.

    `codes`: the directions in which the file's axes grow, as nibabel spells them.
    """
    voxels = slices.transpose(2, 1, 0)  # to the left, to the back, up: LPS
    there = nibabel.orientations.axcodes2ornt("LPS")
    wanted = nibabel.orientations.axcodes2ornt(codes)
    way = nibabel.orientations.ornt_transform(there, wanted)
    affine = np.diag([-zooms[0], -zooms[1], zooms[2], 1.0])
    turned = nibabel.orientations.apply_orientation(voxels, way)
    affine = affine @ nibabel.orientations.inv_ornt_aff(way, voxels.shape)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(turned), affine), path)


def write_nrrd(path: Path, slices: Array, **header: Any) -> None:
    given = {
        "space": "left-posterior-superior",
        "space directions": np.eye(3),
        "space origin": np.zeros(3),
        "encoding": "gzip",
    } | header
    nrrd.write(str(path), slices.transpose(2, 1, 0), given)


def write_fastmri(path: Path, kspace: Array | None = None, **arrays: Array) -> None:
    with h5py.File(path, "w") as file:
        if kspace is not None:
            file["kspace"] = kspace
        for name, values in arrays.items():
            file[name] = values
        if "reconstruction_rss" in arrays:
            file.attrs["max"] = float(arrays["reconstruction_rss"].max())
        file["ismrmrd_header"] = "<ismrmrdHeader/>"


def write_ismrmrd(path: Path, slices: Array | None) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group["xml"] = "<ismrmrdHeader/>"
        if slices is not None:
            group["image_0/data"] = slices[:, None, None]


def write_cfl(path: Path, values: Array) -> None:
    """`values`: complex, BART's dimensions in their order."""
    sides = [*values.shape, *[1] * (16 - values.ndim)]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sides)) + "\n")
    values.astype("<c8").ravel(order="F").tofile(path.with_suffix(".cfl"))


def write_slice(path: Path, pixels: Array, at: int, **changed: Any) -> None:
    """One DICOM file of a series with slices 2 mm apart; a `changed` None is left out."""
    meta = FileMetaDataset()
    is_ct = changed.get("Modality") == "CT"
    meta.MediaStorageSOPClassUID = CTImageStorage if is_ct else MRImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{at + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, f"1.2.3.{at + 1}"
    file.Modality, file.PatientID, file.SeriesInstanceUID = "MR", "", "1.2.3"
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 1
    file.PixelSpacing, file.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    file.ImagePositionPatient, file.InstanceNumber = [0, 0, 2.0 * at], at + 1
    file.PixelData = pixels.astype("<i2").tobytes()
    for name, value in changed.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    pydicom.dcmwrite(path, file, enforce_file_format=True)


def write_series(folder: Path, slices: Array, **changed: Any) -> None:
    """A series whose files are named in another order than they lie in."""
    folder.mkdir(parents=True, exist_ok=True)
    series = changed.get("SeriesInstanceUID", "")
    for at, pixels in enumerate(slices):
        name = f"{(at * 3 + 1) % len(slices)}-{series}.dcm"
        write_slice(folder / name, pixels, at, **changed)


def refused(path: Path, **given: Any) -> str:
    """The one line that loading a path is refused with."""
    with pytest.raises(DataError) as caught:
        data.load(str(path), **given)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase",
            "repetition", "set", "segment")  # fmt: skip
HEAD = np.dtype(
    [
        ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"), ("available_channels", "<u2"), ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)), ("discard_pre", "<u2"), ("discard_post", "<u2"),
        ("center_sample", "<u2"), ("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)), ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)),
        ("idx", [*((name, "<u2") for name in COUNTERS), ("user", "<u2", (8,))]),
        ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,)),
    ]
)  # fmt: skip
"""An acquisition's head as the standard of ISMRMRD 1.x lays it out."""

HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{x}</x><y>{y}</y><z>{z}</z></matrixSize>
<fieldOfView_mm><x>{wide}</x><y>{y}</y><z>{z}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{x}</x><y>{y}</y><z>{z}</z></matrixSize>
<fieldOfView_mm><x>{narrow}</x><y>{y}</y><z>{z}</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum>
<center>{centre}</center></kspace_encoding_step_1></encodingLimits>
<trajectory>{trajectory}</trajectory>
<parallelImaging><accelerationFactor><kspace_encoding_step_1>{acceleration}</kspace_encoding_step_1>
<kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor></parallelImaging>
</encoding></ismrmrdHeader>"""


def write_raw_ismrmrd(
    path: Path,
    kspace: Array,
    *,
    lines: tuple[int, ...] | None = None,
    change: Any = None,
    **header: Any,
) -> None:
    """Raw lines of `kspace`, complex (slices, coils, z, y, x), a line of noise before them.

    The zero frequency lies in the middle. `lines`: those along y that are measured; `change(heads)`
    has the last word on the heads.
    """
    slices, coils, depth, height, width = kspace.shape
    given = {"x": width, "y": height, "z": depth, "wide": width, "narrow": width}
    given |= {"last": height - 1, "centre": height // 2, "trajectory": "cartesian"}
    given |= {"acceleration": 1} | header
    floats = h5py.vlen_dtype(np.dtype("<f4"))
    places = [
        (s, z, y)
        for y in (range(height) if lines is None else lines)
        for z in range(depth)
        for s in range(slices)
    ]
    records = np.zeros(1 + len(places), [("head", HEAD), ("traj", floats), ("data", floats)])
    heads = records["head"]
    heads["number_of_samples"], heads["active_channels"] = width, coils
    heads["center_sample"] = width // 2
    heads["flags"][0] = 1 << 18
    for row, (s, z, y) in enumerate(places, 1):
        heads["idx"]["slice"][row] = s
        heads["idx"]["kspace_encode_step_1"][row] = y
        heads["idx"]["kspace_encode_step_2"][row] = z
    if change is not None:
        change(heads)
    noise = np.full((coils, width), 99 + 99j)
    for row in range(len(records)):
        s, z, y = places[row - 1] if row else (0, 0, 0)
        line = kspace[s, :, z, y] if row else noise
        records["data"][row] = np.ascontiguousarray(line, "<c8").view("<f4").ravel()
        records["traj"][row] = np.zeros(0, "<f4")
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group["data"] = records
        text = [HEADER.format(**given).encode()]
        group.create_dataset("xml", data=text, dtype=h5py.special_dtype(vlen=bytes))
