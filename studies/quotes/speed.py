"""Numbers of docs/speed.md: steps, studies and a trigger on one GPU, and a prototype's steps."""

import json
from collections.abc import Iterator

from kept import STUDIES, Quote

OWN, PROTOTYPE = "studies/gpu/h200.json", "studies/gpu/prototype.json"
# Line of the page -> name in the file.
STEPS = {
    "eager": "step, eager",
    "recorded, PyTorch's layout": "step, recorded, float32",
    "recorded, channels last": "step, recorded, tf32",
    "16 recorded at once, channels last": "16 together, tf32",
}
WHOLE = {
    "20 at once, TF32": "study of 20 networks, 20 together, tf32",
    "one by one, TF32": "study of 20 networks, 1 together, tf32",
    "20 at once, float32": "study of 20 networks, 20 together, float32",
}


def quotes() -> Iterator[Quote]:
    """Every line of the tables, and what stands beside them."""
    own = json.loads((STUDIES.parent / OWN).read_text("utf-8"))
    rates = {line: own[name]["found"]["samples_per_s"] for line, name in STEPS.items()}
    for line, rate in rates.items():
        ratio = "1" if line == "eager" else f"{rate / rates['eager']:.2f}"
        yield Quote(f"| {line} | {rate:,} | {ratio} |", OWN)
    for line, name in WHOLE.items():
        yield Quote(f"| {line} | {own[name]['found']['seconds']} |", OWN)
    trigger = own["BLO trigger"]["found"]
    text = f"A BLO trigger of {trigger['iterations']} iterations took {trigger['seconds']} s"
    yield Quote(text, OWN)
    found = json.loads((STUDIES.parent / PROTOTYPE).read_text("utf-8"))
    one = found["graph tf32 nhwc narrow"]
    many = found["16 graphs on streams, tf32 nhwc narrow, all together"]
    yield Quote(f"{one:,.0f} recorded and {many:,.0f} for 16 at once", PROTOTYPE)
