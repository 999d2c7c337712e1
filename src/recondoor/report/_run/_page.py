"""report.html of a run, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from recondoor.config import load_config
from recondoor.evaluation import yardsticks
from recondoor.evaluation.yardsticks import Yardstick
from recondoor.report import _tables as tables
from recondoor.report._html import Picture, fill, flat
from recondoor.report._load import Run
from recondoor.report._names import PAPER_TABLE1, number, title
from recondoor.report._places import explanation
from recondoor.report._results import Results, estimate_of
from recondoor.report._run._verdict import comparison, headline, rule_in_words
from recondoor.report._seals import doubts
from recondoor.report._sources import made_of
from recondoor.report._style import Missing


def page(run: Run, pictures: Sequence[Picture], missing: Sequence[Missing]) -> str:
    """The whole page as text."""
    content: dict[str, Any] = {
        "run": run,
        "made_of": made_of(run.folder),
        "heading": _heading(run),
        "doubts": doubts(run.folder),
        "pictures": pictures,
        "missing": missing,
        "settings": [pair for key, value in run.settings.items() for pair in flat(key, value)],
        "smoke": _is_smoke(run.settings),
        "measured": None if run.results is None else _measured(run.results),
    }
    return fill("report.html.j2", content)


def _is_smoke(settings: Mapping[str, Any]) -> bool:
    """Whether a run is as short as the preset smoke makes it, in which nothing can be learnt."""
    smoke = load_config("smoke")
    short = {"data": ("limit",), "train": ("batch", "max_epochs")}
    return all(
        settings.get(section, {}).get(key) == getattr(getattr(smoke, section), key)
        for section, keys in short.items()
        for key in keys
    )


def _heading(run: Run) -> str:
    name = run.settings.get("data", {}).get("name")
    if run.results is not None:
        name = run.results.data["provenance"]["data"]["name"]
    ratio = "" if run.poison_ratio is None else f", poison ratio {run.poison_ratio:g}"
    return f"{name or 'unnamed data'}{ratio}"


def _measured(results: Results) -> dict[str, Any]:
    """What the template needs of results.json, as text."""
    provenance = results.data["provenance"]
    told, why = headline(results), explanation(results)
    return {
        "headline": why or told,
        "comparison": told if why else comparison(results),
        "awaited": [f"{title(label)}, seed {seed}" for label, seed in results.awaited],
        "caption": tables.caption(results),
        "rule": rule_in_words(results),
        "data_range": results.measured.data_range,
        "table1": [
            (*row, PAPER_TABLE1.get(label, ("",) * 3))
            for label, row in zip(results.models, tables.table1(results), strict=True)
        ],
        "titles": [title(label) for label in results.models],
        "yardsticks": _yardsticks(results),
        "paired": _paired(results),
        "subjects": _over_subjects(results),
        "rows": _rows(results) if len(results.seeds) > 1 else (),
        "row_titles": [y.at(results.measured).title for y in _row_columns()],
        "provenance": [
            pair
            for key, value in provenance.items()
            if key != "command"
            for pair in flat(key, value)
        ],
        "command": provenance["command"],
    }


def _yardsticks(results: Results) -> list[dict[str, Any]]:
    """One entry for each yardstick that some model has: definition, hedge line and values."""
    found = []
    for yardstick in (y.at(results.measured) for y in yardsticks.YARDSTICKS if y.shown):
        cells = [tables.yardstick_cell(results, label, yardstick) for label in results.models]
        if all(text == tables.UNDEFINED for text in cells):
            continue
        hedge = ""
        if yardstick.hedge:
            hedge = number(results.data["hedge"][yardstick.key], yardstick.decimals)
        found.append(
            {
                "name": yardstick.name,
                "better": yardstick.better,
                "definition": Markup(yardstick.definition),
                "hedge": hedge,
                "cells": cells,
            }
        )
    return found


def _over_subjects(results: Results) -> dict[str, Any] | None:
    """Yardsticks by volume with their intervals over subjects; None where no subjects are known."""
    given = results.data["summary"].get("subjects")
    if not given:
        return None
    shown = [yardsticks.of(key).at(results.measured) for key in yardsticks.OVER_SUBJECTS]
    rows, counts = [], set()
    for label in (each for each in results.models if each in given):
        found = [given[label].get(y.key) for y in shown]
        counts |= {each["n"] for each in found if each is not None}
        cells = [
            tables.cell(None if each is None else estimate_of(each), y.decimals, y.scale)
            for each, y in zip(found, shown, strict=True)
        ]
        rows.append((title(label), cells))
    return {"titles": [y.title for y in shown], "rows": rows, "most": max(counts, default=0)}


def _paired(results: Results) -> list[tuple[str, ...]]:
    """Rows of the table of differences, as the summary lists them."""
    rows: list[tuple[str, ...]] = []
    for given in results.data["summary"]["paired"]:
        yardstick = yardsticks.of(given["metric"]).at(results.measured)
        ends = given["ci95"] or (None, None)
        mean, low, high = (
            tables.UNDEFINED
            if value is None
            else number(value * yardstick.scale, yardstick.decimals)
            for value in (given["mean"], *ends)
        )
        pair = f"{title(given['a'])} − {title(given['b'])}"
        rows.append((pair, yardstick.title, mean, f"{low} to {high}", str(given["n"])))
    return rows


def _row_columns() -> list[Yardstick]:
    return [y for y in yardsticks.YARDSTICKS if y.in_rows]


def _row_cell(row: Mapping[str, Any], yardstick: Yardstick) -> str:
    value = row.get(yardstick.key)
    if value is None:
        infinite = yardstick.unbounded and yardstick.key in row
        return tables.INFINITE if infinite else tables.UNDEFINED
    return number(value * yardstick.scale, yardstick.decimals)


def _rows(results: Results) -> list[tuple[str, str, list[str]]]:
    """Each model and seed with its numbers."""
    rows = []
    for label in results.models:
        for row in results.rows(label):
            cells = [_row_cell(row, y) for y in _row_columns()]
            rows.append((title(label), str(row["seed"]), cells))
    return rows
