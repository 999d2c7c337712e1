"""A sweep file: what it says, checked, and the points that it stands for.

A point is one set of settings under a readable name, and it is run with every seed. The file's
form is in docs/sweep.md.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from recondoor.config import Config, identity, keys, leaves, load_config
from recondoor.core.errors import ConfigError, nearest
from recondoor.io import gate
from recondoor.io.tables import parse_toml

# The parts of a file and of its tables, for the refusal of others.
FILE = ("preset", "seeds", "base", "block", "point")
TABLES = {"block": ("name", "set", "grid", "zip"), "point": ("name", "set")}

NAME = re.compile(r"[A-Za-z0-9][\w.+=,-]*")
LONGEST_NAME = 120
MOST_POINTS = 20_000
"""Points times seeds; a table of theirs is what a report can read."""
LARGEST_SEED = 2**63 - 1
"""The table's seeds are integers of 64 bits."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """One set of settings with one seed."""

    name: str
    config: Config

    @property
    def seed(self) -> int:
        """Root seed."""
        return self.config.seed

    @property
    def place(self) -> str:
        """Its run folder, relative to the sweep's."""
        return f"points/{self.name}/seed{self.seed}"


@dataclass(frozen=True)
class Sweep:
    """Every point of a sweep, all points of the first seed first, and what to tell the user."""

    spec: Mapping[str, Any]
    points: tuple[Point, ...]
    notes: tuple[str, ...] = ()


def load_sweep(path: Path) -> Sweep:
    """Read a sweep file; raises ConfigError, which names file, table and key."""
    try:
        tree = parse_toml(gate.read_text(path, most=gate.SETTINGS))
    except OSError as error:
        raise ConfigError(f"sweep file {path}: {error.strerror}") from None
    except gate.Refused as error:
        raise ConfigError(f"sweep file {path}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"sweep file {path} is not valid TOML: {error}") from None
    try:
        return parse(tree)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(tree: Mapping[str, Any]) -> Sweep:
    """Return the points of a sweep file's content; raises ConfigError."""
    _require_known(tree, FILE)
    seeds = _seeds(tree.get("seeds", 1))
    _require_few(tree, _count(seeds))
    preset, base = tree.get("preset", "quick"), dict(leaves(_table(tree, "base")))
    named: dict[str, Config] = {}
    places: dict[str, str] = {}
    notes = []
    for where, name, settings in _variants(tree):
        try:
            config = _resolve(preset, base | settings, seeds[0])
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None
        known = places.setdefault(identity(config), name)
        if known == name and name not in named:
            named[name] = config
        elif identity(config) != identity(named.get(name, config)):
            raise ConfigError(f"two points are named '{name}'; name their blocks differently")
        elif config.attack.names != named[known].attack.names:
            raise ConfigError(
                f"points '{known}' and '{name}' differ in attack.names alone; give one of them all"
            )
        else:
            notes.append(f"point '{name}' has the settings of '{known}' and is run once")
    points = [
        Point(name, config.model_copy(update={"seed": seed}))
        for seed in seeds
        for name, config in named.items()
    ]
    return Sweep(tree, tuple(points), tuple(notes))


def _resolve(preset: object, settings: Settings, seed: int) -> Config:
    for key in ("seed", "seeds"):
        if key in settings:
            raise ConfigError(f"{key}: seeds are given once, by `seeds` at the top of the file")
    settings = {**settings, "seed": seed, "seeds": 1}
    try:
        overrides = [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in settings.items()]
    except TypeError as error:
        raise ConfigError(f"a value is neither text, number nor list: {error}") from None
    return load_config(str(preset), (), overrides)


def _variants(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, Settings]]:
    """Where it is written, name and settings of every point; the base alone if none is given."""
    for number, block in enumerate(_tables(tree, "block"), 1):
        where = f"block '{block['name']}': " if "name" in block else f"block {number}: "
        for name, settings in _product(block, where):
            yield where, name, settings
    for point in _tables(tree, "point"):
        if "name" not in point:
            raise ConfigError('a [[point]] has no name; add name = "..."')
        yield f"point '{point['name']}': ", point["name"], dict(leaves(_table(point, "set")))
    if not (tree.get("block") or tree.get("point")):
        yield "", "base", {}


def _product(block: Mapping[str, Any], where: str) -> Iterator[tuple[str, Settings]]:
    """Every combination of a block's grid; the values of its zip go together."""
    fixed, grid, zipped = (dict(leaves(_table(block, part))) for part in ("set", "grid", "zip"))
    for key in grid.keys() & zipped.keys() | fixed.keys() & (grid.keys() | zipped.keys()):
        raise ConfigError(f"{where}{key}: given twice; leave it in one of set, grid and zip")
    for key, values in (grid | zipped).items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}{key}: {values!r} given; expected a list, as in [1.5, 3]")
    if len({len(values) for values in zipped.values()}) > 1:
        lengths = ", ".join(f"{key} has {len(values)}" for key, values in zipped.items())
        raise ConfigError(f"{where}the lists of zip go together, but {lengths} values")
    rows = [dict(zip(zipped, row, strict=True)) for row in zip(*zipped.values(), strict=True)]
    for values in product(*grid.values()):
        for row in rows or [{}]:
            axes = dict(zip(grid, values, strict=True)) | row
            yield _name(block.get("name"), axes), fixed | axes


def _name(block: str | None, axes: Settings) -> str:
    """As in corner,attack.l2=3,poison.ratio=0.1: a folder's name that says what is different."""
    parts = [block] if block else []
    parts += [f"{key}={_slug(value)}" for key, value in axes.items()]
    name = ",".join(parts) or "base"
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            f"the name '{name[:60]}...' is too long for a folder; write its points as [[point]]"
        )
    return name


def _slug(value: object) -> str:
    text = "+".join(map(str, value)) if isinstance(value, list) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text)


def _seeds(given: object) -> Sequence[int]:
    if type(given) is int and given > 0:
        # A range takes no memory, and is counted before it is run through.
        return range(given)
    plain = isinstance(given, list) and all(
        type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in given
    )
    if not isinstance(given, list) or not given or not plain or len(set(given)) < len(given):
        raise ConfigError(
            f"seeds: {given!r} given; expected a number, 1 or more, or a list such as [0, 1, 2]"
        )
    return given


def _count(seeds: Sequence[int]) -> int:
    """Their number, which may be beyond what `len` can say."""
    return seeds.stop if isinstance(seeds, range) else len(seeds)


def _require_few(tree: Mapping[str, Any], seeds: int) -> None:
    """Count what the file stands for before any of it is made."""
    blocks, points = _tables(tree, "block"), _tables(tree, "point")
    count = sum(map(_size, blocks)) + len(points) or 1
    if count * seeds > MOST_POINTS:
        shown = f"{count * seeds:,}" if count * seeds < 10**15 else "over 10^15"
        raise ConfigError(
            f"{shown} points (settings times seeds); a sweep has {MOST_POINTS:,} at most: give "
            "fewer seeds, fewer or shorter axes, or several files"
        )


def _size(block: Mapping[str, Any]) -> int:
    """Points of a block, as far as its axes are lists; `_product` refuses others."""
    grid, zipped = (dict(leaves(_table(block, part))) for part in ("grid", "zip"))
    lengths = [len(values) for values in grid.values() if isinstance(values, list)]
    rows = [len(values) for values in zipped.values() if isinstance(values, list)]
    return math.prod(lengths) * max(rows, default=1)


def _tables(tree: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The tables [[block]] or [[point]]."""
    tables = tree.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{kind}: expected tables headed [[{kind}]]")
    for table in tables:
        _require_known(table, TABLES[kind], f"[[{kind}]]: ")
        name = table.get("name", "x")
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not NAME.fullmatch(name):
            raise ConfigError(
                f"[[{kind}]]: name {name!r} given; it names folders: use letters, digits and "
                f"._+=-, {LONGEST_NAME} at most"
            )
    return tables


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = tree.get(key, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{key}: {table!r} given; expected a table of settings")
    return table


def _require_known(table: Mapping[str, Any], known: tuple[str, ...], where: str = "") -> None:
    for key in table.keys() - set(known):
        hint = f"; settings go under [base], as in {key} = ..." if key in _sections() else ""
        raise ConfigError(
            f"{where}{key}: there is no such part; there are {', '.join(known)}"
            + (hint or nearest(key, known))
        )


def _sections() -> set[str]:
    return {key.partition(".")[0] for key in keys()} | set(keys())
