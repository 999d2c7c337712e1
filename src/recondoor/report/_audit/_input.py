"""Figures of an audit of inputs: the most suspicious ones, repaired, and the scores of all."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.report._audit._figures import (
    MOST_ROWS,
    histograms,
    panels,
    scores_of,
    truth_label,
)
from recondoor.report._style import Drawing


def draw_input(arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> list[Drawing]:
    """Figures from what evidence.npz and audit.json hold; KeyError for what is missing."""
    drawn = (
        _suspects(arrays, record) if len(arrays["index"]) else None,
        histograms(
            scores_of(arrays), arrays.get("triggered"), record["detectors"], "inputs", "triggered"
        ),
    )
    return [each for each in drawn if each is not None]


def _suspects(arrays: Mapping[str, NDArray[Any]], record: Mapping[str, Any]) -> Drawing:
    stacks = {"index", "z", "output", *(f"repaired-{name}" for name in record["repairs"])}
    arrays = {n: v[:MOST_ROWS] if n in stacks else v for n, v in arrays.items()}
    columns: list[tuple[str, NDArray[np.float32], bool]] = [
        ("$z$\ninput", arrays["z"], False),
        ("$f(z)$\nreconstruction", arrays["output"], False),
    ]
    caption = "Each row is an input z and its reconstruction f(z)"
    for name in record["repairs"]:
        repaired = arrays[f"repaired-{name}"]
        columns.append((f"{name.partition('-')[0]}\n{name.partition('-')[2]}", repaired, False))
    best = record["repaired"]
    if best is not None:
        taken = arrays["output"] - arrays[f"repaired-{best}"]
        columns.append(("taken away", taken, True))
        caption += (
            f", repaired by {' and by '.join(record['repairs'])}. Taken away: f(z) less the "
            f"repair by {best}; lighter is positive"
        )
    truth = arrays.get("triggered")
    labels = [f"input {k}{truth_label(truth, k, 'triggered')}" for k in arrays["index"]]
    names = ", ".join(heading.replace("\n", " ") for heading, _, _ in columns)
    return Drawing(
        "suspects",
        "The most suspicious inputs",
        panels(columns, labels),
        caption + ".",
        f"{len(labels)} rows of pictures, one for each of the most suspicious inputs: {names}.",
    )
