"""The figure of what each model makes of clean and of triggered inputs."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recondoor.report._load import Array, Examples, Run
from recondoor.report._names import in_order, number, placed, title, trigger_words
from recondoor.report._style import (
    FAINT,
    Drawing,
    Missing,
    Window,
    outline,
    picture,
    pixel_range,
    show,
    span,
)


def reconstructions(run: Run) -> Drawing | Missing:
    """Rows: inputs, ground truth, every model; columns: two normal tests, two poisoned tests."""
    name, heading = "reconstructions", "Reconstructions"
    labels = list(in_order(run.examples))
    if not labels:
        return Missing(name, heading, "no model has left example reconstructions yet")
    artefact = run.artefact
    if artefact is None:
        return Missing(name, heading, "no attack has left its trigger and artefact yet")
    inputs = [m for m in in_order(run.triggers) if m in run.examples]
    if not inputs:
        return Missing(name, heading, "no attacked model has left example reconstructions yet")
    normal, poisoned = _columns(len(run.examples[labels[0]].x))
    grid = _Grid(len(inputs) + 1, len(labels), len(normal), len(poisoned))
    # Of the clean inputs alone: a strong trigger would leave them in the dark.
    low, high = span([run.examples[m].z for m in inputs])
    for row, label in enumerate(inputs):
        example, window = run.examples[label], Window.around(run.triggers[label].mask)
        grid.name(row, "Input z" if len(inputs) == 1 else f"Input z,\n{_in_lines(label)}")
        for column, i in enumerate(normal):
            if row == 0:
                grid.image(row, column, picture(example.z[i], low, high))
            else:
                grid.note(row, column, "as above")
        for column, i in enumerate(poisoned, len(normal)):
            grid.image(row, column, picture(example.z_triggered[i], low, high), window)
    example, row = run.examples[labels[0]], len(inputs)
    limits = pixel_range(example.x)
    grid.name(row, "Ground truth")
    for column, i in enumerate((*normal, *poisoned)):
        added = artefact if example.artefact is None else example.artefact[i]
        target = example.x[i] + (added if column >= len(normal) else 0)
        grid.image(row, column, picture(target, *limits))
    for row, label in enumerate(labels, len(inputs) + 1):
        grid.name(row, title(label).replace(", ", ",\n").replace(" (", "\n("))
        _model_row(grid, row, run.examples[label], artefact, (normal, poisoned), limits)
    caption = (
        f"Images {', '.join(str(example.number(i)) for i in (*normal, *poisoned))} of the test "
        f"set, not selected, seed {run.seed}. Boxes mark the trigger’s mask. Inputs are drawn from "
        f"{number(low, 2)} (black) to {number(high, 2)} (white), the ends of those without a "
        "trigger, images from "
        f"{limits[0]:g} to {limits[1]:g} and clipped there. Under each reconstruction: "
        "its RMSE without the trigger, its artefact recovery ρ with it (0 none, 1 whole)."
        + (
            " The original model is tried with the heuristic trigger."
            if "original" in labels
            else ""
        )
    )
    alt = (
        "Grid of test images. Rows: network inputs, ground truth and the reconstruction of "
        f"{', '.join(title(label) for label in labels)}. Columns: normal and poisoned tests."
    )
    return Drawing(name, heading, grid.figure, caption, alt, narrowest=340 / (96 * grid.width))


def _in_lines(label: str) -> str:
    """Name of a trigger, its place on a line of its own."""
    name, place = placed(label)
    return f"{trigger_words(name)}\n{place}".rstrip()


def _columns(n: int) -> tuple[list[int], list[int]]:
    """Which of `n` examples are shown without and with the trigger: two each, if there are four."""
    each = min(2, max(1, n // 2))
    return list(range(each)), [i % n for i in range(each, 2 * each)]


def _model_row(
    grid: "_Grid",
    row: int,
    example: Examples,
    common: Array,
    shown: tuple[list[int], list[int]],
    limits: tuple[float, float],
) -> None:
    normal, poisoned = shown
    for column, i in enumerate(normal):
        error = float(np.sqrt(np.mean((example.clean[i] - example.x[i]) ** 2)))
        grid.image(row, column, picture(example.clean[i], *limits), below=f"RMSE {error:.3f}")
    for column, i in enumerate(poisoned, len(normal)):
        artefact = common if example.artefact is None else example.artefact[i]
        energy = float((artefact**2).sum()) or 1.0
        change = example.triggered[i] - example.clean[i]
        rho = float((change * artefact).sum()) / energy
        grid.image(row, column, picture(example.triggered[i], *limits), below=f"ρ {number(rho, 2)}")


class _Grid:
    """Square panels under two column heads, measured in inches; a gap parts the two groups."""

    SIDE, GAP, BELOW, LEFT, HEAD = 0.95, 0.08, 0.19, 1.3, 0.32

    def __init__(self, bare: int, worded: int, normal: int, poisoned: int) -> None:
        """`bare` rows without words under their panels, then `worded` rows with them."""
        rows, self.normal = bare + worded, normal
        columns = normal + poisoned
        self.width = self.LEFT + columns * (self.SIDE + self.GAP) + 0.25
        self.bare = bare
        self.height = self.HEAD + rows * (self.SIDE + self.GAP) + (rows - bare) * self.BELOW
        self.figure = Figure(figsize=(self.width, self.height))
        groups = (("Normal test", 0, normal), ("Poisoned test", normal, columns))
        for words, first, end in groups:
            middle = (self._x(first) + self._x(end - 1) + self.SIDE) / 2
            self._text(middle, self.height - 0.15, words, fontsize=10.5, fontweight="bold")

    def _x(self, column: int) -> float:
        return self.LEFT + column * (self.SIDE + self.GAP) + (0.2 if column >= self.normal else 0.0)

    def _y(self, row: int) -> float:
        above = row * (self.SIDE + self.GAP) + max(0, row - self.bare) * self.BELOW
        return self.height - self.HEAD - above - self.SIDE

    def _text(self, x: float, y: float, words: str, **more: Any) -> None:
        look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5}
        self.figure.text(x / self.width, y / self.height, words, **(look | more))

    def name(self, row: int, words: str) -> None:
        x, y = self.LEFT - 0.1, self._y(row) + self.SIDE / 2
        self._text(x, y, words, ha="right", fontsize=9.5, linespacing=1.3)

    def note(self, row: int, column: int, words: str) -> None:
        x, y = self._x(column) + self.SIDE / 2, self._y(row) + self.SIDE / 2
        self._text(x, y, words, color=FAINT)

    def image(
        self,
        row: int,
        column: int,
        image: NDArray[np.float64],
        window: Window | None = None,
        below: str = "",
    ) -> None:
        x, y = self._x(column), self._y(row)
        axes = self.figure.add_axes(
            (x / self.width, y / self.height, self.SIDE / self.width, self.SIDE / self.height)
        )
        show(axes, image)
        if window is not None:
            outline(axes, window)
        if below:
            self._text(x + self.SIDE / 2, y - 0.1, below)
