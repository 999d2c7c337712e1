"""One false-alarm rate for all detectors that compare a network with references."""

import pytest
import torch
from torch import Tensor

from recondoor import defences
from recondoor.audit._networks._model import together

CLEAN = 19


def heavy(detectors: int, seed: int) -> Tensor:
    """Scores of clean networks by detectors that depend on each other, with heavy tails."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(detectors, CLEAN + 1, generator=generator, dtype=torch.float64)
    shared = torch.randn(CLEAN + 1, generator=generator, dtype=torch.float64)
    scale = 10.0 ** torch.arange(detectors, dtype=torch.float64)
    return scale[:, None] * (own + shared).exp()


def accused(scores: Tensor, alarm: float) -> int:
    """How many networks are flagged by any detector when each in turn is under suspicion."""
    order = torch.arange(scores.shape[1])
    turns = [torch.cat((order[order != k], order[k : k + 1])) for k in order]
    return sum(any(above for _, above in together(scores[:, turn], alarm)) for turn in turns)


@pytest.mark.parametrize("detectors", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_of_twenty_exchangeable_networks_one_is_accused(detectors: int, seed: int) -> None:
    """Exactly the asked rate, by counting: so the rate holds whatever the law of the scores is."""
    scores = heavy(detectors, seed)
    assert accused(scores, 0.05) == 1
    assert accused(scores, 0.1) == 2


@pytest.mark.parametrize("suspect", [-3.0, 0.5, 40.0])
def test_one_detector_has_the_quantile_of_its_own_scores(suspect: float) -> None:
    scores = torch.cat((heavy(1, 0)[:, :CLEAN], torch.tensor([[suspect]], dtype=torch.float64)), 1)
    ((limit, above),) = together(scores, 0.05)
    expected = defences.threshold(scores[0, :-1], 0.05)
    assert limit == pytest.approx(expected, rel=1e-12)
    assert above == (suspect > expected)


def test_equal_scores_accuse_nobody() -> None:
    equal = torch.full((2, CLEAN + 1), 0.3, dtype=torch.float64)
    assert not any(above for _, above in together(equal, 0.05))
    equal[1] = heavy(1, 1)[0]
    assert accused(equal, 0.05) == 1


def test_units_of_a_detector_do_not_matter() -> None:
    scores = heavy(2, 3)
    scores[0, -1] = 3 * scores[0].max()
    other = scores * torch.tensor([[1e-6], [1e3]], dtype=torch.float64) + 7
    assert [a for _, a in together(scores, 0.05)] == [a for _, a in together(other, 0.05)]
    assert [a for _, a in together(scores, 0.05)] == [True, False]
