"""The settings of a study: one frozen tree, validated before anything runs.

Values come, each layer over the one before, from the defaults here, a preset (`presets/*.toml`),
TOML files and single ``section.key=value`` overrides. This module imports no torch.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from recondoor.config import _triggers as triggers
from recondoor.config._attack import Attack
from recondoor.config._canonical import as_tree, canonical
from recondoor.config._choice import Choice
from recondoor.config._data import Data
from recondoor.config._fields import allowed, as_text, value_of
from recondoor.config._identity import (
    dumped,
    identity,
    original_identity,
    recorded_section,
    to_dict,
    with_identity_of,
)
from recondoor.config._older import OLDER, modern, older_in, place_of, recorded_key
from recondoor.config._override import given_twice, leaves, merge, parse_override
from recondoor.config._own import (
    SIMULATED,
    Bilevel,
    Blur,
    Cae,
    CtParallel,
    Downsample,
    Fbpconvnet,
    Modl,
    Mri,
    MriMulticoil,
    OfFile,
    PlugInSettings,
    Sampled,
    Tangent,
    Unet,
    Varnet,
)
from recondoor.config._section import Section
from recondoor.config._tree import (
    INPUT_MAPS,
    ArtefactSettings,
    Config,
    Evaluate,
    Input,
    Model,
    Operator,
    Pattern,
    Poison,
    Train,
    TriggerSettings,
)
from recondoor.core import registry
from recondoor.core.errors import ConfigError, nearest
from recondoor.io import gate
from recondoor.io.tables import parse_toml

__all__ = [
    "INPUT_MAPS",
    "OLDER",
    "SIMULATED",
    "ArtefactSettings",
    "Attack",
    "Bilevel",
    "Blur",
    "Cae",
    "Config",
    "CtParallel",
    "Data",
    "Downsample",
    "Evaluate",
    "Fbpconvnet",
    "Input",
    "Model",
    "Modl",
    "Mri",
    "MriMulticoil",
    "OfFile",
    "Operator",
    "Pattern",
    "PlugInSettings",
    "Poison",
    "Sampled",
    "Setting",
    "Tangent",
    "Train",
    "TriggerSettings",
    "Unet",
    "Varnet",
    "canonical",
    "checked",
    "dumped",
    "from_dict",
    "given_twice",
    "identity",
    "keys",
    "leaves",
    "load_config",
    "named_paths",
    "older_spellings",
    "operator_files",
    "original_identity",
    "own_code",
    "presets",
    "recorded_key",
    "recorded_section",
    "row_label",
    "settings_table",
    "to_dict",
    "to_toml",
    "triggers",
    "value_of",
    "wanted",
    "with_identity_of",
]

PRESET_FOLDER = Path(__file__).parent.parent / "presets"

CHOICES: tuple[type[Choice], ...] = (Operator, Model, Attack)

EXPLAINED = 20
"""Faults of settings that are put into words; a stranger's file may hold thousands."""


@dataclass(frozen=True)
class Setting:
    """One line of the table of settings."""

    key: str
    default: str
    allowed: str
    meaning: str


def row_label(attack: str) -> str:
    """Return the name under which results list the model trained with `attack`.

    Of a class of one's own, MODULE:NAME, it is NAME in small letters: random-signs for RandomSigns.
    """
    return "original" if attack == "none" else registry.label(attack)


def presets() -> tuple[str, ...]:
    """Names of the presets that ship."""
    return tuple(sorted(path.stem for path in PRESET_FOLDER.glob("*.toml")))


def load_config(
    preset: str = "quick",
    files: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    *,
    trusted: bool = True,
) -> Config:
    """Return the validated settings of `preset`, then `files`, then ``section.key=value`` texts.

    Where a key is given more than once, the last value counts. `trusted`: whether all of them are
    the user's, as `from_dict` has it.

    Raises:
        ConfigError: it names the key, what was given and what is allowed.

    Example:
        >>> import recondoor as rd
        >>> settings = rd.load_config("paper", overrides=["poison.ratio=0.1"])
        >>> settings.poison.ratio, settings.seeds
        (0.1, 5)
    """
    if preset not in presets():
        raise ConfigError(
            f"preset: '{preset}' is unknown; there are {', '.join(presets())}"
            + nearest(preset, presets())
        )
    layers = [_read_toml(PRESET_FOLDER / f"{preset}.toml")]
    layers += [_read_toml(Path(path)) for path in files]
    layers += map(parse_override, overrides)
    chosen: dict[str, Any] = {}
    for layer in layers:
        merge(chosen, layer)
    tree: dict[str, Any] = {}
    for layer in layers:
        merge(tree, modern(_in_full(layer, chosen)))
    return canonical(from_dict(tree, trusted=trusted))


def _in_full(layer: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A layer in which `operator.coils` is written as `operator.mri_multicoil.coils`.

    So it is for each setting that one of the chosen plug-ins of the package has and its section has
    not: `chosen` has the names of all layers.
    """
    found = dict(layer)
    for section in CHOICES:
        given, named = layer.get(section.section), chosen.get(section.section)
        if isinstance(given, Mapping) and isinstance(named, Mapping):
            found[section.section] = section.in_full(given, named)
    return found


def older_spellings(files: Iterable[Path] = (), overrides: Iterable[str] = ()) -> list[str]:
    """A line on the settings that are given as release 0.1.0 spelled them; none if none is."""
    layers = [*(_read_toml(Path(path)) for path in files), *map(parse_override, overrides)]
    chosen: dict[str, Any] = {}
    for layer in layers:
        merge(chosen, layer)
    operator = chosen.get("operator")
    name = str(operator.get("name", "gaussian")) if isinstance(operator, dict) else ""
    found = list(dict.fromkeys(key for layer in layers for key in older_in(layer)))
    now = ", ".join(place_of(key, name) for key in found)
    said = ("is", "it") if len(found) == 1 else ("are", "them")
    line = f"{', '.join(found)}: {said[0]} now called {now}, and {said[0]} taken for {said[1]}"
    return [line] if found else []


def from_dict(tree: Mapping[str, Any], *, trusted: bool = True) -> Config:
    """Return the validated settings of a nested mapping; raises ConfigError.

    Settings of plug-ins from outside are checked by these, which are imported for it, but where the
    tree is a stranger's and not `trusted`.
    """
    try:
        return Config.model_validate(tree, context={"trusted": trusted})
    except ValidationError as error:
        faults = [each for each in error.errors() if not _is_told_elsewhere(each, tree)]
        lines = list(dict.fromkeys(_one_line(_explain(dict(item))) for item in faults[:EXPLAINED]))
        count = len(lines) + len(faults[EXPLAINED:]) - 2
        more = f" (and {count} more)" if count > 0 else ""
        raise ConfigError("\n".join(lines[:2]) + more) from None


def checked(settings: Config) -> Config:
    """The same settings, validated anew and in their one spelling; raises ConfigError.

    `model_copy` takes any value under any name: what takes settings asks here first.
    """
    if not isinstance(settings, Config):
        raise ConfigError(
            f"settings: {type(settings).__name__} given; expected Config, as load_config returns"
        )
    return canonical(from_dict(as_tree(settings)))


def to_toml(config: Config) -> str:
    """Return the settings as TOML, without `data.dir` and without keys that are None."""
    tree = dumped(config)
    del tree["data"]["dir"]
    return tomli_w.dumps(_without_none(tree))


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without what is None, and without sections that nothing is left of."""
    found = {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
    }
    return {key: value for key, value in found.items() if value is not None and value != {}}


def own_code(config: Config) -> dict[str, str]:
    """Settings, by key, that name a class of somebody's own, MODULE:NAME."""
    named = [("operator.name", config.operator.name), ("model.name", config.model.name)]
    named += [("data.name", config.data.name)]
    named += [("attack.names", name) for name in config.attack.plug_ins]
    return {key: name for key, name in reversed(named) if registry.is_own_code(name)}


def named_paths(config: Config) -> dict[str, str]:
    """Settings, by key, that name a file or folder of the machine that they were written on."""
    named: dict[str, Path | str | None] = {
        "data.name": None if config.data.name in registry.names("datasets") else config.data.name,
        "data.dir": config.data.dir,
        **operator_files(config),
        "trigger.file": config.trigger.file,
        "artefact.file": config.artefact.file,
    }
    return {key: str(value) for key, value in named.items() if value is not None}


def operator_files(config: Config) -> dict[str, Path]:
    """Files that settings of operators name, by key."""
    return {
        f"operator.{name}.{key}": path
        for name, own in vars(config.operator).items()
        if isinstance(own, PlugInSettings)
        for key, path in own.files().items()
    }


def wanted(config: Config) -> set[tuple[str, int]]:
    """Return the rows, (model, seed), that results must have for the run to be finished."""
    seeds = range(config.seed, config.seed + config.seeds)
    return {(row_label(name), seed) for name in config.attack.names for seed in seeds}


def settings_table(config: Config | None = None) -> list[Setting]:
    """Every setting with default, allowed values and meaning, in the tree's order.

    Of plug-ins from outside those that `config` chooses, which are imported for it.
    """
    lines = list(_lines(Config, ""))
    for section in vars(config).values() if config else ():
        if isinstance(section, Choice):
            lines += _lines_of_outside(section)
    return lines


def _lines(section: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _lines(field.annotation, f"{prefix}{name}.")
        elif name != "outside":
            yield _setting(f"{prefix}{name}", field)


def _lines_of_outside(section: Choice) -> Iterator[Setting]:
    chosen = section.model_dump(include={"name", "names"}).values()
    for entry in (name for each in chosen for name in ([each] if isinstance(each, str) else each)):
        name = registry.without_place(entry)
        own = None if registry.is_ours(section.kind, name) else registry.load(section.kind, name)
        if own is not None and own.Settings is not None:
            yield from _lines(own.Settings, f"{section.section}.{registry.key(name)}.")


def keys() -> tuple[str, ...]:
    """Every dotted key."""
    return tuple(line.key for line in settings_table())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(gate.read_text(path, most=gate.SETTINGS))
    except gate.Refused as error:
        raise ConfigError(f"config file {path} {error}; give a TOML file") from None
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from None


def _is_told_elsewhere(item: Mapping[str, Any], tree: Mapping[str, Any]) -> bool:
    """Whether a fault is that of the ratio of 0.1.0, which is told of the chosen operator alone."""
    key, section = ".".join(map(str, item["loc"])), tree.get("operator")
    chosen = section.get("name") if isinstance(section, Mapping) else None
    place = place_of("operator.ratio", str(chosen))
    if key == place or key not in OLDER["operator.ratio"] or not isinstance(section, Mapping):
        return False
    values = [_leaf(tree, each) for each in OLDER["operator.ratio"]]
    return "ratio" in section or all(value == values[0] for value in values)


def _leaf(tree: Mapping[str, Any], key: str) -> object:
    """What a tree holds under a dotted key; None if nothing."""
    found: object = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _one_line(text: str) -> str:
    """Keys and values that were given may hold line breaks."""
    return text.replace("\n", "\\n")


def _explain(item: dict[str, Any]) -> str:
    """One line for one pydantic error."""
    key = ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
    if item["type"] == "extra_forbidden":
        return f"{key}: there is no such setting" + nearest(key, keys())
    cause = (item.get("ctx") or {}).get("error")
    if isinstance(cause, ConfigError):
        return str(cause)
    given = repr(item["input"])
    given = f"{key}: {given if len(given) <= 80 else given[:77] + '...'} given; "
    own = [leaf for leaf in keys() if leaf.startswith(f"{key}.")]
    if own:
        return f"{given}it is a section with the settings {', '.join(own)}"
    if cause:
        return f"{given}{cause}"
    allowed = next(line.allowed for line in settings_table() if line.key == key)
    message = item["msg"][0].lower() + item["msg"][1:].removesuffix(" for <class 'pathlib.Path'>")
    close = nearest(str(item["input"]), allowed.split(" | ")) if "|" in allowed else ""
    return f"{given}{message} (allowed: {allowed}){close}"


def _setting(key: str, field: Any) -> Setting:
    return Setting(key, as_text(field.get_default()), allowed(field), field.description)
