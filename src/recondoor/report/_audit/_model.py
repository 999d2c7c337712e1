"""Figures of an audit of a network: trigger and artefact recovered, and what they do."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recondoor.report._audit._figures import UNKNOWN, panels
from recondoor.report._style import INK, SIGNED, WIDTH, Drawing, Window, flat, limit, outline, show

Arrays = Mapping[str, NDArray[Any]]


def draw_model(arrays: Arrays, record: Mapping[str, Any]) -> list[Drawing]:
    """Figures from what evidence.npz and audit.json hold; KeyError for what is missing."""
    if not record["detectors"]:
        return []
    drawn = [_recovered(arrays, record), _effect(arrays)] if "shown" in arrays else []
    if record["references"]:
        drawn.append(_references(arrays, record))
    return drawn


def _recovered(arrays: Arrays, record: Mapping[str, Any]) -> Drawing:
    """A column for each detector, and one for the truth where it is known."""
    names = [each["name"] for each in record["detectors"] if each["trigger_l2"] is not None]
    names.sort(key=lambda name: name != str(arrays["shown"]))
    columns = [
        (name.replace("-", " "), arrays[f"trigger-{name}"], _artefact(arrays, name), name)
        for name in names
    ]
    caption = (
        "Above the trigger that a detector found, below what it makes the network add on average. "
        "Box: the trigger's surroundings, which do not count, because an honest network answers "
        "there. Each map has its own scale; lighter is positive, also in greyscale."
    )
    if "true_trigger" in arrays:
        columns.append(("truth", arrays["true_trigger"], arrays["true_artefact"], ""))
        caption += " Right: what was planted."
    side = WIDTH / 3.6
    figure = Figure(figsize=(side * len(columns) + 0.6, 2 * side + 0.3), layout="constrained")
    grid = figure.subplots(2, len(columns), squeeze=False)
    for j, (title, trigger, artefact, name) in enumerate(columns):
        grid[0, j].set_title(title)
        counts = arrays.get(f"counts-{name}")
        around = None if counts is None or counts.all() else Window.around(counts == 0)
        _map(figure, grid[0, j], trigger, None)
        _map(figure, grid[1, j], artefact, around)
    grid[0, 0].set_ylabel("trigger")
    grid[1, 0].set_ylabel("artefact")
    alt = f"Maps of trigger and artefact: {', '.join(title for title, *_ in columns)}."
    return Drawing("recovered", "Trigger and artefact recovered", figure, caption, alt)


def _artefact(arrays: Arrays, name: str) -> NDArray[Any]:
    """What the detector says is added; nothing where it does not say."""
    trigger = arrays[f"trigger-{name}"]
    return arrays.get(f"artefact-{name}", np.zeros_like(trigger))


def _map(figure: Figure, axes: Axes, pattern: NDArray[Any], around: Window | None) -> None:
    scale = limit(pattern)
    drawn = show(axes, flat(pattern), cmap=SIGNED, vmin=-scale, vmax=scale)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85, pad=0.03)
    bar.outline.set_linewidth(0.5)
    if around is not None:
        outline(axes, around)


def _effect(arrays: Arrays) -> Drawing:
    name, change = str(arrays["shown"]), arrays["triggered"] - arrays["output"]
    columns: list[tuple[str, NDArray[np.float32], bool]] = [
        ("$x$\nclean image", arrays["x"], False),
        ("$z$\ninput", arrays["z"], False),
        ("$f(z)$\nreconstruction", arrays["output"], False),
        ("$f(z+\\delta)$\nwith the trigger", arrays["triggered"], False),
        ("difference", change, True),
    ]
    caption = (
        f"Trusted clean inputs with and without the trigger that {name} found. In a backdoored "
        "network the difference is much the same in every row. Its colours go by the square root."
    )
    labels = [f"pair {k}" for k in range(len(change))]
    alt = f"{len(labels)} rows of reconstructions with and without the trigger recovered."
    return Drawing(
        "effect", "What the trigger recovered does", panels(columns, labels), caption, alt
    )


def _references(arrays: Arrays, record: Mapping[str, Any]) -> Drawing:
    """Score of the network among those of the references."""
    detectors = record["detectors"]
    figure = Figure(figsize=(WIDTH, 0.75 * len(detectors) + 0.4), layout="constrained")
    for axes, each in zip(
        figure.subplots(len(detectors), 1, squeeze=False)[:, 0], detectors, strict=True
    ):
        scores = arrays[f"references-{each['name']}"]
        axes.plot(scores, np.zeros(len(scores)), "o", color=UNKNOWN, alpha=0.5, label="reference")
        axes.plot(each["score"], 0, "D", color="#D55E00", markersize=6, label="this network")
        if each["threshold"] is not None:
            axes.axvline(each["threshold"], color=INK, linestyle="--", linewidth=1.0)
        axes.set(yticks=[], title=each["name"])
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return Drawing(
        "scores",
        "Scores of the network and of the references",
        figure,
        "Dashed: the threshold, above which a network is flagged.",
        "Scores of this network and of the references on a line for each detector.",
    )
