"""Numbers of docs/speed.md: the prototype of recorded steps on one GPU."""

import json
from collections.abc import Iterator

from kept import STUDIES, Quote

SOURCE = "studies/gpu/prototype.json"
# Line of the page -> name in the file, where P stands for the precision.
LINES = {
    "eager, as on a CPU": "eager P nhwc narrow",
    "eager, plain last layer, PyTorch's layout": "eager P nchw plain",
    "recorded, plain last layer, PyTorch's layout": "graph P nchw plain",
    "recorded, plain last layer, channels last": "graph P nhwc plain",
    "recorded, as on a CPU": "graph P nhwc narrow",
    "16 recorded at once, as on a CPU": "16 graphs on streams, P nhwc narrow, all together",
}


def quotes() -> Iterator[Quote]:
    """Every line of the table."""
    found = json.loads((STUDIES / "gpu" / "prototype.json").read_text("utf-8"))
    for line, name in LINES.items():
        cells = [f"{found[name.replace('P', kind)]:,.0f}" for kind in ("fp32", "tf32")]
        yield Quote(f"| {line} | {' | '.join(cells)} |", SOURCE)
