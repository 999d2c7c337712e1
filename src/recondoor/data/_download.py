"""One-time download of a published file: several mirrors, a pinned digest, an atomic write."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from recondoor.core.errors import DataError
from recondoor.core.progress import Progress
from recondoor.io import gate

TIMEOUT_SECONDS = 30.0
_CHUNK = 1 << 18


@dataclass(frozen=True)
class PublishedFile:
    """A file as its authors published it: `sha256` (hex) and `size` (bytes) once decompressed."""

    name: str
    sha256: str
    size: int


class _MirrorError(Exception):
    """Why one mirror did not deliver; the next one is tried."""


def fetch(file: PublishedFile, mirrors: Sequence[str], folder: Path, progress: Progress) -> Path:
    """Download `file` (as ``<mirror><name>.gz``) into `folder`, decompressed; return its path.

    The file appears under its name only when complete and of the pinned digest; nothing is left
    behind otherwise. Raises DataError, naming each mirror's failure, if none delivers, and if
    `folder` cannot be written.
    """
    failures = []
    for mirror in mirrors:
        host = urlsplit(mirror).netloc
        try:
            return _fetch_from(mirror, file, folder, progress)
        except _MirrorError as failure:
            failures.append(f"{host}: {failure}")
        except OSError as error:
            raise DataError(
                f"cannot keep {file.name} in '{folder}': {error.strerror or error}; make room, "
                "set XDG_CACHE_HOME to another folder, or give --data-dir"
            ) from error
    raise DataError(
        f"{file.name} could not be downloaded ({'; '.join(failures)}); put the files into a "
        "folder and name it with --data-dir or RECONDOOR_DATA"
    )


def _fetch_from(mirror: str, file: PublishedFile, folder: Path, progress: Progress) -> Path:
    content, host = bytearray(), urlsplit(mirror).netloc
    with (
        _opened(f"{mirror}{file.name}.gz") as stream,
        progress.task(f"downloading {file.name} from {host}", file.size) as task,
    ):
        for chunk in _chunks(stream, file.size):
            content += chunk
            task.advance(len(chunk))
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise _MirrorError(f"SHA-256 is {digest[:12]}..., expected {file.sha256[:12]}...")
    path = folder / file.name
    gate.write_bytes(path, bytes(content))
    gate.delete_stale(path)
    return path


@contextmanager
def _opened(url: str) -> Iterator[gzip.GzipFile]:
    """Open the gzip stream behind `url`; raises _MirrorError if there is none."""
    try:
        response = urlopen(
            Request(url, headers={"User-Agent": "recondoor"}), timeout=TIMEOUT_SECONDS
        )
    except HTTPError as error:
        error.close()
        raise _MirrorError(f"{error.code} {_one_line(error)}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _MirrorError(_one_line(error)) from error
    with response, gzip.GzipFile(fileobj=response) as stream:
        yield stream


def _chunks(stream: gzip.GzipFile, size: int) -> Iterator[bytes]:
    """Yield the decompressed stream; raises _MirrorError if it breaks or exceeds `size` bytes."""
    total = 0
    while True:
        try:
            chunk = stream.read(_CHUNK)
        except (OSError, HTTPException, EOFError, zlib.error) as error:
            raise _MirrorError(_one_line(error)) from error
        if not chunk:
            return
        total += len(chunk)
        if total > size:
            raise _MirrorError(f"more than the expected {size} bytes")
        yield chunk


def _one_line(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return " ".join(str(reason).split()) or type(error).__name__
