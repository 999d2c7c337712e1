"""An operator or a network of a caller's own as a plug-in, for as long as a study runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from recondoor import config as settings_of
from recondoor import models, operators
from recondoor.config import Config
from recondoor.core import registry, seeding
from recondoor.core.errors import ConfigError
from recondoor.models import Network
from recondoor.operators import LinearOperator, Operator

Shape = tuple[int, int, int]

DIGITS = 6
"""Significant digits of a measurement that tell operators apart: more may differ by machine."""


@contextmanager
def lent(config: Config, operator: object, network: object, shape: Shape) -> Iterator[Config]:
    """Within, the settings name what the caller lends; None for what he does not.

    operator: as `operators.of_caller` takes it; its noise is `operator.sigma`. network: a function
    or class that makes an `nn.Module`, or a module, whose copies are initialised anew. shape:
    (C, H, W) of the images. Raises ConfigError for what is neither.
    """
    given: list[tuple[str, str, type[registry.PlugIn]]] = []
    tree: dict[str, dict[str, object]] = {}
    if operator is not None:
        name = f"caller:{_name(operator)}"
        given.append(("operators", name, _operator(operator, shape)))
        tree["operator"] = {"name": name, "sigma": config.operator.sigma}
    if network is not None:
        name = f"caller:{_name(network)}"
        given.append(("models", name, _network(network)))
        tree["model"] = {"name": name}
    with _all(given):
        yield settings_of.from_dict(settings_of.dumped(config) | tree) if given else config


@contextmanager
def _all(given: list[tuple[str, str, type[registry.PlugIn]]]) -> Iterator[None]:
    if not given:
        yield
        return
    with registry.lent(*given[0]), _all(given[1:]):
        yield


def _name(given: object) -> str:
    """A name for tables and files; that of the class, or of the function."""
    name = getattr(given, "__name__", type(given).__name__)
    return name if name.isidentifier() else "Lent"


def _operator(given: object, shape: Shape) -> type[Operator]:
    found = operators.of_caller(given, shape)

    class Lent(Operator):
        """An operator of the caller's own."""

        draws, has_ratio, mixes_channels = False, False, True
        content = _measured(found)

        def build(
            self,
            shape: Shape,
            settings: settings_of.Operator,
            generator: torch.Generator,
            dtype: torch.dtype = torch.float32,
        ) -> LinearOperator:
            return replace(operators.of_caller(given, shape), sigma=settings.sigma).to(None, dtype)

    return Lent


def _measured(operator: LinearOperator) -> bytes:
    """What tells an operator from others: what it makes of a fixed random image."""
    generator = seeding.torch_generator(0, "operator", "content")
    x = torch.rand(1, *operator.shape, generator=generator, dtype=torch.float64)
    z = operator.A_adjoint(operator.A(x)).flatten()
    step = float(z.abs().max()) * 10.0**-DIGITS
    return (z / step if step else z).round().to(torch.int64).numpy().tobytes()


def _network(given: object) -> type[Network]:
    make = _maker(given)

    class Lent(Network):
        """A network of the caller's own."""

        content = repr([(k, tuple(v.shape)) for k, v in make().state_dict().items()]).encode()

        def build(self, shape: Shape, settings: settings_of.Model) -> nn.Module:
            return make()

    return Lent


def _maker(given: object) -> Callable[[], nn.Module]:
    """What returns a freshly initialised network."""
    if isinstance(given, nn.Module):
        module = given
        _require_renewable(module)
        return lambda: _renewed(module)
    if not callable(given):
        raise ConfigError(
            f"model: {type(given).__name__} given; expected a torch.nn.Module, or a function "
            "without arguments that makes one"
        )
    with torch.random.fork_rng(devices=[]):
        made: object = given()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"model: makes {type(made).__name__}; expected a torch.nn.Module")
    return cast("Callable[[], nn.Module]", given)


def _require_renewable(module: nn.Module) -> None:
    """Refuse a module whose weights are not all set by a `reset_parameters` of its parts."""
    for name, part in module.named_modules():
        own = next(part.parameters(recurse=False), None)
        if own is not None and not callable(getattr(part, "reset_parameters", None)):
            where = name or type(part).__name__
            raise ConfigError(
                f"model: the weights of '{where}' cannot be initialised anew, as it has no "
                "reset_parameters; give a function that makes the network"
            )


def _renewed(module: nn.Module) -> nn.Module:
    copied = models.copy_of(module)
    for part in copied.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    return copied.train()
