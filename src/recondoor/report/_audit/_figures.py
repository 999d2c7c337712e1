"""Figures of an audit: the most suspicious pairs, and the scores of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recondoor.report._style import (
    INK,
    SIGNED,
    WIDTH,
    Drawing,
    flat,
    limit,
    picture,
    show,
    span,
)

BINS = 60
MOST_ROWS = 8
"""Pairs or inputs that are drawn, of those of which an audit keeps pictures."""
# Colours of Okabe and Ito.
CLEAN, POISONED, UNKNOWN = "#56B4E9", "#D55E00", "#0072B2"


@dataclass(frozen=True)
class Evidence:
    """evidence.npz: pictures (k, C, H, W) of the pairs `index` (k,)."""

    index: NDArray[np.int64]
    z: NDArray[np.float32]
    x: NDArray[np.float32]
    back: NDArray[np.float32] | None
    contradiction: NDArray[np.float32] | None
    output: NDArray[np.float32] | None
    poisoned: NDArray[np.bool_] | None

    def drawn(self) -> "Evidence":
        """The pairs that a figure has room for."""
        names = ("index", "z", "x", "back", "contradiction", "output")
        kept = {name: values for name in names if (values := getattr(self, name)) is not None}
        return replace(self, **{name: values[:MOST_ROWS] for name, values in kept.items()})


def scores_of(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Scores (N,) by detector, which evidence.npz holds as score-NAME."""
    return {
        name.removeprefix("score-"): np.asarray(values, dtype=np.float64)
        for name, values in arrays.items()
        if name.startswith("score-")
    }


def patterns_of(
    arrays: Mapping[str, NDArray[Any]], shape: tuple[int, ...]
) -> dict[str, NDArray[np.float32]]:
    """What suspicious pairs share (C, H, W) by detector, which evidence.npz holds as pattern-NAME.

    Raises ValueError for what is not of `shape`, or not finite.
    """
    found = {
        name.removeprefix("pattern-"): np.asarray(values, dtype=np.float32)
        for name, values in arrays.items()
        if name.startswith("pattern-")
    }
    if not all(each.shape == shape and np.isfinite(each).all() for each in found.values()):
        raise ValueError
    return found


def shared(patterns: Mapping[str, NDArray[np.float32]]) -> Drawing | None:
    """What suspicious pairs share, by each detector that says so."""
    if not patterns:
        return None
    columns = [(f"shared\n{name}", values[None], True) for name, values in patterns.items()]
    return Drawing(
        "shared",
        "What suspicious pairs share",
        panels(columns, ["all"]),
        "Mean of what the images do not explain, each pair by how far it sides with the others, "
        "less the mean of all: trigger and artefact as the input shows them. Colours go by the "
        "square root.",
        f"Pictures of what suspicious pairs share, by {', '.join(patterns)}.",
    )


def suspects(evidence: Evidence) -> Drawing | None:
    """One row for each of the most suspicious pairs: what it is, what physics and network say."""
    if not len(evidence.index):
        return None
    evidence = evidence.drawn()
    columns, truth = _columns(evidence), evidence.poisoned
    labels = [f"pair {index}{truth_label(truth, index, 'poisoned')}" for index in evidence.index]
    figure = panels(columns, labels)
    return Drawing(
        "suspects",
        "The most suspicious pairs",
        figure,
        _caption(evidence),
        f"{len(labels)} rows of pictures, one for each of the most suspicious pairs: "
        f"{', '.join(name.replace(chr(10), ' ') for name, _, _ in columns)}.",
    )


def truth_label(truth: NDArray[np.bool_] | None, index: int, bad: str) -> str:
    """What the label of a row adds where the truth is known."""
    return "" if truth is None else f"\n{bad if truth[index] else 'clean'}"


def panels(
    columns: Sequence[tuple[str, NDArray[np.float32], bool]], labels: Sequence[str]
) -> Figure:
    """Columns of pictures (heading, (k, C, H, W), whether they are signed), with labelled rows."""
    rows, side = len(labels), WIDTH / 6.4
    width, head = len(columns) * side + 0.75, 0.42
    figure = Figure(figsize=(width, rows * side + head))
    grid = figure.subplots(rows, len(columns), squeeze=False)
    figure.subplots_adjust(
        left=0.72 / width,
        right=0.995,
        top=1 - head / figure.get_figheight(),
        bottom=0.01,
        wspace=0.06,
        hspace=0.06,
    )
    for j, (name, images, signed) in enumerate(columns):
        grid[0, j].set_title(name)
        scale = limit(images) ** 0.5
        low, high = _bulk(images) if name.startswith("$z$") else (0.0, 1.0)
        for axes, image in zip(grid[:, j], images, strict=True):
            if signed:
                # By their roots, so that a strong trigger leaves a faint artefact to be seen.
                roots = np.sign(flat(image)) * np.abs(flat(image)) ** 0.5
                show(axes, roots, cmap=SIGNED, vmin=-scale, vmax=scale)
            else:
                show(axes, picture(image, low, high))
    for axes, text in zip(grid[:, 0], labels, strict=True):
        axes.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=6)
    return figure


def _bulk(images: NDArray[np.float32]) -> tuple[float, float]:
    """Between which values nearly all pixels lie, so that a trigger does not set the scale."""
    low, high = np.quantile(images.astype(np.float64), (0.01, 0.98))
    return (float(low), float(high)) if high > low else span(list(images))


def _columns(evidence: Evidence) -> list[tuple[str, NDArray[np.float32], bool]]:
    """(heading, pictures, whether they are signed)."""
    columns = [("$z$\ninput", evidence.z, False), ("$x$\ntarget", evidence.x, False)]
    if evidence.back is not None and evidence.contradiction is not None:
        columns += [
            ("$A^+y$\nmeasured", evidence.back, False),
            ("$A^+(Ax-y)$\ncontradiction", evidence.contradiction, True),
        ]
    if evidence.output is not None:
        columns += [
            ("$f(z)$\nnetwork", evidence.output, False),
            ("$x-f(z)$\nunexplained", evidence.x - evidence.output, True),
        ]
    return columns


def _caption(evidence: Evidence) -> str:
    text = "Each row is a pair: its network input z and its target x."
    if evidence.back is not None:
        text += (
            " A⁺y is what the measurement says, and A⁺(Ax − y) that part of x − A⁺y which the "
            "measurement denies: noise in a clean pair, the artefact in a poisoned one, as far as "
            "the operator sees it. What the operator does not measure is left out of it."
        )
    if evidence.output is not None:
        text += (
            " f(z) is the reconstruction of a network that has seen every pair once, x − f(z) what "
            "it leaves unexplained."
        )
    return (
        f"{text} Inputs are drawn between the values of nearly all of their pixels. Signed maps "
        "have one scale a column, on which colours go by the square root; lighter is positive, "
        "also in greyscale."
    )


def histograms(
    scores: Mapping[str, NDArray[np.float64]],
    truth: NDArray[np.bool_] | None,
    detectors: Sequence[Mapping[str, Any]],
    what: str = "pairs",
    bad: str = "poisoned",
) -> Drawing | None:
    """Scores of `what` by every detector, with its threshold; `bad` are those where `truth`."""
    if not detectors:
        return None
    rows = -(-len(detectors) // 2)
    figure = Figure(figsize=(WIDTH, 1.75 * rows), layout="constrained")
    grid = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes in grid[len(detectors) :]:
        axes.set_axis_off()
    for axes, each in zip(grid, detectors, strict=False):
        _histogram(axes, scores[each["name"]], truth, each, bad)
        axes.set_ylabel(what)
    if truth is not None:
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=2, handlelength=1.2)
    caption = f"How many {what} have which score; the count is on a logarithmic scale."
    if any(each["threshold"] is not None for each in detectors):
        caption += f" Dashed: the threshold, above which one of the {what} is flagged."
    alt = f"Histograms of the scores of {', '.join(each['name'] for each in detectors)}."
    return Drawing("scores", f"Scores of all {what}", figure, caption, alt)


def _histogram(
    axes: Axes,
    scores: NDArray[np.float64],
    poisoned: NDArray[np.bool_] | None,
    detector: Mapping[str, Any],
    bad: str,
) -> None:
    """Counts on a log scale; scores too if they are positive and span more than a decade or two."""
    threshold = detector["threshold"]
    seen = scores if threshold is None else np.append(scores, threshold)
    low, high = float(seen.min()), float(seen.max())
    positive = seen[seen > 0]
    wide = low >= 0 and len(positive) > 0 and high > 30 * float(np.median(positive))
    if wide:
        low = max(float(positive.min()), 1e-12 * high)
        edges = np.geomspace(low, high, BINS + 1)
        axes.set_xscale("log")
    else:
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    shown = np.clip(scores, edges[0], edges[-1])
    if poisoned is None:
        axes.hist(shown, edges.tolist(), color=UNKNOWN)
    else:
        for part, color, label in ((~poisoned, CLEAN, "clean"), (poisoned, POISONED, bad)):
            axes.hist(shown[part], edges.tolist(), color=color, label=label, alpha=0.75)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.0)
    axes.set_yscale("log")
    # Room for a power of ten above 1, or the ticks between would be labelled.
    axes.set_ylim(0.7, max(12.0, axes.get_ylim()[1]))
    axes.set_title(detector["name"])
