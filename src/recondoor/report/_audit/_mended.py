"""The page of a repair: what it changed, in numbers and pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.core import caller
from recondoor.report._audit._figures import panels
from recondoor.report._html import Picture, fill
from recondoor.report._style import Drawing, render, style

Arrays = Mapping[str, NDArray[Any]]

HEADINGS = {
    "x": "$x$\nclean image",
    "z": "$z$\ninput",
    "before": "before",
    "after": "after",
    "before, with the trigger": "before,\nwith trigger",
    "after, with the trigger": "after,\nwith trigger",
}


@caller.as_found()
def mended_page(record: Mapping[str, Any], pictures: Arrays) -> bytes:
    """The page of a repair that changed something, as one file."""
    with style():
        drawn = _drawing(pictures)
        picture = Picture(drawn, render(drawn.figure, ("svg",))["svg"].decode())
    return fill("mended.html.j2", {"record": record, "pictures": [picture]}).encode()


def _drawing(pictures: Arrays) -> Drawing:
    columns: list[tuple[str, NDArray[np.float32], bool]] = [
        (heading, pictures[name], False) for name, heading in HEADINGS.items() if name in pictures
    ]
    labels = [f"pair {k}" for k in range(len(pictures["x"]))]
    caption = (
        "Clean inputs that the repair did not see, and what the network makes of them before and "
        "after it. With the trigger: the one that was confirmed, or the true one of a run."
    )
    alt = f"{len(labels)} rows of reconstructions before and after the repair."
    return Drawing("mended", "Before and after", panels(columns, labels), caption, alt)
