"""Numbers of README.md."""

from collections.abc import Iterator

import when
from kept import RULE, Quote


def quotes() -> Iterator[Quote]:
    """From how few pairs both triggers are learnt in every seed."""
    shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
    least = min(p for p in shares if learnt("bilevel", p))
    most = max(p for p in shares if not learnt("heuristic", p))
    yield Quote(f"{100 * least:g} % in three seeds of three", when.RATIO)
    yield Quote(f"needs more than {100 * most:g} %", when.RATIO)


def learnt(model: str, share: float) -> bool:
    """Whether every seed has learnt it."""
    rows = when.ratio_rows(model, share)
    return all(RULE.learnt(row["artefact_recovery"]) is True for row in rows)
