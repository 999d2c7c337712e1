"""What was typed is what is read: no empty values, no rounded counts, no names cut at a dot."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from cyclopts import Token

from recondoor.core.errors import ConfigError, DataError

MOST_THREADS = 4096
MOST_WORKERS = 4096
MOST_TOGETHER = 256


def whole(least: int, most: int) -> Callable[[Any, Sequence[Token]], int | None]:
    """Converter of an option that takes a whole number from `least` to `most`."""

    def convert(_kind: Any, tokens: Sequence[Token]) -> int | None:
        option, text = str(tokens[0].keyword), tokens[0].value
        # int() takes underscores and other scripts' digits; a decimal point would be rounded away.
        if re.fullmatch(r"[+-]?[0-9]{1,19}", text) and least <= int(text) <= most:
            return int(text)
        raise ConfigError(
            f"{option}: {text[:80]} given; expected a whole number, {least} or more and at most "
            f"{most}"
        )

    return convert


def require_there(path: Path, expected: str) -> None:
    """Refuse a path that leads to nothing, before what would read it takes seconds to load."""
    if not path.exists():
        raise DataError(f"'{path}' does not exist; expected {expected}")


def require_network(given: str) -> None:
    """The same of a network, which may be MODULE:FUNCTION too."""
    module, _, function = given.partition(":")
    if not (module and function) or given.endswith("@"):
        require_there(Path(given), "a .safetensors or .onnx file, or MODULE:FUNCTION")


def require_values(arguments: Sequence[str]) -> None:
    """Refuse an empty value: as a path it would be the folder that one is in."""
    for before, text in pairwise(["", *arguments]):
        option = before if before.startswith("--") else "an argument"
        if not text.strip():
            raise ConfigError(f"{option}: '' given; expected a value (is a shell variable empty?)")
        if text.startswith("--") and text.find("=") == len(text) - 1:
            raise ConfigError(
                f"{text[:-1]}: '' given; expected a value (is a shell variable empty?)"
            )
