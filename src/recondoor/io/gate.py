"""The one gate between this package and files: what is opened, how much is read, what is deleted.

A folder that somebody else made may hold links into a home folder, pipes that never end and devices
that never stop. What passes the gate is a regular file of a bounded size. Where `inside` names the
folder of a run, a sweep or an audit, every step from that folder to the file is a real one: no link
is followed, for reading, writing or deleting. The folder itself may be a link: the user typed it.
"""

import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from glob import escape
from io import BufferedReader
from pathlib import Path

MIB = 1 << 20
SETTINGS = 4 * MIB
"""Most bytes of a TOML file."""
RECORD = 32 * MIB
"""Most bytes of a JSON file, a history or a table; parsed it takes some twenty times as many."""
ARRAYS = 4096 * MIB
"""Most bytes of weights, a checkpoint, an .npz or an .h5 file."""
MAPPED = 65_536 * MIB
"""Most bytes of a file that is mapped and not read."""
STALE = 600.0
"""Seconds after which a file that is still being written is a killed process's."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
}


class Refused(ValueError):
    """A file that does not pass: why, in a few words and without its name."""


def why(error: BaseException) -> str:
    """Why something cannot be read or written: in one line and without the file's name."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text or type(error).__name__


def opened(path: Path, *, most: int, inside: Path | None = None) -> BufferedReader:
    """Open a regular file of at most `most` bytes for reading.

    Args:
        path: the file. Without `inside` the user named it, and links to it are followed.
        most: bytes that it may have.
        inside: folder in which the file must lie, no step below it being a link.

    Raises:
        Refused: a link, a pipe, a device, a folder, more than `most` bytes, outside `inside`.
        OSError: there is none, or it may not be read.
    """
    # Without O_NONBLOCK the call would wait for somebody who writes into a pipe.
    descriptor = _reach(path, inside, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _require_regular(descriptor, most)
        return open(path, "rb", opener=lambda _name, _flags: descriptor)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, *, most: int, inside: Path | None = None) -> bytes:
    """Content of a file; arguments and errors as of `opened`."""
    with opened(path, most=most, inside=inside) as file:
        # A buffer for `most` bytes would be taken before the first one is read.
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
        while size < len(content) <= most and (more := file.read(MIB)):
            content += more
    if len(content) > most:
        raise Refused(f"it grew beyond the {_size(most)} that are read")
    return content


def read_text(path: Path, *, most: int, inside: Path | None = None) -> str:
    """Content of a UTF-8 file, less a byte-order mark; errors as of `opened`, and ValueError."""
    return read_bytes(path, most=most, inside=inside).decode("utf-8-sig")


def write_bytes(path: Path, content: bytes, *, inside: Path | None = None) -> None:
    """Write a file beside its place, flush it to the disk and rename it.

    Whoever reads finds the old content or the new, never half of one. Folders on the way are made.
    The file's permissions are those that the user's umask leaves.

    Raises:
        Refused: a step from `inside` to the file is a link.
        OSError: it cannot be written.
    """
    with folder_of(path, inside) as folder:
        begun = f".{path.name}.{secrets.token_hex(4)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(begun, flags, 0o666, dir_fd=folder), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(begun, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            _unlink(begun, folder)
            raise
        os.fsync(folder)


def append(path: Path, content: bytes, *, inside: Path | None = None) -> None:
    """Add `content` to the end of a file of this process alone and flush it; errors as above."""
    with folder_of(path, inside):
        descriptor = _reach(path, inside, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "ab") as file:
        _require_regular(descriptor, None)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def lock_file(path: Path, *, inside: Path) -> int:
    """Open the empty file that is locked, made if need be; errors as of `write_bytes`.

    A second name of some other file (a hard link) is refused, as its content would be replaced.
    """
    descriptor = _reach(path, inside, os.O_RDWR | os.O_CREAT)
    try:
        _require_regular(descriptor, None)
        if os.fstat(descriptor).st_nlink != 1:
            raise Refused("is a second name of another file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def names(folder: Path, pattern: str, *, inside: Path | None = None) -> list[str]:
    """Sorted names in `folder` that match `pattern`; none if there is no such folder.

    Raises Refused if the folder is a link below `inside`.
    """
    try:
        with folder_of(folder / "_", inside, make=False) as descriptor:
            found = os.listdir(descriptor)  # noqa: PTH208
        return sorted(name for name in found if fnmatchcase(name, pattern))
    except FileNotFoundError:
        return []


def delete(folder: Path, which: Iterable[str], *, inside: Path | None = None) -> None:
    """Delete the files named `which` in `folder`; those that are not there are none.

    A link is deleted itself, not what it leads to. Raises Refused as `names`.
    """
    with folder_of(folder / "_", inside, make=False) as descriptor:
        for name in which:
            _unlink(name, descriptor)


def delete_stale(path: Path, *, inside: Path | None = None) -> None:
    """Delete what killed processes had begun to write of a file; errors as of `names`.

    What is younger than `STALE` seconds may be another process's, at work.
    """
    with folder_of(path, inside, make=False) as folder:
        for name in os.listdir(folder):  # noqa: PTH208
            if not fnmatchcase(name, f".{escape(path.name)}.*"):
                continue
            with suppress(FileNotFoundError):
                if time.time() - os.lstat(name, dir_fd=folder).st_mtime > STALE:
                    _unlink(name, folder)


def sync(folder: Path) -> None:
    """Flush the names in a folder to the disk; raises OSError."""
    with folder_of(folder / "_", None, make=False) as descriptor:
        os.fsync(descriptor)


@contextmanager
def folder_of(path: Path, inside: Path | None, *, make: bool = True) -> Iterator[int]:
    """Descriptor of the folder that `path` lies in, made if need be; errors as of `opened`."""
    steps = () if inside is None else _below(path, inside)[:-1]
    root = path.parent if inside is None else inside
    if make:
        root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in steps:
            descriptor = _enter(descriptor, step, make)
        yield descriptor
    finally:
        os.close(descriptor)


def _enter(folder: int, step: str, make: bool) -> int:
    """Descriptor of a real folder in another, whose descriptor is closed if that succeeds."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(step, dir_fd=folder)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        inner = os.open(step, flags, dir_fd=folder)
    except OSError:
        _require_real(step, folder)
        raise
    os.close(folder)
    return inner


def _reach(path: Path, inside: Path | None, flags: int) -> int:
    """Descriptor of a file, opened step by step below `inside`."""
    if inside is None:
        return os.open(path, flags | os.O_CLOEXEC, 0o666)
    with folder_of(path, inside, make=bool(flags & os.O_CREAT)) as folder:
        try:
            return os.open(path.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
        except OSError:
            _require_real(path.name, folder)
            raise


def _below(path: Path, inside: Path) -> tuple[str, ...]:
    """Steps from `inside` to `path`, the last being the file's name."""
    try:
        steps = path.relative_to(inside).parts
    except ValueError:
        steps = ()
    if not steps or ".." in steps:
        raise Refused(f"lies outside of {inside}")
    return steps


def _require_real(name: str, folder: int) -> None:
    """Refuse a link by its own name, whatever the system said of it."""
    try:
        mode = os.lstat(name, dir_fd=folder).st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode):
        raise Refused("is a link, which is not followed in a folder that may be another's")


def _require_regular(descriptor: int, most: int | None) -> None:
    status = os.fstat(descriptor)
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise Refused(f"is {_KINDS.get(kind, 'no file')}, no regular file")
    if most is not None and status.st_size > most:
        raise Refused(f"has {_size(status.st_size)}; at most {_size(most)} are read")


def _size(count: int) -> str:
    return f"{count / MIB:,.3g} MiB" if count < 1024 * MIB else f"{count / MIB / 1024:,.3g} GiB"


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
