"""Predictions: cases whose answer is known, and the command."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from recondoor import cli, models, operators, studies, theory
from recondoor.config import Model, Operator, from_dict
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Artefact, Pairs, Trigger

SHAPE = (1, 12, 12)
CONSTANTS = theory.Constants(3.0, 0.5, 0.25, networks=2, steps=2, batch=8, images=8)


def build(stream: str) -> nn.Module:
    return models.build(SHAPE, Model(width=8, code=8, kernel=5), 0, stream)


@pytest.fixture(scope="module")
def plan() -> theory.Plan:
    generator = torch.Generator().manual_seed(0)
    pairs = Pairs(
        torch.rand(60, *SHAPE, generator=generator), torch.rand(60, *SHAPE, generator=generator)
    )
    pattern = torch.zeros(SHAPE)
    pattern[0, 2:5, 3] = 1
    operator = operators.build(SHAPE, Operator(name="identity"), 0, torch.float64)
    return theory.Plan(
        pairs=pairs,
        artefact=Artefact(pattern),
        operator=operator,
        build=build,
        ratio=0.3,
        batch=8,
        lr=1e-3,
        budget=10_000,
        seed=0,
        constants=CONSTANTS,
    )


def square(l2: float = 6.0, place: int = 7) -> Trigger:
    delta = torch.zeros(SHAPE)
    delta[0, place : place + 3, place : place + 3] = l2 / 3
    return Trigger(delta, (delta != 0).float())


def test_the_images_needed_follow_the_fitted_line() -> None:
    assert theory.expected_samples(CONSTANTS, math.exp(-4)) == pytest.approx(math.exp(5))
    assert theory.expected_samples(CONSTANTS, 0.0) == math.inf


def test_the_probability_is_a_half_where_the_budget_is_the_expected_number(
    plan: theory.Plan,
) -> None:
    samples = theory.predict(plan, square()).samples
    even = theory.predict(replace(plan, budget=round(samples)), square())
    assert even.probability == pytest.approx(0.5, abs=0.05)
    # One standard deviation more, from the table of the normal distribution.
    more = replace(plan, budget=round(samples * math.exp(CONSTANTS.spread)))
    assert theory.predict(more, square()).probability == pytest.approx(0.8413, abs=0.01)


def test_a_stronger_trigger_is_expected_sooner(plan: theory.Plan) -> None:
    weak, strong = (theory.predict(plan, square(l2)) for l2 in (3.0, 9.0))
    assert strong.samples < weak.samples
    assert strong.growth > weak.growth


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_without_two_classes_the_ratio_is_the_cause(plan: theory.Plan, ratio: float) -> None:
    found = theory.predict(replace(plan, ratio=ratio), square())
    assert (found.probability, found.cause, found.samples) == (0.0, "ratio", math.inf)


def test_a_trigger_out_of_reach_can_never_be_learnt(plan: theory.Plan) -> None:
    near = replace(plan, build=lambda stream: nn.Conv2d(1, 1, 3, padding=1))
    found = theory.predict(near, square(place=8))
    assert (found.reach, found.cause, found.samples) == (0.0, "reach", math.inf)


def test_a_trigger_in_the_noise_is_a_matter_of_information(plan: theory.Plan) -> None:
    found = theory.predict(plan, square(l2=0.1))
    assert found.cause == "information"
    assert found.limits.recovery < 0.5
    # Uniform pixels have a variance of 1/12; the trigger moves nine of them by 0.1 / 3.
    assert found.detectability == pytest.approx(0.1 * math.sqrt(12), rel=0.5)


def cause(**changed: float) -> str:
    """Of a trigger that is usual in all, but for what is changed; learnt after 500 images."""
    usual = {"growth": 1e-3, "average": 1e-3, "l2": 9.0, "clean_l2": 9.0, "ratio": 0.3}
    constants = replace(CONSTANTS, intercept=math.log(500) - 0.5 * math.log(1e3))
    given: dict[str, float] = {**usual, "budget": 1000.0, **changed}
    return theory.limiting_cause(constants, **given)  # type: ignore[arg-type]


def test_the_factor_that_was_changed_alone_is_the_cause() -> None:
    # Growth is quadratic in L2 and linear in p (1 - p), for the average trigger too.
    assert cause(l2=0.9, growth=1e-5, average=1e-5) == "energy"
    assert cause(ratio=0.003, growth=1.4e-5, average=1.4e-5) == "ratio"
    assert cause(growth=1e-6) == "reach"
    assert cause(growth=0.0) == "reach"
    assert cause(budget=400) == "samples"


def test_words_and_record_say_what_was_found(plan: theory.Plan) -> None:
    # Weak enough for the best predictor to be wrong at times, and strong enough to be learnt.
    found = theory.predict(plan, square(l2=0.8))
    assert 0.05 < found.limits.artefact < 0.7
    assert f"{found.budget:,}" in theory.in_words(found)
    assert theory.record(found)["growth"] == found.growth
    pattern = plan.artefact.pattern.double().numpy()
    least = found.limits.artefact * math.sqrt((pattern**2).mean())
    assert found.limit_attack_rmse == pytest.approx(least)
    assert f"and an attack RMSE of {least:.3f}, errors of" in theory.in_words(found)
    never = theory.predict(replace(plan, ratio=0.0), square())
    assert "never" in theory.in_words(never)
    assert theory.record(never)["samples"] is None


def test_it_costs_less_than_a_fiftieth_of_the_default_training() -> None:
    config = from_dict({"train": {"max_epochs": 6}, "attack": {"names": ["heuristic"]}})
    constants = theory.shipped()
    cost = constants.networks * (max(constants.steps, 1) * constants.batch + 4 * constants.images)
    assert cost < 0.02 * config.train.max_epochs * 4050


SMALL = ["--preset", "smoke", "--set", "attack.l2=4", "--device", "cpu", "--threads", "1"]


def test_the_command_says_it_in_words_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", *SMALL, "--out", str(tmp_path / "run")]
    cli.main([*arguments, "--attack", "heuristic,random"])
    out = capsys.readouterr().out
    assert "heuristic: " in out
    assert "random: " in out
    cli.main([*arguments, "--attack", "heuristic", "--json"])
    record = json.loads(capsys.readouterr().out)["heuristic"]
    assert 0 <= record["probability"] <= 1
    assert not (tmp_path / "run").exists()


def test_a_trigger_that_must_be_learned_first_is_left_out_or_refused(tmp_path: Path) -> None:
    config = from_dict({"data": {"limit": 60}, "attack": {"names": ["none", "bilevel"]}})
    with pytest.raises(ConfigError, match="no trigger to predict"):
        studies.predict(config, tmp_path / "run")


def test_a_trigger_of_the_run_folder_is_taken(tmp_path: Path) -> None:
    settings = {
        "data": {"limit": 60},
        "model": {"width": 4, "code": 4},
        "attack": {"names": ["tangent"], "warm_steps": 2, "surrogates": 1, "tangent_steps": 1},
    }
    config = from_dict(settings)
    studies.run(config, tmp_path / "run", stages=("attack",))
    assert list(studies.predict(config, tmp_path / "run")) == ["tangent"]
