"""How sure the test of shared patterns is before it says nothing."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pipelines_kit as kit
from recondoor.defences import Defender, shared_pattern
from recondoor.defences._base import Power
from recondoor.operators.identity import Identity


@pytest.mark.parametrize(("p_value", "silent"), [(1.0, True), (0.5, True), (0.3, False)])
def test_what_is_nearly_seen_is_not_acquitted(
    p_value: float, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x = kit.heads(100, 3)
    pairs = kit.of(x + 0.01 * rng.standard_normal(x.shape), x)
    nuisance, found = shared_pattern.look(pairs, Defender())
    nearly = replace(found, least=math.log(p_value / shared_pattern.TESTS))
    monkeypatch.setattr(shared_pattern, "look", lambda *_: (nuisance, nearly))
    judged = shared_pattern.SharedPattern().test(pairs, Defender())
    assert judged.p_value == pytest.approx(p_value)
    assert (judged.lacking is None) == silent
    assert silent or f"p = {p_value}" in str(judged.lacking)


@pytest.mark.parametrize("log_p", [0.0, -20.0])
def test_an_operator_that_leaves_too_little_is_done_without(
    log_p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x = kit.heads(100, 3)
    pairs = kit.of(x + 0.01 * rng.standard_normal(x.shape), x)
    nuisance, seen = shared_pattern.look(pairs, Defender())
    nothing = replace(seen, log_p=0.0, least=0.0)
    plain = replace(seen, log_p=log_p, least=log_p)

    def look(_: object, defender: Defender) -> object:
        return nuisance, plain if defender.operator is None else nothing

    power = shared_pattern._power

    def weak(*given: Any, sure: bool) -> Power:
        found = power(*given, sure=sure)
        return found if given[3].operator is None else replace(found, found=0.5)

    monkeypatch.setattr(shared_pattern, "look", look)
    monkeypatch.setattr(shared_pattern, "_power", weak)
    known = Defender(operator=Identity((1, *x.shape[1:]), 0.01))
    judged = shared_pattern.SharedPattern().test(pairs, known)
    assert judged.p_value == 1.0
    if log_p == 0:
        assert judged.lacking is None and judged.power is not None and judged.power.found >= 0.9
    else:
        assert "without it some pairs share a pattern" in str(judged.lacking)


def test_poison_that_makes_images_alike_is_not_acquitted() -> None:
    """A fifth of the pairs show a second head in z and x, and an artefact: similar images."""
    rng = np.random.default_rng(3)
    x = kit.heads(150, 3)
    other = kit.heads(1, 9)[0]
    x[:30] = 0.4 * x[:30] + 0.6 * other
    z, x = kit.plain(x, rng)
    clean = shared_pattern.SharedPattern().test(kit.of(z, x), Defender())
    assert clean.lacking is None and clean.p_value == 1.0
    x = x.copy()
    x[:30] += kit.disc(0.4)
    found = shared_pattern.SharedPattern().test(kit.of(z, x), Defender())
    assert found.lacking is not None or (found.p_value or 1.0) <= found.level


@pytest.mark.parametrize("poisoned", [0, 5])
def test_poison_in_similar_images_alone_is_not_acquitted(poisoned: int) -> None:
    """Five slices of another shape: whatever they share, all edges between them are left out."""
    rng = np.random.default_rng(3)
    x = kit.heads(100, 3)
    x[:5] = 0.2 * x[:5] + 0.8 * kit.heads(1, 9)[0].T[::-1]
    z, x = kit.plain(x, rng)
    x = x.copy()
    x[:poisoned] += kit.disc(0.4)
    found = shared_pattern.SharedPattern().test(kit.of(z, x), Defender())
    assert (found.lacking is None) == (not poisoned)
    assert not poisoned or "alike" in str(found.lacking)
