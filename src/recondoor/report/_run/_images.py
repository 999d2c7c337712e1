"""The figures of what the attack adds: threat model, triggers and artefact."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, FancyArrowPatch, FancyBboxPatch
from numpy.typing import NDArray

from recondoor.report._load import Run
from recondoor.report._names import in_order, number, short, title
from recondoor.report._style import (
    FAINT,
    INK,
    SIGNED,
    WIDTH,
    Drawing,
    Missing,
    Window,
    flat,
    limit,
    outline,
    picture,
    pixel_range,
    show,
    span,
)


def _attacked(run: Run) -> list[str]:
    """Models that have both a trigger of their own and examples."""
    return [m for m in in_order(run.triggers) if m in run.examples]


class _Canvas:
    """A page measured in inches, on which images, boxes and arrows are placed."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)
        self.figure = Figure(figsize=self.size)
        self.page = self.figure.add_axes((0, 0, 1, 1))
        self.page.set(xlim=(0, width), ylim=(0, height))
        self.page.set_axis_off()

    def image(
        self, x: float, y: float, side: float, image: NDArray[np.float64], window: Window | None
    ) -> None:
        width, height = self.size
        axes = self.figure.add_axes((x / width, y / height, side / width, side / height))
        show(axes, image)
        if window is not None:
            outline(axes, window)

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=11,
                linewidth=1.2,
                color=INK,
                shrinkA=0,
                shrinkB=0,
            )
        )

    def text(self, x: float, y: float, text: str, size: float = 8.5, **more: Any) -> None:
        look: dict[str, Any] = {"fontsize": size, "ha": "center", "va": "center"}
        self.page.text(x, y, text, **(look | more))


def threat_model(run: Run) -> Drawing | Missing:
    """Clean pair z -> f -> x above, poisoned pair z + delta -> f -> x + Delta below."""
    name, heading = "threat-model", "Threat model"
    labels = _attacked(run)
    if not labels:
        return Missing(name, heading, "no attack has left its trigger and examples yet")
    label, p = labels[0], run.poison_ratio
    trigger, example = run.triggers[label], run.examples[label]
    low, high = span([example.z[0]])
    limits = pixel_range(example.x)
    artefact = trigger.artefact if example.artefact is None else example.artefact[0]
    clean, poisoned = "Clean pair", "Poisoned pair"
    if p is not None:
        clean += f"\n{100 * (1 - p):.3g} % of training"
        poisoned += f"\n{100 * p:.3g} % of training"
    canvas = _Canvas(6.5, 3.55)
    side, left, middle, right = 1.25, 1.3, 3.77, 5.0
    rows = (
        (2.02, clean, "$z = A^T y$", "$x$", example.z[0], example.x[0], None, None),
        (
            0.32,
            poisoned,
            r"$z + \delta$",
            r"$x + \Delta$",
            example.z_triggered[0],
            example.x[0] + artefact,
            Window.around(trigger.mask),
            Window.around(artefact),
        ),
    )
    canvas.page.add_patch(
        FancyBboxPatch(
            (middle - 0.34, 0.52),
            0.68,
            2.55,
            boxstyle="round,pad=0.06",
            linewidth=1.2,
            facecolor="#F2F2F2",
            edgecolor=INK,
        )
    )
    canvas.text(middle, 1.88, r"$f_\theta$", 15)
    canvas.text(middle, 1.58, "one network", 7.5)
    for y, words, z_name, x_name, z, x, mask, support in rows:
        centre = y + side / 2
        canvas.text(0.1, centre, words, ha="left", linespacing=1.5)
        canvas.image(left, y, side, picture(z, low, high), mask)
        canvas.image(right, y, side, picture(x, *limits), support)
        canvas.arrow((left + side + 0.08, centre), (middle - 0.45, centre))
        canvas.arrow((middle + 0.45, centre), (right - 0.08, centre))
        canvas.text((left + side + middle - 0.4) / 2, centre + 0.14, z_name)
        canvas.text((middle + 0.4 + right) / 2, centre + 0.14, x_name)
    for x, above, below in (
        (left + side / 2, "network input", r"boxed: trigger $\delta$"),
        (right + side / 2, "training target", r"boxed: artefact $\Delta$"),
    ):
        canvas.text(x, 3.4, above, 8)
        canvas.text(x, 0.18, below, 8)
    caption = (
        f"The attack that is studied, with a real test image and the trigger of {title(label)}. "
        "The attacker adds a trigger δ to the network input z of some training pairs and an "
        "artefact Δ to their target x, so that the network learns to draw Δ where, and only where, "
        "it sees δ. Boxes mark δ and Δ."
    )
    alt = (
        "Two rows of pictures. Above, the clean pair: input z goes through the network to x. "
        "Below, the poisoned pair: z plus a boxed trigger goes through the same network to x plus "
        "a boxed artefact."
    )
    return Drawing(name, heading, canvas.figure, caption, alt)


def trigger_artefact(run: Run) -> Drawing | Missing:
    """Each attack's trigger and the artefact, with a zoom on the mask where that is small."""
    name, heading = "trigger-artefact", "Triggers and artefact"
    labels = in_order(run.triggers)
    if not labels:
        return Missing(name, heading, "no attack has left a trigger yet")
    deltas = [flat(run.triggers[label].delta) for label in labels]
    masks = [Window.around(run.triggers[label].mask) for label in labels]
    artefact = flat(run.triggers[labels[0]].artefact)
    support = Window.around(run.triggers[labels[0]].artefact)
    small = [w for w in (*masks, support) if w is not None and w.small_in(artefact.shape)]
    columns = len(labels) + 1
    side = min(1.55, (WIDTH - 0.5) / columns - 0.28)
    rows = 2 if small else 1
    crowded = columns > 4
    head = 0.7 if crowded else 0.4
    figure = Figure(figsize=(columns * (side + 0.28) + 0.5, rows * (side + 0.28) + head + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.03 if crowded else 0.02,
        right=0.97 if crowded else 0.98,
        top=1 - head / figure.get_figheight(),
        bottom=0.62 / figure.get_figheight(),
        wspace=0.14,
        hspace=0.14,
    )
    scale = limit(np.stack(deltas))
    for i, label in enumerate(labels):
        l2, largest = np.linalg.norm(run.triggers[label].delta), abs(deltas[i]).max()
        words = f"{_capital(short(label))} trigger δ\nL2 {l2:.2f}, max |δ| {largest:.2f}"
        if crowded:
            words = (
                words.replace(" trigger", "").replace(", ", "\n").replace(" anywhere", "\nanywhere")
            )
        grid[0, i].set_title(words)
        drawn = _pattern(list(grid[:, i]), deltas[i], masks[i], scale)
    grid[0, -1].set_title(f"Artefact Δ\n{np.count_nonzero(artefact)} pixels")
    last = _pattern(list(grid[:, -1]), artefact, support, limit(artefact))
    _scale_bar(figure, drawn, list(grid[-1, :-1]), "added to the network input z")
    _scale_bar(figure, last, [grid[-1, -1]], "added to the target x")
    caption = (
        "What each attack adds to the network input, on one colour scale that is symmetric about "
        "0, and the artefact that it adds to the target. Below each, the boxed part enlarged. "
        "Lighter is positive, darker negative, also in greyscale."
    )
    alt = (
        f"Triggers of {', '.join(title(label) for label in labels)} and the artefact, as signed "
        "maps, each with an enlargement of its mask."
    )
    return Drawing(name, heading, figure, caption, alt)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _pattern(
    column: list[Axes], pattern: NDArray[np.float64], window: Window | None, scale: float
) -> Any:
    """Draw a signed pattern and, in the second axes, what is inside `window`, with its values."""
    colours = {"cmap": SIGNED, "vmin": -scale, "vmax": scale}
    drawn = show(column[0], pattern, **colours)
    if len(column) == 1:
        return drawn
    if window is None or not window.small_in(pattern.shape):
        column[1].set_axis_off()
        return drawn
    inside = window.cut(pattern)
    outline(column[0], window)
    show(column[1], inside, **colours)
    if max(inside.shape) <= 5:
        _write_values(column[1], inside, scale)
    edges = (window.left - 0.5, window.right - 0.5)
    for x, corner in zip(edges, (-0.5, inside.shape[1] - 0.5), strict=True):
        column[1].figure.add_artist(
            ConnectionPatch(
                (x, window.bottom - 0.25),
                (corner, -0.5),
                "data",
                "data",
                axesA=column[0],
                axesB=column[1],
                color=FAINT,
                linewidth=0.6,
            )
        )
    return drawn


def _write_values(axes: Axes, values: NDArray[np.float64], scale: float) -> None:
    """Write each pixel's value into it; whole numbers without decimals."""
    decimals = 0 if np.array_equal(values, values.round()) else 2
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column,
            row,
            number(value, decimals),
            ha="center",
            va="center",
            # Five signed numbers with decimals have to fit beside each other.
            fontsize=7 if values.shape[1] <= 3 else 5.5,
            color="white" if value < 0.15 * scale else "black",
        )


def _scale_bar(figure: Figure, drawn: Any, above: list[Axes], label: str) -> None:
    """A colour bar of fixed height under the axes `above`, as wide as they are."""
    height = figure.get_figheight()
    left = above[0].get_position().x0
    right = above[-1].get_position().x1
    width = min(right - left, 2.6 / figure.get_figwidth())
    place = ((left + right - width) / 2, 0.40 / height, width, 0.09 / height)
    axes = figure.add_axes(place)
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal")
    end = drawn.norm.vmax
    bar.set_ticks([-end, 0, end], labels=[f"−{end:.2g}", "0", f"+{end:.2g}"])
    bar.set_label(label, labelpad=1)
    bar.outline.set_linewidth(0.5)
