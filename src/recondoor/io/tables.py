"""TOML of a stranger's file: what would cost the parser minutes or gigabytes is refused first.

The standard library's parser takes memory that grows with the square of the parts of a dotted key,
and a call for every bracket inside another.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

LONGEST = 1 << 20
"""Characters of a text that is parsed."""
DEEPEST = 16
"""Parts of a dotted key, and brackets inside each other; settings have 5 at the most."""

_INTEGERS = range(-(2**63), 2**63)
_BRACKETS = re.compile(r"[\[\]{}]")
# Texts of all four kinds and comments; one that does not end runs to the end of its line or file.
_QUOTED = re.compile(
    r"'''.*?(?:'''|\Z)"
    r'|"""(?:[^\\]|\\.)*?(?:"""|\Z)'
    r"|'[^'\n]*'?"
    r'|"(?:[^"\\\n]|\\.)*"?'
    r"|#[^\n]*",
    re.DOTALL,
)
# What cannot stand in a dotted key.
_BETWEEN = re.compile(r"[^\w. \t-]+")


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML text.

    Raises:
        ValueError: it is not TOML, longer than `LONGEST`, nested deeper than `DEEPEST`, or holds an
            integer of more than 64 bits, which TOML does not have.
    """
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters; at most {LONGEST:,} are read")
    _require_flat(text)
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _require_integers(tree)
    return tree


def _require_flat(text: str) -> None:
    bare = _QUOTED.sub("q", text)
    dots = max(piece.count(".") for piece in _BETWEEN.split(bare))
    depth = deepest = 0
    for bracket in _BRACKETS.findall(bare):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    if dots >= DEEPEST or deepest > DEEPEST:
        raise ValueError(
            f"a key of {dots + 1:,} parts or {deepest:,} brackets in each other; at most "
            f"{DEEPEST} are read"
        )


def _require_integers(value: object) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _require_integers(inner)
    elif isinstance(value, int) and value not in _INTEGERS:
        raise ValueError("an integer of more than 64 bits")
