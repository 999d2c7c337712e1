"""What the folder is that the user named, and which runs lie in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from recondoor import report
from recondoor.core.errors import DataError
from recondoor.io import gate

Kind = Literal["run", "sweep", "audit"]

OF_A_RUN = ("config.toml", "results.json", "history.jsonl")


@dataclass(frozen=True)
class Folder:
    """The one folder that is shown; nothing outside it is opened."""

    path: Path
    kind: Kind

    @cached_property
    def sweep(self) -> report.SweepData:
        """The sweep in it; raises ReportError where it is damaged."""
        return report.load_sweep(self.path)

    @cached_property
    def points(self) -> Mapping[str, Mapping[str, Any]]:
        """Points of a sweep, one for each seed, by their place in its folder."""
        if self.kind != "sweep":
            return {}
        points = self.sweep.record["points"]
        return {str(point["folder"]): point for point in points if "folder" in point}

    def run(self, place: str = "") -> Path:
        """The run itself (place ''), or that of a sweep's point; raises DataError if there is none.

        A point's place comes from the sweep's record: it has to lie in the folder, and no step to
        it may be a link.
        """
        if self.kind == "run" and not place:
            return self.path
        if place not in self.points:
            raise DataError(f"'{place}' is no run in {self.path}")
        folder = self.path / place
        try:
            with gate.folder_of(folder / "_", self.path, make=False):
                return folder
        except (OSError, gate.Refused) as error:
            raise DataError(
                f"{folder}: {gate.why(error)}; this sweep was kept without its runs, or was moved"
            ) from None

    def has_run(self, place: str) -> bool:
        """Whether a point's run is there with the settings that a bench needs."""
        try:
            return (self.run(place) / OF_A_RUN[0]).is_file()
        except DataError:
            return False


def open_folder(path: Path) -> Folder:
    """Tell what is in a folder by its files.

    Raises DataError where it is none of a run, a sweep or an audit.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; give that of a run, a sweep or an audit")
    if (path / "audit.json").exists():
        return Folder(path, "audit")
    if report.is_sweep(path):
        return Folder(path, "sweep")
    if any((path / name).exists() for name in OF_A_RUN):
        return Folder(path, "run")
    inner = sorted(each.name for each in path.glob("ratio-*"))
    if inner:
        raise DataError(f"{path}: holds a run for each ratio; give one, as {path}/{inner[0]}")
    raise DataError(
        f"{path}: no folder of a run, a sweep or an audit; make one with 'recondoor study', "
        "'recondoor sweep' or 'recondoor audit'"
    )
