"""A user's own network: safetensors of a registered one, TorchScript, or a Python function."""

import importlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from recondoor import config, models, rundir
from recondoor.audit._given import Shape
from recondoor.audit._torchscript import read_torchscript
from recondoor.errors import ConfigError, DataError, RecondoorError

Arrays = dict[str, NDArray[Any]]

OF_A_RUN = re.compile(r"model-(?P<label>.+)-seed(?P<seed>\d+)\.safetensors")

# What a user's function, or a network on images that it was not made for, may well raise.
_FAULTS = (
    ImportError,
    AttributeError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AssertionError,
)


@dataclass(frozen=True)
class Network:
    """A network under suspicion.

    Args:
        name: what it is called in the audit.
        model: on the CPU, in float32, in evaluation mode.
        settings: of a registered network; None for others.
        run: folder of the run that it lies in, label and seed; None if it lies in none.
    """

    name: str
    model: nn.Module
    settings: config.Model | None = None
    run: tuple[Path, str, int] | None = None


def lies_in_run(what: str) -> tuple[Path, str, int] | None:
    """Folder, label and seed, if `what` is the file of a model in the folder of a run."""
    path = Path(what)
    found = OF_A_RUN.fullmatch(path.name)
    if found is None or not (path.parent / "config.toml").exists():
        return None
    return path.parent, found["label"], int(found["seed"])


def read_network(
    what: str, shape: Shape, files: tuple[Path, ...] = (), overrides: tuple[str, ...] = ()
) -> Network:
    """The network that `what` names, for images of `shape` (C, H, W).

    Args:
        what: a .safetensors file of a registered network, whose settings are its own metadata's or
            those of the run that it lies in; a TorchScript file; or MODULE:FUNCTION, a function
            without arguments that returns an nn.Module.
        shape: of the images.
        files: TOML files with settings of a registered network, which count before its own.
        overrides: the same as ``model.key=value``.

    Raises:
        DataError: no such file, a file that only unpickling would read, a damaged one, weights of
            other settings, or a network that does not map images to finite ones of their shape.
        ConfigError: unknown settings.
    """
    path = Path(what)
    settings: config.Model | None = None
    if path.is_dir():
        raise DataError(
            f"'{what}' is a folder; give a file, as in {what}/model-original-seed0.safetensors"
        )
    if not path.exists():
        model, name = _from_python(what), what.rpartition(":")[2] or what
    elif path.suffix == ".safetensors":
        model, settings = _registered(path, shape, files, overrides)
        name = path.stem
    else:
        model, name = read_torchscript(path), path.stem
    model = model.float().cpu().eval()
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    # Two sizes of a batch, as a traced network may take only one.
    require_images(what, model, images[:2])
    require_images(what, model, images)
    run = lies_in_run(what)
    if run is not None:
        name = f"{run[0].resolve().name}-{name}"
    return Network(name, model, settings, run)


def require_images(what: str, model: nn.Module, z: Tensor) -> None:
    """Raise DataError unless the network maps z (B, C, H, W) to finite values of its shape."""
    try:
        out = models.reconstruct(model, z)
    except _FAULTS as error:
        hint = ""
        if isinstance(model, torch.jit.ScriptModule):
            hint = "; traced networks may keep the batch size that they were traced with: script it"
        raise DataError(
            f"'{what}' does not take {len(z)} images of {tuple(z.shape[1:])}: {_line(error)}{hint}"
        ) from None
    if out.shape != z.shape:
        raise DataError(
            f"'{what}' maps {tuple(z.shape)} to {tuple(out.shape)}; expected the same shape"
        )
    if not bool(out.isfinite().all()):
        raise DataError(f"'{what}' returns NaN or infinite values; are its weights whole?")


def _registered(
    path: Path, shape: Shape, files: tuple[Path, ...], overrides: tuple[str, ...]
) -> tuple[nn.Module, config.Model]:
    arrays, own = _weights(path)
    beside = path.parent / "config.toml"
    given = [f"model.{key}={json.dumps(value)}" for key, value in own.items()]
    settings = config.load_config(
        "quick", [*([beside] if beside.exists() else []), *files], [*given, *overrides]
    ).model
    model = models.build(shape, settings, 0, "victim")
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in arrays.items()}
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise DataError(
                f"'{path}': {name} is {found.get(name, 'missing')}; '{settings.name}' of width "
                f"{settings.width}, code {settings.code} and kernel {settings.kernel} for images "
                f"of {shape} has {expected.get(name, 'none')}: give its own, as in "
                "--set model.width=32"
            )
    model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return model, settings


def _weights(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Weights in float32, and the settings in the metadata, which only this package writes."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            names = [] if "meta_sha256" in header else list(file.keys())
            arrays = {name: np.asarray(file.get_tensor(name), np.float32) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"'{path}' is no readable safetensors file: {_line(error)}") from None
    if "meta_sha256" not in header:
        return arrays, {}
    arrays, meta = rundir.read_tensors(path)
    own = meta.get("model", {})
    return arrays, own if isinstance(own, dict) else {}


def _from_python(what: str) -> nn.Module:
    """Import a module and call a function of it: this runs the user's own code."""
    name, colon, function = what.partition(":")
    if not (colon and name and function):
        raise DataError(
            f"'{what}' does not exist; expected a .safetensors or TorchScript file, or "
            "MODULE:FUNCTION"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        made: object = _called(getattr(importlib.import_module(name), function))
    except RecondoorError:
        raise
    except _FAULTS as error:
        raise ConfigError(f"'{what}': {type(error).__name__}: {_line(error)}") from None
    if not isinstance(made, nn.Module):
        raise ConfigError(f"'{what}' returned {type(made).__name__}; expected a torch.nn.Module")
    return made


def _called(function: Callable[[], object]) -> object:
    """What the function returns; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return function()


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).strip()[:160]
