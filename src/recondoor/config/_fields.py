"""What a field of the settings allows, in words."""

import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin


def allowed(field: Any) -> str:
    annotation = field.annotation
    options = [part for part in _union(annotation) if part is not type(None)]
    if get_origin(options[0]) is Literal:
        values = [str(value) for value in get_args(options[0])]
        return " | ".join([*values, "none"] if type(None) in _union(annotation) else values)
    words = {int: "integer", float: "number", str: "text", Path: "path"}
    text = words.get(options[0], "list of names")
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {_number(getattr(part, name))}"
        for part in field.metadata
        for name, sign in signs.items()
        if getattr(part, name, None) is not None
    ]
    text = " ".join([text, " and ".join(bounds)]).strip()
    return text + (" or none" if type(None) in _union(annotation) else "")


def _union(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def as_text(value: object) -> str:
    """A setting's value as tables show it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def value_of(config: object, key: str, default: str) -> str:
    """What a tree holds under a dotted key, as text; `default` for a plug-in's from outside."""
    for part in key.split("."):
        if not hasattr(config, part):
            return default
        config = getattr(config, part)
    return as_text(config)
