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


NO_PROGRESS = Progress()
