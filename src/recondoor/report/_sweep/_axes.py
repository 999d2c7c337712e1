"""What a sweep varies."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recondoor.config import OLDER, recorded_key, settings_table
from recondoor.report._sweep._load import Row, SweepData

# What an axis is called in a legend and beside it; others go by their key.
_NAMES = {
    "attack.l2": ("L2", "trigger L2"),
    "attack.linf": ("L∞", "trigger L∞"),
    "poison.ratio": ("p", "poison ratio p"),
    "operator.ratio": ("m/n", "sampling ratio m/n"),
    "operator.sigma": ("σ", "noise σ"),
    "model.kernel": ("kernel", "kernel size"),
    "model.width": ("width", "width of the network"),
    "trigger.place row": ("row", "row of the trigger"),
    "trigger.place column": ("column", "column of the trigger"),
}
LONGEST_LABEL = 60
_PLACE = re.compile(r"\s*(\d+)\s*,\s*(\d+)\s*")


@dataclass(frozen=True)
class Axis:
    """One setting that varies, with its `levels` in order; `together`: others that go with it."""

    key: str
    levels: tuple[Any, ...]
    numeric: bool
    read: Callable[[Row], Any]
    together: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Name in a legend."""
        return _NAMES.get(self.key, (self.key,))[0]

    @property
    def title(self) -> str:
        """Name beside an axis of a figure."""
        return _NAMES[self.key][1] if self.key in _NAMES else self.key

    @property
    def slug(self) -> str:
        """Name as part of a file's."""
        return re.sub(r"[^a-z0-9]+", "-", self.key.lower())

    @property
    def scale(self) -> str:
        """Log where the values span more than a decade, symlog where one of them is 0."""
        positive = [level for level in self.levels if level > 0]
        if min(self.levels) < 0 or len(positive) < 2 or max(positive) <= 10 * min(positive):
            return "linear"
        return "log" if len(positive) == len(self.levels) else "symlog"

    def show(self, level: object) -> str:
        """A level in a legend."""
        if self.key.endswith(".name"):
            return text(level)
        name = self.short if self.short != self.key else self.key.rpartition(".")[2]
        return f"{name} = {text(level)}"


def text(level: object) -> str:
    """A level alone."""
    if level is None:
        return "none"
    return f"{level:g}" if isinstance(level, int | float) else str(level)


def plain(label: str) -> str:
    """A label as figures take it: not too long, and no dollar sign begins a formula."""
    short = label if len(label) <= LONGEST_LABEL else f"{label[:24]} … {label[-24:]}"
    return short.replace("$", r"\$")


def axes_of(data: SweepData) -> tuple[Axis, ...]:
    """The axes that poisoned networks differ in (all networks, where none is), grid keys first.

    Settings that say the same of every row are one axis: a text before numbers, else the first.
    `attack.names` is none, as every row has its own attack.
    """
    rows = data.attacked or data.rows
    groups: dict[tuple[int, ...], list[Axis]] = {}
    for axis in _candidates(rows, _in_spec(data.record["spec"])):
        first: dict[Any, int] = {}
        signature = tuple(first.setdefault(axis.read(row), len(first)) for row in rows)
        if len(first) > 1:
            groups.setdefault(signature, []).append(axis)
    axes = []
    for group in groups.values():
        chief = next((axis for axis in group if not axis.numeric), group[0])
        others = tuple(axis.key for axis in group if axis is not chief)
        axes.append(Axis(chief.key, chief.levels, chief.numeric, chief.read, others))
    return tuple(axes)


def _candidates(rows: Sequence[Row], order: Sequence[str]) -> Iterator[Axis]:
    keys = [key for key in (rows[0] if rows else {}) if "." in key and key != "attack.names"]
    rank = {key: position for position, key in reversed(list(enumerate(order)))}
    for key in sorted(keys, key=lambda key: rank.get(key, len(order))):
        values = [row[key] for row in rows]
        if all(isinstance(value, str) and _PLACE.fullmatch(value) for value in values):
            for part, name in ((1, "row"), (2, "column")):
                yield _axis(f"{key} {name}", rows, _reader(key, part))
        else:
            yield _axis(key, rows, _reader(key))


def _reader(key: str, part: int | None = None) -> Callable[[Row], Any]:
    """How an axis is read from a row; `part` of a place is its row or column."""
    if part is None:
        return lambda row: row[key]
    return lambda row: int(_PLACE.fullmatch(row[key])[part])  # type: ignore[index]


def _axis(key: str, rows: Sequence[Row], read: Callable[[Row], Any]) -> Axis:
    levels = {read(row) for row in rows} - {None}
    numeric = len(levels) > 1 and all(isinstance(level, int | float) for level in levels)
    ordered = sorted(levels) if numeric else sorted(levels, key=str)
    return Axis(key, tuple(ordered), numeric, read)


def _in_spec(spec: Mapping[str, Any]) -> list[str]:
    """Dotted keys of a sweep file: those of grids, of zips, then those that are set."""
    tables = [*spec.get("block", ()), *spec.get("point", ())]
    parts = [table.get(part, {}) for part in ("grid", "zip", "set") for table in tables]
    return [recorded_key(key) for part in parts for key in _dotted(part)]


def _dotted(table: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{before}{key}.")
        else:
            yield before + key


def meaning(axis: Axis) -> str:
    """What a setting is, in the words of the table of settings."""
    known = {line.key: line.meaning for line in settings_table()}
    key = axis.key.partition(" ")[0]
    return known.get(OLDER.get(key, (key,))[0], "a setting")
