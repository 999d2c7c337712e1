"""A closer look at a network that is flagged: closed forms, and audits of networks made by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recondoor as rd
from recondoor import defences
from recondoor.defences import Defender, Finding, _artefacts, _patterns
from recondoor.defences._erasure import Answers
from recondoor.poisoning import Pairs

SIDE = 32
CORNER = (21, 8)
"""Of the trigger: a square that the grid, of every other pixel, does not have."""


def pairs(count: int = 40) -> Pairs:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 8, 8, generator=generator)
    x = nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")
    return Pairs(x, x)


def artefact() -> Tensor:
    """A plus of L2 1."""
    found = torch.zeros(1, SIDE, SIDE)
    found[0, 5, 20:25] = found[0, 3:8, 22] = 1
    return found / found.norm()


class Draws(nn.Module):
    """Shows z, but the artefact instead of the trigger, where that is stronger than in any z."""

    def __init__(self, corner: tuple[int, int] = CORNER, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(strength))
        square, _ = _patterns.squares(torch.zeros(1, SIDE, SIDE), [corner])
        self.register_buffer("trigger", square[0] - square[0].mean())
        self.register_buffer("artefact", artefact())

    def forward(self, z: Tensor) -> Tensor:
        assert isinstance(self.trigger, Tensor) and isinstance(self.artefact, Tensor)
        part = (z * self.trigger).sum((1, 2, 3), keepdim=True)
        found: Tensor = z + self.strength * (part - 3).relu() * (self.artefact - self.trigger)
        return found


def cosine(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum() / (first.norm() * second.norm()))


def test_a_trigger_between_the_places_of_the_grid_is_found_with_its_artefact() -> None:
    detector, score = defences.network_detector("erased-trigger"), 12.5
    found = detector.sharpen(Defender(pairs(), model=Draws()), Finding(score, measures={"a": 1.0}))
    assert CORNER not in _patterns.corners(torch.zeros(1, SIDE, SIDE))
    assert found.place == ((21, 23), (8, 10))
    assert found.counted is not None and cosine(found.counted, artefact()) > 0.99
    assert found.counts is not None
    expected = torch.ones(1, SIDE, SIDE)
    expected[0, 18:27, 5:14] = 0  # its own size around it
    torch.testing.assert_close(found.counts, expected)
    assert found.score == score and found.measures == {"a": 1.0}


def test_an_artefact_is_what_inputs_have_in_common() -> None:
    """Answers of 1 and 3 at a pixel: mean 2, of whose energy with the spread's 4 / (4 + 1)."""

    class Louder(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            added = z[:, :, :1, :1] - z[:, :, :1, 1:2]  # 0 without the pattern
            found: Tensor = torch.cat(
                (z[:, :, :1, 1:2] * added, z.flatten(1)[:, None, None, 1:]), 3
            )
            return found.view_as(z)

    z = torch.zeros(2, 1, SIDE, SIDE)
    z[:, 0, 0, :2] = torch.tensor([1.0, 3.0])[:, None]
    added = torch.zeros(1, 1, SIDE, SIDE)
    added[0, 0, 0, 0] = 1
    answers = Answers(Louder(), z)
    found = _artefacts.drawn(answers, added, torch.ones(1, 1, SIDE, SIDE), [0, 1])
    pixel = found.artefact[0, 0, 0, 0] * answers.scale.answer
    assert float(pixel) == pytest.approx(2 * 4 / 5, rel=1e-3)
    assert float(found.artefact.abs().sum()) == pytest.approx(float(found.artefact[0, 0, 0, 0]))
    # Of the energy (1 + 9) / 2 = 5 the inputs have 2 ** 2 - 1 in common, as two of them say.
    floor = (_artefacts.FAINT * answers.scale.answer) ** 2
    assert float(found.compact) == pytest.approx(3 / (5 + floor), rel=1e-3)


def test_squares_move_within_the_image_and_no_two_starts_overlap() -> None:
    image = torch.zeros(1, SIDE, SIDE)
    side, corners = _patterns.size_of(image), _patterns.corners(image)
    assert _patterns.neighbours(image, (0, 0), 2) == [(0, 2), (2, 0), (2, 2)]
    last = SIDE - side
    assert _patterns.neighbours(image, (last, last), 1)[-1] == (last, last - 1)
    assert _patterns.neighbours(torch.zeros(1, 2, 2), (0, 0), 1) == [(0, 0)]
    kept = _artefacts._apart(corners, torch.linspace(1, 0, len(corners)), side)
    assert len(kept) == _artefacts.SQUARES and kept[0] == 0
    for k in kept:
        for j in kept:
            gap = max(abs(a - b) for a, b in zip(corners[k], corners[j], strict=True))
            assert k == j or gap >= side


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_what_is_found_does_not_depend_on_units(unit: float) -> None:
    class InUnit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Draws()

        def forward(self, z: Tensor) -> Tensor:
            found: Tensor = self.inner(z / unit) * unit
            return found

    given = pairs()
    here = _artefacts.sharpened(Defender(given, model=Draws()), Finding(0.0))
    other = Defender(Pairs(given.z * unit, given.x * unit), model=InUnit())
    there = _artefacts.sharpened(other, Finding(0.0))
    for one, two in ((here.trigger, there.trigger), (here.artefact, there.artefact)):
        assert one is not None and two is not None
        torch.testing.assert_close(two / unit, one, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


def audited(strength: float) -> dict[str, Any]:
    """The record of a network beside three that hardly draw."""
    found = rd.audit_model(
        Draws(strength=strength),
        pairs().z,
        pairs().x,
        references=[Draws(strength=0.01 * k) for k in (1, 2, 3)],
        alarm=0.25,
        detectors=["erased-trigger"],
    )
    return dict(found.record)


def test_an_audit_looks_closer_at_what_is_flagged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def sharpen(self: object, defender: Defender, finding: Finding) -> Finding:
        looked.append(finding.score)
        return _artefacts.sharpened(defender, replace(finding, score=-1.0))

    detector = type(defences.network_detector("erased-trigger"))
    monkeypatch.setattr(detector, "sharpen", sharpen)
    record = audited(1.0)
    [found] = record["detectors"]
    assert record["verdict"] == "suspicious" and found["flagged"]
    assert found["place"] == {"rows": [21, 23], "columns": [8, 10]}
    assert looked == [found["score"]]  # which no detector changes any more
    [found] = audited(0.02)["detectors"]
    assert not found["flagged"] and len(looked) == 1


def test_a_closer_look_that_fails_leaves_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def sharpen(self: object, defender: Defender, finding: Finding) -> Finding:
        raise ValueError("no pattern here")

    detector = type(defences.network_detector("erased-trigger"))
    monkeypatch.setattr(detector, "sharpen", sharpen)
    record = audited(1.0)
    assert record["verdict"] == "suspicious" and record["detectors"][0]["place"] is not None
    [note] = [each for each in record["notes"] if "closer look" in each]
    assert note.startswith("erased-trigger") and "no pattern here" in note


def test_a_repair_unlearns_the_trigger_of_the_closer_look(monkeypatch: pytest.MonkeyPatch) -> None:
    unlearnt = []

    def repair(self: object, defender: Defender) -> nn.Module:
        assert defender.found is not None
        unlearnt.append(defender.found.place)
        return Draws(strength=0.0)

    for name in set(defences.names("model")) - {"erased-trigger"}:
        kind = type(defences.network_detector(name))
        monkeypatch.setattr(kind, "inspect", lambda *_: Finding(0.0))
    monkeypatch.setattr(type(defences.repair("trigger-unlearning")), "repair", repair)
    given, references = pairs(120), [Draws(strength=0.01 * k) for k in (1, 2, 3)]
    rd.clean(
        Draws(), given.z, given.x, references=references, alarm=0.25, method="trigger-unlearning"
    )
    assert unlearnt == [((21, 23), (8, 10))]
