"""One exception tree: every message says what was given, what is allowed and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

LONGEST_LINE = 1_000
LONGEST_WORD, MOST_CHOICES = 100, 1_000
"""Of a search for the nearest name."""


class RecondoorError(Exception):
    """Base of every error meant for the user: one or two lines, exit code 2 on the command line.

    Names and values that a stranger's file brings are quoted in messages: as text, what a terminal
    would obey is escaped, and a line of more than `LONGEST_LINE` characters is cut.
    """

    def __str__(self) -> str:
        return "\n".join(
            _cut(line)
            for line in plain(super().__str__()).replace("\N{NO-BREAK SPACE}", r"\xa0").split("\n")
        )


class ConfigError(RecondoorError):
    """A setting that is unknown, out of range or in conflict with another."""


class DataError(RecondoorError):
    """Images that are missing, corrupt, of the wrong shape or out of range."""


class RunError(RecondoorError):
    """A run folder that is locked, unwritable, full or belongs to other settings."""


class BusyError(RunError):
    """A run folder in which another process is working."""


class TrainingError(RecondoorError):
    """A loss that became NaN or diverged."""


class ReportError(RecondoorError):
    """A run folder from which no report can be made."""


# Line breaks, and the space before a unit.
_HARMLESS = "\n\N{NO-BREAK SPACE}"


def plain(text: str) -> str:
    """The text with what a terminal or a browser would obey made visible; line breaks stay.

    File names and a stranger's records may hold escape sequences, or marks that turn the direction
    of writing so that a name reads as another.
    """
    return "".join(
        c if c.isprintable() or c in _HARMLESS else c.encode("unicode_escape").decode()
        for c in text
    )


FAILURES = (
    MemoryError,
    RuntimeError,
    ArithmeticError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ImportError,
    NameError,
    OSError,
    SystemExit,
)
"""What a stranger's network may raise, and numerical libraries; Ctrl-C is not among them.

One that calls `sys.exit` would end an audit with an exit code of its own, 0 for "clean".
"""


def in_a_line(error: BaseException) -> str:
    """What went wrong, in one line: of a lack of memory that alone."""
    if out_of_memory(error):
        return "out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = ": ".join([type(error).__name__, *lines[:1]])
    return plain(said[:200])


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch says so by a RuntimeError."""
    told = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(text in str(error) for text in told)


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 203]}...{line[-200:]}"


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of `choices`, or an empty string.

    Words that nobody types, and choices that nobody reads, are not compared.
    """
    if len(word) > LONGEST_WORD:
        return ""
    match = get_close_matches(word, list(islice(choices, MOST_CHOICES)), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""
