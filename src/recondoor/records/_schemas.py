"""JSON Schemas and a table of the yardsticks, made from the records.

Those that ship, and the tables of the documentation, are written by docs/generate_tables.py.
"""

from pydantic import JsonValue

from recondoor.evaluation import yardsticks
from recondoor.records._audits import InputsAudit, NetworkAudit, PairsAudit
from recondoor.records._base import Record
from recondoor.records._results import Results, with_rows
from recondoor.records._sweeps import Sweep

Node = dict[str, JsonValue]

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


def yardstick_lines() -> list[tuple[str, ...]]:
    """What each yardstick is, under a line of heads."""
    rows: list[tuple[str, ...]] = [
        ("yardstick", "key", "definition", "unit", "better", "over seeds")
    ]
    for each in (y for y in yardsticks.YARDSTICKS if y.shown):
        name, _, definition = each.in_words.partition(": ")
        rows.append((name, each.key, definition, each.unit, each.better, each.over_seeds))
    return rows
