"""Statistics over seeds: against closed forms, SciPy, textbook examples and simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recondoor.evaluation.statistics import (
    SuccessRule,
    hedges,
    holm,
    mean_interval,
    paired,
    sign_flip,
)

DARWIN = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
finite = st.floats(-1e3, 1e3).map(lambda value: round(value, 6))


def seeds(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


# Intervals


def test_no_interval_without_a_second_value() -> None:
    only = mean_interval([0.25])
    assert (only.mean, only.low, only.high, only.n) == (0.25, None, None, 1)
    assert only.half_width is None
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


@pytest.mark.parametrize("n", [2, 5, 40])
def test_interval_is_that_of_scipys_t_for_every_n(n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    found = mean_interval(list(values))
    theirs = stats.t.interval(0.95, n - 1, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(theirs, abs=1e-12)
    test = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((test.low, test.high), abs=1e-12)


@given(st.lists(finite, min_size=2, max_size=8), finite)
def test_an_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    found, moved = mean_interval(values), mean_interval([shift - value for value in values])
    mirrored = (shift - found.high, shift - found.low)  # type: ignore[operator]
    assert (moved.low, moved.high) == pytest.approx(mirrored, abs=1e-6)


def test_the_same_values_have_the_same_interval() -> None:
    values = list(np.random.default_rng(0).normal(size=12))
    assert mean_interval(values) == mean_interval(values)


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_few_seeds_are_covered_as_often_as_the_level_says(n: int) -> None:
    """Of normal data, where a bootstrap interval of two or three seeds covers half or 3/4."""
    generator = np.random.default_rng(n)
    hits = 0
    for _ in range(1500):
        found = mean_interval(list(generator.normal(size=n)))
        assert found.low is not None and found.high is not None
        hits += found.low <= 0 <= found.high
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)


# Paired tests


def test_t_test_agrees_with_scipy() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 7))
    found = paired(seeds(list(a)), seeds(list(b)))
    assert found is not None
    assert found.t == pytest.approx(float(stats.ttest_rel(a, b).pvalue), rel=1e-10)
    assert found.difference.mean == pytest.approx(float(np.mean(a - b)))


def test_sign_flips_of_fishers_example() -> None:
    # Design of Experiments, section 21: 863 of 32,768 sums are 314 or more in one direction.
    assert sign_flip(DARWIN) == pytest.approx(2 * 863 / 32_768)


def test_sign_flips_agree_with_scipy() -> None:
    d = np.random.default_rng(2).normal(0.4, 1, size=9)
    zero = np.zeros_like(d)
    theirs = stats.permutation_test(
        (d, zero), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(d) == pytest.approx(float(theirs.pvalue))


def test_five_seeds_cannot_go_below_a_sixteenth() -> None:
    assert sign_flip([1.0, 2, 3, 4, 5]) == 1 / 16


def test_many_drawn_flips_come_near_the_t_test() -> None:
    d = np.random.default_rng(6).normal(0.4, 1, size=30)
    assert sign_flip(d) == pytest.approx(float(stats.ttest_1samp(d, 0).pvalue), abs=0.015)
    assert sign_flip(d + 10) == pytest.approx(2 / 10_001)


def test_effect_size_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard deviation 1; the exact factor for 2 is 1/sqrt(pi).
    found = paired(seeds([2, 4, 6]), seeds([1, 2, 3]))
    assert found is not None
    assert found.effect == pytest.approx(2 / np.sqrt(np.pi))
    # An effect has no unit.
    larger = paired(seeds([20, 40, 60]), seeds([10, 20, 30]))
    assert larger is not None
    assert larger.effect == pytest.approx(2 / np.sqrt(np.pi))


@pytest.mark.parametrize("df", [3, 4, 9, 60])
def test_hedges_factor_is_near_its_approximation(df: int) -> None:
    assert hedges(df) == pytest.approx(1 - 3 / (4 * df - 1), abs=0.004)


def test_only_shared_seeds_count() -> None:
    found = paired({0: 1.0, 1: 2.0, 5: 9.0}, {1: 0.5, 0: 1.0, 7: 3.0})
    assert found is not None
    assert (found.difference.n, found.difference.mean) == (2, 0.75)
    assert found.effect is None
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_what_is_undefined_is_none() -> None:
    same = paired(seeds([0.3, 0.7, 0.9]), seeds([0.2, 0.6, 0.8]))
    assert same is not None
    assert (same.t, same.effect, same.sign_flip) == (None, None, 0.25)
    single = paired({0: 1.0}, {0: 2.0})
    assert single is not None
    assert (single.t, single.effect, single.sign_flip) == (None, None, None)


# Holm


def test_holm_by_a_textbook_example() -> None:
    # Four hypotheses, as on the method's page in many courses: 0.005 x 4, 0.01 x 3, 0.03 x 2.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_is_undefined() -> None:
    assert holm([None, 0.02, None, 0.9]) == [None, 0.04, None, 0.9]
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_step_by_step(p: list[float]) -> None:
    """Holm's own words: go up the ordered p values until p exceeds alpha / (m - k + 1)."""
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, at in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[at] * (len(p) - rank) > alpha:
                break
            rejected.add(at)
        adjusted = holm(list(p))
        assert {i for i, q in enumerate(adjusted) if q is not None and q <= alpha} == rejected


# Success


@pytest.mark.parametrize(
    ("recovery", "asr", "benign", "original", "success"),
    [
        (0.9, 0.9, 0.11, 0.1, True),
        (0.9, 1.0, 0.05, 0.1, True),
        (0.9, 0.89, 0.1, 0.1, False),
        (0.9, 1.0, 0.12, 0.1, False),
        (0.9, 1.0, 0.1, None, None),
        (0.9, 0.5, 0.1, None, False),
        (0.9, None, 0.1, 0.1, None),
        (0.9, None, 0.2, 0.1, False),
        # A hedge at a large p, or an artefact below tau: the ASR is there, the backdoor is not.
        (0.0, 1.0, 0.1, 0.1, False),
        (0.5, 1.0, 0.1, 0.1, False),
        (None, 1.0, 0.1, 0.1, None),
        (None, 0.5, 0.1, 0.1, False),
        (0.9, 1.0, None, 0.1, None),
    ],
)
def test_the_rule_of_success(
    recovery: float | None,
    asr: float | None,
    benign: float | None,
    original: float | None,
    success: bool | None,
) -> None:
    assert SuccessRule()(recovery, asr, benign, original) is success


def test_thresholds_of_the_rule() -> None:
    assert SuccessRule(asr=0.5)(0.9, 0.6, 0.1, 0.1) is True
    assert SuccessRule(benign=0.5)(0.9, 0.95, 0.14, 0.1) is True
    assert SuccessRule(benign=0.0)(0.9, 0.95, 0.1, 0.1) is True
    assert SuccessRule(transition=0.3)(0.4, 0.95, 0.1, 0.1) is True


def test_the_rule_of_settings_that_lack_some() -> None:
    assert SuccessRule.of({}) == SuccessRule(0.9, 0.1, 0.5)
    given = {"transition": 0.7, "success_asr": 0.5, "success_benign": None, "tau": 0.2}
    assert SuccessRule.of(given) == SuccessRule(0.5, 0.1, 0.7)


# Values without a spread, or without a value


def test_values_that_are_all_the_same_have_an_interval_of_no_width() -> None:
    # The mean of three times 0.1 is not 0.1 in floating point.
    for n in (2, 3, 7):
        found = mean_interval([0.1] * n)
        assert (found.mean, found.low, found.high, found.n) == (0.1, 0.1, 0.1, n)
        assert found.half_width == 0


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_no_number_is_in_no_mean(odd: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        mean_interval([0.1, odd, 0.3])
    with pytest.raises(ValueError, match="NaN or infinite"):
        paired({0: 1.0, 1: odd}, {0: 0.5, 1: 0.5})
