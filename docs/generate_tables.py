"""Write schemas that ship and tables of the documentation: python docs/generate_tables.py."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recondoor import records

DOCS = Path(__file__).parent
SCHEMAS = Path(records.__file__).parents[1] / "schemas"


def text(name: str) -> str:
    """The schema as it ships: a line for each member, and for each member of an object in it."""
    lines = []
    for key, value in records.schema(name).items():
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


def members(node: records.Node, path: str = "", required: str = "yes") -> Iterator[Member]:
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


def _type(node: records.Node) -> str:
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
    return [each for each in members(records.schema(name)) if not each.path.startswith("config.")]


def tables() -> dict[str, dict[str, str]]:
    """Page of the documentation -> name of a table in it -> the table."""
    return {
        "results.md": {
            "results.json": _members(documented("results")),
            "train": _members(list(members(records.nodes(records.TrainLine)))),
            "attack": _members(list(members(records.nodes(records.AttackLine)))),
        },
        "sweep.md": {"sweep.json": _members(documented("sweep"))},
        "notation.md": {"yardsticks": _table(*_marked(records.yardstick_lines()))},
    }


def _members(found: list[Member]) -> str:
    rows = [(f"`{each.path}`", each.type, each.required, each.meaning) for each in found]
    return _table(("member", "type", "required", "meaning"), *rows)


def _marked(lines: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The lines with their keys as code."""
    head, *rest = lines
    return [head, *((name, f"`{key}`", *others) for name, key, *others in rest)]


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
    return {SCHEMAS / f"{name}.schema.json": text(name) for name in records.TITLES} | {
        path: page(path.read_text("utf-8"), made) for path, made in pages.items() if path.exists()
    }


if __name__ == "__main__":
    for path, made in kept().items():
        path.write_text(made, encoding="utf-8")
