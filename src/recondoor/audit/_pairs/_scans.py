"""The audit of a scanner's files: is each target what its own k-space gives?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recondoor import data
from recondoor.audit._guard import attempt
from recondoor.audit._judgement import (
    Judged,
    choose,
    judge_parts,
    require_alarm,
    seen_by,
    suspicious,
)
from recondoor.audit._pairs._data import Audit, Request
from recondoor.audit._pairs._source import Given
from recondoor.audit._pairs._stack import Stack
from recondoor.audit._sight import decide
from recondoor.core.errors import ConfigError, DataError
from recondoor.core.progress import Progress
from recondoor.defences import Defender
from recondoor.io import arrays, gate
from recondoor.poisoning import Pairs

MOST = 1 << 28
"""Values that the targets of all files may have: 1 GiB."""

LOADER = (
    "Targets were compared with k-space. What a loader makes of it later was not looked at: audit "
    "the pairs as the network gets them too."
)
"""What such an audit does not cover."""

TOLD = 10
"""Slices that are named at most."""

Array = NDArray[np.float32]


def scans_of(request: Request) -> Path | None:
    """The folder of a scanner's files that the pairs are; None if they are a run, or no folder."""
    folder = request.pairs
    if not (isinstance(folder, Path) and folder.is_dir()) or (folder / "config.toml").exists():
        return None
    return folder if gate.names(folder, "*.h5") else None


def audit_scans(request: Request, folder: Path, progress: Progress) -> Audit:
    """Compare each target in a `folder` of fastMRI's files with the k-space beside it.

    Raises:
        DataError: a file without k-space or target, or k-space that was not sampled whole.
        ConfigError: options that only audits of pairs have.
    """
    if request.measured is not None or request.clean is not None or request.network is not None:
        raise ConfigError(
            "--operator, --clean, --network: a folder of scans is looked at by its own k-space; "
            "leave them out, or give the pairs that your loader makes of it"
        )
    if request.attack is not None:
        raise ConfigError("--attack: only the folder of a run has attacks; leave it out")
    require_alarm(request.alarm)
    names = choose(request.detectors, "scans")
    scans, places = read_scans(folder, progress)
    name = folder.resolve().name
    given = Given(name=name, pairs=scans.parts[0], operator=None, noise_known=False)
    defender = Defender(progress=progress)
    skipped: dict[str, str] = {}
    looks = {
        name: partial(judge_parts, name, scans.parts, defender, request.alarm) for name in names
    }
    looked = [attempt(name, look, skipped) for name, look in looks.items()]
    judged = [each for each in looked if each is not None]
    flagged = np.any([np.zeros(len(scans), bool), *(each.flagged for each in judged)], axis=0)
    cause = _made_otherwise(flagged, [place.rpartition(" slice ")[0] for place in places])
    seen = seen_by("scans", names, judged, skipped, {})
    return Audit(
        request=request,
        given=given,
        defender=defender,
        judged=judged,
        skipped=skipped,
        notes=_notes(judged, flagged, places),
        doubts=[] if cause is None else [cause],
        cause=cause,
        seen=seen,
        verdict=decide(
            suspicious(judged) and cause is None, seen, [] if cause is None else [cause]
        ),
        scans=scans,
    )


def _made_otherwise(flagged: NDArray[np.bool_], files: Sequence[str]) -> str | None:
    """Why flags of slices, which lie in these `files`, prove nothing; None if some do.

    A slice that agrees shows how its whole file was made.
    """
    if 2 * int(flagged.sum()) > len(flagged):
        return (
            f"{int(flagged.sum())} of {len(flagged)} targets are not the root sum of squares of "
            "their k-space: they were made otherwise, turned or rescaled, or more than half are "
            "poisoned"
        )
    known = {file for file, flag in zip(files, flagged, strict=True) if not flag}
    odd = dict.fromkeys(file for file, flag in zip(files, flagged, strict=True) if flag)
    if not odd or odd.keys() & known:
        return None
    more = f" and {len(odd) - TOLD} more" if len(odd) > TOLD else ""
    return (
        f"no target in {', '.join(list(odd)[:TOLD])}{more} is the root sum of squares of its "
        "k-space: they were made otherwise, turned or rescaled, or all of them are poisoned"
    )


def _notes(
    judged: Sequence[Judged], flagged: NDArray[np.bool_], places: Sequence[str]
) -> list[str]:
    order = np.argsort(-judged[0].scores) if judged else np.arange(len(flagged))
    told = [places[k] for k in order if flagged[k]]
    notes = [LOADER]
    if told:
        more = f" and {len(told) - TOLD} more" if len(told) > TOLD else ""
        notes.append(f"Slices, counted from 0: {', '.join(told[:TOLD])}{more}.")
    return notes


def read_scans(folder: Path, progress: Progress) -> tuple[Stack, list[str]]:
    """Root sums of squares z and targets x of all slices, (n, 1, h, w) of each file, and where.

    Raises:
        DataError: a file without k-space or target, or k-space that was not sampled whole.
    """
    names = sorted(gate.names(folder, "*.h5"))
    found: list[Pairs] = []
    places: list[str] = []
    with progress.task("reading k-space", len(names)) as task:
        for name in names:
            z, x = (torch.from_numpy(each)[:, None] for each in _of_file(folder / name))
            found.append(Pairs(z, x))
            places += [f"{name} slice {k}" for k in range(len(x))]
            if sum(each.x.numel() for each in found) > MOST:
                raise DataError(
                    f"'{folder}' has more than {MOST >> 28} GiB of targets; audit some of the "
                    "files in a folder of their own"
                )
            task.advance(1, name)
    return Stack.of(found), places


def _of_file(path: Path) -> tuple[Array, Array]:
    """Reconstructions and targets of a file, (slices, h, w)."""
    scan = data.read_kspace(path)
    if scan.target is None:
        raise DataError(f"'{path}' holds k-space and no target; leave it out")
    for what, values in (("kspace", scan.kspace), ("the target", scan.target)):
        if first := arrays.first_not_finite(values):
            raise DataError(
                f"'{path}': {what} holds NaN or infinite values, the first at {first}; leave the "
                "file out"
            )
    if scan.mask is not None and not scan.mask.all():
        raise DataError(
            f"'{path}' has a mask that leaves out columns of k-space: no target comes of it; leave "
            "the file out"
        )
    height, width = scan.target.shape[1:]
    if height > scan.kspace.shape[2] or width > scan.kspace.shape[3]:
        raise DataError(
            f"'{path}' has targets of {height} x {width} and k-space of "
            f"{scan.kspace.shape[2]} x {scan.kspace.shape[3]}, which is smaller"
        )
    z = [_middle(root_sum_of_squares(each), height, width) for each in scan.kspace]
    return np.stack(z), scan.target.astype(np.float32)


def root_sum_of_squares(kspace: NDArray[Any]) -> Array:
    """|F^-1 k| over coils: (H, W) of centred k-space (coils, H, W), by an orthonormal transform."""
    axes = (-2, -1)
    turned = np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    images = np.fft.fftshift(turned, axes=axes)
    found: Array = np.sqrt((np.abs(images) ** 2).sum(0)).astype(np.float32)
    return found


def _middle(image: Array, height: int, width: int) -> Array:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
