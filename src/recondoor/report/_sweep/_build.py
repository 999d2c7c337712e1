"""Everything that the report of a sweep writes: the figures three times, and the page."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from recondoor.report._html import Picture, put, save_figure
from recondoor.report._style import Missing, style
from recondoor.report._sweep._axes import axes_of
from recondoor.report._sweep._curves import curves
from recondoor.report._sweep._glance import glance
from recondoor.report._sweep._limits import limits
from recondoor.report._sweep._load import load_sweep
from recondoor.report._sweep._maps import maps
from recondoor.report._sweep._page import page
from recondoor.report._sweep._sentences import headline

KINDS = ("svg", "pdf", "png")
MOST_VERTICES = 4_000
"""Of a panel's lines and areas, above which they are drawn as pixels: browsers choke on more."""


def sweep_verdict(folder: Path) -> str:
    """The answer of a sweep in one sentence; raises ReportError where a file is damaged."""
    return headline(load_sweep(folder))


def build_sweep(folder: Path, out: Path) -> Path:
    """Write figures and report.html of a sweep into `out`, from its two files; return the page.

    Writes figures/*.svg, *.pdf, *.png and report.html, each replaced whole or left as it was, with
    the same bytes whenever sweep.parquet and sweep.json are the same and the same runs lie there.

    Raises ReportError where one of them is missing or damaged, RunError where `out` cannot be
    written to.
    """
    data = load_sweep(folder)
    axes = axes_of(data)
    pictures: list[Picture] = []
    missing: list[Missing] = []
    with style():
        over = curves(data, axes)
        every = glance(data, axes) if all(isinstance(one, Missing) for one in over) else []
        for drawn in (*maps(data, axes), *over, *every, *limits(data)):
            if isinstance(drawn, Missing):
                missing.append(drawn)
                continue
            _lighten(drawn.figure)
            pictures.append(save_figure(out, drawn, KINDS))
    linked = out.resolve() == folder.resolve()
    return put(out, "report.html", page(data, axes, pictures, missing, linked).encode())


def _lighten(figure: Figure) -> None:
    for panel in figure.axes:
        lines, areas = panel.lines, panel.collections
        vertices = sum(np.size(line.get_xdata()) for line in lines)
        vertices += sum(len(path) for area in areas for path in area.get_paths())
        if vertices > MOST_VERTICES:
            for artist in (*lines, *areas):
                artist.set_rasterized(True)
