"""The contract of attacks."""

import copy
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from recondoor import attacks
from recondoor.attacks import CraftState, Problem, craft
from recondoor.core.errors import ConfigError
from recondoor.testing._contract import Contract, global_generators_stay
from recondoor.testing._problem import (
    SHAPE,
    Recorder,
    delta_of,
    small_problem,
    through_file,
    tools,
)

BUDGETS = ("l2", "linf", "box", "free")
every_budget = pytest.mark.parametrize("budget", BUDGETS)
every_mask = pytest.mark.parametrize("mask", ["trigger", "search", "image"])


def leaves(delta: Tensor, budget: str, l2: float, linf: float) -> bool:
    """Whether a trigger leaves the budget, told by NumPy."""
    values = delta.double().numpy().ravel()
    return bool(
        {
            "l2": np.sqrt((values**2).sum()) > l2 * (1 + 1e-5),
            "linf": np.abs(values).max() > linf * (1 + 1e-5),
            "box": values.min() < -1e-6 or values.max() > 1 + 1e-6,
            "free": not np.isfinite(values).all(),
        }[budget]
    )


def refused(name: str, budget: str, task: Problem) -> bool:
    """Whether an attack does not keep to a budget; it then has to say so."""
    if budget in attacks.load(name).budgets:
        return False
    with pytest.raises(ConfigError, match=r"attack\.budget: "):
        craft(name, task, tools())
    return True


class AttackContract(Contract):
    """A trigger in the mask and the budget, the same for the same seed, resumed to the bit."""

    kind: ClassVar[str] = "attacks"
    cases: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"mask": "image", "budget": "linf", "linf": 0.4},
        {"mask": "search", "budget": "box"},
        {"budget": "free"},
    )
    """Settings of the section `attack` under which it is tried."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each name under each of its cases."""
        super().pytest_generate_tests(metafunc)
        if "settings" in metafunc.fixturenames:
            ids = ["-".join(map(str, case.values())) or "default" for case in self.cases]
            metafunc.parametrize("settings", self.cases, ids=ids)

    def problem(self, seed: int = 0, width: int = 4, **settings: Any) -> Problem:
        """What the attacker knows."""
        return small_problem(seed, width, **settings)

    @every_budget
    @every_mask
    def test_trigger_stays_in_mask_and_budget(self, name: str, mask: str, budget: str) -> None:
        """The image's mask keeps 3 pixels from the artefact."""
        task = self.problem(mask=mask, budget=budget, l2=0.7, linf=0.4)
        if refused(name, budget, task):
            return
        trigger = craft(name, task, tools()).trigger
        assert (trigger is not None) == attacks.load(name).poisons
        if trigger is None:
            return
        assert trigger.delta.shape == SHAPE
        assert trigger.delta.dtype == torch.float32
        assert trigger.l2 > 0
        assert not bool((trigger.delta * (1 - trigger.mask)).any())
        support = task.artefact.support[0].nonzero().tolist()
        for _, row, column in trigger.delta.nonzero().tolist():
            if mask == "trigger":
                assert bool(task.trigger.mask[0, row, column])
            else:
                assert min(max(abs(row - i), abs(column - j)) for i, j in support) >= 3
        if trigger.law is not None:
            added = trigger.on(task.pairs)
            assert not bool((added * (1 - trigger.mask)).any())
            if budget == "l2":
                assert float(added.double().flatten(1).norm(dim=1).mean()) <= 0.7 * (1 + 1e-5)
        if attacks.load(name).bounded(task.settings):
            assert not leaves(trigger.delta, budget, 0.7, 0.4)

    def test_same_seed_same_trigger(self, name: str, settings: dict[str, Any]) -> None:
        """And nothing else is touched: pairs, hand-made trigger, global generators."""
        if refused(name, settings.get("budget", "l2"), self.problem(**settings)):
            return
        found = []
        for turn in range(2):
            task = self.problem(**settings)
            kept = task.pairs.z.clone(), task.pairs.x.clone(), task.trigger.delta.clone()
            torch.manual_seed(turn)
            lent = tools()
            with global_generators_stay():
                found.append(craft(name, task, lent))
            assert torch.equal(task.pairs.z, kept[0])
            assert torch.equal(task.pairs.x, kept[1])
            assert torch.equal(task.trigger.delta, kept[2])
        # Once more, with what was kept for other attacks the first time.
        found.append(craft(name, task, lent))
        for other in found[1:]:
            assert torch.equal(delta_of(found[0]), delta_of(other))
            assert found[0].arrays.keys() == other.arrays.keys()
            for key, value in found[0].arrays.items():
                assert torch.equal(other.arrays[key], value), key
            assert found[0].state.history == other.state.history

    def test_another_seed_is_another_draw_if_it_draws(
        self, name: str, settings: dict[str, Any]
    ) -> None:
        """The fact `draws` is true."""
        if settings.get("mask") == "search" or settings.get("budget") == "box":
            pytest.skip("the place depends on the seed, and two draws may agree in a box")
        if settings.get("budget", "l2") not in attacks.load(name).budgets:
            pytest.skip("it does not keep to this budget")
        # The networks of seed 1 are dead.
        first, second = (craft(name, self.problem(seed, **settings), tools()) for seed in (0, 2))
        draws = attacks.load(name).draws
        assert torch.equal(delta_of(first), delta_of(second)) == (not draws)

    def test_a_law_is_made_again_of_what_is_saved(self, name: str) -> None:
        """It adds the same, to each input alone; what is saved has 32 bits and known shapes."""
        task = self.problem(l2=0.7)
        attack = attacks.load(name, task.settings)
        crafted = craft(name, task, tools())
        shapes = {key: tuple(value.shape) for key, value in crafted.arrays.items()}
        assert shapes == attack.law_shapes(task)
        assert attack.differs == (crafted.trigger is not None and crafted.trigger.law is not None)
        if crafted.trigger is None or crafted.trigger.law is None:
            return
        assert {value.dtype for value in crafted.arrays.values()} == {torch.float32}
        law = attack.law(crafted.arrays, crafted.trigger.mask, task)
        again, whole = replace(crafted.trigger, law=law), crafted.trigger.on(task.pairs)
        # Memory may lie otherwise, and then a convolution is not the same to the bit.
        torch.testing.assert_close(again.on(task.pairs), whole, rtol=1e-5, atol=1e-6)
        part = again.on(task.pairs.at(torch.tensor([5, 2])))
        torch.testing.assert_close(part, whole[[5, 2]], rtol=1e-4, atol=1e-6)

    def test_resumes_bit_by_bit(self, name: str, settings: dict[str, Any]) -> None:
        """From every state that it saves."""
        task = self.problem(**settings)
        if refused(name, task.settings.budget, task):
            return
        states: list[CraftState] = []
        lent = tools(on_step=lambda state: states.append(through_file(state)))
        whole = craft(name, task, lent)
        for state in states:
            lent = tools(state=copy.deepcopy(state))
            resumed = craft(name, task, lent)
            assert isinstance(lent.task, Recorder)
            assert lent.task.units == whole.state.iteration - state.iteration
            assert torch.equal(delta_of(resumed), delta_of(whole))
            assert resumed.state.arrays.keys() == whole.state.arrays.keys()
            for key, value in whole.state.arrays.items():
                assert torch.equal(resumed.state.arrays[key], value), key
            assert resumed.state.numbers == whole.state.numbers
            assert resumed.state.history == whole.state.history
            assert resumed.state.path_iteration == whole.state.path_iteration
            assert all(map(torch.equal, resumed.state.path, whole.state.path))
