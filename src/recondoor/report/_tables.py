"""Table 1 in three forms, and the cells of the page's tables."""

import csv
import io
import math
import re
from collections.abc import Mapping
from typing import Any

from recondoor.core.errors import plain
from recondoor.evaluation.statistics import Estimate
from recondoor.evaluation.yardsticks import Yardstick
from recondoor.report._names import TABLE1_METRICS, number
from recondoor.report._places import method
from recondoor.report._results import Results, check

HEADERS = ("Method", "Benign error", "Attack error", "Artefact error")
UNDEFINED = "–"
INFINITE = "∞"


def cell(estimate: Estimate | None, decimals: int = 3, scale: float = 1.0) -> str:
    """Mean, or mean ± half the 95 % interval; more decimals where the half-width needs them."""
    if estimate is None:
        return UNDEFINED
    half = estimate.half_width
    if half is None:
        return number(estimate.mean * scale, decimals)
    half *= scale
    if 0 < half < 0.5 * 10**-decimals:
        decimals = min(decimals + 3, math.ceil(-math.log10(half)))
    return f"{number(estimate.mean * scale, decimals)} ± {number(half, decimals)}"


def yardstick_cell(results: Results, label: str, yardstick: Yardstick) -> str:
    """One yardstick of one model, with its unit; ∞ where it is that in some seed."""
    seeds, infinite = len(results.rows(label)), results.infinite(label, yardstick.key)
    if infinite:
        return INFINITE if infinite == seeds else f"{INFINITE} in {infinite} of {seeds} seeds"
    estimate = results.estimate(label, yardstick.key)
    text = cell(estimate, yardstick.decimals, yardstick.scale)
    unit = f" {yardstick.unit}" if yardstick.unit and text != UNDEFINED else ""
    return f"{text}{unit}{of_seeds(estimate, seeds)}"


def of_seeds(estimate: Estimate | None, seeds: int) -> str:
    """Of how many of the seeds a mean is, where some have no value; else nothing."""
    if estimate is None or estimate.n >= seeds:
        return ""
    return f" ({estimate.n} of {seeds} seeds)"


def table1(results: Results) -> list[tuple[str, ...]]:
    """Rows of Table 1. The original model's artefact error is 'NA', as in the paper."""
    rows = []
    for label in results.models:
        estimates = [results.estimate(label, metric) for metric in TABLE1_METRICS]
        seeds = len(results.rows(label))
        cells = [f"{cell(estimate)}{of_seeds(estimate, seeds)}" for estimate in estimates]
        if label == "original":
            cells[-1] = "NA"
        rows.append((method(results, label), *cells))
    return rows


def caption(results: Results) -> str:
    """What the numbers of Table 1 are: data set, poison ratio, seeds."""
    name = results.data["provenance"]["data"]["name"]
    seeds = len(results.seeds)
    spread = f"mean ± half of the 95 % interval over {seeds} seeds" if seeds > 1 else "one seed"
    ratio = results.data["poison_ratio"]
    return f"RMSE on the test set of {name}, poison ratio {ratio:g}; {spread}"


def table1_markdown(results: Results) -> str:
    """Table 1 as a Markdown table with a line on what it holds."""
    lines = [f"| {' | '.join(HEADERS)} |", "|:---|---:|---:|---:|"]
    lines += [f"| {' | '.join(map(_markdown, row))} |" for row in table1(results)]
    return "\n".join([*lines, "", f"{_markdown(caption(results))}.", ""])


def _markdown(text: str) -> str:
    """The text as Markdown shows it: nothing in it is markup, HTML or the end of a cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~!])", r"\\\1", plain(text).replace("\n", " "))


def table1_csv(results: Results) -> str:
    """Table 1 in full precision: mean, interval ends and number of seeds for each error."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [header.lower().replace(" ", "_") for header in HEADERS[1:]]
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    writer.writerow(["method", "model", "seeds", *ends])
    for label in results.models:
        fields: list[object] = []
        for metric in TABLE1_METRICS:
            estimate = results.estimate(label, metric)
            if label == "original" and metric == "artefact_rmse":
                fields += ["NA", "NA", "NA"]
            elif estimate is None:
                fields += ["", "", ""]
            else:
                fields += [estimate.mean, estimate.low, estimate.high]
        writer.writerow([method(results, label), label, len(results.rows(label)), *fields])
    return out.getvalue()


def table1_text(results: Results | Mapping[str, Any]) -> str:
    """Table 1 for a terminal.

    `results` is a parsed results.json or a view of one; raises ReportError if it breaks its schema.
    """
    view = results if isinstance(results, Results) else check(results)
    rows = [HEADERS, *table1(view)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADERS))]
    lines = [
        "  ".join(
            field.ljust(width) if i == 0 else field.rjust(width)
            for i, (field, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([caption(view), rule, lines[0], rule, *lines[1:], rule])
