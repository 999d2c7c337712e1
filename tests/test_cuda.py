"""On a GPU: recorded steps against PyTorch's own, several at once, and a study from end to end."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recondoor import models, rundir
from recondoor.config import Model, Train
from recondoor.core.seeding import torch_generator
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.studies import Runtime, run
from recondoor.training import graph, loop
from recondoor.training.loop import FitState, Fitting
from recondoor.training.together import Course, take_turns
from small_study import tiny, write_images

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

SHAPE = (1, 28, 28)
N = 1_030  # eight batches and a rest
SETTINGS = Train(batch=125, max_epochs=2, patience=9)
GPU = torch.device("cuda")


def pairs() -> PoisonedPairs:
    x = torch.rand(N, *SHAPE, generator=torch_generator(0, "pairs"))
    square, spot = torch.zeros(SHAPE), torch.zeros(SHAPE)
    square[:, 20:, 20:], spot[:, :3, :3] = 0.7, 0.9
    plan = PoisonPlan.draw(N, 0.3, torch_generator(0, "plan"))
    trigger = Trigger(square, (square != 0).float())
    return PoisonedPairs(Pairs(0.5 * x, x).to(GPU), plan, trigger, Artefact(spot))


def squared_error(answer: Tensor, x: Tensor) -> Tensor:
    """A loss of one's own, whose steps are not recorded."""
    return (answer - x).square().mean()


def fitting(
    name: str = "one",
    settings: Train = SETTINGS,
    loss: loop.Loss | None = None,
    state: FitState | None = None,
) -> Fitting:
    own, some = models.placed(models.build(SHAPE, Model(), 0, name), GPU), pairs()

    def validate(model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"val_loss": float(squared_error(model(some.pairs.z), some.pairs.x))}

    return Fitting(own, some, settings, seed=0, validate=validate, loss=loss, state=state)


def ended(fitting: Fitting) -> FitState:
    while not fitting.finished:
        for _ in fitting.epoch():
            pass
    return fitting.close()


def losses(state: FitState) -> list[float]:
    return [float(str(row[key])) for row in state.history for key in ("train_loss", "val_loss")]


def test_recorded_steps_are_the_plain_ones_but_for_rounding() -> None:
    recorded, plain = ended(fitting()), ended(fitting(loss=squared_error))
    np.testing.assert_allclose(losses(recorded), losses(plain), rtol=2e-3)
    assert recorded.optimiser.keys() == plain.optimiser.keys()
    steps = {key: float(value) for key, value in recorded.optimiser.items() if "step" in key}
    assert set(steps.values()) == {18.0}


def test_recording_leaves_network_and_optimiser_as_they_were() -> None:
    model = models.placed(models.build(SHAPE, Model(), 0, "one"), GPU)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    adam = graph.make_adam(model, 1e-3)
    graph.RecordedSteps(model, pairs(), SETTINGS, N, adam, graph.CudaGraphs(GPU))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(bool(v.any()) for entry in adam.state.values() for v in entry.values())


def test_several_at_once() -> None:
    names = ("a", "b", "c")
    alone = {name: losses(ended(fitting(name))) for name in names}
    found: dict[str, list[float]] = {}

    def course(name: str) -> Course:
        mine = fitting(name)
        yield mine
        found[name] = losses(mine.close())

    take_turns(map(course, names), len(names))
    for name in names:
        np.testing.assert_allclose(found[name], alone[name], rtol=2e-3)


def test_tf32_is_near_and_another_thing() -> None:
    rounded = losses(ended(fitting(settings=SETTINGS.model_copy(update={"precision": "tf32"}))))
    usual = losses(ended(fitting()))
    np.testing.assert_allclose(rounded, usual, rtol=2e-2)
    assert rounded != usual or torch.cuda.get_device_capability() < (8, 0)


def test_an_interrupted_training_carries_on() -> None:
    whole, first = ended(fitting()), fitting()
    for _ in first.epoch():
        pass
    kept = first.state
    arrays = {
        key: {name: value.cpu().clone() for name, value in getattr(kept, key).items()}
        for key in ("weights", "best", "optimiser")
    }
    state = FitState(
        epoch=1, best_epoch=1, best_loss=kept.best_loss, history=list(kept.history), **arrays
    )
    again = ended(fitting("another", state=state))
    np.testing.assert_allclose(losses(again), losses(whole), rtol=2e-3)


def test_a_study_on_both_devices(tmp_path: Path) -> None:
    images = write_images(tmp_path)
    settings = tiny(images, seeds=2, attack={"names": ["none", "heuristic"]})
    found = []
    for device, together in (("cpu", 1), ("cuda", 1), ("cuda", 4)):
        folder = tmp_path / f"{device}{together}"
        run(settings, folder, Runtime(device=device, together=together))
        rows = rundir.read_json(folder / "results.json")["rows"]
        found.append([[row["benign_rmse"], row["attack_rmse"]] for row in rows])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2)
    np.testing.assert_allclose(found[2], found[1], rtol=1e-2)
