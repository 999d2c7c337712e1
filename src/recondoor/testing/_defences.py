"""The contracts of defences: what they return, and that they leave what they look at alone."""

import copy
from functools import cache
from typing import Any, ClassVar, get_args

import pytest
import torch
from scipy.stats import betabinom, binom
from torch import Tensor, nn

from recondoor import defences, models, operators
from recondoor.config import Cae, Model, Operator
from recondoor.defences import Defender, Finding, Physics, SideBySide
from recondoor.poisoning import Pairs
from recondoor.testing._contract import Contract, generator, global_generators_stay, same

SHAPE = (1, 12, 12)
ALARM = 0.05


@cache
def world() -> tuple[Pairs, Physics, nn.Module]:
    """900 smooth images with their measurements, the operator taken apart, and a small network."""
    settings = Operator(name="gaussian", sigma=0.05)
    x = nn.functional.interpolate(torch.rand(900, 1, 4, 4, generator=generator(1)), (12, 12))
    z = operators.build(SHAPE, settings, 3).measure(x, generator(2))
    model = models.build(SHAPE, Model(cae=Cae(width=8, code=4, kernel=3)), 0, "victim")
    exact = operators.build(SHAPE, settings, 3, torch.float64)
    return Pairs(z, x), Physics.of(exact), model


def part(start: int, stop: int) -> Pairs:
    """A copy of some of the pairs."""
    pairs = world()[0]
    return Pairs(pairs.z[start:stop].clone(), pairs.x[start:stop].clone())


class DefenceContract(Contract):
    """What all four kinds share."""

    kind: ClassVar[str] = "defences"

    def outputs(self, name: str, defender: Defender) -> list[Tensor]:
        """All that the defence returns, as tensors."""
        raise NotImplementedError

    def defender(self, **more: Any) -> Defender:
        """Trusted pairs, an operator and a network."""
        _, physics, model = world()
        return Defender(**{"clean": part(0, 60), "physics": physics, "model": model, **more})

    def test_its_facts_are_known_words(self, name: str) -> None:
        """What it needs and sees is what there is."""
        defence = defences.load(name)
        assert set(defence.needs) <= set(get_args(defences.Need))
        assert set(defence.sees) <= set(defences.ATTACKS)

    @pytest.mark.parametrize("training", [True, False])
    def test_nothing_is_changed_and_all_is_repeatable(self, name: str, training: bool) -> None:
        """Weights to the bit, training flags, data, global generators; same seed, same result."""
        pairs, physics, _ = world()
        model = copy.deepcopy(world()[2]).train(training)
        clean = part(0, 60)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        given = pairs.z.clone(), clean.z.clone(), clean.x.clone()
        needs_grad = [parameter.requires_grad for parameter in model.parameters()]
        with global_generators_stay():
            first, second = (
                self.outputs(name, Defender(clean, physics, model, seed=5)) for _ in range(2)
            )
        assert same(first, second)
        assert all(bool(each.isfinite().all()) for each in first)
        after = model.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert {module.training for module in model.modules()} == {training}
        assert [parameter.requires_grad for parameter in model.parameters()] == needs_grad
        assert all(parameter.grad is None for parameter in model.parameters())
        assert torch.equal(pairs.z, given[0])
        assert torch.equal(clean.z, given[1])
        assert torch.equal(clean.x, given[2])


class PairDetectorContract(DefenceContract):
    """A score for each pair; false alarms keep to their rate."""

    def outputs(self, name: str, defender: Defender) -> list[Tensor]:
        """Scores, and those of the method as published."""
        detector, pairs = defences.pair_detector(name), part(100, 300)
        published = detector.baseline(pairs, defender)
        found = detector.scores(pairs, defender)
        return [found] if published is None else [found, published]

    def test_a_score_for_each_pair_and_words(self, name: str) -> None:
        """(N,), and why a score is suspicious."""
        found = self.outputs(name, self.defender(clean=None))
        assert all(each.shape == (200,) for each in found)
        assert len(defences.pair_detector(name).explain(1.5)) > 10

    def test_false_alarms_on_clean_pairs_keep_to_the_rate(self, name: str) -> None:
        """By the law, and by a threshold from the other half of the clean pairs."""
        detector, pairs, alone = (
            defences.pair_detector(name),
            part(0, 800),
            self.defender(clean=None),
        )
        half, other = part(0, 400), part(400, 800)
        limit = detector.law(alone, ALARM)
        if limit is not None:
            alarms = int((detector.scores(pairs, alone) > limit).sum())
            assert binom.sf(alarms - 1, 800, 0.0 if detector.certain else ALARM) > 1e-3
        found, clean = defences.pooled(detector.scores, half, self.defender(clean=other))
        alarms = int((found > defences.threshold(clean, ALARM)).sum())
        # The rate of the threshold is itself random, with a spread of about that of the count.
        assert binom.sf(alarms - 1, 400, ALARM + 2 * (ALARM * (1 - ALARM) / 400) ** 0.5) > 1e-3


class InputDetectorContract(DefenceContract):
    """A score for each input, which depends on no other; false alarms keep to their rate."""

    def outputs(self, name: str, defender: Defender) -> list[Tensor]:
        """Scores, and reconstructions if it repairs."""
        detector, z = defences.input_detector(name), world()[0].z[:50]
        repaired = detector.repaired(z, defender)
        found = detector.scores(z, defender)
        return [found] if repaired is None else [found, repaired]

    def test_a_score_for_each_input_and_words(self, name: str) -> None:
        """(N,), reconstructions of (N, C, H, W), and why a score is suspicious."""
        found = self.outputs(name, self.defender())
        assert found[0].shape == (50,)
        dtype = world()[0].z.dtype
        assert all(each.shape == (50, *SHAPE) and each.dtype == dtype for each in found[1:])
        assert len(defences.input_detector(name).explain(1.5)) > 10

    def test_inputs_are_scored_one_by_one(self, name: str) -> None:
        """No other input counts: this makes clean scores exchangeable."""
        detector, defender, z = defences.input_detector(name), self.defender(), part(100, 140).z
        alone = torch.cat([detector.scores(each[None], defender) for each in z])
        torch.testing.assert_close(detector.scores(z, defender), alone, rtol=1e-3, atol=1e-5)

    def test_false_alarms_on_clean_inputs_keep_to_the_rate(self, name: str) -> None:
        """The number of them has the beta-binomial law that exchangeability gives, exactly."""
        detector, defender = defences.input_detector(name), self.defender()
        trusted, further = part(100, 500), part(500, 900)
        clean, found = detector.scores(trusted.z, defender), detector.scores(further.z, defender)
        limit, rank = defences.threshold(clean, ALARM), defences.rank(len(clean), ALARM)
        alarms = int((found > limit).sum())
        assert betabinom(400, len(clean) - rank + 1, rank).sf(alarms - 1) > 1e-3
        law = detector.law(defender, ALARM)
        if detector.certain:
            assert law is not None
            assert not bool((found > law).any())


class NetworkDetectorContract(DefenceContract):
    """A finding: a score, and what was recovered if anything is."""

    def finding(self, name: str, defender: Defender) -> Finding:
        """What it finds in the network."""
        return defences.network_detector(name).inspect(defender)

    def outputs(self, name: str, defender: Defender) -> list[Tensor]:
        """Score and patterns."""
        found = self.finding(name, defender)
        patterns = (found.trigger, found.artefact, found.counts)
        return [torch.tensor(found.score), *(each for each in patterns if each is not None)]

    def test_a_finding_and_words(self, name: str) -> None:
        """Patterns are images; `counts` is 0 or 1; a sentence says what was found."""
        found = self.finding(name, self.defender())
        for pattern in (found.trigger, found.artefact, found.counts):
            assert pattern is None or pattern.shape == SHAPE
        assert found.counts is None or bool(((found.counts == 0) | (found.counts == 1)).all())
        assert found.artefact is None or found.trigger is not None
        assert len(defences.network_detector(name).explain(found)) > 10


class RepairContract(DefenceContract):
    """Another network of the same make."""

    def outputs(self, name: str, defender: Defender) -> list[Tensor]:
        """The weights of the repaired network."""
        mended = defences.repair(name).repair(defender)
        return [value.clone() for value in mended.state_dict().values()]

    def test_the_make_stays(self, name: str) -> None:
        """Weights of the same shapes; of two networks side by side those of either."""
        mended = defences.repair(name).repair(self.defender())
        expected = [value.shape for value in world()[2].state_dict().values()]
        networks = [mended]
        if isinstance(mended, SideBySide):
            networks = [mended.given, mended.mended]
        for network in networks:
            assert [value.shape for value in network.state_dict().values()] == expected
