"""The table of settings, and a tree of one of them."""

from typing import Any

from recondoor.config import settings_table

TABLE = {line.key: line for line in settings_table()}


def tree(key: str, value: object) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value
