"""The JSON Schemas that ship and the tables of the documentation, made from the records.

`python -m recondoor.records` writes them anew, in a checkout.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from pydantic import JsonValue

from recondoor import yardsticks
from recondoor.records._audits import InputsAudit, NetworkAudit, PairsAudit
from recondoor.records._base import Record
from recondoor.records._models import AttackLine, TrainLine
from recondoor.records._results import Results, with_rows
from recondoor.records._sweeps import Sweep

Node = dict[str, JsonValue]

HERE = Path(__file__).parents[1] / "schemas"
DOCS = Path(__file__).parents[3] / "docs"
TITLES = {
    "results": "results.json, version 1",
    "audit": "audit.json of an audit of training pairs, version 1",
    "audit-model": "audit.json of an audit of a network, version 1",
    "audit-input": "audit.json of an audit of inputs, version 1",
    "sweep": "sweep.json, version 1",
}


def schema(name: str) -> Node:
    """The JSON Schema of results, audit, audit-model, audit-input or sweep, without references."""
    kinds: dict[str, type[Record]] = {
        "results": with_rows(Results),
        "audit": PairsAudit,
        "audit-model": NetworkAudit,
        "audit-input": InputsAudit,
        "sweep": Sweep,
    }
    head: Node = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:recondoor:{name}:1",
        "title": TITLES[name],
    }
    return head | nodes(kinds[name])


def nodes(kind: type[Record]) -> Node:
    """The schema of a record with its references followed and without pydantic's own words."""
    made: Node = kind.model_json_schema()
    definitions = made.pop("$defs", {})
    assert isinstance(definitions, dict)
    return _plain(made, definitions)


def _plain(node: JsonValue, definitions: Node) -> Node:
    assert isinstance(node, dict)
    if "$ref" in node:
        target = definitions[str(node["$ref"]).rpartition("/")[2]]
        assert isinstance(target, dict)
        return _plain(target | {k: v for k, v in node.items() if k != "$ref"}, definitions)
    found = {k: v for k, v in node.items() if k not in ("title", "default")}
    if isinstance(found.get("properties"), dict):
        # A record leaves alone what it does not know.
        found.pop("additionalProperties", None)
        found["properties"] = {
            key: _plain(value, definitions)
            for key, value in found["properties"].items()  # type: ignore[union-attr]
        }
    for key in ("additionalProperties", "items"):
        if isinstance(found.get(key), dict):
            found[key] = _plain(found[key], definitions)
    patterns = found.pop("patternProperties", None)
    if isinstance(patterns, dict):
        ((pattern, value),) = patterns.items()
        found["propertyNames"] = {"pattern": pattern}
        found["additionalProperties"] = _plain(value, definitions)
    options = found.pop("anyOf", None)
    return found if options is None else _choice(options, definitions) | found


def _choice(options: JsonValue, definitions: Node) -> Node:
    """A choice as one thing of several types, of which null is one as a rule."""
    assert isinstance(options, list)
    parts = [_plain(option, definitions) for option in options]
    found: Node = {key: value for part in parts for key, value in part.items()}
    if "const" in found:
        found["enum"] = [found.pop("const")]
    if "enum" in found:
        found["enum"] = [*found["enum"], None]  # type: ignore[misc]
    return found | {"type": [part["type"] for part in parts]}


def text(name: str) -> str:
    """The schema as it ships: a line for each member, and for each member of an object in it."""
    lines = []
    for key, value in schema(name).items():
        if key != "properties":
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
            continue
        assert isinstance(value, dict)
        members = [f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
        lines.append('  "properties": {\n' + ",\n".join(members) + "\n  }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


@dataclass(frozen=True)
class Member:
    """One line of a table of members."""

    path: str
    type: str
    required: str
    meaning: str


def members(node: Node, path: str = "", required: str = "yes") -> Iterator[Member]:
    """Every member of a schema, in its order; `*` stands for any key, `[]` for every item."""
    if path and not path.endswith("[]"):
        yield Member(path, _type(node), required, str(node.get("description", "")).rstrip("."))
    below = f"{path}." if path else ""
    properties, needed = node.get("properties", {}), node.get("required", [])
    assert isinstance(properties, dict)
    assert isinstance(needed, list)
    for key, child in properties.items():
        assert isinstance(child, dict)
        yield from members(child, f"{below}{key}", "yes" if key in needed else "no")
    if isinstance(node.get("additionalProperties"), dict) and node["additionalProperties"]:
        yield from members(node["additionalProperties"], f"{below}*", "no")  # type: ignore[arg-type]
    if isinstance(node.get("items"), dict):
        yield from members(node["items"], f"{path}[]")  # type: ignore[arg-type]


def _type(node: Node) -> str:
    """Type of a node in words."""
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    given = node.get("type", "any")
    types = [str(name) for name in (given if isinstance(given, list) else [given])]
    if types[0] == "array" and isinstance(node.get("items"), dict):
        types[0] = f"array of {_type(node['items'])}"  # type: ignore[arg-type]
    return " or ".join(types)


def documented(name: str) -> list[Member]:
    """The members of a file; settings have a page of their own."""
    return [each for each in members(schema(name)) if not each.path.startswith("config.")]


def tables() -> dict[str, dict[str, str]]:
    """Page of the documentation -> name of a table in it -> the table."""
    return {
        "results.md": {
            "results.json": _members(documented("results")),
            "train": _members(list(members(nodes(TrainLine)))),
            "attack": _members(list(members(nodes(AttackLine)))),
        },
        "sweep.md": {"sweep.json": _members(documented("sweep"))},
        "notation.md": {"yardsticks": _table(*yardstick_lines())},
    }


def _members(found: list[Member]) -> str:
    rows = [(f"`{each.path}`", each.type, each.required, each.meaning) for each in found]
    return _table(("member", "type", "required", "meaning"), *rows)


def yardstick_lines() -> list[tuple[str, ...]]:
    """What each yardstick is, under a line of heads."""
    words = {
        "{measured.asr}": "ASR(τ)",
        "{measured.tau_words}": "τ · rms(Δ)",
        "{measured.peak}": "L²",
        "{measured.window}×{measured.window}": "11×11",
        "{measured.data_range}": "L",
    }
    rows: list[tuple[str, ...]] = [
        ("yardstick", "key", "definition", "unit", "better", "over seeds")
    ]
    for each in (y for y in yardsticks.YARDSTICKS if y.shown):
        name, definition = each.name, unescape(re.sub(r"<[^>]+>", "", each.definition))
        for mark, word in words.items():
            name, definition = name.replace(mark, word), definition.replace(mark, word)
        rows.append((name, f"`{each.key}`", definition, each.unit, each.better, each.over_seeds))
    return rows


def _table(head: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def page(content: str, made: dict[str, str]) -> str:
    """A page of the documentation with its tables made anew."""
    for name, rows in made.items():
        begin, end = f"<!-- table {name}: begin -->\n", f"<!-- table {name}: end -->\n"
        before, _, rest = content.partition(begin)
        content = f"{before}{begin}{rows}{end}{rest.partition(end)[2]}"
    return content


def kept() -> dict[Path, str]:
    """Every file that is made from the records, and what it has to hold."""
    pages = {DOCS / name: made for name, made in tables().items()}
    return {HERE / f"{name}.schema.json": text(name) for name in TITLES} | {
        path: page(path.read_text("utf-8"), made) for path, made in pages.items() if path.exists()
    }
