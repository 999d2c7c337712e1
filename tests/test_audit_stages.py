"""A network is trained on pairs only where it can tell something; the level stays what it is."""

import numpy as np
import pytest
from torch import nn

from audit_kit import Array, leave_open, make, small_network
from recondoor import config
from recondoor.audit import Audit, Measured, Request, _judgement, audit_data
from recondoor.audit._judgement import Judged, suspicious
from recondoor.audit._pairs import _data
from recondoor.poisoning import Pairs

NETWORKS = {"activation-clustering", "loss-isolation", "spectral-signatures", "spectre"}
CHEAP = {"measurement-residual", "pixel-range", "range-test", "shared-pattern"}
OPERATOR = ["operator.name=gaussian", "operator.gaussian.ratio=0.5", "seed=3"]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each network was trained on, which here is an untrained one."""
    found: list[int] = []

    def train(pairs: Pairs, *_: object) -> nn.Module:
        found.append(len(pairs))
        return small_network("audit")

    monkeypatch.setattr(_data, "young_network", train)
    return found


def look(
    pairs: dict[str, Array],
    clean: dict[str, Array] | None = None,
    *,
    operator: bool = True,
    names: tuple[str, ...] | None = None,
) -> Audit:
    measured = Measured.by(config.load_config("quick", (), OPERATOR)) if operator else None
    given, trusted = (
        None if each is None else {"x": each["x"], "z": each["z"]} for each in (pairs, clean)
    )
    assert given is not None
    return audit_data(Request(given, measured, trusted, detectors=names))


def test_without_trusted_pairs_nothing_is_trained(trained: list[int]) -> None:
    """As no verdict rests on detectors that only rank."""
    for poisoned, verdict in ((0, "clean"), (30, "suspicious")):
        found = look(make(120, 1, poisoned=poisoned))
        assert found.verdict == verdict
        assert {each.name for each in found.judged} == CHEAP
        assert set(found.skipped) == NETWORKS
        for why in found.skipped.values():
            assert "only ranks" in why and "--detectors asks for it" in why
    assert trained == []


@pytest.mark.parametrize(("poisoned", "verdict"), [(0, "clean"), (30, "suspicious")])
def test_nothing_is_trained_where_the_cheap_ones_decide(
    poisoned: int, verdict: str, trained: list[int]
) -> None:
    found = look(make(120, 1, poisoned=poisoned), make(150, 2))
    assert found.verdict == verdict and trained == []
    assert {each.name for each in found.judged} == CHEAP
    for name in NETWORKS:
        assert f"the verdict is {verdict.upper()} without it" in found.skipped[name]


def test_a_network_is_trained_where_the_verdict_is_open(
    trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_open(monkeypatch)
    found = look(make(120, 1), make(150, 2), operator=False)
    assert found.verdict == "undecided" and trained == [270]
    names = [each.name for each in found.judged]
    assert set(names) >= NETWORKS and names == sorted(names)
    assert NETWORKS.isdisjoint(found.skipped)


def test_a_network_is_trained_where_it_is_asked_for(trained: list[int]) -> None:
    found = look(make(120, 1), names=("range-test", "spectre"))
    assert [each.name for each in found.judged] == ["range-test", "spectre"]
    assert trained == [120] and found.verdict == "clean"


def counted(p_value: float) -> Judged:
    return Judged(
        name="range-test",
        scores=np.zeros(3),
        threshold=1.0,
        basis="law",
        expected=0.1,
        p_value=p_value,
        least=0.0,
        seconds=0.0,
    )


def test_the_level_is_split_over_tests_that_wait_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three tests of clean pairs, and four more where those find nothing: 1 - (1 - a/7)^7."""
    level, draws = 0.1, 4_000
    monkeypatch.setattr(_judgement, "LEVEL", level)
    p = np.random.default_rng(2).uniform(size=(draws, 7))

    def accused(row: np.ndarray[tuple[int], np.dtype[np.float64]], waiting: int) -> bool:
        first = [counted(float(value)) for value in row[:3]]
        rest = [counted(float(value)) for value in row[3:]]
        return suspicious(first, waiting) or suspicious([*first, *rest])

    split, unsplit = (np.mean([accused(row, waiting) for row in p]) for waiting in (4, 0))
    sure = 4 * (level / draws) ** 0.5
    assert split == pytest.approx(1 - (1 - level / 7) ** 7, abs=sure) and split <= level + sure
    assert unsplit > level + sure
