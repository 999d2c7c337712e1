"""Reconstruction networks x_hat = f(z), plain `torch.nn.Module`s."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from recondoor.config import Model
from recondoor.core import registry, seeding
from recondoor.core.errors import FAILURES, ConfigError, DataError, in_a_line
from recondoor.core.imports import told_in_a_line
from recondoor.models._base import Network
from recondoor.operators import LinearOperator

__all__ = [
    "Network",
    "asked",
    "build",
    "copy_of",
    "couples_rows",
    "evaluating",
    "load",
    "parameter_count",
    "placed",
    "reconstruct",
]

PIXELS_IN_A_BATCH = 400_000


def load(name: str, settings: Model | None = None) -> Network:
    """The plug-in `name` with its own settings of the section, or else its defaults.

    Raises ConfigError, with the nearest name if there is none.
    """
    found = cast("type[Network]", registry.load("models", name))
    own = settings.own(name, found.Settings) if settings and found.Settings else None
    return found(own)


def build(
    shape: tuple[int, int, int],
    settings: Model,
    *stream: int | str,
    operator: LinearOperator | None = None,
) -> nn.Module:
    """Return a freshly initialised network for images of `shape` (C, H, W).

    The initial weights follow from the names in `stream`, the first of which is the root seed;
    torch's global generator is left as it was. `operator` is what measured z, for networks that
    work with it. Raises ConfigError for an unknown network, for one that needs an operator where
    none is given, and for one's own whatever its code raises.
    """
    root, *names = stream
    plug_in, told = load(settings.name, settings), f"model.name: '{settings.name}'"
    with seeding.torch_global(int(root), "init", *names):
        if registry.is_outside(type(plug_in)):
            with told_in_a_line(told):
                model = _made(plug_in, told, shape, settings, operator)
                _require_network(told, model, shape)
        else:
            model = _made(plug_in, told, shape, settings, operator)
    if not plug_in.channels_last:
        return model
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def placed(model: nn.Module, device: torch.device, precision: str = "float32") -> nn.Module:
    """The network on a device.

    On a GPU it takes PyTorch's own layout, unless it is trained with factors of TF32: channels last
    pays for these, and on a CPU.
    """
    model = model.to(device)
    if device.type == "cpu" or precision == "tf32":
        return model
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _made(
    plug_in: Network,
    told: str,
    shape: tuple[int, int, int],
    settings: Model,
    operator: LinearOperator | None,
) -> nn.Module:
    """The network, which is told the operator if it works with it."""
    if not plug_in.needs_operator:
        return plug_in.build(shape, settings)
    if operator is None:
        raise ConfigError(
            f"{told} works with the measurement operator, and none is given: give the operator "
            "too, or choose another network"
        )
    if operator.shape != shape:
        raise ConfigError(
            f"{told} is for images of {shape}, and the operator measures {operator.shape}"
        )
    make: Callable[..., nn.Module] = plug_in.build
    return make(shape, settings, operator)


def _require_network(told: str, model: object, shape: tuple[int, int, int]) -> None:
    """Refuse what maps no images to images; `recondoor.testing` asks for the rest."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{told} builds {type(model).__name__}; expected a torch.nn.Module")
    z = torch.ones(2, *shape)
    found, changed = asked(model, z)
    if not isinstance(found, Tensor) or found.shape != z.shape:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(f"{told} maps z of {tuple(z.shape)} to {given}; expected the same shape")
    if changed:
        raise ConfigError(f"{told} changes its input z; let it work on z.clone()")


def asked(model: nn.Module, z: Tensor) -> tuple[object, bool]:
    """What a network returns for z, of which it gets a copy, and whether it writes into that.

    PyTorch counts its own writing; that of NumPy shows in the values.
    """
    given = z.clone()
    version = given._version
    with evaluating(model), torch.no_grad():
        found: object = model(given)
    written = given._version != version
    return found, written or not (z.is_meta or torch.equal(given, z))


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def copy_of(model: nn.Module) -> nn.Module:
    """A copy that shares nothing with `model`; raises DataError if it cannot be copied.

    Layers may hold tensors that are computed anew in every call, as those of weight_norm do. These
    have a history, which `deepcopy` refuses to copy, and are copied without it.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(model, dict(computed))
    except FAILURES as error:
        raise DataError(
            f"{type(model).__name__} cannot be copied ({in_a_line(error)}); give a function that "
            "makes it, as MODULE:FUNCTION"
        ) from None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, after which the network is as it was: its training flags and its buffers.

    Some networks count their calls or keep running means even then, and some draw random numbers:
    torch's global generator ends as it was too.
    """
    flags = {module: module.training for module in model.modules()}
    kept = [
        (module, name, buffer, buffer.clone())
        for module in flags
        for name, buffer in module.named_buffers(recurse=False)
    ]
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in kept:
                buffer.copy_(value)
                if getattr(module, name) is not buffer:
                    setattr(module, name, buffer)
        for module, flag in flags.items():
            module.training = flag


def couples_rows(model: nn.Module) -> bool:
    """Whether an answer depends on the other inputs of its batch, as with batch normalisation."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())


@torch.no_grad()
def reconstruct(
    model: nn.Module, z: Tensor, advance: Callable[[int], None] = lambda n: None
) -> Tensor:
    """Return f(z) for all of z (N, C, H, W), in batches whose size nobody can choose.

    Raises DataError where there is no image.
    """
    if len(z) == 0:
        raise DataError("no image to reconstruct; give at least one")
    parts = []
    with evaluating(model):
        for part in torch.split(z, max(1, PIXELS_IN_A_BATCH // z[0].numel())):
            parts.append(model(part).contiguous())
            advance(len(part))
    return torch.cat(parts)
