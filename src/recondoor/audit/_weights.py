"""Weights of a registered network: what a file claims is checked before it is believed.

A stranger's file says how large a network it wants. The network is built without memory first, and
the shapes of its weights are compared with those in the file, whose header is of a bounded size.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from recondoor import config, gate, models, registry, rundir
from recondoor.arrays import failure
from recondoor.audit._pairs import Shape
from recondoor.errors import FAILURES, ConfigError, DataError, RunError, in_a_line
from recondoor.tables import parse_toml

HEADER = 8 * gate.MIB
"""Most bytes of the header that names the tensors: some 80,000 of them."""

REAL = ("F64", "F32", "F16", "BF16")
WHOLE = ("I64", "I32", "I16", "I8", "U8", "BOOL")
"""Kinds of numbers that are read: of weights, and of what a network counts by."""

OF_ITS_OWN = (
    "for a network of another make give MODULE:FUNCTION, or an .onnx file by torch.onnx.export"
)

Shapes = dict[str, tuple[int, ...]]
Settings = dict[str, Any]


def read_registered(
    path: Path,
    shape: Shape,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    trusted: bool = False,
) -> tuple[nn.Module, config.Model, tuple[str, ...]]:
    """Network with the weights in a .safetensors file, its settings, and notes on how it was read.

    Settings count in this order: `overrides`, the file's own metadata, `files`, the section `model`
    of the config.toml beside it. No other setting of that file is looked at. `trusted`: whether
    code of somebody's own that the file or its folder names may be run.

    Raises:
        DataError: a damaged file, weights of another network, or weights that are no numbers.
        ConfigError: unknown settings.
    """
    try:
        with gate.opened(path, most=gate.ARRAYS) as file:
            return _read(path, file, shape, files, overrides, trusted)
    except (gate.Refused, OSError) as error:
        raise DataError(failure(path, error)) from None
    except (SafetensorError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"'{path}' is no readable safetensors file: {in_a_line(error)}") from None


def _read(
    path: Path,
    file: BinaryIO,
    shape: Shape,
    files: tuple[Path, ...],
    overrides: tuple[str, ...],
    trusted: bool,
) -> tuple[nn.Module, config.Model, tuple[str, ...]]:
    length = int.from_bytes(file.read(8), "little")
    if length > HEADER:
        raise DataError(
            f"'{path}' is no readable safetensors file: it declares a header of {length:,} bytes, "
            f"and at most {HEADER:,} are read"
        )
    # By the descriptor that passed the gate: another file may have taken its name by now.
    opened = Path(f"/proc/self/fd/{file.fileno()}")
    with safe_open(opened, framework="pt") as tensors:
        own = _own_settings(path, tensors.metadata() or {})
        settings = _settings(path, own, files, overrides)
        if not trusted:
            _require_no_code(path, settings, files, overrides)
        found = _shapes(path, tensors)
        expected = _expected(settings, shape)
        prefix = _prefix(found, expected)
        _require_names(path, settings, found, expected, prefix)
        _require_shapes(path, settings, shape, found, expected, prefix)
        if own is not None:
            _require_whole(path, opened)
        weights = {
            name: _numbers(path, name, tensors.get_tensor(prefix + name)) for name in expected
        }
    model = models.build(shape, settings, 0, "victim")
    model.load_state_dict(weights)
    note = f"Names of the weights began with {prefix!r}, which was left out."
    return model, settings, (note,) if prefix else ()


def _own_settings(path: Path, header: Mapping[str, str]) -> Settings | None:
    """The settings in metadata that this package wrote; None if it did not write any."""
    if "meta_sha256" not in header:
        return None
    try:
        meta = json.loads(header.get("meta", ""))
    except (ValueError, RecursionError):
        raise DataError(f"'{path}' is damaged: its metadata is no JSON") from None
    return _section(path, meta, "its metadata")


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
    path: Path, own: Settings | None, files: tuple[Path, ...], overrides: tuple[str, ...]
) -> config.Model:
    chosen = _beside(path)
    for each in files:
        chosen |= _toml(each, each).get("model", {})
    chosen |= own or {}
    given = [f"model.{key}={json.dumps(value)}" for key, value in config.leaves(chosen)]
    return config.load_config("quick", files, [*given, *overrides], trusted=False).model


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


def _shapes(path: Path, tensors: safe_open) -> Shapes:
    """Shapes by name, from the header alone; raises DataError for numbers of another kind."""
    found: Shapes = {}
    for name in tensors.keys():  # type: ignore[no-untyped-call]  # noqa: SIM118
        header = tensors.get_slice(name)  # type: ignore[no-untyped-call]
        if header.get_dtype() not in (*REAL, *WHOLE):
            raise DataError(
                f"'{path}': {name!r} holds {header.get_dtype()}; expected {', '.join(REAL)}: write "
                "them as float32"
            )
        found[name] = tuple(header.get_shape())
    return found


def _expected(settings: config.Model, shape: Shape) -> Shapes:
    """Shapes of the weights of a network, which is built without memory for them."""
    try:
        with torch.device("meta"):
            model = models.build(shape, settings, 0, "victim")
    except FAILURES as error:
        raise DataError(f"'{settings.name}' cannot be built: {in_a_line(error)}") from None
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _prefix(found: Shapes, expected: Shapes) -> str:
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
    remedy = OF_ITS_OWN
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
            cae = settings.cae
            of = f" of width {cae.width}, code {cae.code} and kernel {cae.kernel}"
            raise DataError(
                f"'{path}': {name} is {found[prefix + name]}; '{settings.name}'"
                f"{of if settings.name == 'cae' else ''} for images of {shape} has {wanted}: give "
                "its own, as in --set model.cae.width=32"
            )


def _require_whole(path: Path, opened: Path) -> None:
    """Compare the digest that this package writes."""
    try:
        rundir.read_tensors(opened)
    except RunError as error:
        raise DataError(str(error).replace(str(opened), f"'{path}'")) from None


def _numbers(path: Path, name: str, value: Tensor) -> Tensor:
    """A copy of the values, real ones in float32; raises DataError unless they are finite."""
    copy = value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
    if not bool(copy.isfinite().all()):
        raise DataError(
            f"'{path}': {name} holds NaN or infinite values, also once in float32; nothing can be "
            "said of such a network"
        )
    return copy
