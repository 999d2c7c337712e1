"""Means of values that are known by bounds: Student's where none is; brute force; simulation."""

import numpy as np
import pytest
from scipy import stats

from recondoor.evaluation.censored import censored_interval
from recondoor.evaluation.statistics import mean_interval

OPEN = float("inf")
VALUES = [0.3, 1.2, -0.4, 0.9, 2.0]


def test_without_a_bound_it_is_students_interval() -> None:
    found, known = censored_interval(VALUES, VALUES), mean_interval(VALUES)
    assert (found.n, found.exact) == (5, 5)
    assert [found.mean, found.low, found.high] == pytest.approx([known.mean, known.low, known.high])


def test_the_mean_is_that_of_largest_likelihood() -> None:
    """On a grid of means and spreads, with SciPy's own normal law."""
    low, high = [0.3, 1.2, -OPEN, 0.9, 1.5], [0.3, 1.2, -0.1, 0.9, OPEN]
    mean, spread = (
        axis[..., None] for axis in np.meshgrid(np.linspace(-2, 4, 401), np.linspace(0.2, 5, 241))
    )
    a, b = np.array(low), np.array(high)
    known = a == b
    law = stats.norm(mean, spread)
    mass = np.where(known, law.pdf(a), law.cdf(b) - law.cdf(a))
    likelihood = np.log(np.maximum(mass, 1e-300)).sum(-1)
    best = np.unravel_index(likelihood.argmax(), likelihood.shape)
    found = censored_interval(low, high)
    assert found.mean == pytest.approx(float(mean[best][0]), abs=0.016)
    profile = likelihood.max(0)
    fall = 5 / 2 * np.log1p(stats.t.ppf(0.975, 4) ** 2 / 4)
    inside = np.linspace(-2, 4, 401)[profile >= profile.max() - fall]
    assert found.low == pytest.approx(inside[0], abs=0.016)
    assert found.high == pytest.approx(inside[-1], abs=0.016)


def test_bounds_on_one_side_alone_give_no_mean_and_one_end() -> None:
    found = censored_interval([1.0, 1.2, 1.1], [OPEN] * 3)
    assert (found.mean, found.high, found.exact) == (None, None, 0)
    assert found.low == mean_interval([1.0, 1.2, 1.1]).low


def test_one_known_value_that_all_bounds_allow_tells_no_spread() -> None:
    found = censored_interval([1.0, 0.5, 0.7], [1.0, OPEN, OPEN])
    assert found.mean is None and found.high is None


def test_a_value_without_any_bound_says_nothing() -> None:
    assert censored_interval([*VALUES, -OPEN], [*VALUES, OPEN]) == censored_interval(VALUES, VALUES)


@pytest.mark.parametrize(
    ("low", "high"), [([2.0], [1.0]), ([float("nan")], [1.0]), ([-OPEN], [OPEN])]
)
def test_what_is_no_bound_is_refused(low: list[float], high: list[float]) -> None:
    with pytest.raises(ValueError, match="value"):
        censored_interval(low, high)


def test_it_covers_as_often_as_it_says() -> None:
    """Of five normal values those above -0.3 are cut; with the cut taken as a value it is 0.29."""
    rng = np.random.default_rng(1)
    hits = 0
    for values in rng.normal(size=(100, 5)):
        found = censored_interval(np.minimum(values, -0.3), np.where(values > -0.3, OPEN, values))
        low = -OPEN if found.low is None else found.low
        hits += low <= 0 <= (OPEN if found.high is None else found.high)
    assert 0.9 <= hits / 100 <= 0.99
