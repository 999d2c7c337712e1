"""One look for all figures: sizes, fonts, a colour-blind-safe palette, and image panels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from recondoor.report._load import Array

WIDTH = 6.9  # inches: the text width of a two-column paper, so that 8 pt stays 8 pt in print
DPI = 200
BOX = "#D55E00"
INK = "#222222"
FAINT = "#767676"
# Runs from dark blue over neutral grey to bright yellow with steadily rising lightness, so that the
# sign of a trigger can be read in greyscale too; the usual red-white-blue maps lose it.
SIGNED = "cividis"
HEDGE: Any = {"color": INK, "linestyle": (0, (1, 1.8)), "linewidth": 1.1, "zorder": 1.5}

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "image.interpolation": "none",
    "svg.hashsalt": "recondoor",
    "svg.fonttype": "path",
    # TrueType: text in the file can be searched, and journals refuse the default.
    "pdf.fonttype": 42,
    "mathtext.fontset": "dejavusans",
}


@dataclass(frozen=True)
class Missing:
    """A figure that could not be drawn, and why."""

    name: str
    title: str
    reason: str


@dataclass(frozen=True)
class Drawing:
    """A figure with its words: `caption` for the page, `alt` for those who do not see it.

    narrowest: share of its size down to which it shrinks on a narrow screen before it scrolls.
    """

    name: str
    title: str
    figure: Figure
    caption: str
    alt: str
    narrowest: float = 0.8


@dataclass(frozen=True)
class Line:
    """How the curves of one model are drawn: told apart by dashes and markers, not colour alone."""

    color: str
    dashes: Any
    marker: str
    width: float = 1.4
    hollow: bool = False

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments for `Axes.plot`."""
        return {
            "color": self.color,
            "linestyle": self.dashes,
            "marker": self.marker,
            "linewidth": self.width,
            "markerfacecolor": "white" if self.hollow else self.color,
            "markeredgecolor": self.color if self.hollow else "white",
            "markeredgewidth": 0.9 if self.hollow else 0.4,
        }


# Colours of Okabe and Ito.
_LINES = {
    "original": Line("#000000", (0, (5, 1.5, 1, 1.5)), "o"),
    "heuristic": Line("#D55E00", (0, (4, 1.6)), "s"),
    "bilevel": Line("#0072B2", "-", "^", 1.8),
    "random": Line("#009E73", (0, (1.2, 1.2)), "D", hollow=True),
}
_OTHERS = (
    Line("#CC79A7", (0, (7, 2)), "v"),
    Line("#56B4E9", (0, (3, 1, 1, 1, 1, 1)), "P"),
    Line("#E69F00", (0, (2, 1)), "X"),
)


def line(label: str, models: tuple[str, ...]) -> Line:
    """The line of `label`; those that plug-ins brought take the rest, hollow from the fourth on."""
    if label in _LINES:
        return _LINES[label]
    position = [model for model in models if model not in _LINES].index(label)
    look = _OTHERS[position % len(_OTHERS)]
    return look if position < len(_OTHERS) else replace(look, hollow=True, dashes="-")


def lines(number: int) -> list[Line]:
    """As many lines, told apart as long as there are at most fourteen."""
    first = [*_LINES.values(), *_OTHERS]
    every = [*first, *(replace(look, hollow=not look.hollow, dashes="-") for look in first)]
    return [every[position % len(every)] for position in range(number)]


@contextmanager
def style() -> Iterator[None]:
    """Draw with matplotlib's own defaults and this module's settings, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


# What matplotlib would write of dates and of itself, by kind of file.
_METADATA: Any = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "png": {"Software": None},
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
}


def render(figure: Figure, kinds: tuple[str, ...] = ("svg", "png")) -> dict[str, bytes]:
    """The figure as {kind: bytes} for kinds svg, png, pdf: the same bytes each time, undated."""
    out = {}
    for kind in kinds:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=_METADATA[kind], facecolor="white")
        out[kind] = buffer.getvalue()
    return out


def picture(image: Array, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
    """An image (C, H, W) as imshow takes it, scaled from [low, high] to [0, 1] and clipped.

    Three channels are shown in colour, any other number by the first one.
    """
    scaled = np.clip((image.astype(np.float64) - low) / ((high - low) or 1.0), 0, 1)
    shown: NDArray[np.float64] = np.moveaxis(scaled, 0, -1) if len(image) == 3 else scaled[0]
    return shown


def flat(pattern: Array) -> NDArray[np.float64]:
    """A signed pattern (C, H, W) as a map (H, W): each pixel's value of largest magnitude."""
    strongest = np.abs(pattern).argmax(axis=0)[None]
    chosen: NDArray[np.float64] = np.take_along_axis(pattern, strongest, axis=0)[0]
    return chosen.astype(np.float64)


@dataclass(frozen=True)
class Window:
    """The pixels that a mask covers: first row and column, and those after the last."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def around(cls, mask: Array) -> "Window | None":
        """The bounding box of the nonzero pixels of a (C, H, W) mask, None if there are none."""
        rows, columns = np.nonzero(mask.any(axis=0))
        if not len(rows):
            return None
        top, left = int(rows.min()), int(columns.min())
        return cls(top, int(rows.max()) + 1, left, int(columns.max()) + 1)

    @property
    def height(self) -> int:
        """Rows covered."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns covered."""
        return self.right - self.left

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """The part of a (..., H, W) array inside."""
        part: NDArray[Any] = array[..., self.top : self.bottom, self.left : self.right]
        return part

    def small_in(self, shape: tuple[int, ...]) -> bool:
        """Whether a zoom is worth the room: at most half of each side of a (..., H, W) shape."""
        return 2 * self.height <= shape[-2] and 2 * self.width <= shape[-1]


def show(axes: Axes, image: NDArray[np.float64], **limits: Any) -> Any:
    """Draw an image without ticks in a thin frame; greyscale 0 to 1 unless told otherwise."""
    look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 1}
    drawn = axes.imshow(image, **(look | limits))
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, linewidth=0.6, color=FAINT)
    return drawn


def outline(axes: Axes, window: Window) -> None:
    """Draw a box just outside the pixels of `window`, with a white edge so that it always shows."""
    box = Rectangle(
        (window.left - 0.75, window.top - 0.75),
        window.width + 0.5,
        window.height + 0.5,
        fill=False,
        edgecolor=BOX,
        linewidth=1.1,
        path_effects=[withStroke(linewidth=2.4, foreground="white")],
    )
    axes.add_patch(box)


def limit(values: NDArray[Any]) -> float:
    """Largest magnitude, for a colour scale that is symmetric about 0; 1 if all are 0."""
    return float(np.abs(values).max(initial=0.0)) or 1.0


def from_zero(axes: Axes, at_least: float = 0.0) -> None:
    """Let the y axis start at 0 (or lower, where the data do) and end a little above the data."""
    low, high = min(0.0, axes.dataLim.y0), max(at_least, axes.dataLim.y1)
    if np.isfinite(high) and high > low:
        axes.set_ylim(low, high + 0.06 * (high - low))


def pixel_range(images: Array) -> tuple[float, float]:
    """From which value to which images (n, C, H, W) are drawn: [0, 1] if they lie within it."""
    low, high = float(images.min()), float(images.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def span(images: list[Array]) -> tuple[float, float]:
    """Smallest and largest value of all `images`."""
    return min(float(image.min()) for image in images), max(float(image.max()) for image in images)
