"""One setting from one text, as in ``poison.ratio=0.1``: what was typed, and nothing else."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recondoor.core.errors import ConfigError
from recondoor.io.tables import DEEPEST, parse_toml

EXPECTED = "expected section.key=value, as in poison.ratio=0.1"


def parse_override(text: str) -> dict[str, Any]:
    """The tree of one setting; raises ConfigError.

    A value is read as TOML where it is a value of TOML, and else as text.
    """
    key, equals, value = text.strip().partition("=")
    parts, value = [part.strip() for part in key.split(".")], value.strip()
    if not equals or not all(parts) or len(parts) > DEEPEST:
        raise ConfigError(f"{_shown(text)}: {EXPECTED}")
    if not value:
        raise ConfigError(f"{'.'.join(parts)}: '' given; {EXPECTED}, or none to clear it")
    if len(value.splitlines()) > 1:
        raise ConfigError(f"{_shown(text)}: holds a line break; {EXPECTED}, and --set for each")
    parsed = _value(text, value)
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def _value(text: str, value: str) -> Any:
    try:
        parsed = parse_toml(f"value = {value}")["value"]
    except ValueError:
        return value
    try:
        # A comment would take the bracket with it.
        tomllib.loads(f"value = [{value}]")
    except ValueError:
        raise ConfigError(
            f"{_shown(text)}: would be read as {parsed!r} and a comment; leave out what begins "
            "with #, or quote the whole value"
        ) from None
    return parsed


def given_twice(overrides: Iterable[str]) -> list[str]:
    """One line for each key that is given with different values, of which the last counts."""
    seen: dict[str, object] = {}
    told: dict[str, str] = {}
    for text in overrides:
        for key, value in leaves(parse_override(text)):
            if key in seen and seen[key] != value:
                told[key] = f"{key}: given more than once; {value!r}, the last, counts"
            seen[key] = value
    return list(told.values())


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested mapping; quoted dotted keys are the same."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merge(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put one layer of settings over what is there."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def _shown(text: str) -> str:
    one = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return f"'{one if len(one) <= 80 else one[:77] + '...'}'"
