"""One point, brought to its end by whichever process it is given to.

Torch is imported by the function that computes: a driver that hands all points to workers does
without.
"""

import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recondoor import config, rundir
from recondoor.core.errors import BusyError, RecondoorError, RunError
from recondoor.core.progress import Progress
from recondoor.io import seal

if TYPE_CHECKING:
    from recondoor import studies
    from recondoor.data import Images
    from recondoor.training.together import Course

# A driver that was killed leaves workers that take a moment to notice, and hold their folders.
SECONDS_FOR_A_FOLDER = 60.0

REMEDY = "delete the point's folder to run it anew, or choose another --out"

# How often a point is tried whose worker dies, or which fails in a way that may not come again.
ATTEMPTS = 3
# What may pass: out of memory (torch raises a RuntimeError), a file system that does not answer.
PASSING = (RuntimeError, MemoryError, OSError)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a worker needs to know of one point; plain values, as it travels."""

    point: str
    seed: int
    # Its folder, within the sweep's and as a whole.
    place: str
    folder: str
    settings: dict[str, Any]
    data_dir: str | None
    device: str
    threads: int
    command: str
    # Images are read once per process and sweep, as a user's files may change in between.
    sweep_begun: float
    # Folder of the point that trains the original model of this one as well, if it is not its own.
    original: str | None = None
    # That point's place: this one waits for it.
    after: str | None = None


@dataclass(frozen=True)
class Answer:
    """How a task ended: the rows of its results, or why there are none."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None
    said: list[str] = field(default_factory=list)


class _Said(Progress):
    """Keeps what a study tells, for the driver."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def work(task: Task) -> Answer:
    """Run the study of one point, or carry on with it; a study's own errors are an answer."""
    import torch

    heard, before = _Said(), torch.get_num_threads()
    torch.set_num_threads(task.threads)
    try:
        return Answer(_rows(task, heard), said=heard.said)
    except RecondoorError as error:
        return Answer(error=str(error), said=heard.said)
    finally:
        torch.set_num_threads(before)


def attempt(task: Task) -> Answer:
    """Work on a task, again if what fails may pass; other exceptions are not caught."""
    for _ in range(ATTEMPTS):
        try:
            return work(task)
        except PASSING as error:
            reason = reason_of(error)
    return Answer(error=reason)


def attempt_together(tasks: list[Task], most: int) -> list[tuple[Task, Answer]]:
    """Work on all of them in this process, with networks of up to `most` trained at once.

    One that fails in a way that may pass is tried again alone: memory for all may be short.
    """
    import torch

    from recondoor.training.together import take_turns

    answers: dict[str, Answer] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(tasks[0].threads)
    try:
        take_turns((_course(task, answers) for task in tasks), most)
    finally:
        torch.set_num_threads(before)
    return [(task, answers.get(task.place) or attempt(task)) for task in tasks]


def _course(task: Task, answers: dict[str, Answer]) -> "Course":
    """One point, whose trainings are handed out and whose end is written down in `answers`."""
    from recondoor import studies

    heard = _Said()
    try:
        settings, own, runtime, original = _given(task, heard)
        images = _images(own, task.sweep_begun)
        yield from studies.course(settings, Path(task.folder), runtime, images, original)
        rows = rows_of(Path(task.folder), settings) or []
        answers[task.place] = Answer(rows, said=heard.said)
    except (BusyError, *PASSING):
        return
    except RecondoorError as error:
        answers[task.place] = Answer(error=str(error), said=heard.said)


def reason_of(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def _rows(task: Task, progress: Progress) -> list[dict[str, Any]]:
    from recondoor import studies

    settings, own, runtime, original = _given(task, progress)
    folder, patience = Path(task.folder), time.monotonic() + SECONDS_FOR_A_FOLDER
    while True:
        try:
            images = _images(own, task.sweep_begun)
            studies.run(settings, folder, runtime, images=images, original=original)
            return rows_of(folder, settings) or []
        except BusyError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.5)


def _given(
    task: Task, progress: Progress
) -> "tuple[config.Config, config.Data, studies.Runtime, Path | None]":
    """Settings of a task, those of its images, how it is run, and where its original may be."""
    from recondoor import data, studies

    settings = config.from_dict(task.settings)
    own = settings.data.model_copy(update={"dir": Path(task.data_dir) if task.data_dir else None})
    runtime = studies.Runtime(task.device, progress, task.command)
    original = Path(task.original) if task.original else None
    return settings, data.source(own), runtime, original


def rows_of(folder: Path, settings: config.Config) -> list[dict[str, Any]] | None:
    """Rows of a run folder that has all that `settings` want; None if there is work left.

    Raises RunError where the folder holds another run or files that are damaged.
    """
    run = rundir.RunDir(folder)
    provenance = _members(run.provenance, folder)
    if provenance is None:
        return None
    settings = rundir.as_spelled(folder, settings)
    if provenance.get("identity") != config.identity(settings):
        raise RunError(
            f"{folder}: holds a run of other settings (see its config.toml); rename the point or "
            "choose another --out"
        )
    results = _members(run.results, folder)
    if results is None:
        return None
    rows = results.get("rows")
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise RunError(f"{run.results}: 'rows' are no rows of results; {REMEDY}")
    wanted = config.wanted(settings)
    found = [row for row in rows if (row["model"], row["seed"]) in wanted]
    return found if len(found) == len(wanted) else None


def _members(path: Path, folder: Path) -> dict[str, Any] | None:
    """The object that a JSON file of a run holds; None if there is no file."""
    if not (path.exists() or path.is_symlink()):
        return None
    value = rundir.read_json(path, inside=folder.parents[2], remedy=REMEDY)
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it holds no object; {REMEDY}")
    if (fault := seal.fault(value)) is not None:
        raise RunError(f"{path}: {fault}; {REMEDY}")
    return value


def _is_row(row: object) -> bool:
    """A row that the table can hold: numbers or nothing beside the model's name and lists."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("model"), str)
        and type(row.get("seed")) is int
        and all(key == "model" or _fits(value) for key, value in row.items())
    )


def _fits(value: object) -> bool:
    if isinstance(value, int):
        return type(value) is int and abs(value) < 2**63
    return value is None or isinstance(value, float | list | dict)


@lru_cache(maxsize=1)
def _images(settings: config.Data, sweep_begun: float) -> "Images":
    from recondoor import data

    return data.read(settings)
