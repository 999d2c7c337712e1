"""report.html of a sweep, as text."""

from collections.abc import Sequence
from typing import Any

from recondoor.report._html import Picture, fill, flat
from recondoor.report._style import Missing
from recondoor.report._sweep import _sentences as sentences
from recondoor.report._sweep import _tables as tables
from recondoor.report._sweep._axes import Axis, meaning, text
from recondoor.report._sweep._load import SweepData, columns


def page(
    data: SweepData,
    axes: Sequence[Axis],
    pictures: Sequence[Picture],
    missing: Sequence[Missing],
    linked: bool,
) -> str:
    """The whole page; linked: whether it lies beside its runs."""
    provenance = {k: v for k, v in data.record["provenance"].items() if k != "command"}
    content: dict[str, Any] = {
        "name": data.folder.resolve().name,
        "heading": sentences.heading(data),
        "headline": sentences.headline(data),
        "transitions": sentences.transitions(data, axes),
        "state": sentences.state(data),
        "stopped": sentences.stopped(data),
        "pictures": pictures,
        "missing": missing,
        "columns": tables.heads(data),
        "unjudged": sentences.unjudged(data),
        "points": tables.points(data, linked),
        "most": tables.MOST_LINES,
        "many": len({(row["point"], row["model"]) for row in data.rows}),
        "comparisons": tables.comparisons(data, axes),
        "failures": data.record["failures"],
        "axes": [_described(axis) for axis in axes],
        "yardsticks": [each.at(data.measured) for each in columns()],
        "coverage": sentences.coverage(data),
        "rule": data.rule,
        "asr": data.measured.asr,
        "data_range": data.measured.data_range,
        "transition": data.transition,
        "versions": data.record["provenance"].get("versions", {}),
        "provenance": [pair for key, value in provenance.items() for pair in flat(key, value)],
        "command": data.record["provenance"].get("command", ""),
    }
    return fill("sweep.html.j2", content)


def _described(axis: Axis) -> tuple[str, str, str, str]:
    """Key, meaning, levels and what goes with it."""
    shown = [text(level) for level in axis.levels]
    if len(shown) > 16:
        shown = [*shown[:8], f"… ({len(shown) - 16} more)", *shown[-8:]]
    return axis.key, meaning(axis), ", ".join(shown), ", ".join(axis.together)
