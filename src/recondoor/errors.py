"""One exception tree: every message says what was given, what is allowed and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class RecondoorError(Exception):
    """Base of every error meant for the user: one or two lines, exit code 2 on the command line."""


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


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of `choices`, or an empty string."""
    match = get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""
