"""How long work tells about itself where nobody said how."""

import sys

from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.terminal import TerminalProgress


def shown() -> Progress:
    """Bars where a person looks on; nothing in a log or a notebook's output."""
    return TerminalProgress() if sys.stderr.isatty() else NO_PROGRESS
