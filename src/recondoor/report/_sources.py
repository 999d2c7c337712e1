"""What a run's page is made of, as a digest that the page carries: is it that of the files now?"""

import hashlib
import re
from pathlib import Path

from recondoor import __version__
from recondoor.core.errors import ReportError
from recondoor.io import gate

SOURCES = (
    *("config.toml", "provenance.json", "results.json", "history.jsonl"),
    *("trigger-*.npz", "examples-*.npz"),
)
HEAD = 4096
"""Bytes of a page in which its digest stands."""


def made_of(folder: Path) -> str:
    """SHA-256 of this version and of all files of a run that its page shows; raises ReportError."""
    whole = hashlib.sha256(__version__.encode())
    try:
        for name in sorted({n for p in SOURCES for n in gate.names(folder, p, inside=folder)}):
            with gate.opened(folder / name, most=gate.ARRAYS, inside=folder) as file:
                whole.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    except (OSError, gate.Refused) as error:
        raise ReportError(f"{folder / name}: {getattr(error, 'strerror', None) or error}") from None
    return whole.hexdigest()


def is_current(folder: Path) -> bool:
    """Whether report.html is there and was made of the files as they are; raises ReportError."""
    try:
        with gate.opened(folder / "report.html", most=gate.ARRAYS, inside=folder) as file:
            head = file.read(HEAD).decode(errors="replace")
    except (OSError, gate.Refused):
        return False
    found = re.search(r'<meta name="made-of" content="([0-9a-f]{64})">', head)
    return found is not None and found[1] == made_of(folder)
