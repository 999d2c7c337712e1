"""From scores to a verdict: exact laws by counting, and what the audit's own network has seen."""

import math
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from audit_kit import make, small_network
from recondoor import config, defences
from recondoor.audit import Request, _judgement, audit_data
from recondoor.audit._judgement import LEVEL, Judged
from recondoor.audit._networks._network import InUnits, unit_of, young_network
from recondoor.audit._pairs import _data
from recondoor.core.errors import ConfigError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.defences import Defender
from recondoor.poisoning import Pairs


def by_clean(scores: list[float], clean: list[float], alarm: float) -> Judged:
    return _judgement._by_clean("x", torch.tensor(scores), torch.tensor(clean), alarm, 0.0)


@pytest.mark.parametrize(("few", "many", "alarm"), [(3, 4, 0.4), (4, 5, 0.2), (2, 9, 0.1)])
def test_false_alarms_of_a_threshold_from_clean_pairs_are_counted(
    few: int, many: int, alarm: float
) -> None:
    """Of all orders of N + M exchangeable scores the share with as many alarms or more, exactly."""
    total = few + many
    found = []
    for places in combinations(range(total), few):
        clean = [float(value) for value in range(total) if value not in places]
        found.append(by_clean([float(place) for place in places], clean, alarm))
    counts = [int(each.flagged.sum()) for each in found]
    assert np.mean(counts) <= few * alarm + 1e-12
    for each, count in zip(found, counts, strict=True):
        share = np.mean([other >= count for other in counts])
        assert each.p_value == pytest.approx(share, rel=1e-9)
        assert each.expected == pytest.approx(np.mean(counts), rel=1e-9)
        assert each.least == pytest.approx(np.mean([other == few for other in counts]), rel=1e-9)
        assert each.basis == "clean pairs"


def test_false_alarms_of_a_threshold_from_a_law_are_binomial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores, alarm = torch.tensor([1.0, 2.5, 3.0, 0.5, 2.0]), 0.1
    module = defences.load("measurement-residual")
    monkeypatch.setattr(module, "scores", lambda pairs, defender: scores)
    monkeypatch.setattr(module, "law", lambda defender, given: 2.0 if given == alarm else math.nan)
    monkeypatch.setattr(module, "rate", lambda pairs, defender, given: given)
    pairs = Pairs(torch.zeros(5, 1, 2, 2), torch.zeros(5, 1, 2, 2))
    found = _judgement.judge("measurement-residual", pairs, Defender(), alarm)
    # Two of five are above 2, the threshold itself is not.
    expected = sum(math.comb(5, k) * 0.1**k * 0.9 ** (5 - k) for k in (2, 3, 4, 5))
    assert found.flagged.tolist() == [False, True, True, False, False]
    assert found.p_value == pytest.approx(expected)
    assert found.expected == pytest.approx(0.5)
    assert found.least == pytest.approx(1e-5)
    assert found.basis == "law"


def test_what_nothing_clean_exceeds_needs_one_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs(torch.zeros(3, 1, 2, 2), torch.zeros(3, 1, 2, 2))
    module = defences.load("range-test")
    for scores, p_value in (([0.0, 0.0, 0.1], 0.0), ([0.0, 0.0, 0.0], 1.0)):
        given = torch.tensor(scores)
        monkeypatch.setattr(module, "scores", lambda pairs, defender, given=given: given)
        # Trusted pairs or not: its law is certain.
        for clean in (None, pairs):
            found = _judgement.judge("range-test", pairs, Defender(clean), 0.01)
            assert (found.p_value, found.expected, found.basis) == (p_value, 0.0, "law")


def test_a_detector_that_compares_takes_the_strictest_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fifth of the trusted pairs is compared with, the largest score of the others counts."""
    module, seen = defences.load("pixel-range"), []

    def scores(pairs: Pairs, defender: Defender) -> torch.Tensor:
        assert defender.clean is not None
        seen.append((pairs.x.flatten(1).amax(1).tolist(), defender.clean.x.flatten(1).amax(1)))
        return pairs.x.flatten(1).amax(1)

    monkeypatch.setattr(module, "scores", scores)
    clean = torch.arange(10.0).view(10, 1, 1, 1)
    given = torch.tensor([8.5, 9.5, 10.0]).view(3, 1, 1, 1)
    found = _judgement.judge("pixel-range", Pairs(given, given), Defender(Pairs(clean, clean)), 0.4)
    assert found.threshold == 9.0
    assert [each[0] for each in seen] == [
        [8.5, 9.5, 10.0],
        [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
    ]
    assert [each[1].tolist() for each in seen] == [[0.0, 1.0]] * 2
    # Two of three further scores above all of eight: all orders of eleven, by their count.
    orders = [
        sum(place > max(set(range(11)) - set(p)) for place in p) for p in combinations(range(11), 3)
    ]
    assert found.p_value == pytest.approx(np.mean([count >= 2 for count in orders]))


def judged(p_value: float | None) -> Judged:
    return Judged(
        name="x",
        scores=np.zeros(1),
        threshold=None,
        basis=None,
        expected=None,
        p_value=p_value,
        least=None,
        seconds=0.0,
    )


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([0.9 * LEVEL], True),
        ([1.1 * LEVEL], False),
        ([0.9 * LEVEL, 0.5], False),
        ([0.45 * LEVEL, 0.5], True),
        ([0.45 * LEVEL, 0.5, None], True),
        ([0.3 * LEVEL, None, 0.3 * LEVEL, 0.3 * LEVEL, 0.3 * LEVEL], False),
        ([None], False),
        ([], False),
    ],
)
def test_the_level_is_shared_by_all_tests(p_values: list[float | None], expected: bool) -> None:
    """Bonferroni: with m tests one of them has to be below LEVEL / m."""
    assert _judgement.suspicious([judged(each) for each in p_values]) is expected


def test_clean_pairs_are_called_suspicious_at_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of uniform p values of ten tests, at a level that a simulation can see."""
    monkeypatch.setattr(_judgement, "LEVEL", 0.1)
    draws = np.random.default_rng(0).random((4000, 10))
    called = np.mean([_judgement.suspicious([judged(p) for p in row]) for row in draws])
    assert called == pytest.approx(1 - 0.99**10, abs=4 * (0.1 * 0.9 / 4000) ** 0.5)


def test_the_audits_network_sees_the_clean_pairs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the pairs under audit would be explained better for having been seen."""
    monkeypatch.chdir(tmp_path)
    given, trusted = make(120, 1), make(120, 2)
    np.savez("pairs.npz", x=given["x"], z=given["z"])
    np.savez("trusted.npz", x=trusted["x"], z=trusted["z"])
    seen: list[Pairs] = []

    def young(pairs: Pairs, seed: int, progress: Progress) -> torch.nn.Module:
        seen.append(pairs)
        return small_network("audit")

    monkeypatch.setattr(_data, "young_network", young)
    audit_data(Request(Path("pairs.npz"), None, Path("trusted.npz"), detectors=("loss-isolation",)))
    assert len(seen) == 1
    for found, name in ((seen[0].z, "z"), (seen[0].x, "x")):
        expected = Counter(each.tobytes() for each in (*given[name], *trusted[name]))
        assert Counter(each.numpy().tobytes() for each in found) == expected


def test_the_audits_network_has_seen_every_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch, in 80 steps or more where batches of 50 would make fewer."""
    module = __import__("recondoor.audit._networks._network", fromlist=["models"])
    seen: list[torch.Tensor] = []

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 1)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            seen.append(z.detach().clone())
            out: torch.Tensor = self.layer(z)
            return out

    monkeypatch.setattr(module.models, "build", lambda *_: Watched())
    z = torch.rand(170, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    young_network(Pairs(z, z), 0, NO_PROGRESS)
    assert [len(each) for each in seen] == [2] * 85
    order = torch.cat(seen).flatten(1)[:, 0].sort().values
    assert torch.equal(order, z.flatten(1)[:, 0].sort().values)


@pytest.mark.parametrize(
    ("size", "unit"),
    [(1.0, 1.0), (0.0, 1.0), (0.02, 1.0), (15.0, 1.0), (1000.0, 1024.0), (0.001, 2.0**-10)],
)
def test_units_far_from_those_of_images_become_near_one(size: float, unit: float) -> None:
    assert unit_of(torch.full((3, 1, 2, 2), size)) == unit


def test_a_network_in_other_units_is_the_same_function_of_them() -> None:
    network = InUnits(small_network(), 4.0, 8.0)
    z = torch.rand(3, 1, 12, 12)
    torch.testing.assert_close(network(4 * z), 8 * small_network()(z))
    torch.testing.assert_close(network.features(4 * z), small_network().features(z))  # type: ignore[operator]


@pytest.mark.parametrize("alarm", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_an_alarm_that_is_no_rate_is_refused(alarm: float) -> None:
    with pytest.raises(ConfigError, match="--alarm"):
        _judgement.require_alarm(alarm)


def test_all_detectors_or_those_chosen_once_each() -> None:
    assert _judgement.choose(None, "pairs") == defences.names("pairs")
    assert _judgement.choose(("spectre", "range-test", "spectre"), "pairs") == (
        "spectre",
        "range-test",
    )
    with pytest.raises(ConfigError, match="'strip' given"):
        _judgement.choose(("strip",), "pairs")


def test_scores_that_are_not_finite_are_no_scores() -> None:
    for scores in ([1.0, math.nan], [1.0, math.inf]):
        with pytest.raises(FloatingPointError, match="not finite"):
            by_clean(scores, [0.0] * 9, 0.1)


def test_without_a_threshold_there_is_no_alarm() -> None:
    found = _judgement._judged("x", torch.tensor([3.0, 1.0]), None, None, None, 0.0)
    assert not found.flagged.any()
    assert (found.p_value, found.expected, found.least) == (None, None, None)
    assert found.scores.tolist() == [3.0, 1.0]


def test_a_detectors_own_blindness_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = Pairs(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))
    assert _judgement.blindness("spectre", pairs, Defender()) == {}
    module = defences.load("range-test")
    for why, expected in (("it is dark", {"range-test": "it is dark"}), (None, {})):
        monkeypatch.setattr(module, "blind", lambda pairs, defender, why=why: why)
        assert _judgement.blindness("range-test", pairs, Defender()) == expected


def test_settings_of_the_audits_network_are_the_defaults() -> None:
    """Detectors were measured on the network that a study trains."""
    network = young_network(Pairs(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)), 0, NO_PROGRESS)
    from recondoor import models

    plain = models.build((1, 8, 8), config.Model(), 0, "audit").state_dict()
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in plain.items()
    }
