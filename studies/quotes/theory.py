"""Numbers of docs/theory.md."""

from collections.abc import Iterator

from kept import Quote, script
from when import THEORY, chosen


def quotes() -> Iterator[Quote]:
    """What four networks are worth, and what they cost."""
    fitting, scoring = script("when/fitting.py"), script("when/scoring.py")
    rows = fitting.networks()
    one, four = (area(fitting, scoring, rows, name) for name in ("2 steps, 1 networks", chosen()))
    yield Quote(f"an area of {one:.3f} instead of {four:.3f}", THEORY)
    yield Quote(
        f"less than {100 * script('when/fit.py').AFFORDABLE / 16000:.0f} % of the shortest", THEORY
    )


def area(fitting: object, scoring: object, rows: list[dict[str, object]], choice: str) -> float:
    """Area under the ROC curve on sweeps that were not seen."""
    order, asked, scores = scoring.left_out(rows, choice)
    return float(scoring.auc(asked, scores["theory"])(list(range(len(order)))))
