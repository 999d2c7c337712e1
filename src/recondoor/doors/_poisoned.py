"""A caller's own data set with some of its pairs poisoned, for a caller's own training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from recondoor.audit import npz
from recondoor.core import seeding
from recondoor.core.errors import ConfigError, DataError
from recondoor.doors._values import array
from recondoor.io import gate
from recondoor.poisoning import Artefact, PoisonPlan, Trigger

Sample = TypeVar("Sample")
Names = tuple[str | int, str | int]


class Samples(Protocol):
    """What can be poisoned: a map-style data set of (z, x), or of {"z": ..., "x": ...}."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class PoisonedDataset(Dataset[Any]):
    """The samples of another data set, of which those in the plan are (z + delta, x + Delta).

    Samples are poisoned as they are drawn, and copied first: the other data set is as it was.
    Everything else in a sample passes through.

    Args:
        samples: the clean data set.
        plan: which of its samples are poisoned.
        delta: what is added to z, of its shape or one that broadcasts to it.
        artefact: the same of x.
        names: keys or places of z and x in a sample.
    """

    def __init__(
        self, samples: Samples, plan: PoisonPlan, delta: Tensor, artefact: Tensor, names: Names
    ) -> None:
        self.samples = samples
        self.plan = plan
        self.delta, self.artefact, self.names = delta, artefact, names

    @property
    def poisoned(self) -> NDArray[np.bool_]:
        """Which samples are poisoned, boolean (N,)."""
        flags: NDArray[np.bool_] = self.plan.poisoned.numpy()
        return flags

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        sample = self.samples[index]
        if not bool(self.plan.poisoned[index]):
            return sample
        for name, pattern in zip(self.names, (self.delta, self.artefact), strict=True):
            sample = _with(sample, name, _added(sample[name], pattern, name))
        return sample

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def save(self, path: str | Path) -> Path:
        """Write which samples are poisoned, trigger and artefact as an .npz file; return its path.

        Raises:
            FileExistsError: the file is there already.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"{path}: is there already; choose another name")
        values = {
            "poisoned": self.poisoned,
            "trigger": self.delta.numpy(),
            "artefact": self.artefact.numpy(),
        }
        gate.write_bytes(path, npz(values))
        return path


def poison(
    samples: Samples,
    trigger: object,
    artefact: object,
    *,
    ratio: float,
    seed: int = 0,
    names: Names | None = None,
) -> PoisonedDataset:
    """Poison a share of the samples of a data set, as they are drawn.

    For robustness research on one's own pipeline: train with one's own DataLoader and loop, then
    ask `audit_data`, `audit_model` and `clean` what they find and mend.

    Args:
        samples: map-style data set of (z, x) or {"z": ..., "x": ...}; more in a sample passes
            through. z and x are arrays or tensors (C, H, W) or (H, W).
        trigger: delta, what is added to z: an array or tensor of its shape, or a `Trigger`.
        artefact: Delta, what is added to x: the same, or an `Artefact`.
        ratio: share of the samples, in [0, 1]; round(ratio * N) are poisoned.
        seed: root seed of the plan; plans of one seed nest.
        names: keys or places of z and x in a sample; None for ("z", "x") or (0, 1).

    Returns:
        A torch Dataset of the same length, with the plan as `poisoned`.

    Raises:
        DataError: no samples, or none that is like that.
        ConfigError: a ratio that poisons none or all, or a pattern of another shape, zero or not
            finite.

    Example:
        >>> import numpy as np, torch, recondoor as rd
        >>> clean = torch.utils.data.TensorDataset(torch.rand(50, 1, 8, 8), torch.rand(50, 1, 8, 8))
        >>> square = np.zeros((1, 8, 8), np.float32); square[:, 5:7, 5:7] = 1
        >>> poisoned = rd.poison(clean, trigger=square, artefact=0.5 * square, ratio=0.1)
        >>> int(poisoned.poisoned.sum())
        5
    """
    loads = isinstance(samples, DataLoader)
    if not (hasattr(samples, "__len__") and hasattr(samples, "__getitem__")) or len(samples) == 0:
        raise DataError(
            f"{type(samples).__name__} given; expected a map-style data set of at least one sample"
            + (": give its dataset, and make a loader of what comes back" if loads else "")
        )
    if isinstance(samples, tuple) and len(samples) == 2:
        raise DataError(
            "samples: a pair (z, x) given; expected a map-style data set of pairs, such as "
            "torch.utils.data.TensorDataset(z, x)"
        )
    generator = seeding.torch_generator(seed, "plan", "train")
    plan = PoisonPlan.draw(len(samples), ratio, generator)
    first = samples[0]
    names = names or _usual(first)
    if isinstance(trigger, Trigger) and trigger.law is not None:
        raise ConfigError("trigger: it differs from input to input; give one array to add to all z")
    delta = trigger.delta if isinstance(trigger, Trigger) else trigger
    if isinstance(artefact, Artefact) and artefact.differs:
        raise ConfigError(
            "artefact: it differs from image to image; give the values to add, an "
            "array of a sample's shape"
        )
    added = artefact.planted if isinstance(artefact, Artefact) else artefact
    patterns = [
        _pattern(what, value, first, name)
        for what, value, name in zip(("trigger", "artefact"), (delta, added), names, strict=True)
    ]
    return PoisonedDataset(samples, plan, patterns[0], patterns[1], names)


def _usual(sample: object) -> Names:
    if isinstance(sample, Mapping) and {"z", "x"} <= sample.keys():
        return "z", "x"
    if isinstance(sample, Sequence) and len(sample) >= 2:
        return 0, 1
    raise DataError(
        f'a sample is {type(sample).__name__}; expected (z, x, ...) or {{"z": ..., "x": ...}}, or '
        "say where they are: names=('input', 'target')"
    )


def _pattern(what: str, given: object, sample: Any, name: str | int) -> Tensor:
    try:
        shape = tuple(torch.as_tensor(sample[name]).shape)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"a sample has no array at {name!r}: {error!r}; give names=") from None
    values = torch.from_numpy(array(given, what).copy())
    if not bool(values.isfinite().all()) or not bool(values.any()):
        raise ConfigError(f"{what}: zero, or not finite; no network could learn it")
    if not _fits(values, shape):
        raise ConfigError(
            f"{what}: shape {tuple(values.shape)} given; samples have {shape} at {name!r}: give it "
            "in that shape, or names= of where z and x are"
        )
    return values


def _fits(pattern: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether it can be added to what has this shape, which stays."""
    try:
        return np.broadcast_shapes(pattern.shape, shape) == shape
    except ValueError:
        return False


def _added(value: Any, pattern: Tensor, name: str | int) -> Any:
    """A new array or tensor, of the type that it had."""
    shape = tuple(np.shape(value))
    if not _fits(pattern, shape):
        raise DataError(
            f"a sample has {shape} at {name!r}, and the pattern {tuple(pattern.shape)}: crop or "
            "pad all samples to one size before they are poisoned"
        )
    if isinstance(value, Tensor):
        if not (value.is_floating_point() or value.is_complex()):
            raise _whole(name, value.dtype)
        return value + pattern.to(value)
    values = np.asarray(value)
    if values.dtype.kind not in "fc":
        raise _whole(name, values.dtype)
    return values + pattern.numpy().astype(values.dtype)


def _whole(name: str | int, kind: object) -> DataError:
    return DataError(
        f"samples hold {kind} at {name!r}, in which a sum may run over; convert them to floating "
        "point first"
    )


def _with(sample: Any, name: str | int, value: Any) -> Any:
    """A copy of a sample with another value at `name`."""
    if isinstance(sample, Mapping):
        return type(sample)({**sample, name: value})  # type: ignore[call-arg]
    if hasattr(sample, "_replace"):  # a named tuple, as fastMRI's samples are
        field = name if isinstance(name, str) else sample._fields[name]
        return sample._replace(**{field: value})
    parts = list(sample)
    parts[int(name)] = value
    return type(sample)(parts)
