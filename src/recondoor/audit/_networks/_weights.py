"""Weights of a registered network: what a file claims is checked before it is believed.

A stranger's file says how large a network it wants. The network is built without memory first, and
the shapes of its weights are compared with those in the file, whose header is of a bounded size.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from recondoor import config, models, rundir
from recondoor.audit._networks._makes import Make, make_of
from recondoor.audit._networks._two_in_a_file import Part, joined, numbers_of, parts_of
from recondoor.audit._pairs._source import Shape
from recondoor.core import registry
from recondoor.core.errors import FAILURES, ConfigError, DataError, RunError, in_a_line
from recondoor.io import gate
from recondoor.io.arrays import failure
from recondoor.io.tables import parse_toml
from recondoor.operators import LinearOperator

HEADER = 8 * gate.MIB
"""Most bytes of the header that names the tensors: some 80,000 of them."""

REAL = ("F64", "F32", "F16", "BF16")
COMPLEX = ("C64",)
WHOLE = ("I64", "I32", "I16", "I8", "U8", "BOOL")
"""Kinds of numbers that are read: of weights, and of what a network counts by."""

OF_ITS_OWN = (
    "for a network of another make give MODULE:FUNCTION@{path}, a function that makes it, or an "
    ".onnx file by torch.onnx.export"
)

UNTOLD, UNTOLD_EXAMPLE = {"modl": ("iterations", "steps")}, 3
"""Settings of a network that are in no weight's shape."""

EXAMPLES = {
    "cae": "model.cae.width=32",
    "unet": "model.unet.channels=32",
    "fbpconvnet": "model.fbpconvnet.channels=32",
    "modl": "model.modl.width=64",
    "varnet": "model.varnet.cascades=6",
}

Shapes = dict[str, tuple[int, ...]]
Settings = dict[str, Any]


def read_registered(
    path: Path,
    shape: Shape,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    trusted: bool = False,
    operator: LinearOperator | None = None,
) -> tuple[nn.Module, config.Model, tuple[str, ...]]:
    """Network with the weights in a .safetensors file, its settings, and notes on how it was read.

    Settings count in this order: `overrides`, the file's own metadata, `files`, the section `model`
    of the config.toml beside it, of which no other setting is looked at. Where there is no `model`
    in any, names and shapes of the weights tell them. `trusted`: whether code of somebody's own
    that the file or its folder names may be run. `operator`: what measured z, for networks that
    work with it.

    Raises:
        DataError: a damaged file, weights of another network, or weights that are no numbers.
        ConfigError: unknown settings.
    """
    with opened(path) as (tensors, where):
        return _read(path, where, tensors, shape, files, overrides, trusted, operator)


@contextmanager
def opened(path: Path) -> Iterator[tuple[safe_open, Path]]:
    """The weights in a file, of which no more than names and shapes is read, and where they are.

    Raises DataError for what cannot be read, also within.
    """
    try:
        with gate.opened(path, most=gate.ARRAYS) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > HEADER:
                raise DataError(
                    f"'{path}' is no readable safetensors file: it declares a header of "
                    f"{length:,} bytes, and at most {HEADER:,} are read"
                )
            # By the descriptor that passed the gate: another file may have taken its name by now.
            where = Path(f"/proc/self/fd/{file.fileno()}")
            with safe_open(where, framework="pt") as tensors:
                yield tensors, where
    except (gate.Refused, OSError) as error:
        raise DataError(failure(path, error)) from None
    except (SafetensorError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"'{path}' is no readable safetensors file: {in_a_line(error)}") from None


def _read(
    path: Path,
    where: Path,
    tensors: safe_open,
    shape: Shape,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    trusted: bool,
    operator: LinearOperator | None,
) -> tuple[nn.Module, config.Model, tuple[str, ...]]:
    own = _own_settings(path, header_of(tensors))
    found = shapes_of(path, tensors)
    parts = parts_of(found)
    settings, notes = _settings(path, own, files, overrides, parts[0].shapes)
    if not trusted:
        _require_no_code(path, settings, files, overrides)
    _require_operator(path, settings, operator)
    expected = _expected(settings, shape, operator)
    prefix = prefix_of(parts[0].shapes, expected)
    for part in parts:
        _require_names(path, settings, part.shapes, expected, prefix)
        _require_shapes(path, settings, shape, part.shapes, expected, prefix)
    if own is not None:
        require_whole(path, where)
    networks = []
    for part in parts:
        weights = numbers(path, tensors, part.begin + prefix, expected)
        networks.append(models.build(shape, settings, 0, "victim", operator=operator))
        fill(path, networks[-1], weights)
    if prefix:
        notes = (*notes, f"Names of the weights began with {prefix!r}, which was left out.")
    return joined(path, networks, beside(path, tensors, parts)), settings, notes


def header_of(tensors: safe_open) -> dict[str, str]:
    """The metadata of a file; empty if it has none."""
    return tensors.metadata() or {}  # type: ignore[no-untyped-call]


def beside(path: Path, tensors: safe_open, parts: Sequence[Part]) -> dict[str, Tensor]:
    """What a file holds beside the weights of two networks; nothing where it holds one."""
    if len(parts) == 1:
        return {}
    return numbers(path, tensors, "", numbers_of(shapes_of(path, tensors)))


def _own_settings(path: Path, header: Mapping[str, str]) -> Settings | None:
    """The settings in metadata that this package wrote; None if it did not write any."""
    if "meta_sha256" not in header:
        return None
    try:
        meta = json.loads(header.get("meta", ""))
    except (ValueError, RecursionError):
        raise DataError(f"'{path}' is damaged: its metadata is no JSON") from None
    return _section(path, meta, "its metadata")


def shape_in(path: Path) -> Shape | None:
    """For images of what shape (C, H, W) the network in a file is, as `clean` writes it.

    None where the file does not say. Raises DataError for a file that cannot be read.
    """
    with opened(path) as (tensors, _):
        header = header_of(tensors)
    try:
        channels, height, width = json.loads(header.get("meta", ""))["shape"]
        return int(channels), int(height), int(width)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _section(path: Path, tree: object, where: str) -> Settings:
    """The settings of a network in a tree of them; raises DataError for others."""
    found = tree.get("model", {}) if isinstance(tree, dict) else {}
    if not isinstance(found, dict):
        raise DataError(f"'{path}': {where} has no section 'model' but {type(found).__name__}")
    unknown = [
        key
        for key in found
        if not (key in config.Model.model_fields or f"model.{key}" in config.OLDER)
    ]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DataError(
            f"'{path}': {where} has settings of a network that there are not: {unknown[0]!r}{more}"
        )
    return found


def _settings(
    path: Path,
    own: Settings | None,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    found: Shapes,
) -> tuple[config.Model, tuple[str, ...]]:
    """The settings of the network, and a note where they were told by its weights."""
    notes: tuple[str, ...] = ()
    chosen = _beside(path)
    for each in files:
        chosen |= _toml(each, each).get("model", {})
    chosen |= own or {}
    make = None if chosen or own is not None or _told(overrides) else _make(found)
    if make is not None:
        chosen = {"name": make.name, make.name: make.own}
        notes = (f"Names and shapes of its weights say that it is {make.in_words}.",)
    given = [f"model.{key}={json.dumps(value)}" for key, value in config.leaves(chosen)]
    settings = config.load_config("quick", files, [*given, *overrides], trusted=False).model
    if own is None:
        _require_untold(path, settings, [*given, *overrides])
    return settings, notes


def _require_untold(path: Path, settings: config.Model, given: list[str]) -> None:
    """Refuse to guess what no weight tells and nobody says."""
    prefix = f"model.{settings.name}"
    keys = [f"{prefix}.{key}" for key in UNTOLD.get(settings.name, ())]
    if any(not any(text.strip().startswith(key) for text in given) for key in keys):
        raise DataError(
            f"'{path}' holds the network '{settings.name}', and no weight tells "
            f"{' and '.join(keys)}: give them, as in --set model.name={settings.name} "
            + " ".join(f"--set {key}={UNTOLD_EXAMPLE}" for key in keys)
        )


def _make(found: Shapes) -> Make | None:
    """The make that weights tell, unless a stranger's shapes are those of none that there is."""
    make = make_of(found)
    try:
        config.Model.model_validate({"name": make.name, make.name: make.own} if make else {})
    except ValidationError:
        return None
    return make


def _told(overrides: tuple[str, ...]) -> bool:
    """Whether the user says anything of the network."""
    return any(text.strip().startswith("model") for text in overrides)


def _require_operator(path: Path, settings: config.Model, operator: LinearOperator | None) -> None:
    if models.load(settings.name).needs_operator and operator is None:
        raise DataError(
            f"'{path}' holds the network '{settings.name}', which works with the measurement "
            "operator: give it too, as --operator"
        )


def _require_no_code(
    path: Path, settings: config.Model, files: tuple[Path, ...], overrides: tuple[str, ...]
) -> None:
    """Refuse a network of somebody's own that not the user names; raises ConfigError."""
    mine = config.load_config("quick", files, overrides).model.name
    if registry.is_own_code(settings.name) and settings.name != mine:
        raise ConfigError(
            f"{path}: names code of somebody's own, model.name='{settings.name}', which is not run "
            f"because a file says so; give --set model.name={settings.name} if you know it"
        )


def _beside(path: Path) -> Settings:
    """The section `model` of the config.toml in the file's folder, which may be a stranger's."""
    beside = path.parent / "config.toml"
    if not beside.exists():
        return {}
    return _section(beside, _toml(beside, path.parent), "it")


def _toml(path: Path, inside: Path) -> dict[str, Any]:
    folder = None if inside == path else inside
    try:
        return parse_toml(gate.read_text(path, most=gate.SETTINGS, inside=folder))
    except gate.Refused as error:
        raise ConfigError(f"config file {path} {error}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"config file {path} cannot be read: {in_a_line(error)}") from None


def shapes_of(path: Path, tensors: safe_open) -> Shapes:
    """Shapes by name, from the header alone; raises DataError for numbers of another kind."""
    found: Shapes = {}
    for name in tensors.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118
        header = tensors.get_slice(name)  # type: ignore[no-untyped-call]
        if header.get_dtype() not in (*REAL, *COMPLEX, *WHOLE):
            raise DataError(
                f"'{path}': {name!r} holds {header.get_dtype()}; expected {', '.join(REAL)}: write "
                "them as float32"
            )
        found[name] = tuple(header.get_shape())
    return found


def _expected(settings: config.Model, shape: Shape, operator: LinearOperator | None) -> Shapes:
    """Shapes of the weights of a network, which is built without memory for them."""
    try:
        with torch.device("meta"):
            model = models.build(shape, settings, 0, "victim", operator=operator)
    except FAILURES as error:
        raise DataError(f"'{settings.name}' cannot be built: {in_a_line(error)}") from None
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def prefix_of(found: Shapes, expected: Shapes) -> str:
    """What all names that the network knows begin with in the file, as `module.` by a wrapper."""
    first = next(iter(expected), "")
    fitting = (name.removesuffix(first) for name in found if name.endswith("." + first))
    counts = {prefix: sum(prefix + name in found for name in expected) for prefix in fitting}
    best = max(counts, key=lambda prefix: counts[prefix], default="")
    return best if first not in found else ""


def _require_names(
    path: Path, settings: config.Model, found: Shapes, expected: Shapes, prefix: str
) -> None:
    missing = [name for name in expected if prefix + name not in found]
    known = {prefix + name for name in expected}
    extra = [name for name in found if name not in known]
    if not (missing or extra):
        return
    told = [f"{missing[0]!r} is missing"] if missing else []
    told += [f"{extra[0]!r} is none of its own"] if extra else []
    remedy = OF_ITS_OWN.format(path=path)
    if not missing:
        remedy = "write model.state_dict() alone, and nothing else, by safetensors.torch.save_file"
    raise DataError(
        f"'{path}' does not hold the weights of '{settings.name}': {' and '.join(told)} "
        f"({len(missing)} missing, {len(extra)} too many); {remedy}"
    )


def _require_shapes(
    path: Path,
    settings: config.Model,
    shape: Shape,
    found: Shapes,
    expected: Shapes,
    prefix: str,
) -> None:
    for name, wanted in expected.items():
        if found[prefix + name] != wanted:
            raise DataError(
                f"'{path}': {name} is {found[prefix + name]}; '{settings.name}'"
                f"{_of(settings)} for images of {shape} has {wanted}: give its own, as in --set "
                f"{EXAMPLES.get(settings.name, EXAMPLES['cae'])}"
            )


def _of(settings: config.Model) -> str:
    """The settings of a network of the package, in words."""
    own = getattr(settings, registry.key(settings.name), None)
    if not isinstance(own, config.PlugInSettings):
        return ""
    *parts, last = (f"{key} {value}" for key, value in own.model_dump().items())
    return f" of {', '.join(parts)} and {last}"


def require_whole(path: Path, where: Path) -> None:
    """Compare the digest that this package writes."""
    try:
        rundir.read_tensors(where)
    except RunError as error:
        raise DataError(str(error).replace(str(where), f"'{path}'")) from None


def fill(path: Path, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network its weights; raises DataError where complex ones would lose their half."""
    own = model.state_dict()
    for name, values in weights.items():
        if values.is_complex() and not own[name].is_complex():
            raise DataError(
                f"'{path}': {name} holds complex numbers, and the network's are real: give the "
                "function that made the network whose weights they are"
            )
    model.load_state_dict(weights)


def numbers(path: Path, tensors: safe_open, begin: str, names: Iterable[str]) -> dict[str, Tensor]:
    """Values by name, whose names in the file begin with `begin`; DataError unless finite."""
    read = tensors.get_tensor
    return {name: _finite(path, name, read(begin + name)) for name in names}  # type: ignore[no-untyped-call]


def _finite(path: Path, name: str, value: Tensor) -> Tensor:
    """A copy of the values, real ones in float32; raises DataError unless they are finite."""
    copy = value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
    if not bool(copy.isfinite().all()):
        raise DataError(
            f"'{path}': {name} holds NaN or infinite values, also once in float32; nothing can be "
            "said of such a network"
        )
    return copy
