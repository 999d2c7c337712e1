"""The fit loop against an independent Adam, its schedule, its stop, and resuming bit by bit."""

import copy
import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recondoor import models
from recondoor.config import Model, Train
from recondoor.core.errors import TrainingError
from recondoor.core.progress import Task
from recondoor.core.seeding import torch_generator
from recondoor.evaluation import judge
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.training import loop, losses
from recondoor.training.loop import FitState, fit, learning_rate

SHAPE = (1, 8, 9)
N = 30


class Recorder(Task):
    def __init__(self) -> None:
        self.units = 0
        self.notes: list[str] = []

    def advance(self, n: int = 1, note: str = "") -> None:
        self.units += n
        self.notes.append(note)


def some_pairs(n: int = N, dtype: torch.dtype = torch.float32) -> Pairs:
    generator = torch_generator(0, "pairs")
    x = torch.rand(n, *SHAPE, generator=generator, dtype=dtype)
    return Pairs(x + 0.3 * torch.randn(x.shape, generator=generator, dtype=dtype), x)


def patterns() -> tuple[Trigger, Artefact]:
    delta, pattern = torch.zeros(SHAPE), torch.zeros(SHAPE)
    delta[:, 5:, 5:] = 0.7
    pattern[:, :3, :3] = 0.9
    return Trigger(delta, (delta != 0).float()), Artefact(pattern)


def clean(pairs: Pairs) -> PoisonedPairs:
    nobody = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    return PoisonedPairs(pairs, nobody, None, patterns()[1])


def poisoned(pairs: Pairs, ratio: float = 0.4) -> PoisonedPairs:
    plan = PoisonPlan.draw(len(pairs), ratio, torch_generator(0, "plan"))
    return PoisonedPairs(pairs, plan, *patterns())


def network() -> nn.Module:
    return models.build(SHAPE, Model(width=4, code=4, kernel=3), 0, "victim")


def monitor() -> judge.Monitor:
    return judge.Monitor(some_pairs(10), None, *patterns())


def scripted(losses: Iterable[float]) -> Callable[[nn.Module], dict[str, float]]:
    remaining = iter(losses)
    return lambda model: {"val_loss": next(remaining)}


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key in first:
        assert torch.equal(first[key], second[key]), key


def numpy_adam(z: NDArray[np.float64], x: NDArray[np.float64], settings: Train) -> list[float]:
    """Gain and offset of x_hat = gain * z + offset; Adam as in Kingma and Ba, algorithm 1."""
    theta, m, v = np.array([0.5, -0.25]), np.zeros(2), np.zeros(2)
    t = 0
    for epoch in range(1, settings.max_epochs + 1):
        share = (epoch - 1) / (settings.max_epochs - 1)
        rate = math.exp((1 - share) * math.log(settings.lr) + share * math.log(settings.lr_final))
        order = torch.randperm(len(z), generator=torch_generator(9, "order", epoch)).numpy()
        for start in range(0, len(z), settings.batch):
            part = order[start : start + settings.batch]
            error = theta[0] * z[part] + theta[1] - x[part]
            gradient = np.array([2 * (error * z[part]).mean(), 2 * error.mean()])
            t += 1
            m = 0.9 * m + 0.1 * gradient
            v = 0.999 * v + 0.001 * gradient**2
            theta = theta - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return [float(value) for value in theta]


def test_loop_is_adam_on_the_mean_squared_error() -> None:
    settings = Train(lr=0.05, lr_final=0.002, batch=7, max_epochs=4, patience=9)
    pairs = some_pairs(dtype=torch.float64)
    model = nn.Conv2d(1, 1, 1).double()
    with torch.no_grad():
        model.weight.fill_(0.5)
        torch.nn.init.constant_(model.bias, -0.25)  # type: ignore[arg-type]
    falling = scripted(-float(epoch) for epoch in range(9))
    fit(model, clean(pairs), settings, seed=9, validate=falling, task=Recorder())
    expected = numpy_adam(pairs.z.numpy(), pairs.x.numpy(), settings)
    found = [float(parameter.detach()) for parameter in model.parameters()]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_learning_rate_falls_geometrically() -> None:
    settings = Train(lr=1e-2, lr_final=1e-4, max_epochs=5)
    rates = [learning_rate(settings, epoch) for epoch in range(1, 6)]
    np.testing.assert_allclose(rates, [1e-2, 10**-2.5, 1e-3, 10**-3.5, 1e-4], rtol=1e-12)
    assert learning_rate(Train(lr=0.5, lr_final=0.1, max_epochs=1), 1) == 0.5


def test_squared_error() -> None:
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]])
    assert float(losses.squared_error(a, b)) == (4 + 9) / 2


def test_stops_after_patience_and_restores_the_best_weights() -> None:
    model, seen = network(), []
    state = fit(
        model,
        clean(some_pairs()),
        Train(batch=10, max_epochs=50, patience=3),
        seed=0,
        validate=scripted([5, 3, 4, 3, 3.5, 1, 1]),
        task=Recorder(),
        on_epoch=lambda state: seen.append(copy.deepcopy(state)),
    )
    assert state.epoch == 5
    assert state.best_epoch == 2
    assert state.best_loss == 3
    assert [row["best"] for row in state.history] == [True, True, False, False, False]
    assert [row["epoch"] for row in state.history] == [1, 2, 3, 4, 5]
    assert [row["samples"] for row in state.history] == [N, 2 * N, 3 * N, 4 * N, 5 * N]
    assert_same(weights(model), seen[1].weights)
    assert_same(seen[4].best, seen[1].weights)
    assert not torch.equal(seen[4].weights["out.weight"], seen[1].weights["out.weight"])
    assert state.seconds > 0


def test_runs_all_epochs_while_it_gets_better() -> None:
    model, task = network(), Recorder()
    state = fit(
        model,
        clean(some_pairs()),
        Train(batch=8, max_epochs=4, patience=1),
        seed=0,
        validate=scripted([4, 3, 2, 1]),
        task=task,
    )
    assert (state.epoch, state.best_epoch) == (4, 4)
    assert task.units == 4 * N
    assert any(note.startswith("loss 0.") for note in task.notes)
    assert loop.finished(state, Train(max_epochs=4))
    assert not loop.finished(FitState(), Train(max_epochs=4))


def test_history_has_the_mean_loss_of_the_epoch() -> None:
    """With a rate too small to move a weight, it is the loss over the whole set."""
    settings = Train(lr=1e-30, lr_final=1e-30, batch=7, max_epochs=1)
    model, pairs = network(), poisoned(some_pairs())
    z, x = pairs.batch(torch.arange(N))
    expected = float(((model(z) - x).detach().double() ** 2).mean())
    state = fit(model, pairs, settings, seed=0, validate=monitor(), task=Recorder())
    assert state.history[0]["train_loss"] == pytest.approx(expected, rel=1e-6)
    assert {"val_loss", "benign_rmse", "attack_rmse", "recovery", "ghost"} <= set(state.history[0])


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_poisoning_on_the_fly_is_training_on_the_poisoned_set(ratio: float) -> None:
    settings = Train(batch=7, max_epochs=2)
    pairs = poisoned(some_pairs(), ratio)
    first = network()
    fly = fit(first, pairs, settings, seed=0, validate=monitor(), task=Recorder())
    materialised = Pairs(*pairs.batch(torch.arange(N)))
    second = network()
    ready = fit(second, clean(materialised), settings, seed=0, validate=monitor(), task=Recorder())
    assert_same(weights(first), weights(second))
    assert fly.history == ready.history


def through_numpy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a file does to tensors: the values stay, the memory layout is lost."""
    return {k: torch.from_numpy(v.contiguous().numpy().copy()) for k, v in tensors.items()}


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("width", [4, 32])
@pytest.mark.parametrize("epoch_pairs", [None, 11, 40])
def test_resumed_training_is_bit_identical(after: int, width: int, epoch_pairs: int | None) -> None:
    settings = Train(batch=7, max_epochs=4, lr=1e-2, patience=2, epoch_pairs=epoch_pairs)
    pairs = poisoned(some_pairs())
    saved: list[FitState] = []

    def save(state: FitState) -> None:
        if state.epoch == after:
            groups = {key: through_numpy(getattr(state, key)) for key in ("weights", "best")}
            optimiser = through_numpy(state.optimiser)
            whole = copy.deepcopy(state)
            saved.append(FitState(**{**vars(whole), **groups, "optimiser": optimiser}))

    def build() -> nn.Module:
        return models.build(SHAPE, Model(width=width, code=width // 2, kernel=3), 0, "victim")

    straight = build()
    whole = fit(
        straight, pairs, settings, seed=5, validate=monitor(), task=Recorder(), on_epoch=save
    )
    resumed = build()
    rest = fit(
        resumed, pairs, settings, seed=5, validate=monitor(), task=Recorder(), state=saved[0]
    )
    assert_same(weights(straight), weights(resumed))
    assert whole.history == rest.history
    assert (whole.epoch, whole.best_epoch) == (rest.epoch, rest.best_epoch)
    assert rest.seconds > saved[0].seconds - 1e-9


def test_a_finished_state_trains_no_more() -> None:
    settings = Train(batch=10, max_epochs=2)
    model = network()
    done = fit(model, clean(some_pairs()), settings, seed=0, validate=monitor(), task=Recorder())
    fresh, task = network(), Recorder()
    fit(fresh, clean(some_pairs()), settings, seed=0, validate=monitor(), task=task, state=done)
    assert task.units == 0
    assert_same(weights(model), weights(fresh))


def test_order_follows_from_seed_and_epoch() -> None:
    settings = Train(batch=10, max_epochs=1)
    found: list[dict[str, Tensor]] = []
    for seed in (1, 1, 2):
        model = network()
        torch.manual_seed(len(found))
        before = torch.random.get_rng_state()
        fit(model, clean(some_pairs()), settings, seed=seed, validate=monitor(), task=Recorder())
        assert torch.equal(before, torch.random.get_rng_state())
        found.append(weights(model))
    assert_same(found[0], found[1])
    assert not torch.equal(found[0]["out.weight"], found[2]["out.weight"])


@pytest.mark.parametrize("count", [1, 7, N - 1, N, N + 1, 2 * N + 5])
def test_orders_of_epochs_are_one_row_of_permutations(count: int) -> None:
    """However it is cut into epochs, one permutation of all pairs comes after the other."""
    epochs = 3 * N // count + 1
    orders = [loop.order_of_epoch(N, count, 4, epoch) for epoch in range(1, epochs + 1)]
    assert all(order.shape == (count,) for order in orders)
    row = torch.cat(orders)
    turns = [
        torch.randperm(N, generator=torch_generator(4, "order", turn))
        for turn in range(1, len(row) // N + 2)
    ]
    assert torch.equal(row, torch.cat(turns)[: len(row)])
    assert count != N or all(map(torch.equal, orders, turns))


def test_default_epoch_goes_through_all_pairs() -> None:
    assert loop.epoch_pairs(N, Train()) == N
    assert loop.epoch_pairs(N, Train(epoch_pairs=7)) == 7


@pytest.mark.parametrize("parts", [2, 3])
def test_shorter_epochs_make_the_same_steps(parts: int) -> None:
    """Validating more often moves no bit, where the learning rate stays and batches are whole."""
    rates = {"lr": 1e-2, "lr_final": 1e-2, "batch": 5, "patience": 9}
    usual, short = network(), network()
    falling = [-float(epoch) for epoch in range(9)]
    task = Recorder()
    one = Train(max_epochs=2, **rates)  # type: ignore[arg-type]
    cut = Train(max_epochs=2 * parts, epoch_pairs=N // parts, **rates)  # type: ignore[arg-type]
    pairs = poisoned(some_pairs())
    fit(usual, pairs, one, seed=3, validate=scripted(falling), task=Recorder())
    state = fit(short, pairs, cut, seed=3, validate=scripted(falling), task=task)
    assert_same(weights(usual), weights(short))
    samples = [N // parts * epoch for epoch in range(1, 2 * parts + 1)]
    assert [row["samples"] for row in state.history] == samples
    assert task.units == 2 * N


def learning_at(epoch: int) -> Callable[[nn.Module], dict[str, float]]:
    """Validation that gets better all the time and says from this epoch on that all is learnt."""
    remaining = iter(range(1, 99))

    def validate(model: nn.Module) -> dict[str, float]:
        now = next(remaining)
        return {"val_loss": 1 / now, "learnt": now >= epoch}

    return validate


@pytest.mark.parametrize(
    ("stop", "learnt", "epochs"),
    [("transition", 1, 1), ("transition", 3, 3), ("transition", 9, 5), ("patience", 3, 5)],
)
def test_stops_at_the_first_epoch_that_learnt(stop: str, learnt: int, epochs: int) -> None:
    settings = Train(batch=10, max_epochs=5, epoch_pairs=10, stop=stop)  # type: ignore[arg-type]
    pairs, learning = clean(some_pairs()), learning_at(learnt)

    def enough(row: loop.Row) -> bool:
        return stop == "transition" and bool(row["learnt"])

    task = Recorder()
    state = fit(network(), pairs, settings, seed=0, validate=learning, task=task, enough=enough)
    assert state.epoch == epochs
    assert [row["learnt"] for row in state.history] == [k >= learnt for k in range(1, epochs + 1)]
    assert loop.finished(state, settings, enough)


def test_a_loss_that_is_not_a_number_stops_the_training() -> None:
    pairs = some_pairs()
    pairs.x[3, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"training loss of epoch 1 is nan.* lower train\.lr"):
        fit(
            network(),
            clean(pairs),
            Train(batch=1),
            seed=0,
            validate=monitor(),
            task=Recorder(),
        )


def test_diverging_training_stops() -> None:
    settings = Train(lr=1e30, lr_final=1e30, batch=1, max_epochs=3)
    with pytest.raises(TrainingError, match=r"training diverged; lower train\.lr"):
        fit(network(), clean(some_pairs()), settings, seed=0, validate=monitor(), task=Recorder())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_validation_loss_that_is_not_finite_stops_the_training(value: float) -> None:
    kept: list[int] = []
    with pytest.raises(TrainingError, match="validation loss of epoch 2"):
        fit(
            network(),
            clean(some_pairs()),
            Train(batch=10),
            seed=0,
            validate=scripted([1, value]),
            task=Recorder(),
            on_epoch=lambda state: kept.append(state.epoch),
        )
    assert kept == [1]
