"""The folder of one run: atomic writes, checkpoints that survive a kill, provenance, a lock.

A file is written beside its place, flushed to the disk and renamed: a reader finds the old one or
the new one, never half of one. The folder may be a stranger's: no link in it is followed, only
regular files of a bounded size are read, and what they hold is checked. Nothing here is ever
unpickled, and nothing imports torch.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recondoor import records
from recondoor.core.errors import BusyError, RunError
from recondoor.io import gate
from recondoor.io import seal as seals
from recondoor.rundir import _files
from recondoor.rundir._files import (
    ANEW,
    READ_ONLY,
    RESTORE,
    SEAL,
    Arrays,
    explain,
    read_json,
    read_tensors,
    read_text,
    refused,
    write_atomically,
    write_json,
    write_tensors,
)
from recondoor.rundir._history import History, Row, finite, read_history
from recondoor.rundir._place import bare_name, require_place
from recondoor.rundir._settings import (
    SETTINGS_FILE,
    as_spelled,
    default_folder,
    read_settings,
    require_unchanged,
    settings,
)

__all__ = [
    "ANEW",
    "IMAGES",
    "READ_ONLY",
    "RESTORE",
    "TRAIN_ANEW",
    "Arrays",
    "History",
    "RunDir",
    "as_spelled",
    "bare_name",
    "default_folder",
    "explain",
    "finite",
    "is_begun",
    "read_json",
    "read_settings",
    "read_tensors",
    "read_text",
    "require_place",
    "sealed_by_itself",
    "settings",
    "write_atomically",
    "write_json",
    "write_tensors",
]

KEPT_CHECKPOINTS = 2
IMAGES = "images.npy"
"""Images that a caller gave as an array; the settings name them by their path."""
TRAIN_ANEW = "delete it to train the model anew"

_ARRAYS = r"(plan|place|trigger|examples)(-[a-z][a-z0-9-]*)?-seed\d+\.npz"
_WEIGHTS = r"model-[a-z][a-z0-9-]*-seed\d+\.safetensors"
_RECORDS = r"(config|sweep)\.toml|(provenance|results|sweep)\.json|history\.jsonl|sweep\.parquet"
# Temporary names of what only the holder of the lock writes, in its folder and in `checkpoints`.
_BEGUN = {
    ".": re.compile(rf"\.({_RECORDS}|{_ARRAYS}|{_WEIGHTS})\.[a-z0-9_]{{8}}"),
    "checkpoints": re.compile(r"\.(train|attack)-[a-z0-9-]+\.\d{6,}\.safetensors\.[a-z0-9_]{8}"),
}


def is_begun(name: str) -> bool:
    """Whether a run's own file of this name was being written when its process was killed."""
    return _BEGUN["."].fullmatch(name) is not None


@dataclass(frozen=True)
class RunDir:
    """Names and files of one run folder.

    Args:
        path: the folder, which need not be there yet.
        seal: of the run. With it files are sealed as they are written, and refused where they are
            of another run; without, only damage is seen.
    """

    path: Path
    seal: records.Seal | None = None

    def model(self, label: str, seed: int) -> Path:
        """File of the trained weights."""
        return self.path / f"model-{label}-seed{seed}.safetensors"

    def trigger(self, label: str, seed: int) -> Path:
        """File of the trigger, its mask, the artefact and the way it was found."""
        return self.path / f"trigger-{label}-seed{seed}.npz"

    def examples(self, label: str, seed: int) -> Path:
        """File of the example images for figures."""
        return self.path / f"examples-{label}-seed{seed}.npz"

    def plan(self, seed: int) -> Path:
        """File that says which pairs are poisoned."""
        return self.path / f"plan-seed{seed}.npz"

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
        path = self.path / "lock"
        try:
            descriptor = gate.lock_file(path, inside=self.path)
        except gate.Refused as error:
            raise refused(path, error, "delete it, or choose another --out") from None
        except OSError as error:
            raise explain(error, path) from error
        try:
            self._hold(descriptor)
            self._sweep()
            yield
        finally:
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        """Lock the open file and write this process's number into it."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        except BlockingIOError:
            number = os.pread(descriptor, 20, 0)
            owner = f"process {int(number)}" if number.isdigit() else "another process"
            raise BusyError(
                f"{self.path}: {owner} is working in this folder; wait for it, or choose another "
                "--out"
            ) from None
        except OSError as error:
            raise explain(error, self.path / "lock") from error

    def _sweep(self) -> None:
        """Delete what a killed process had begun to write."""
        for name, own in _BEGUN.items():
            self._delete(self.path / name, [n for n in self._names(name, ".*") if own.fullmatch(n)])

    def write_npz(self, path: Path, arrays: Arrays) -> None:
        """Write arrays as a compressed .npz."""
        _files.write_npz(path, arrays, self.seal, inside=self.path)

    def read_npz(self, path: Path, specs: Mapping[str, records.Spec] | None = None) -> Arrays:
        """Read an .npz; RunError if it is damaged, not the run's, or not as `specs` has it."""
        arrays, claim = _files.read_npz(path, inside=self.path)
        self._require_own(path, claim, ANEW)
        if specs is not None:
            records.require_arrays(path, arrays, specs)
        return arrays

    def write_tensors(self, path: Path, arrays: Arrays, meta: Mapping[str, object]) -> None:
        """Write arrays and JSON metadata as one safetensors file."""
        claim = {} if self.seal is None else {SEAL: self.seal.claim(path.name)}
        write_tensors(path, arrays, {**meta, **claim}, inside=self.path)

    def read_tensors(
        self, path: Path, *, remedy: str = ANEW, shared: bool = False
    ) -> tuple[Arrays, dict[str, Any]]:
        """Read what `write_tensors` wrote; RunError if it is damaged or not the run's.

        `shared`: it may be of another run that has the same original model.
        """
        try:
            arrays, meta, claim = _files.read_sealed_tensors(path, inside=self.path)
        except RunError as error:
            raise RunError(f"{str(error).removesuffix(f'; {ANEW}')}; {remedy}") from None
        self._require_own(path, claim, remedy, shared)
        return arrays, meta

    def _require_own(self, path: Path, claim: object, remedy: str, shared: bool = False) -> None:
        """Refuse a file of another run; where the run's own say so, also one that does not."""
        if self.seal is None:
            return
        if claim is None:
            fault = "does not say which run it belongs to" if self.is_sealed() else None
        else:
            fault = self.seal.fault(claim, path.name, shared=shared)
        if fault:
            raise RunError(f"{path}: {fault}; restore the run's own, or {remedy}")

    def is_sealed(self) -> bool:
        """Whether the run was begun by a version that seals its files; RunError if damaged."""
        return self.provenance.exists() and self.read_provenance().get("digest") is not None

    def read_provenance(self) -> dict[str, Any]:
        """provenance.json; RunError if it is damaged, was changed, or lacks something."""
        return self._read_record(self.provenance, records.OwnProvenance)

    def read_results(self) -> dict[str, Any]:
        """results.json; RunError if it is damaged, was changed, or is of another run."""
        found = self._read_record(self.results, records.OwnResults)
        # A kill may come between the two files, so these differ.
        late = {"finished", "seeds", "digest"}
        here = self.read_provenance()
        mine = {key: value for key, value in here.items() if key not in late}
        theirs = {k: value for k, value in found["provenance"].items() if k not in late}
        if mine != theirs or found["identity"] != here["identity"]:
            raise RunError(f"{self.results}: is of another run than provenance.json; {RESTORE}")
        if here.get("digest") is not None and found.get("digest") is None:
            raise RunError(f"{self.results}: lacks its digest; {RESTORE}")
        return found

    def _read_record(self, path: Path, kind: type[records.Record]) -> dict[str, Any]:
        found = read_json(path, inside=self.path)
        records.require(kind, found, str(path))
        if fault := seals.fault(found):
            raise RunError(f"{path}: {fault}; {RESTORE}")
        return dict(found)

    def write_provenance(self, record: Mapping[str, Any], *, sealed: bool) -> None:
        """Write provenance.json; that of a run which was begun without seals stays without."""
        content = seals.sealed(record) if sealed else dict(record)
        write_json(self.provenance, content, inside=self.path)

    def write_results(self, record: Mapping[str, Any]) -> None:
        """Write results.json with its digest."""
        write_json(self.results, seals.sealed(record), inside=self.path)

    def require_settings(self) -> None:
        """Refuse a config.toml that was changed since; raises RunError or ConfigError."""
        path = self.path / SETTINGS_FILE
        if path.exists() or path.is_symlink():
            require_unchanged(path, read_settings(self.path), self.read_provenance()["identity"])

    def require_sound(self) -> None:
        """Refuse arrays and weights that are damaged or of another run; raises RunError."""
        for name in self._names(".", "*"):
            if re.fullmatch(_ARRAYS, name):
                self.read_npz(self.path / name)
            elif re.fullmatch(_WEIGHTS, name):
                self.read_tensors(self.path / name, remedy=TRAIN_ANEW)

    def save_checkpoint(
        self, name: str, step: int, arrays: Arrays, meta: Mapping[str, object]
    ) -> None:
        """Save step `step` of stage `name` and drop all but the last two."""
        folder = self.path / "checkpoints"
        self.write_tensors(folder / f"{name}.{step:06d}.safetensors", arrays, meta)
        self._delete(folder, self._checkpoints(name)[:-KEPT_CHECKPOINTS])

    def load_checkpoint(
        self, name: str
    ) -> tuple[tuple[Arrays, dict[str, Any], Path] | None, list[str]]:
        """Return the newest readable checkpoint of stage `name` and the faults of newer ones.

        The checkpoint is its arrays, its metadata and its file.

        Raises RunError for one that is whole but of another run.
        """
        faults: list[str] = []
        for file in reversed(self._checkpoints(name)):
            path = self.path / "checkpoints" / file
            try:
                arrays, meta, claim = _files.read_sealed_tensors(path, inside=self.path)
            except RunError as error:
                faults.append(str(error))
                continue
            self._require_own(path, claim, "delete it")
            return (arrays, meta, path), faults
        return None, faults

    def drop_checkpoints(self, name: str) -> None:
        """Delete the checkpoints of a finished stage."""
        self._delete(self.path / "checkpoints", self._checkpoints(name))

    def _checkpoints(self, name: str) -> list[str]:
        """Names of the checkpoints of a stage, by step."""
        own = re.compile(rf"{re.escape(name)}\.(\d{{6,}})\.safetensors")
        found = [match for n in self._names("checkpoints", "*") if (match := own.fullmatch(n))]
        return [match[0] for match in sorted(found, key=lambda match: int(match[1]))]

    def _names(self, folder: str, pattern: str) -> list[str]:
        path = self.path / folder
        try:
            return gate.names(path, pattern, inside=self.path)
        except gate.Refused as error:
            raise refused(path, error, "delete it, or choose another --out") from None
        except OSError as error:
            raise explain(error, path) from error

    def _delete(self, folder: Path, which: list[str]) -> None:
        if not which:
            return
        try:
            gate.delete(folder, which, inside=self.path)
        except gate.Refused as error:
            raise refused(folder, error, "delete it, or choose another --out") from None
        except OSError as error:
            raise explain(error, folder / which[0]) from error

    def history(self) -> list[Row]:
        """Rows of history.jsonl, oldest first; raises RunError if it is damaged or another's."""
        return read_history(self.path, self.seal, sealed=self._wants_seals())

    def open_history(self, stage: str, label: str, seed: int) -> History:
        """The lines of one stage of one model, to be added to."""
        key = {"stage": stage, "model": label, "seed": seed}
        return History(self.path, self.seal, self._wants_seals(), key)

    def _wants_seals(self) -> bool:
        return self.seal is not None and self.is_sealed()


def sealed_by_itself(path: Path) -> RunDir:
    """A run folder with the seal that its own provenance.json stands for; RunError if damaged."""
    plain = RunDir(path)
    return RunDir(path, records.Seal.of_provenance(plain.read_provenance()))
