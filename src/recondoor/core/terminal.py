"""Progress on a terminal: bars where a person looks on, a line now and then in a log file."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from recondoor.core.errors import plain
from recondoor.core.progress import Progress, Task

SECONDS_BETWEEN_LINES = 30.0
SECONDS_WORTH_A_LINE = 1.0


class _Bar:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def advance(self, n: int = 1, note: str = "") -> None:
        task = self._bars.tasks[self._bars.task_ids.index(self._task)]
        rate = f"{task.speed:,.0f}/s" if task.speed and task.speed >= 10 else ""
        note = note or task.fields["note"]
        self._bars.update(self._task, advance=n, rate=rate, note=note)


class _Lines:
    def __init__(self, description: str, total: int, done: int) -> None:
        self._description, self._total, self._done = description, total, done
        self._first, self._note = done, ""
        self._started = self._told = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._done += n
        self._note = note or self._note
        now = time.monotonic()
        if now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            rate = (self._done - self._first) / (now - self._started)
            parts = [f"{self._done / self._total:.0%}", self._note]
            if rate:
                parts += [_per_second(rate), f"{(self._total - self._done) / rate:.0f} s left"]
            self.tell(", ".join(part for part in parts if part))

    def tell(self, text: str) -> None:
        _tell(f"{self._description}: {text}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


class TerminalProgress(Progress):
    """Draws on the standard error, so that the standard output stays clean for results."""

    def __init__(self) -> None:
        # Told whether it is a terminal, the console asks no FORCE_COLOR, which is about colour.
        self._console = Console(stderr=True, force_terminal=can_redraw())

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
        """Draw a bar (terminal) or tell a line every half minute and at the end (log file)."""
        if not self._console.is_terminal:
            lines = _Lines(description, total, done)
            yield lines
            if lines.seconds >= SECONDS_WORTH_A_LINE:
                lines.tell(f"done in {lines.seconds:.1f} s")
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        # A share of one unit would stay at 0 % until the end: such a bar moves to and fro.
        known = total if total > 1 else None
        with Bars(*columns, console=self._console) as bars:
            bar = bars.add_task(description, total=known, completed=done, note="", rate="")
            yield _Bar(bars, bar)
            bars.update(bar, total=total)

    def say(self, line: str) -> None:
        """Print one line that stays."""
        _tell(line)


def can_redraw() -> bool:
    """Whether a person looks at the standard error, on a terminal that moves its cursor."""
    said = [os.environ.get(name) for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE")]
    if os.environ.get("TERM") in ("dumb", "unknown") or "0" in said:
        return False
    return sys.stderr is not None and sys.stderr.isatty()


def _per_second(rate: float) -> str:
    """A rate with two figures at least, also where one step takes minutes."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{rate:.2g}/s"


def _tell(line: str) -> None:
    try:
        print(plain(line), file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # a log on a full disk stops no study; the command line tells it at its end
