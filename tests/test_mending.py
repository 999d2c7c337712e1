"""Repairs: a planted backdoor falls and clean inputs stay; single steps against closed forms."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planted import Backdoored, artefact, error, pairs, physics, recovery, trigger
from recondoor import defences
from recondoor.core import seeding
from recondoor.defences import (
    Defender,
    Finding,
    _triggers,
    _unlearning,
    fine_tuning,
    min_max,
    neuron_pruning,
    trigger_unlearning,
)
from recondoor.poisoning import Pairs

SLEEPING = 1.0, 3.6, 1
"""Strength, threshold and channels: a patch so bright is in no clean input."""

WAKING = 0.1, 1.2, 1
"""Asleep as well, and no trigger has to be much stronger than a clean input."""

LEAKING = 0.02, 0.0, 4
"""Every patch is answered a little: clean inputs show it, bright triggers draw the artefact."""

HARMFUL = 0.2, 0.0, 2
"""So much answered that clean inputs are better off without."""

LINEAR = 0.02, 0.0, 8, 1e6
"""The same in a network whose honest answer has no bound, which min-max takes for granted."""

CASES: dict[str, tuple[tuple[float, ...], float]] = {
    "fine-tuning": (LEAKING, 50.0),
    "fine-pruning": (SLEEPING, 4.0),
    "neuron-pruning": (HARMFUL, 5.0),
    "pattern-unlearning": (WAKING, 4.0),
    "side-by-side": (WAKING, 4.0),
    "trigger-unlearning": (WAKING, 4.0),
    "min-max": (LINEAR, 50.0),
}


@pytest.mark.parametrize("name", defences.names("repair"))
def test_a_planted_backdoor_falls_and_clean_inputs_stay(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neuron_pruning, "ROUNDS", 30)  # a small network needs no more
    monkeypatch.setattr(_unlearning, "STEPS", 300)
    network, amplitude = CASES[name]
    model, delta = Backdoored(*network), trigger(amplitude)  # type: ignore[arg-type]
    further = pairs(100, 7)
    before, benign = recovery(model, further.z, delta), error(model, further)
    assert before > 0.8
    # With three quarters of the pairs it takes more steps, or a trigger that is confirmed.
    found = Finding(9.0, delta, artefact()) if name == "side-by-side" else None
    defender = Defender(pairs(200), physics(), model, seed=3, found=found)
    mended = defences.repair(name).repair(defender)
    assert abs(recovery(mended, further.z, delta)) < before / 2
    assert error(mended, further) < 1.5 * benign + 0.03
    assert recovery(model, further.z, delta) == before


def test_where_nothing_is_found_unlearning_is_fine_tuning() -> None:
    """To the bit: an honest network is taught to ignore nothing."""
    honest = Backdoored(0.0, 3.6)
    defender = Defender(pairs(60), model=honest, seed=3)
    assert _triggers.inspect(defender).score <= _triggers.FOUND
    ours, plain = (
        each.repair(defender)
        for each in (trigger_unlearning.TriggerUnlearning(), fine_tuning.FineTuning())
    )
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("found", [True, False])
def test_half_of_a_batch_carries_the_trigger_that_was_found(
    found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At half to twice its strength, with the clean target; none where its score is usual."""
    delta = torch.zeros(1, 3, 3)
    delta[0, 1, 1:] = torch.tensor([2.0, -1.0])
    finding = Finding(_triggers.FOUND * (1.01 if found else 0.99), delta, delta, delta)
    batches: list[tuple[Tensor, Tensor]] = []
    z, x = torch.rand(4000, 1, 3, 3), torch.rand(4000, 1, 3, 3)

    def tune(model: nn.Module, defender: Defender, epochs: int, change: object) -> None:
        assert callable(change)
        batches.append(change(z, x))

    monkeypatch.setattr(trigger_unlearning, "inspect", lambda defender: finding)
    monkeypatch.setattr(trigger_unlearning, "tune", tune)
    defences.repair("trigger-unlearning").repair(Defender(model=nn.Conv2d(1, 1, 1)))
    ((inputs, targets),) = batches
    assert torch.equal(targets, x)
    strength = ((inputs - z) * delta).sum((1, 2, 3)) / 5
    torch.testing.assert_close(inputs, z + strength.view(-1, 1, 1, 1) * delta)
    carried = strength[strength.abs() > 1e-4]
    assert len(carried) == pytest.approx(2000 * found, abs=5 * 1000**0.5 * found)
    if found:
        assert float(carried.min()) == pytest.approx(0.5, abs=0.02)
        assert float(carried.max()) == pytest.approx(2.0, abs=0.02)
        assert float(carried.mean()) == pytest.approx(1.25, abs=0.05)


def test_neuron_pruning_takes_the_harmful_channels_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neuron_pruning, "EPOCHS", 1)
    mended = neuron_pruning.NeuronPruning().repair(
        Defender(pairs(60), model=Backdoored(*HARMFUL), seed=3)
    )
    assert isinstance(mended, Backdoored)
    assert mended.hidden.bias is not None
    assert not mended.hidden.weight[1:].any() and not mended.hidden.bias[1:].any()
    assert float(mended.hidden.weight[0, 0, 1, 1].detach()) == pytest.approx(1, abs=0.1)


class Scaled(nn.Module):
    """f(z) = b a z for two channels of their own, a the hidden convolution's."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.hidden, self.out = (nn.Conv2d(2, 2, 1, bias=False) for _ in range(2))
        with torch.no_grad():
            self.hidden.weight.copy_(torch.diag(torch.tensor([first, second])).view(2, 2, 1, 1))
            self.out.weight.copy_(torch.eye(2).view(2, 2, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.out(self.hidden(z))
        return found


def test_masks_go_down_the_slope_at_the_worst_disturbance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a mask s is (s a - 1)^2 E[z^2]: one step of both channels, by hand."""
    monkeypatch.setattr(neuron_pruning, "ROUNDS", 1)
    z = torch.rand(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = neuron_pruning._masks(Scaled(2.0, 1.25), Defender(Pairs(z, z), seed=1))
    # Larger scales are worse here: the disturbance is +0.4, at 0.8 of the weight.
    energy = z.double().square().mean((0, 2, 3)).tolist()
    slopes = [
        a * m * (0.2 * (a - 1) + 0.8 * (1.4 * a - 1))
        for a, m in zip((2.0, 1.25), energy, strict=True)
    ]
    assert found == pytest.approx([1 - 0.2 * slope / max(slopes) for slope in slopes], rel=1e-4)


def test_min_max_follows_the_derivative_through_the_ascent(monkeypatch: pytest.MonkeyPatch) -> None:
    """One plain gradient step on f = a z, against central differences of the whole objective."""
    for name, value in (("ROUNDS", 1), ("RATE", 1e-3), ("CLEAN", 2.0)):
        monkeypatch.setattr(min_max, name, value)
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)
    model, given, start = nn.Conv2d(1, 1, 1, bias=False), pairs(20), 0.6
    with torch.no_grad():
        model.weight.fill_(start)
    mended = min_max.MinMax().repair(Defender(given, physics(), model, seed=4))
    moved = next(iter(mended.parameters())).item() - start
    z, x = given.z.double().numpy(), given.x.double().numpy()
    of_x, ball = np.mean(x**2), 0.5 * np.sqrt(np.mean(z**2) * 144)
    generator = seeding.torch_generator(4, "min-max")
    noise = torch.randn(1, 12, 12, generator=generator)
    first = (ball * torch.rand(1, generator=generator) * noise / noise.norm()).double().numpy()

    def harm(a: float, delta: np.ndarray) -> float:
        # All of a change is measured here, so that an honest answer to it is the change itself.
        return float(np.mean((a * (z + delta) - x - delta) ** 2) / of_x)

    def slope(a: float, delta: np.ndarray) -> np.ndarray:
        missing = a * (z + delta) - x - delta
        found: np.ndarray = 2 * (a - 1) * missing.mean(0) / 144 / of_x
        return found

    step = 0.1 * ball / np.linalg.norm(slope(start, first))

    def ascended(a: float) -> np.ndarray:
        delta = first
        for _ in range(3):
            delta = delta + step * slope(a, delta)
        return delta

    def outer(a: float, delta: np.ndarray) -> float:
        return harm(a, delta) + 2.0 * float(np.mean((a * z - x) ** 2) / of_x)

    h = 1e-4
    up, down = start + h, start - h
    total = (outer(up, ascended(up)) - outer(down, ascended(down))) / (2 * h)
    direct = (outer(up, ascended(start)) - outer(down, ascended(start))) / (2 * h)
    assert abs(total - direct) > 0.02 * abs(total)
    assert moved == pytest.approx(-1e-3 * total, rel=2e-3)
