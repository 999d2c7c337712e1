"""A user's own network: weights of a registered one, an ONNX file, or a Python function."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from torch import nn
from torch.nn.parameter import is_lazy

from recondoor import config, models
from recondoor.audit._networks._adapters import adapted, bare, own
from recondoor.audit._networks._onnx_network import LACKS, OnnxNetwork
from recondoor.audit._networks._own_weights import read_into
from recondoor.audit._networks._probe import probe
from recondoor.audit._networks._weights import read_registered
from recondoor.audit._pairs._source import Shape
from recondoor.core import caller
from recondoor.core.errors import FAILURES, ConfigError, DataError, RecondoorError, in_a_line
from recondoor.core.imports import imported
from recondoor.io import gate
from recondoor.io.arrays import failure
from recondoor.operators import LinearOperator

OF_A_RUN = re.compile(r"model-(?P<label>.+)-seed(?P<seed>\d+)\.safetensors")

PROGRAMS = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".pt2", ".ptl", ".zip", ".joblib")
"""Names that pickles and archives of programs have."""

ARRAYS = (".npz", ".npy", ".h5", ".hdf5")
"""Names that files of pairs have."""

AT = "@"
"""Between MODULE:FUNCTION and the file whose weights the network gets."""

FIRST = 16
"""Bytes of a file that are looked at to tell what it is."""

REMEDY = (
    "where you trust it, write its weights by safetensors.torch.save_file(model.state_dict(), "
    "'model.safetensors'), or the network by torch.onnx.export(model, (z,), 'model.onnx', "
    "external_data=False)"
)


@dataclass(frozen=True)
class Network:
    """A network under suspicion.

    Args:
        name: what it is called in the audit.
        model: on the CPU, in float32, in evaluation mode.
        settings: of a registered network; None for others.
        run: folder of the run that it lies in, label and seed; None if it lies in none.
        lacks: why it cannot give what some defences need, by need.
        notes: what was done to read it.
    """

    name: str
    model: nn.Module
    settings: config.Model | None = None
    run: tuple[Path, str, int] | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def lies_in_run(what: str | nn.Module) -> tuple[Path, str, int] | None:
    """Folder, label and seed, if `what` is the file of a model in the folder of a run."""
    if isinstance(what, nn.Module):
        return None
    path = Path(what)
    found = OF_A_RUN.fullmatch(path.name)
    if found is None or not (path.parent / "config.toml").exists():
        return None
    return path.parent, found["label"], int(found["seed"])


@caller.as_found()
def filled(path: Path, make: Callable[[], nn.Module] | nn.Module) -> nn.Module:
    """A caller's own network, to evaluate, with the weights in a .safetensors file; two if it has.

    Args:
        path: file, as `clean` writes it or `safetensors.torch.save_file`.
        make: what makes the network, or one of its make, which stays as it is.

    Raises:
        DataError: a damaged file, or weights of another network.
        ConfigError: `make` makes none.
    """
    if _kind(str(path), path) != ".safetensors":
        raise DataError(f"'{path}' is no .safetensors file; expected one")
    made: object = make if isinstance(make, nn.Module) else make()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"make: makes {type(made).__name__}; expected a torch.nn.Module")
    return read_into(path, made).eval()


@caller.as_found()
def read_network(
    what: str | nn.Module,
    shape: Shape,
    files: tuple[Path, ...] = (),
    overrides: tuple[str, ...] = (),
    trusted: bool = False,
    operator: LinearOperator | None = None,
) -> Network:
    """As `open_network`, for whoever calls no audit: the process is left as it was found."""
    return open_network(what, shape, files, overrides, trusted, operator)


def open_network(
    what: str | nn.Module,
    shape: Shape,
    files: tuple[Path, ...] = (),
    overrides: tuple[str, ...] = (),
    trusted: bool = False,
    operator: LinearOperator | None = None,
) -> Network:
    """The network that `what` names, for images of `shape` (C, H, W).

    Modules are found in the current folder from then on, as a network of Python may import some
    only when it is called; an audit puts that back at its end.

    Args:
        what: a .safetensors file of a registered network, whose settings are its own metadata's or
            those of the run that it lies in; an .onnx file; MODULE:FUNCTION, a function without
            arguments that returns an nn.Module, or MODULE:FUNCTION@FILE, with the weights in a
            .safetensors file; or an nn.Module, of which a copy is looked at.
        shape: of the images.
        files: TOML files with settings of a registered network, which count before those of a run,
            but not before the file's own.
        overrides: the same as ``model.key=value``.
        trusted: whether code that the file or its folder names may be run.
        operator: what measured z, for a registered network that works with it.

    Raises:
        DataError: no such file, one that holds programs, a damaged one, weights of other settings,
            or a network that is not one finite image for each, alike at every call.
        ConfigError: unknown settings.
    """
    if isinstance(what, nn.Module):
        return _in_memory(what, shape)
    path, settings = Path(what), None
    notes: tuple[str, ...] = ()
    model: nn.Module
    if not path.exists():
        name, model = _of_function(what)
        model = bare(model)
    elif _kind(what, path) == ".onnx":
        name, model = path.stem, OnnxNetwork(path)
    else:
        name = path.stem
        model, settings, notes = read_registered(path, shape, files, overrides, trusted, operator)
    model = _ready(what, model)
    if settings is None:
        model, told = adapted(model, shape)
        notes += told
    probed = probe(what, model, shape)
    lacks = LACKS if isinstance(own(model), OnnxNetwork) else probed.lacks
    run = lies_in_run(what)
    if run is not None:
        name = f"{run[0].resolve().name}-{name}"
    return Network(name, model, settings, run, lacks, (*notes, *probed.notes))


def _in_memory(own: nn.Module, shape: Shape) -> Network:
    """A copy of a caller's own network, which is left as it is."""
    own = bare(own)
    name = type(own).__name__
    model, told = adapted(_ready(name, models.copy_of(own)), shape)
    probed = probe(name, model, shape)
    return Network(name, model, None, None, probed.lacks, (*told, *probed.notes))


def _ready(what: str, model: nn.Module) -> nn.Module:
    """On the CPU, in float32 and evaluation mode; DataError where a weight has no numbers yet."""
    for name, value in chain(model.named_parameters(), model.named_buffers()):
        if value.is_meta or is_lazy(value):
            raise DataError(
                f"'{what}': {name} has no numbers yet, as of a network on the device 'meta' or of "
                "a lazy layer; load its weights first"
            )
    return model.float().cpu().eval()


def _kind(what: str, path: Path) -> str:
    """The suffix of a file that is data; DataError for others, which are opened no further."""
    if path.is_dir():
        raise DataError(
            f"'{what}' is a folder; give a file, as in {what}/model-original-seed0.safetensors"
        )
    try:
        with gate.opened(path, most=gate.ARRAYS) as file:
            first = file.read(FIRST)
    except (gate.Refused, OSError) as error:
        raise DataError(failure(Path(what), error)) from None
    suffix = path.suffix.lower()
    if suffix in ARRAYS:
        raise DataError(
            f"'{what}' holds arrays by its name; expected a network first: a .safetensors or .onnx "
            "file, or MODULE:FUNCTION"
        )
    program = _program(first) or (f"a {suffix} file" if suffix in PROGRAMS else None)
    if program:
        raise DataError(f"'{what}' is {program}, which may hold programs and is not read: {REMEDY}")
    if suffix not in (".safetensors", ".onnx"):
        raise DataError(
            f"'{what}' is no .safetensors or .onnx file; expected one, or MODULE:FUNCTION"
        )
    return suffix


def _program(first: bytes) -> str | None:
    """What a file is by its first bytes, if that may hold programs."""
    if first.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "a zip archive, as torch.save, TorchScript and torch.export write"
    if first[4:8] == b"PTMF":
        return "a TorchScript program for mobile devices"
    # The length of a safetensors header may begin with the same two bytes.
    if first[:1] == b"\x80" and first[1:2] <= b"\x05" and first[8:9] != b"{":
        return "a pickle"
    return None


def _of_function(what: str) -> tuple[str, nn.Module]:
    """Name and network of MODULE:FUNCTION, or of MODULE:FUNCTION@FILE, with a file's weights."""
    made, at, file = what.partition(AT)
    if not at or ":" not in made:
        return what.rpartition(":")[2] or what, _from_python(what)
    return Path(file).stem, filled(Path(file), maker(made))


def _from_python(what: str) -> nn.Module:
    """Import a module and call a function of it: this runs the user's own code."""
    name, colon, function = what.partition(":")
    if not (colon and name and function):
        raise DataError(
            f"'{what}' does not exist; expected a .safetensors or .onnx file, or MODULE:FUNCTION"
        )
    told, here = f"'{what}'", str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = imported(told, name, function)
    if isinstance(found, nn.Module):
        raise ConfigError(
            f"{told} is a network; expected a function without arguments that returns it, as in "
            f"def network(): return {function}"
        )
    if not callable(found):
        raise ConfigError(f"{told} is {type(found).__name__}; expected a function")
    try:
        made: object = _called(found)
    except RecondoorError:
        raise
    except FAILURES as error:
        raise ConfigError(f"{told}: {in_a_line(error)}{_wants(error)}") from None
    if not isinstance(made, nn.Module):
        raise ConfigError(f"'{what}' returned {type(made).__name__}; expected a torch.nn.Module")
    return made


def _wants(error: BaseException) -> str:
    """What a function of arguments should be."""
    lacks = isinstance(error, TypeError) and "required positional argument" in str(error)
    return "; expected a function without arguments that returns the network" if lacks else ""


def maker(what: str) -> Callable[[], nn.Module]:
    """The function MODULE:FUNCTION that makes a network; errors as of `open_network`."""
    return lambda: _from_python(what)


def _called(function: Callable[[], object]) -> object:
    """What the function returns; torch's global state is left as it was."""
    with caller.as_found():
        return function()
