"""Files of volumes: what writes them, and what damages their heads."""

from pathlib import Path

import h5py
import numpy as np

import volume_files
from fuzzing.mutate import Random, pick, retoken

_FIELDS = ((0, "<i4"), (40, "<i2"), (42, "<i2"), (46, "<i2"), (70, "<i2"), (72, "<i2"))
_FIELDS += ((108, "<f4"), (112, "<f4"), (116, "<f4"), (254, "<i2"), (280, "<f4"))
"""Where NIfTI-1 has sizes, types, the place of the voxels, their scale and directions."""
_ODD = (0, 1, -1, 2, 3, 16, 32, 1024, 1792, 2304, 30_000, -32_768, 352, 348)


def write_nifti(folder: Path) -> None:
    volume_files.write_nifti(folder / "a.nii", volume_files.anatomy())


def write_packed(folder: Path) -> None:
    volume_files.write_nifti(folder / "a.nii.gz", volume_files.anatomy())


def write_nrrd(folder: Path) -> None:
    volume_files.write_nrrd(folder / "a.nrrd", volume_files.anatomy())


def write_cfl(folder: Path) -> None:
    volume_files.write_cfl(folder / "a.cfl", volume_files.anatomy().transpose(1, 2, 0) + 1j)


def write_series(folder: Path) -> None:
    volume_files.write_series(folder, volume_files.anatomy(), Modality="CT")


def write_fastmri(folder: Path) -> None:
    target = volume_files.anatomy().astype(np.float32)
    kspace = np.fft.fft2(target).astype(np.complex64)[:, None]
    volume_files.write_fastmri(folder / "a.h5", kspace, reconstruction_rss=target)
    with h5py.File(folder / "a.h5", "a") as file:
        del file["ismrmrd_header"]  # a text, of which no other shape or type can be made


def read_kspace(folder: Path) -> None:
    from recondoor import data

    data.read_kspace(folder / "a.h5")
    _ = data.load(str(folder / "a.h5")).train


def nifti_head(content: bytes, random: Random) -> bytes:
    """One field of a NIfTI-1 head with another value."""
    at, kind = pick(random, _FIELDS)
    value = np.array([pick(random, _ODD)]).astype(kind).tobytes()
    return content[:at] + value + content[at + len(value) :]


def nrrd_head(content: bytes, random: Random) -> bytes:
    """The text in front of the voxels with other words."""
    head, end, voxels = content.partition(b"\n\n")
    return retoken(head, random) + end + voxels
