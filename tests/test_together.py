"""Several networks at once have the numbers that each has alone; recorded steps those of others."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from recondoor import config, models
from recondoor.config import Model, Train
from recondoor.core.errors import ConfigError, RecondoorError, TrainingError
from recondoor.core.seeding import torch_generator
from recondoor.models.cae import NarrowConv2d
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.studies import Runtime, run
from recondoor.sweeps import Execution, Placement, drive, parse
from recondoor.training import graph, loop
from recondoor.training.loop import FitState, Fitting
from recondoor.training.together import Course, take_turns
from small_study import CPU, Stopped, record, stop, stop_at, tiny, write_images

SHAPE = (1, 8, 9)
N = 33  # three batches of ten and a rest
STEADY = Train(lr=2**-7, lr_final=2**-9, batch=10, max_epochs=3, patience=9)


def pairs(local: bool = False) -> PoisonedPairs:
    generator = torch_generator(0, "pairs")
    x = torch.rand(N, *SHAPE, generator=generator)
    square, spot = torch.zeros(SHAPE), torch.zeros(SHAPE)
    square[:, 5:, 5:], spot[:, :3, :3] = 0.7, 0.9
    plan = PoisonPlan.draw(N, 0.4, torch_generator(0, "plan"))
    trigger = Trigger(square, (square != 0).float())
    return PoisonedPairs(Pairs(0.5 * x, x), plan, trigger, Artefact(spot, is_local=local))


def network(name: str) -> nn.Module:
    return models.build(SHAPE, Model(width=4, code=4, kernel=3), 0, name)


def validate(model: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        return {"val_loss": float(sum(each.square().sum() for each in model.parameters()))}


def fitting(name: str = "one", recorder: graph.Recorder | None = None, **more: object) -> Fitting:
    return Fitting(  # type: ignore[arg-type]
        network(name), pairs(), STEADY, seed=3, validate=validate, recorder=recorder, **more
    )


def ended(fitting: Fitting) -> FitState:
    while not fitting.finished:
        for _ in fitting.epoch():
            pass
    return fitting.close()


def assert_same(first: FitState, second: FitState) -> None:
    for key in ("weights", "best", "optimiser"):
        own, other = getattr(first, key), getattr(second, key)
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own), key
    assert first.history == second.history


def test_recorded_steps_are_the_plain_ones() -> None:
    assert_same(ended(fitting()), ended(fitting(recorder=graph.AsItComes())))


def test_a_recorded_training_carries_on() -> None:
    whole = ended(fitting(recorder=graph.AsItComes()))
    first = fitting(recorder=graph.AsItComes())
    for _ in first.epoch():
        pass
    kept = {name: value.clone() for name, value in first.state.weights.items()}
    moments = {name: value.clone() for name, value in first.state.optimiser.items()}
    state = FitState(epoch=1, weights=kept, optimiser=moments, history=list(first.state.history))
    state.best, state.best_epoch = kept, 1
    state.best_loss = float(str(state.history[0]["val_loss"]))
    again = ended(fitting("another", recorder=graph.AsItComes(), state=state))
    assert all(torch.equal(again.weights[key], whole.weights[key]) for key in whole.weights)
    assert again.history == whole.history


@pytest.mark.parametrize("count", [4, 12])
def test_an_epoch_shorter_than_the_warm_up(count: int) -> None:
    short = STEADY.model_copy(update={"epoch_pairs": count, "max_epochs": 2})
    found = [
        ended(Fitting(network("one"), pairs(), short, seed=3, validate=validate, recorder=each))
        for each in (None, graph.AsItComes())
    ]
    assert_same(*found)


def test_what_can_be_recorded() -> None:
    assert graph.can_record(network("one"), pairs())
    assert not graph.can_record(network("one"), pairs(local=True))
    assert not graph.can_record(nn.Conv2d(1, 1, 3), pairs())


def test_courses_take_turns() -> None:
    order: list[str] = []
    alone = {name: ended(fitting(name)) for name in "abcd"}
    found: dict[str, FitState] = {}

    def course(name: str) -> Course:
        recorder = graph.AsItComes() if name in "bc" else None
        mine = fitting(name, recorder, on_epoch=lambda state: order.append(f"{name}{state.epoch}"))
        yield mine
        found[name] = mine.close()

    take_turns(map(course, "abcd"), 3)
    assert order[:3] == ["a1", "b1", "c1"]
    assert order[-3:] == ["d1", "d2", "d3"]  # begun when another had ended
    for name, state in found.items():
        assert_same(state, alone[name])


def test_an_error_is_its_own_course_s() -> None:
    ends: list[str] = []

    def course(name: str) -> Course:
        def broken(model: nn.Module) -> dict[str, float]:
            if name == "b":
                raise TrainingError("b is broken")
            return validate(model)

        mine = Fitting(network(name), pairs(), STEADY, seed=3, validate=broken)
        try:
            yield mine
            ends.append(name)
        except RecondoorError as error:
            ends.append(str(error))
        finally:
            ends.append("closed")

    take_turns(map(course, "abc"), 3)
    assert ends == ["b is broken", "closed", "a", "closed", "c", "closed"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small(images), tmp_path_factory.mktemp("alone") / "run", CPU)


def small(images: Path) -> config.Config:
    drop = {"name": "unet", "unet": {"channels": 2, "pools": 1, "drop": 0.2}}
    names = ["none", "heuristic", "random"]
    return tiny(images, seeds=2, attack={"names": names}, model=drop, train={"max_epochs": 3})


def by_model(folder: Path) -> dict[str, object]:
    """What a run must have in common with another, whose networks had their turns otherwise."""
    found = record(folder)
    found["history"] = sorted(map(str, found["history"]))
    return found


@contextlib.contextmanager
def killed_at(step: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Stopped):
        patch.setattr(loop, "adam_step", stop_at(step, loop.adam_step, stop))
        yield


@pytest.mark.parametrize("together", [2, 4])
def test_a_study_of_several_at_once(
    images: Path, alone: Path, tmp_path: Path, together: int
) -> None:
    """With networks that draw at random in training."""
    folder, how = tmp_path / "run", Runtime(device="cpu", together=together)
    with killed_at(23):
        run(small(images), folder, how)
    run(small(images), folder, how)
    assert by_model(folder) == by_model(alone)


def spec(images: Path) -> dict[str, object]:
    own = {"data.name": str(images), "model.name": "cae", "model.cae.width": 4, "model.cae.code": 4}
    own |= {"trigger.size": 2, "artefact.size": 3, "train.batch": 10, "train.max_epochs": 2}
    own |= {"attack.names": ["none", "heuristic"], "evaluate.examples": 3}
    block = {"name": "p", "grid": {"poison.ratio": [0.2, 0.3, 0.4]}}
    return {"preset": "smoke", "seeds": 2, "base": own, "block": [block]}


def test_a_sweep_of_several_at_once(images: Path, tmp_path: Path) -> None:
    points, device = parse(spec(images)), "cpu"
    found = [
        drive(points, tmp_path / str(most), Execution(Placement(0, together=most), device))
        for most in (1, 3)
    ]
    assert found[0].failures == found[1].failures == {}
    for place in found[0].rows:
        assert by_model(tmp_path / "1" / place) == by_model(tmp_path / "3" / place)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="--together: 0 given; expected 1 or more"):
        Runtime(together=0)
    with pytest.raises(ConfigError, match="--together: 0 given; expected 1 or more"):
        Placement(together=0)
    with pytest.raises(ConfigError, match="--together: trains the networks of several points"):
        Placement(workers=2, together=2)


def test_tf32_needs_a_gpu(images: Path, tmp_path: Path) -> None:
    rounded = STEADY.model_copy(update={"precision": "tf32"})
    with pytest.raises(ConfigError, match=r"train\.precision: tf32 given, which only a GPU has"):
        Fitting(network("one"), pairs(), rounded, seed=0, validate=validate)
    with pytest.raises(ConfigError, match=r"train\.precision: tf32 given"):
        run(tiny(images, train={"precision": "tf32"}), tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_tf32_is_asked_for_and_taken_back() -> None:
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [each.allow_tf32 for each in flags]
    with graph.precision(STEADY.model_copy(update={"precision": "tf32"})):
        assert [each.allow_tf32 for each in flags] == [True, True]
    assert [each.allow_tf32 for each in flags] == before


def test_precision_names_no_run_anew() -> None:
    usual, other = config.load_config(), config.load_config(overrides=["train.precision=tf32"])
    assert config.identity(usual) != config.identity(other)
    assert config.original_identity(usual) != config.original_identity(other)


def test_the_narrow_convolution_is_the_cpu_s_alone() -> None:
    """Elsewhere it is one plain convolution."""
    layer = NarrowConv2d(8, 1, 5, padding=2).to("meta")
    with torch.profiler.profile() as seen:
        answer = layer(torch.zeros(2, 8, 28, 28, device="meta"))
    assert answer.shape == (2, 1, 28, 28)
    assert "aten::stack" not in {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("asked", ["float32", "tf32"])
@pytest.mark.parametrize("before", [False, True])
def test_a_training_has_the_precision_that_its_settings_name(
    asked: Literal["float32", "tf32"], before: bool
) -> None:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=before):
        with graph.precision(Train(precision=asked)):
            assert torch.backends.cudnn.allow_tf32 is (asked == "tf32")
            assert torch.backends.cuda.matmul.allow_tf32 is (asked == "tf32")
        assert torch.backends.cudnn.allow_tf32 is before
        assert not torch.backends.cuda.matmul.allow_tf32
