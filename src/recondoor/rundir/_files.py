"""Files of a run: written whole or not at all, read through the gate, damage told in one line."""

import errno
import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from recondoor import records
from recondoor.core.errors import RunError
from recondoor.io import arrays as files
from recondoor.io import gate
from recondoor.records import ANEW as ANEW
from recondoor.records import RESTORE as RESTORE

Arrays = dict[str, NDArray[Any]]

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
# The member of an .npz, and of the metadata of weights, that says whose it is.
SEAL = "seal"


def write_atomically(
    path: Path, content: bytes, *, inside: Path | None = None, remedy: str = "choose another --out"
) -> None:
    """Replace `path` by `content` or leave it as it was; raises RunError if that cannot be done.

    `inside` is the folder below which no step to the file may be a link.
    """
    try:
        gate.write_bytes(path, content, inside=inside)
    except gate.Refused as error:
        raise refused(path, error, remedy) from None
    except OSError as error:
        raise explain(error, path, remedy) from error


def explain(
    error: OSError,
    path: Path,
    remedy: str = "choose another --out",
    again: str = "it carries on where it stopped",
) -> RunError:
    """Turn an operating-system error about `path` into one line with a remedy.

    `remedy` is for a place that cannot be written to, `again` what the same command then does.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"{path.parent}: the disk is full; free some space and give the same command again, "
            f"{again}"
        )
    if error.errno in READ_ONLY:
        return RunError(f"{path.parent}: cannot be written ({error.strerror}); {remedy}")
    return RunError(f"{path}: {error.strerror}; {remedy}")


def refused(path: Path, error: gate.Refused, remedy: str) -> RunError:
    """One line about a file that did not pass the gate."""
    return RunError(f"{path}: {error}; {remedy}")


def write_json(path: Path, value: object, *, inside: Path | None = None) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused with ValueError."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode(), inside=inside)


def read_json(path: Path, *, inside: Path | None = None, remedy: str = RESTORE) -> Any:
    """Read JSON strictly; raises RunError if the file is missing, damaged, a link or a pipe."""
    try:
        return records.read(path, inside=inside)
    except gate.Refused as error:
        raise refused(path, error, remedy) from None


def read_text(
    path: Path, *, inside: Path | None = None, remedy: str = RESTORE, most: int = gate.RECORD
) -> str:
    """Read a UTF-8 file; errors as of `read_json`."""
    try:
        return gate.read_text(path, most=most, inside=inside)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: {gate.why(error)}; {remedy}") from None


def digest_of_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and content."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()


def write_tensors(
    path: Path, arrays: Arrays, meta: Mapping[str, object], *, inside: Path | None = None
) -> None:
    """Write arrays and JSON metadata as one safetensors file with a digest of each."""
    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    text = json.dumps(meta, allow_nan=False)
    sha = hashlib.sha256(text.encode()).hexdigest()
    header = {"meta": text, "meta_sha256": sha, "sha256": digest_of_arrays(arrays)}
    write_atomically(path, to_safetensors(arrays, metadata=header), inside=inside)


def read_tensors(path: Path, *, inside: Path | None = None) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_tensors` wrote, less its seal; RunError if a byte is missing or wrong."""
    arrays, meta, _ = read_sealed_tensors(path, inside=inside)
    return arrays, meta


def read_sealed_tensors(
    path: Path, *, inside: Path | None = None
) -> tuple[Arrays, dict[str, Any], object]:
    """Arrays, metadata and the seal, None if there is none; errors as of `read_tensors`."""
    try:
        with gate.opened(path, most=gate.ARRAYS, inside=inside) as stream:
            # By the descriptor that passed the gate, as another file may have taken its name.
            opened = f"/proc/self/fd/{stream.fileno()}"
            with safe_open(opened, framework="numpy") as file:
                header = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = header["meta"]
        sound = header["meta_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        if not sound or header["sha256"] != digest_of_arrays(arrays):
            raise RunError(f"{path} is damaged: its digest does not match")
        meta = records.parse(text)
    except gate.Refused as error:
        raise refused(path, error, ANEW) from None
    except (SafetensorError, *files.UNREADABLE) as error:
        raise RunError(f"{path} is damaged: {gate.why(error)}") from None
    if not isinstance(meta, dict):
        raise RunError(f"{path} is damaged: its metadata is no JSON object")
    return arrays, meta, meta.pop(SEAL, None)


def write_npz(
    path: Path, arrays: Arrays, seal: records.Seal | None = None, *, inside: Path | None = None
) -> None:
    """Write arrays as a compressed .npz, with a member that says whose they are."""
    sealed = dict(arrays)
    if seal is not None:
        arrays = {name: np.asarray(value) for name, value in arrays.items()}
        sealed[SEAL] = np.array(json.dumps(seal.claim(path.name, digest_of_arrays(arrays))))
    buffer = BytesIO()
    np.savez_compressed(buffer, **sealed)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue(), inside=inside)


def read_npz(path: Path, *, inside: Path | None = None) -> tuple[Arrays, object]:
    """Arrays of an .npz and its seal, None if there is none; RunError if a byte is wrong."""
    # A stream of our own, because np.load leaves a file open that is no archive.
    try:
        opened = gate.opened(path, most=gate.ARRAYS, inside=inside)
        with opened as stream, files.load(stream) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        claim = records.parse(str(arrays.pop(SEAL))) if SEAL in arrays else None
    except gate.Refused as error:
        raise refused(path, error, ANEW) from None
    except (RecursionError, *files.UNREADABLE) as error:
        raise RunError(f"{path} cannot be read: {gate.why(error)}; {ANEW}") from None
    if isinstance(claim, dict) and claim.get("digest") != digest_of_arrays(arrays):
        raise RunError(f"{path} cannot be read: its digest does not match; {ANEW}")
    return arrays, claim
