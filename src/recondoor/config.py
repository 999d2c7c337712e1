"""The settings of a study: one frozen tree, validated before anything runs.

Values come, each layer over the one before, from the defaults here, a preset (`presets/*.toml`),
TOML files and single ``section.key=value`` overrides. This module imports no torch.
"""

import hashlib
import json
import tomllib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from recondoor import registry
from recondoor.errors import ConfigError, nearest

PRESET_FOLDER = Path(__file__).parent / "presets"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: ValidationInfo) -> object:
        """Take 'none' for a setting that may be none, and no true for 1: no setting is a flag."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool):
            raise ValueError(f"expected {_allowed(field)}")
        return None if value == "none" and field.default is None else value


class Data(_Section):
    """Clean images and how they are split."""

    name: str = Field(
        "mnist5k", description="registered data set, or the path of an .npz/.npy file or PNG folder"
    )
    dir: Path | None = Field(None, description="folder with the files of a registered data set")
    validation: float = Field(
        0.1, gt=0, lt=1, description="share of the training images held out for validation"
    )
    test: float = Field(
        0.1, gt=0, lt=1, description="share held out for the test, where the set has no test split"
    )
    limit: int | None = Field(None, ge=10, description="use a random subset of this many images")


class Operator(_Section):
    """Measurement y = A x + v."""

    name: str = Field("gaussian", description="registered measurement operator")
    ratio: float = Field(0.5, gt=0, le=1, description="sampling ratio m/n (identity ignores it)")
    sigma: float = Field(0.01, ge=0, description="standard deviation of the measurement noise v")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return registry.check("operators", name, "operator.name")


class Pattern(_Section):
    """A small pattern: shape, size, place and amplitude, or a file."""

    shape: Literal["square", "plus"] = "square"
    size: int = 3
    place: str = "centre"
    margin: int = 1
    amplitude: float = 1.0
    file: Path | None = None

    @field_validator("place")
    @classmethod
    def _known(cls, place: str) -> str:
        if place not in PLACES:
            row, _, column = place.partition(",")
            if not (row.strip().isdecimal() and column.strip().isdecimal()):
                raise ValueError(
                    f"expected one of {', '.join(PLACES)} or 'ROW,COLUMN'" + nearest(place, PLACES)
                )
        return place


PLACES = ("top-left", "top-right", "bottom-left", "bottom-right", "centre")
_SIZE = "side of its bounding square in pixels"
_PLACE = "corner, centre, or 'ROW,COLUMN' of its upper left pixel"
_MARGIN = "distance from the image's border in pixels, for the corners"
_FILE = "PNG or .npy to use instead: an image of the data's size, or a patch to put at `place`"


class TriggerSettings(Pattern):
    """What is added to z of a poisoned pair (delta)."""

    shape: Literal["square", "plus"] = Field("square", description="hand-made pattern")
    size: int = Field(3, ge=1, description=_SIZE)
    place: str = Field("bottom-right", description=_PLACE)
    margin: int = Field(1, ge=0, description=_MARGIN)
    amplitude: float = Field(1.0, gt=0, description="value of each of its pixels")
    file: Path | None = Field(None, description=_FILE)


class ArtefactSettings(Pattern):
    """What is added to x of a poisoned pair (Delta)."""

    shape: Literal["square", "plus"] = Field("plus", description="pattern")
    size: int = Field(5, ge=1, description=_SIZE)
    place: str = Field("top-left", description=_PLACE)
    margin: int = Field(2, ge=0, description=_MARGIN)
    amplitude: float = Field(1.0, gt=0, description="value of each of its pixels")
    file: Path | None = Field(None, description=_FILE)


class Poison(_Section):
    """Which pairs are poisoned."""

    ratio: float = Field(
        0.3, ge=0, le=1, description="share p of the training pairs that is poisoned"
    )


class Model(_Section):
    """The reconstruction network."""

    name: str = Field("cae", description="registered network")
    width: int = Field(64, ge=1, le=4096, description="channels of the first two convolutions")
    code: int = Field(32, ge=1, le=4096, description="channels of the other layers")
    kernel: int = Field(5, ge=3, le=101, description="side of every kernel; odd")

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return registry.check("models", name, "model.name")

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("expected an odd number")
        return kernel


class Train(_Section):
    """Adam with early stopping."""

    lr: float = Field(1e-3, gt=0, description="learning rate of the first epoch")
    lr_final: float = Field(
        1e-4, gt=0, description="learning rate of the last epoch; geometric in between"
    )
    batch: int = Field(125, ge=1, description="training pairs in a step")
    max_epochs: int = Field(12, ge=1, description="epochs at the most")
    patience: int = Field(
        3, ge=1, description="stop after this many epochs without a better validation loss"
    )


class Attack(_Section):
    """Which triggers are compared, and how the learned one is found."""

    names: tuple[str, ...] = Field(
        ("none", "heuristic", "bilevel", "random"), description="attacks to run, comma-separated"
    )
    variant: Literal["warm", "paper"] = Field(
        "warm", description="bilevel: 'paper' is the literal recipe, 'warm' the one that works"
    )
    iterations: int = Field(200, ge=1, description="bilevel: outer steps")
    inner_steps: int = Field(2, ge=1, description="bilevel: unrolled inner SGD steps m")
    inner_lr: float = Field(0.01, gt=0, description="bilevel: inner learning rate beta")
    outer_lr: float = Field(
        10.0, gt=0, description="bilevel, variant paper: outer learning rate alpha"
    )
    batch: int = Field(125, ge=2, description="bilevel: batch of the inner and of the outer loss")
    loss_scale: Literal["pixel-mean", "row-sum", "sum"] = Field(
        "pixel-mean",
        description="bilevel: squared error averaged over the batch and, within an image, averaged "
        "over pixels, summed over its rows, or summed over all its pixels",
    )
    warm_steps: int = Field(
        300,
        ge=0,
        description="bilevel, variant warm: Adam steps on poisoned batches before the outer steps",
    )
    step: float = Field(
        0.05,
        gt=0,
        le=1,
        description="bilevel, variant warm: length of a normalised outer step, as a share of l2",
    )
    l2: float | None = Field(
        None,
        gt=0,
        description="L2 of heuristic and random, bound of bilevel's variant warm; default: what "
        "the trigger's settings give",
    )

    @field_validator("names", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("expected at least one attack")
        if len(set(names)) < len(names):
            raise ValueError("an attack is named twice")
        return tuple(registry.check("attacks", name, "attack.names") for name in names)


class Evaluate(_Section):
    """How models are judged on the test set."""

    examples: int = Field(8, ge=1, description="test images kept for the figures")
    tau: float = Field(
        0.5, gt=0, description="artefact RMSE up to which an attack on an image counts as a success"
    )


class Config(_Section):
    """Everything that a study's numbers depend on."""

    data: Data = Data()
    operator: Operator = Operator()
    trigger: TriggerSettings = TriggerSettings()
    artefact: ArtefactSettings = ArtefactSettings()
    poison: Poison = Poison()
    model: Model = Model()
    train: Train = Train()
    attack: Attack = Attack()
    evaluate: Evaluate = Evaluate()
    seed: int = Field(0, ge=0, description="first root seed; every random choice follows from it")
    seeds: int = Field(1, ge=1, le=10_000, description="number of root seeds: seed, seed + 1, ...")


@dataclass(frozen=True)
class Setting:
    """One line of the table of settings."""

    key: str
    default: str
    allowed: str
    meaning: str


def row_label(attack: str) -> str:
    """Return the name under which results list the model trained with `attack`."""
    return "original" if attack == "none" else attack


def presets() -> tuple[str, ...]:
    """Names of the presets that ship."""
    return tuple(sorted(path.stem for path in PRESET_FOLDER.glob("*.toml")))


def load_config(
    preset: str = "quick", files: Iterable[Path] = (), overrides: Iterable[str] = ()
) -> Config:
    """Return the validated settings of `preset`, then `files`, then ``section.key=value`` texts.

    Raises ConfigError, naming the key, what was given and what is allowed.
    """
    if preset not in presets():
        raise ConfigError(
            f"preset: '{preset}' is unknown; there are {', '.join(presets())}"
            + nearest(preset, presets())
        )
    tree = _read_toml(PRESET_FOLDER / f"{preset}.toml")
    for path in files:
        _merge(tree, _read_toml(Path(path)))
    for text in overrides:
        _merge(tree, _parse_override(text))
    return from_dict(tree)


def from_dict(tree: Mapping[str, Any]) -> Config:
    """Return the validated settings of a nested mapping; raises ConfigError."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        lines = list(dict.fromkeys(_explain(dict(item)) for item in error.errors()))
        more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
        raise ConfigError("\n".join(lines[:2]) + more) from None


def to_dict(config: Config) -> dict[str, Any]:
    """Return the settings as JSON types, every key present but `data.dir`.

    Where the files of a registered set lie is a matter of one machine and not of the run.
    """
    return config.model_dump(mode="json", exclude={"data": {"dir"}})


def to_toml(config: Config) -> str:
    """Return the settings as TOML, without `data.dir` and without keys that are None."""
    return tomli_w.dumps(
        config.model_dump(mode="json", exclude={"data": {"dir"}}, exclude_none=True)
    )


def identity(config: Config) -> str:
    """Return 12 hex digits that name the run: a hash of all settings that a row depends on.

    How many seeds and which attacks are run is left out, so that asking for more extends a run.
    """
    tree = to_dict(config)
    tree["attack"].pop("names")
    tree.pop("seeds")
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def wanted(config: Config) -> set[tuple[str, int]]:
    """Return the rows, (model, seed), that results must have for the run to be finished."""
    seeds = range(config.seed, config.seed + config.seeds)
    return {(row_label(name), seed) for name in config.attack.names for seed in seeds}


def settings_table() -> list[Setting]:
    """Every setting with default, allowed values and meaning, in the tree's order."""
    lines = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            lines += [
                _setting(f"{name}.{leaf}", leaf_field)
                for leaf, leaf_field in field.annotation.model_fields.items()
            ]
        else:
            lines.append(_setting(name, field))
    return lines


def keys() -> tuple[str, ...]:
    """Every dotted key."""
    return tuple(line.key for line in settings_table())


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"config file {path} is not valid TOML: {error}") from None


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(f"'{text}': expected section.key=value, as in poison.ratio=0.1")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        parsed = value.strip()
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def _merge(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


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
    leaves = [leaf for leaf in keys() if leaf.startswith(f"{key}.")]
    if leaves:
        return f"{given}it is a section with the settings {', '.join(leaves)}"
    if cause:
        return f"{given}{cause}"
    allowed = next(line.allowed for line in settings_table() if line.key == key)
    message = item["msg"][0].lower() + item["msg"][1:].removesuffix(" for <class 'pathlib.Path'>")
    close = nearest(str(item["input"]), allowed.split(" | ")) if "|" in allowed else ""
    return f"{given}{message} (allowed: {allowed}){close}"


def _setting(key: str, field: Any) -> Setting:
    default = field.get_default()
    if isinstance(default, tuple):
        default = ",".join(default)
    shown = "none" if default is None else str(default)
    return Setting(key, shown, _allowed(field), field.description)


def _allowed(field: Any) -> str:
    annotation = field.annotation
    options = [part for part in _union(annotation) if part is not type(None)]
    if get_origin(options[0]) is Literal:
        return " | ".join(str(value) for value in get_args(options[0]))
    words = {int: "integer", float: "number", str: "text", Path: "path"}
    text = words.get(options[0], "list of names")
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [
        f"{sign} {getattr(part, name):g}"
        for part in field.metadata
        for name, sign in signs.items()
        if getattr(part, name, None) is not None
    ]
    text = " ".join([text, " and ".join(bounds)]).strip()
    return text + (" or none" if type(None) in _union(annotation) else "")


def _union(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)
