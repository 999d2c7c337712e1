"""How long work tells about itself; silent unless the caller passes something that draws."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work of known size."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Record `n` more units done; `note` is a short text such as the current loss."""


class SilentTask:
    """Is told everything, and tells nobody."""

    def advance(self, n: int = 1, note: str = "") -> None:
        pass


class Progress:
    """Receiver of progress; this base class is silent, the command line draws bars."""

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Open a task of `total` units, `done` of which an earlier run had finished."""
        yield SilentTask()

    def say(self, line: str) -> None:
        """Tell one line that should stay on the screen."""


class Stage(Progress):
    """A part of longer work, whose tasks are told with its place, as in "stage 3 of 12: ..."."""

    def __init__(self, whole: Progress, number: int, of: int) -> None:
        self._whole, self._place = whole, f"stage {number} of {of}"

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Open a task of the whole work."""
        with self._whole.task(f"{self._place}: {description}", total, done) as task:
            yield task

    def say(self, line: str) -> None:
        """Tell it as the whole work does."""
        self._whole.say(line)


class Gathered(Progress):
    """Tasks that run at the same time, told as one: each counts 1 at its end."""

    def __init__(self, whole: Progress, told: Task) -> None:
        self._whole, self._told = whole, told

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Open a task that tells its end alone."""
        yield SilentTask()
        self._told.advance(1, description)

    def say(self, line: str) -> None:
        """Tell it as the whole work does."""
        self._whole.say(line)


NO_PROGRESS = Progress()
