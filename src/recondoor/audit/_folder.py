"""The folder of an audit: all its files are of one audit, whenever its making is stopped.

A folder beside the final one is filled and then put in its place in one step: who looks finds the
old audit or the new one, never a verdict of one beside pairs of the other.
"""

import ctypes
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from recondoor.core.errors import RunError
from recondoor.io import gate
from recondoor.io.seal import sealed
from recondoor.rundir import Arrays, explain, require_place

RECORD = "audit.json"

OWN = (RECORD, "evidence.npz", "suspicious.csv", "repaired.npz", "report.html", "figures", ".*")
OWN_FIGURES = ("*.svg", "*.png", ".*")
"""Names in an audit's folder and in its figures/; of others nothing is deleted."""

EXCHANGE, HERE = 2, -100
"""Linux's RENAME_EXCHANGE and AT_FDCWD."""

AGAIN = "it begins anew; nothing of this audit was left"

Files = Mapping[str, bytes]


def require_folder(out: Path, force: bool) -> None:
    """Refuse a folder with anything in it, but another audit's if `force`; raises RunError."""
    require_place(out)
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD).exists():
        raise RunError(f"{out}: there is something else there; choose another --out")
    if not force:
        raise RunError(
            f"{out}: there is an audit already; give --force to replace it, or choose another --out"
        )
    for folder, own in ((out, OWN), (out / "figures", OWN_FIGURES)):
        for name in _names(folder, out):
            if not any(fnmatchcase(name, pattern) for pattern in own):
                raise RunError(
                    f"{folder / name}: is no file of an audit, and --force would delete it; move "
                    "it away, or choose another --out"
                )


def _names(folder: Path, out: Path) -> list[str]:
    try:
        return gate.names(folder, "*", inside=out)
    except gate.Refused as error:
        raise RunError(f"{folder}: {error}; remove it, or choose another --out") from None


def fill(
    out: Path, record: Mapping[str, Any], files: Files, build: Callable[[Path], Path]
) -> tuple[dict[str, Any], Path]:
    """Put an audit in the place of whatever audit is at `out`.

    Args:
        out: folder that `require_folder` has let pass.
        record: content of audit.json; a digest of each of `files` and of itself is added.
        files: content by name.
        build: makes the page in a folder and returns its path.

    Returns:
        Content of audit.json, and the path of the page.

    Raises:
        RunError: it cannot be written; then all is as it was.
    """
    place = out.resolve()
    # Cut, as a name may have so many bytes and no more.
    short = os.fsdecode(os.fsencode(place.name)[:200])
    begun = place.with_name(f".{short}.{secrets.token_hex(4)}")
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    whole = sealed({**record, "files": digests})
    content = (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode()
    try:
        begun.mkdir(parents=True)
        for name, other in files.items():
            gate.write_bytes(begun / name, other, inside=begun)
        gate.write_bytes(begun / RECORD, content, inside=begun)
        page = build(begun)
        _swap(begun, place)
    except OSError as error:
        raise explain(error, out, again=AGAIN) from error
    except RunError as error:
        # The page's, which names the folder that is being filled.
        if not isinstance(error.__cause__, OSError):
            raise
        raise explain(error.__cause__, out, again=AGAIN) from error
    finally:
        _remove(begun)
    return whole, out / page.name


def npz(arrays: Arrays) -> bytes:
    """Arrays as the content of a compressed .npz file."""
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _swap(begun: Path, place: Path) -> None:
    """Let two folders change places; the old one, if there is any, is then at `begun`."""
    with suppress(OSError):
        place.rmdir()  # an empty folder
    if not place.exists():
        begun.rename(place)
        gate.sync(place.parent)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(begun), os.fsencode(place)
    if libc.renameat2(HERE, paths[0], HERE, paths[1], EXCHANGE) == 0:
        gate.sync(place.parent)
        return
    # A file system that cannot exchange: for an instant there is no audit, never a mixed one.
    aside = place.with_name(f"{begun.name}-old")
    place.rename(aside)
    begun.rename(place)
    aside.rename(begun)


def _remove(folder: Path) -> None:
    """Delete a folder of an audit, if it is there: own names alone, no link followed."""
    if not folder.is_dir():
        return
    for inner, own in ((folder / "figures", OWN_FIGURES), (folder, OWN)):
        with suppress(OSError, gate.Refused):
            found = {name for pattern in own for name in gate.names(inner, pattern, inside=folder)}
            gate.delete(inner, found - {"figures"}, inside=folder)
            inner.rmdir()
