"""Rows of a sweep that differ in some axes alone, under the shortest names that tell them apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from recondoor.report._names import in_order, title
from recondoor.report._sweep._axes import Axis
from recondoor.report._sweep._load import Row


@dataclass(frozen=True)
class Series:
    """Rows of one method and of one level of all axes but those that a figure shows."""

    label: str
    model: str
    levels: tuple[Any, ...]
    rows: tuple[Row, ...]


def series(rows: Iterable[Row], axes: Sequence[Axis]) -> list[Series]:
    """Rows grouped by model and by the levels of `axes`, with the shortest names that differ."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row["model"], *(axis.read(row) for axis in axes))
        groups.setdefault(key, []).append(row)
    order = in_order(str(key[0]) for key in groups)
    keys = sorted(groups, key=lambda key: (order.index(key[0]), *map(_sortable, key[1:])))
    kept = _with_partners(_telling(keys), axes)
    names = [lambda value: title(str(value)), *(axis.show for axis in axes)]
    return [
        Series(
            ", ".join(names[part](key[part]) for part in kept) or title(key[0]),
            key[0],
            key[1:],
            tuple(groups[key]),
        )
        for key in keys
    ]


def _sortable(level: Any) -> tuple[bool, bool, Any]:
    """Numbers before texts before none."""
    number = isinstance(level, int | float)
    return level is None, not number, level if number else str(level)


def _telling(keys: Sequence[tuple[Any, ...]]) -> list[int]:
    """Positions of `keys` that are needed to tell them apart."""
    kept = list(range(len(keys[0]))) if keys else []
    for position in reversed(range(len(kept))):
        rest = [other for other in kept if other != position]
        if len({tuple(key[part] for part in rest) for key in keys}) == len(keys):
            kept = rest
    return kept


def _with_partners(kept: Sequence[int], axes: Sequence[Axis]) -> list[int]:
    """The positions kept, and the row or column that belongs to a column or row among them."""
    places = {axes[position - 1].key.rpartition(" ")[0] for position in kept if position}
    partners = [i for i, axis in enumerate(axes, 1) if axis.key.rpartition(" ")[0] in places - {""}]
    return sorted({*kept, *partners})


def levels_of(axis: Axis, rows: Iterable[Row]) -> dict[Any, list[Row]]:
    """Rows by their level of a numeric axis, increasing; those without a level are left out."""
    found: dict[Any, list[Row]] = {level: [] for level in axis.levels}
    for row in rows:
        if axis.read(row) is not None:
            found[axis.read(row)].append(row)
    return {level: group for level, group in found.items() if group}
