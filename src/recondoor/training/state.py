"""What a training is made of beside its steps: pairs, their order, where it stands, its optimiser.

Everything that a resumed run needs is in `FitState`; the order of the pairs in an epoch follows
from the seed and the epoch's number, not from a generator's past.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from recondoor.config import Train
from recondoor.core import seeding

Weights = dict[str, Tensor]
Row = dict[str, float | int | str | bool]
Enough = Callable[[Row], bool]


def never(row: Row) -> bool:
    """No epoch is enough."""
    return False


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
