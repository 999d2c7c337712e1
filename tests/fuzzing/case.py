"""One input of a trap: well-formed files, what reads them, and how that has to end."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing.mutate import Random
from recondoor.core.errors import RecondoorError


@dataclass(frozen=True)
class Case:
    """Files by name and `read`, which raises what a user would see, or AssertionError.

    `refused`: whether they have to be refused; None where both are right, as long as what is read
    is right.
    """

    files: dict[str, bytes]
    read: Callable[[Path], object]
    refused: bool | None = None

    def fault(self, outcome: str) -> str:
        """What is wrong with an end; empty if nothing is."""
        if self.refused is None or outcome == ("refused" if self.refused else "accepted"):
            return ""
        return f"{outcome}, which is wrong"


@dataclass(frozen=True)
class Trap:
    """A target whose inputs are sound, and easy to read as something else than they say.

    Args:
        name: of the target.
        draw: one input.
        share: inputs of this target, as a share of all.
        makes: patterns of the files that reading may make.
        patience: seconds after which an input counts as a hang.
    """

    name: str
    draw: Callable[[Random], Case]
    share: float
    makes: tuple[str, ...] = ()
    patience: float = 5.0


def by_command(*arguments: str) -> None:
    """Run the command line, which has to refuse in one line and with exit code 2."""
    from recondoor import cli

    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            cli.main(list(arguments))
    except SystemExit as end:
        lines = told.getvalue().strip().splitlines()
        assert end.code == 2, f"exit code {end.code}: {told.getvalue()}"
        assert len(lines) == 1, f"{len(lines)} lines: {told.getvalue()}"
        raise RecondoorError(lines[0]) from None
