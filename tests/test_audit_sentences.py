"""Sentences about pairs that are flagged, where numbers are at their ends."""

from typing import Any

import pytest

from recondoor.report._audit._sentences import headline, probability


@pytest.mark.parametrize(
    ("p_value", "expected", "text"),
    [
        (0.0, 3.11, "< 1e-12"),  # a sum that rounding leaves nothing of is no impossibility
        (3.8e-95, 5.0, "< 1e-12"),
        (0.0, 0.0, "= 0"),  # nothing clean is ever flagged
        (0.0204, 5.0, "= 0.02"),
        (1.0, 0.0, "= 1"),
    ],
)
def test_a_p_value_has_no_digits_that_rounding_made(
    p_value: float, expected: float, text: str
) -> None:
    assert probability({"p_value": p_value, "expected": expected}) == text


@pytest.mark.parametrize(
    ("expected", "end"), [(0.0, "where no clean one is"), (3.11, "where 3.11 would be by chance")]
)
def test_the_headline_says_what_chance_would_give(expected: float, end: str) -> None:
    each: dict[str, Any] = {"name": "a", "flagged": 25, "expected": expected, "p_value": 0.0}
    record = {"kind": "data", "verdict": "suspicious", "pairs": {"count": 500}, "detectors": [each]}
    assert headline(record) == f"SUSPICIOUS: 25 of 500 pairs are flagged by a, {end}"
