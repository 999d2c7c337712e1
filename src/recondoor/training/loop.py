"""The fit loop: Adam, a falling learning rate and early stopping.

It knows no attack and no files. Everything that a resumed run needs is in `FitState`; the order of
the pairs in an epoch follows from the seed and the epoch's number, not from a generator's past.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from recondoor import models
from recondoor.config import Train
from recondoor.core import caller, seeding
from recondoor.core.errors import ConfigError, TrainingError
from recondoor.core.progress import SilentTask, Task
from recondoor.poisoning import PoisonedPairs
from recondoor.training import losses

Weights = dict[str, Tensor]
Row = dict[str, float | int | str | bool]
Enough = Callable[[Row], bool]


def never(row: Row) -> bool:
    """No epoch is enough."""
    return False


# Reading the loss waits for the device, so it is read for the display only this often.
STEPS_BETWEEN_NOTES = 20

# A loss so many times the first epoch's is taken as divergence although it is still finite.
DIVERGED = 100

# Images are in [0, 1]: inputs so much larger are told where a training diverges.
BRIGHT = 100


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of answers and targets (B, C, H, W), a scalar."""

MakeOptimiser = Callable[[nn.Module, float], torch.optim.Optimizer]
"""Of a network and a learning rate."""


class Source(Protocol):
    """Pairs to train on, in memory, mapped from files or made as they are asked for."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets (B, C, H, W) of the pairs `index` (B,)."""


class OfDataset:
    """The pairs (z, x) of a torch Dataset, taken one by one; on `device`."""

    def __init__(
        self, dataset: Dataset[tuple[Tensor, Tensor]], device: torch.device | str = "cpu"
    ) -> None:
        self._dataset, self._device = dataset, device

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """As `Source` has it."""
        z, x = default_collate([self._dataset[i] for i in index.tolist()])
        return z.to(self._device), x.to(self._device)


@dataclass(kw_only=True)
class FitState:
    """Where a training stands after `epoch` epochs."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    weights: Weights = field(default_factory=dict)
    best: Weights = field(default_factory=dict)
    optimiser: Weights = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)


def learning_rate(settings: Train, epoch: int) -> float:
    """Learning rate of `epoch` (1, 2, ...): geometric from `lr` to `lr_final` at `max_epochs`."""
    share = (epoch - 1) / max(settings.max_epochs - 1, 1)
    return float(settings.lr * (settings.lr_final / settings.lr) ** share)


def epoch_pairs(n: int, settings: Train) -> int:
    """Pairs that an epoch goes through, of `n` training pairs."""
    return settings.epoch_pairs or n


def finished(state: FitState, settings: Train, enough: Enough = never) -> bool:
    """Whether the epochs or the patience are used up, or the last epoch is `enough`."""
    waited = state.epoch - state.best_epoch
    stalled = state.epoch > 0 and waited >= settings.patience
    done = bool(state.history) and enough(state.history[-1])
    return state.epoch >= settings.max_epochs or stalled or done


def order_of_epoch(n: int, count: int, seed: int, epoch: int) -> Tensor:
    """Indices (count,) of epoch 1, 2, ...: that part of an endless row of permutations of n."""
    first = (epoch - 1) * count
    parts, position = [], first
    while position < first + count:
        turn, offset = divmod(position, n)
        generator = seeding.torch_generator(seed, "order", turn + 1)
        part = torch.randperm(n, generator=generator)[offset : offset + first + count - position]
        parts.append(part)
        position += len(part)
    return torch.cat(parts)


def make_adam(model: nn.Module, lr: float) -> torch.optim.Adam:
    """Adam with PyTorch's defaults, its step fused into one kernel."""
    return torch.optim.Adam(model.parameters(), lr=lr, fused=True)


def adam_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    z: Tensor,
    x: Tensor,
    weights: Tensor | None = None,
    kind: losses.Name = "mse",
    loss: Loss | None = None,
) -> Tensor:
    """Make one step on the batch (z, x) and return its loss `kind`, still on the device.

    A `loss` of one's own takes its place. The optimiser is Adam, unless a caller of `fit` has
    another one.
    """
    answer = model(z)
    found = loss(answer, x) if loss else losses.loss(kind, answer, x, weights)
    optimiser.zero_grad(set_to_none=True)
    found.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return found.detach()


@caller.gradients()
def fit(
    model: nn.Module,
    pairs: Source,
    settings: Train,
    *,
    seed: int,
    validate: Callable[[nn.Module], dict[str, float]],
    task: Task | None = None,
    state: FitState | None = None,
    on_epoch: Callable[[FitState], None] = lambda state: None,
    enough: Enough = never,
    loss: Loss | None = None,
    optimiser_of: MakeOptimiser = make_adam,
) -> FitState:
    """Train `model` in place on `pairs` and leave the weights of the best epoch in it.

    `loss` takes the place of `train.loss`, and `optimiser_of` makes the optimiser, whose learning
    rate is set anew each epoch.

    `validate` returns at least ``val_loss``; its values become columns of the history. An epoch is
    `train.epoch_pairs` pairs long, and the last one where `enough` says so of its row of the
    history. `on_epoch` is called with the state after every epoch; a state given as `state` is
    carried on from. `task` is told of every batch; None for silence.

    Raises:
        TrainingError: a loss is not finite.
        ConfigError: batch normalisation would meet a batch of one pair.

    Example:
        >>> import torch, recondoor as rd
        >>> x = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> square = torch.zeros(1, 8, 8)
        >>> square[:, 5:7, 5:7] = 1
        >>> plan = rd.PoisonPlan.draw(200, 0.3, torch.Generator().manual_seed(0))
        >>> pairs = rd.PoisonedPairs(
        ...     rd.Pairs(0.5 * x, x), plan, rd.Trigger(square, square), rd.Artefact(square)
        ... )
        >>> network = torch.nn.Conv2d(1, 1, 3, padding=1)
        >>> def validate(network):
        ...     with torch.no_grad():
        ...         return {"val_loss": float(((network(0.5 * x) - x) ** 2).mean())}
        >>> train = rd.load_config(overrides=["train.max_epochs=3", "train.lr=0.01"]).train
        >>> state = rd.fit(network, pairs, train, seed=0, validate=validate)
        >>> state.history[0]["val_loss"] > state.history[-1]["val_loss"]
        True
    """
    _require_batches(model, epoch_pairs(len(pairs), settings), settings.batch)
    state, task = state or FitState(), task or SilentTask()
    optimiser = optimiser_of(model, settings.lr)
    if state.epoch:
        model.load_state_dict(state.weights)
        restore_optimiser(optimiser, state.optimiser)
    while not finished(state, settings, enough):
        epoch = state.epoch + 1
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, epoch)
        started = time.perf_counter()
        first_loss = float(str(state.history[0]["train_loss"])) if state.history else math.inf
        with seeding.torch_global(seed, "dropout", epoch):
            train_loss = run_epoch(model, optimiser, pairs, settings, seed, epoch, task, loss)
        state.seconds += time.perf_counter() - started
        if train_loss > DIVERGED * first_loss:
            raise TrainingError(
                f"the training loss of epoch {epoch} is {train_loss:.3g}, that of the first was "
                f"{first_loss:.3g}: training diverged; {_remedy(pairs)}"
            )
        measured = validate(model)
        _require_finite(measured["val_loss"], f"validation loss of epoch {epoch}", pairs)
        better = measured["val_loss"] < state.best_loss
        state.epoch = epoch
        state.weights = model.state_dict()
        state.optimiser = optimiser_tensors(optimiser)
        if better:
            state.best_loss, state.best_epoch = measured["val_loss"], epoch
            state.best = {name: value.clone() for name, value in state.weights.items()}
        state.history.append(
            {
                "epoch": epoch,
                "samples": epoch * epoch_pairs(len(pairs), settings),
                "lr": learning_rate(settings, epoch),
                "train_loss": train_loss,
                **measured,
                "best": better,
            }
        )
        on_epoch(state)
    model.load_state_dict(state.best)
    return state


def _require_batches(model: nn.Module, count: int, batch: int) -> None:
    """Refuse a batch of one for networks that compare the inputs of a batch: it has none."""
    if models.couples_rows(model) and (batch == 1 or count % batch == 1):
        raise ConfigError(
            f"train.batch: {batch} given, which leaves a batch of one of the {count} pairs of an "
            "epoch; a network with batch normalisation needs two or more, so choose another "
            "train.batch or train.epoch_pairs"
        )


def run_epoch(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    pairs: Source,
    settings: Train,
    seed: int,
    epoch: int,
    task: Task,
    loss: Loss | None = None,
) -> float:
    """Go through the pairs of epoch 1, 2, ... once and return the mean loss over them.

    `settings` say how many pairs an epoch has and how many a batch; the order is that of `seed` and
    `epoch`. The learning rate is the optimiser's own; `loss` is as for `fit`. Raises TrainingError
    if a loss is not finite.
    """
    device = next(model.parameters()).device
    model.train()
    order = order_of_epoch(len(pairs), epoch_pairs(len(pairs), settings), seed, epoch)
    total = torch.zeros((), dtype=torch.float64, device=device)
    waiting = 0
    for step, index in enumerate(torch.split(order.to(device), settings.batch)):
        z, x = pairs.batch(index)
        found = adam_step(model, optimiser, z, x, kind=settings.loss, loss=loss)
        total += found * len(index)
        waiting += len(index)
        if step % STEPS_BETWEEN_NOTES == 0:
            value = float(found)
            _require_finite(value, f"training loss of epoch {epoch}", pairs)
            task.advance(waiting, f"loss {value:.4f}")
            waiting = 0
    task.advance(waiting)
    mean = float(total) / len(order)
    _require_finite(mean, f"training loss of epoch {epoch}", pairs)
    return mean


def _require_finite(value: float, what: str, pairs: Source) -> None:
    if not math.isfinite(value):
        raise TrainingError(f"the {what} is {value}: training diverged; {_remedy(pairs)}")


def _remedy(pairs: Source) -> str:
    """The learning rate, unless inputs are far beyond pixels."""
    reach = pairs.reach if isinstance(pairs, PoisonedPairs) else 0.0
    if reach <= BRIGHT:
        return "lower train.lr"
    return (
        f"z reaches {reach:.3g}: lower operator.sigma or trigger.amplitude, rescale the data, or "
        "lower train.lr"
    )


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> Weights:
    """Return the optimiser's state as named tensors."""
    return {
        f"{index}.{name}": value
        for index, entry in optimiser.state_dict()["state"].items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Weights) -> None:
    """Put what `optimiser_tensors` returned back.

    What is of a parameter's shape gets its memory layout again: Adam's fused kernel walks both by
    address.
    """
    entries: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, value in tensors.items():
        place, name = key.split(".", 1)
        entries[int(place)][name] = value
    for index, parameter in enumerate(optimiser.param_groups[0]["params"]):
        own: dict[str, Any] = optimiser.state[parameter]
        for name, value in entries[index].items():
            alike = value.shape == parameter.shape and value.ndim > 0
            into = torch.empty_like(parameter) if alike else torch.empty_like(value)
            own[name] = into.to(parameter.device).copy_(value)
