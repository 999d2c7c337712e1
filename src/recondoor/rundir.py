"""The folder of one run: atomic writes, checkpoints that survive a kill, provenance, a lock.

A file is written beside its place, flushed to the disk and renamed: a reader finds the old one or
the new one, never half of one. Nothing here is ever unpickled, and nothing imports torch.
"""

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from recondoor import arrays as files
from recondoor.errors import BusyError, RunError

Arrays = dict[str, NDArray[Any]]

KEPT_CHECKPOINTS = 2

# Temporary names of what only the holder of the lock writes.
BEGUN = (
    *(f".{name}.*" for name in ("config.toml", "provenance.json", "results.json", "history.jsonl")),
    ".sweep.*",
    *(f".{kind}-*" for kind in ("plan", "place", "trigger", "model", "examples")),
    "checkpoints/.*",
)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content` or leave it as it was; raises RunError if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise explain(error, path) from error


def explain(error: OSError, path: Path) -> RunError:
    """Turn an operating-system error about `path` into one line with a remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(
            f"{path.parent}: the disk is full; free some space and give the same command again, "
            "it carries on where it stopped"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another --out"
        )
    return RunError(f"{path}: {error.strerror}")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused with ValueError."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON; raises RunError if the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}; restore it, or choose another --out") from None


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        sha.update(arrays[name].tobytes())
    return sha.hexdigest()


def write_tensors(path: Path, arrays: Arrays, meta: Mapping[str, object]) -> None:
    """Write arrays and JSON metadata as one safetensors file with a digest of each."""
    arrays = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    text = json.dumps(meta)
    sha = hashlib.sha256(text.encode()).hexdigest()
    header = {"meta": text, "meta_sha256": sha, "sha256": _digest(arrays)}
    write_atomically(path, to_safetensors(arrays, metadata=header))


def read_tensors(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_tensors` wrote; raises RunError if a byte is missing or wrong."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = header["meta"]
        sound = header["meta_sha256"] == hashlib.sha256(text.encode()).hexdigest()
        if not sound or header["sha256"] != _digest(arrays):
            raise RunError(f"{path} is damaged: its digest does not match")
        return arrays, json.loads(text)
    except (SafetensorError, *files.UNREADABLE) as error:
        raise RunError(f"{path} is damaged: {_reason(error)}") from None


@dataclass(frozen=True)
class RunDir:
    """Names and files of one run folder."""

    path: Path

    def model(self, label: str, seed: int) -> Path:
        """File of the trained weights."""
        return self.path / f"model-{label}-seed{seed}.safetensors"

    def trigger(self, label: str, seed: int) -> Path:
        """File of the trigger, its mask, the artefact and the way it was found."""
        return self.path / f"trigger-{label}-seed{seed}.npz"

    def examples(self, label: str, seed: int) -> Path:
        """File of the example images for figures."""
        return self.path / f"examples-{label}-seed{seed}.npz"

    @property
    def results(self) -> Path:
        """File of all numbers."""
        return self.path / "results.json"

    @property
    def provenance(self) -> Path:
        """File that says with what, where and from which data the numbers were made."""
        return self.path / "provenance.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder alone; raises BusyError if another process holds it.

        The kernel drops the lock with the process, so a killed run leaves none behind.
        """
        file_path = self.path / "lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = file_path.open("a+")
        except OSError as error:
            raise explain(error, file_path) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(file.fileno(), 0)
                os.write(file.fileno(), str(os.getpid()).encode())
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "another process"
                raise BusyError(
                    f"{self.path}: process {owner} is working in this folder; wait for it, or "
                    "choose another --out"
                ) from None
            except OSError as error:
                raise explain(error, file_path) from error
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Delete what a killed process had begun to write."""
        for pattern in BEGUN:
            for begun in self.path.glob(pattern):
                begun.unlink(missing_ok=True)

    def write_npz(self, path: Path, arrays: Arrays) -> None:
        """Write arrays as a compressed .npz."""
        buffer = BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(path, buffer.getvalue())

    def read_npz(self, path: Path) -> Arrays:
        """Read an .npz; raises RunError if it is damaged."""
        # A stream of our own, because np.load leaves a file open that is no archive.
        try:
            with path.open("rb") as stream, files.load(stream) as file:
                return {name: np.asarray(file[name]) for name in file.files}
        except files.UNREADABLE as error:
            raise RunError(
                f"{path} cannot be read: {_reason(error)}; delete it to make it anew"
            ) from None

    def save_checkpoint(
        self, name: str, step: int, arrays: Arrays, meta: Mapping[str, object]
    ) -> None:
        """Save step `step` of stage `name` and drop all but the last two."""
        write_tensors(self._checkpoint(name, step), arrays, meta)
        for old in self._checkpoints(name)[:-KEPT_CHECKPOINTS]:
            old.unlink(missing_ok=True)

    def load_checkpoint(self, name: str) -> tuple[tuple[Arrays, dict[str, Any]] | None, list[str]]:
        """Return the newest readable checkpoint of stage `name` and the faults of newer ones."""
        faults: list[str] = []
        for path in reversed(self._checkpoints(name)):
            try:
                return read_tensors(path), faults
            except RunError as error:
                faults.append(str(error))
        return None, faults

    def drop_checkpoints(self, name: str) -> None:
        """Delete the checkpoints of a finished stage."""
        for path in self._checkpoints(name):
            path.unlink(missing_ok=True)

    def _checkpoint(self, name: str, step: int) -> Path:
        return self.path / "checkpoints" / f"{name}.{step:06d}.safetensors"

    def _checkpoints(self, name: str) -> list[Path]:
        return sorted((self.path / "checkpoints").glob(f"{name}.[0-9]*.safetensors"))

    def history(self) -> list[dict[str, Any]]:
        """Rows of history.jsonl, oldest first; raises RunError if it is damaged."""
        path = self.path / "history.jsonl"
        if not path.exists():
            return []
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except (ValueError, RecursionError) as error:
            raise RunError(
                f"{path} is damaged: {error}; restore it, or choose another --out"
            ) from None

    def write_history(self, stage: str, label: str, seed: int, rows: list[dict[str, Any]]) -> None:
        """Replace the rows of one stage of one model by `rows`."""
        key = {"stage": stage, "model": label, "seed": seed}
        kept = [row for row in self.history() if {name: row[name] for name in key} != key]
        lines = [json.dumps(row) for row in kept + [{**key, **row} for row in rows]]
        write_atomically(self.path / "history.jsonl", ("\n".join(lines) + "\n").encode())
