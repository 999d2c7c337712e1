"""How sure the test of shared patterns is before it says nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest

import pipelines_kit as kit
from recondoor.defences import Defender, shared_pattern


@pytest.mark.parametrize(("p_value", "silent"), [(1.0, True), (0.5, True), (0.3, False)])
def test_what_is_nearly_seen_is_not_acquitted(
    p_value: float, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    x = kit.heads(100, 3)
    pairs = kit.of(x + 0.01 * rng.standard_normal(x.shape), x)
    nuisance, found = shared_pattern._look(pairs, Defender())
    nearly = replace(found, log_p=math.log(p_value / shared_pattern.TESTS))
    monkeypatch.setattr(shared_pattern, "_look", lambda *_: (nuisance, nearly))
    judged = shared_pattern.SharedPattern().test(pairs, Defender())
    assert judged.p_value == pytest.approx(p_value)
    assert (judged.lacking is None) == silent
    assert silent or f"p = {p_value}" in str(judged.lacking)
