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
