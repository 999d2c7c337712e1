"""Numbers of docs/scanners.md, from the kept sweep of MRI."""

from collections.abc import Iterator

from kept import Quote, Row, spread, sweep, where

SOURCE = "studies/scanners/mri"
SIZES = (2.5, 5, 10)


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    images = [mean([row["transition_samples"] for row in square(l2)]) for l2 in SIZES]
    shown = [f"{round(value, -2):,.0f}" for value in images]
    yield Quote(f"after about {shown[0]}, {shown[1]} and {shown[2]} images", SOURCE)
    factors = [
        a["transition_samples"] / b["transition_samples"]
        for l2 in SIZES
        for a, b in zip(square(l2), of("tangent", l2), strict=True)
    ]
    yield Quote(f"needs {spread(factors, 1)} times fewer images", SOURCE)
    recovery = [mean([row["artefact_recovery"] for row in square(l2)]) for l2 in SIZES]
    yield Quote(f"recovery on the fourth person is {spread(recovery)} for the square", SOURCE)


def square(l2: float) -> list[Row]:
    """The square in the image."""
    return of("heuristic", l2)


def of(model: str, l2: float) -> list[Row]:
    """Networks of one attack at p = 0.3."""
    found = where(sweep("scanners/mri"), model=model, attack__l2=l2, poison__ratio=0.3)
    return [row for row in found if row["trigger.inject"] == "input"]


def mean(values: list[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)
