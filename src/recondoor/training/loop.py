"""The fit loop: Adam, a falling learning rate, early stopping; it knows no attack and no files."""

import math
import time
from collections.abc import Callable, Generator, Iterator

import torch
from torch import Tensor, nn

from recondoor import models
from recondoor.config import Train
from recondoor.core import caller, seeding
from recondoor.core.errors import ConfigError, TrainingError
from recondoor.core.progress import SilentTask, Task
from recondoor.poisoning import PoisonedPairs
from recondoor.training import graph, losses
from recondoor.training.state import Enough as Enough
from recondoor.training.state import FitState as FitState
from recondoor.training.state import OfDataset as OfDataset
from recondoor.training.state import Row as Row
from recondoor.training.state import Source as Source
from recondoor.training.state import Weights as Weights
from recondoor.training.state import epoch_pairs as epoch_pairs
from recondoor.training.state import finished as finished
from recondoor.training.state import learning_rate as learning_rate
from recondoor.training.state import never as never
from recondoor.training.state import optimiser_tensors as optimiser_tensors
from recondoor.training.state import order_of_epoch as order_of_epoch
from recondoor.training.state import restore_optimiser as restore_optimiser

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


def make_adam(model: nn.Module, lr: float) -> torch.optim.Adam:
    """Adam with PyTorch's defaults, its step fused into one kernel where that takes the weights."""
    real = all(weights.is_floating_point() for weights in model.parameters())
    return torch.optim.Adam(model.parameters(), lr=lr, fused=real)


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


class Fitting:
    """A training that goes epoch by epoch, so that several networks can take turns on a device.

    Arguments are those of `fit`. On a GPU the steps of networks that allow it are recorded once and
    replayed (`training.graph`); everywhere else they are PyTorch's own, one after the other.

    Raises ConfigError for settings that do not go with the network or its device.
    """

    def __init__(
        self,
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
        recorder: graph.Recorder | None = None,
    ) -> None:
        self._device = next(model.parameters()).device
        self._count = epoch_pairs(len(pairs), settings)
        _require_batches(model, self._count, settings.batch)
        graph.require_precision(settings, self._device)
        self.model, self.settings, self.state = model, settings, state or FitState()
        self._pairs, self._seed, self._loss = pairs, seed, loss
        self._task, self._enough = task or SilentTask(), enough
        self._validate, self._on_epoch = validate, on_epoch
        usual = loss is None and optimiser_of is make_adam and graph.can_record(model, pairs)
        if recorder is None and usual and self._device.type == "cuda":
            recorder = graph.CudaGraphs(self._device)
        make = optimiser_of if recorder is None else graph.make_adam
        self._optimiser = make(model, settings.lr)
        if self.state.epoch:
            model.load_state_dict(self.state.weights)
            restore_optimiser(self._optimiser, self.state.optimiser)
        self._recorder = recorder
        self._steps: graph.RecordedSteps | None = None  # recorded with the first epoch

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left."""
        return finished(self.state, self.settings, self._enough)

    def epoch(self) -> Iterator[None]:
        """Make the next epoch; yields wherever another network may have its turn.

        Raises TrainingError where a loss is not finite, or training diverges.
        """
        state, epoch = self.state, self.state.epoch + 1
        _set_rate(self._optimiser, learning_rate(self.settings, epoch))
        started = time.perf_counter()
        if self._recorder is None:
            with seeding.torch_global(self._seed, "dropout", epoch), graph.precision(self.settings):
                found = self._eager(epoch)
        else:
            found = yield from self._recorded(epoch)
        state.seconds += time.perf_counter() - started
        first_loss = float(str(state.history[0]["train_loss"])) if state.history else math.inf
        if found > DIVERGED * first_loss:
            raise TrainingError(
                f"the training loss of epoch {epoch} is {found:.3g}, that of the first was "
                f"{first_loss:.3g}: training diverged; {_remedy(self._pairs)}"
            )
        self._end(epoch, found)

    def close(self) -> FitState:
        """Leave the weights of the best epoch in the network, and return the state."""
        self.model.load_state_dict(self.state.best)
        return self.state

    def _eager(self, epoch: int) -> float:
        return run_epoch(
            self.model,
            self._optimiser,
            self._pairs,
            self.settings,
            self._seed,
            epoch,
            self._task,
            self._loss,
        )

    def _recorded(self, epoch: int) -> Generator[None, None, float]:
        """The epoch by replays; returns its mean loss."""
        if self._steps is None:
            self._steps = self._record()
        order = order_of_epoch(len(self._pairs), self._count, self._seed, epoch)
        for step, taken in enumerate(self._steps.epoch(order)):
            if step % STEPS_BETWEEN_NOTES == 0:
                self._steps.wait()
            self._task.advance(taken)
            yield
        mean = self._steps.mean_loss()
        _require_finite(mean, f"training loss of epoch {epoch}", self._pairs)
        self._task.advance(0, f"loss {mean:.4f}")
        return mean

    def _record(self) -> graph.RecordedSteps:
        assert self._recorder is not None
        assert isinstance(self._pairs, PoisonedPairs)
        return graph.RecordedSteps(
            self.model, self._pairs, self.settings, self._count, self._optimiser, self._recorder
        )

    def _end(self, epoch: int, train_loss: float) -> None:
        """Validate, and write down where the training stands."""
        measured, state = self._validate(self.model), self.state
        _require_finite(measured["val_loss"], f"validation loss of epoch {epoch}", self._pairs)
        better = measured["val_loss"] < state.best_loss
        state.epoch = epoch
        state.weights = self.model.state_dict()
        state.optimiser = optimiser_tensors(self._optimiser)
        if better:
            state.best_loss, state.best_epoch = measured["val_loss"], epoch
            state.best = {name: value.clone() for name, value in state.weights.items()}
        state.history.append(
            {
                "epoch": epoch,
                "samples": epoch * self._count,
                "lr": learning_rate(self.settings, epoch),
                "train_loss": train_loss,
                **measured,
                "best": better,
            }
        )
        self._on_epoch(state)


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # in place, as a recorded step reads it there
        else:
            group["lr"] = rate


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
    fitting = Fitting(
        model,
        pairs,
        settings,
        seed=seed,
        validate=validate,
        task=task,
        state=state,
        on_epoch=on_epoch,
        enough=enough,
        loss=loss,
        optimiser_of=optimiser_of,
    )
    while not fitting.finished:
        for _ in fitting.epoch():
            pass
    return fitting.close()


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
