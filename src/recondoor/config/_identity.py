"""Names of runs: hashes of the settings that their numbers depend on.

A setting that is added later must not rename the runs from before it. `LATER` holds each such key
and when it means what runs without it meant: there it is left out of the hash.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from recondoor.config._choice import Choice
from recondoor.config._older import OLDER, recorded
from recondoor.config._own import PlugInSettings
from recondoor.config._tree import Config

NOT_IN_IDENTITY = ("attack.names", "seeds", "evaluate.success_asr", "evaluate.success_benign")
OF_ORIGINAL = ("data", "operator", "input", "model", "train", "seed")


def _tau_is_absolute(config: Config) -> bool:
    """Whether tau counts in pixel values, or the artefact's rms is 1 and both units are the same.

    The rms of a file, of an artefact's part in ker(A), or of one that is as high as an image allows
    is not known from the settings.
    """
    artefact = config.artefact
    drawn = artefact.file is None and artefact.contrast == "absolute"
    drawn = drawn and artefact.target == "pattern" and artefact.limit is None
    known = drawn and artefact.space == "image"
    return config.evaluate.tau_unit == "absolute" or (known and abs(artefact.amplitude) == 1)


def _has_default(key: str) -> Callable[[Config], bool]:
    section, leaf = key.split(".")

    def has_default(config: Config) -> bool:
        chosen = getattr(config, section)
        return bool(getattr(chosen, leaf) == type(chosen).model_fields[leaf].default)

    return has_default


NEUTRAL = (
    *("train.loss", "train.precision", "poison.changes", "poison.choice"),
    *("artefact.contrast", "artefact.target", "artefact.width", "artefact.limit"),
    *("operator.noise", "operator.photons", "operator.attenuation"),
    *("data.window", "data.foreground", "data.size", "data.phase"),
    *("input.map", "input.normalise", "input.clamp", "input.crop"),
)
"""Settings added later whose default is what was done before."""

LATER: Mapping[str, Callable[[Config], bool]] = {
    "evaluate.tau_unit": _tau_is_absolute,
    **{key: _has_default(key) for key in NEUTRAL},
}


def dumped(config: Config) -> dict[str, Any]:
    """The settings as JSON types, those of each plug-in under its name."""
    tree = config.model_dump(mode="json")
    for key, section in vars(config).items():
        if isinstance(section, Choice):
            tree[key] |= section.outside
    return tree


def to_dict(config: Config) -> dict[str, Any]:
    """The settings as JSON types for records, in the layout of release 0.1.0 but for `data.dir`.

    Where the files of a registered set lie is a matter of one machine and not of the run. Of what
    that release did not know, the settings of plug-ins that differ from their defaults are there.
    """
    tree = dumped(config)
    del tree["data"]["dir"]
    return recorded({key: _told(vars(config)[key], value) for key, value in tree.items()})


def recorded_section(section: Choice) -> dict[str, Any]:
    """The same of one section."""
    tree = section.model_dump(mode="json") | section.outside
    found: dict[str, Any] = recorded({section.section: _told(section, tree)})[section.section]
    return found


def _told(section: object, tree: Any) -> Any:
    """A section without the settings that 0.1.0 did not know and that are their defaults."""
    if not isinstance(section, Choice):
        return tree
    old = {place for places in OLDER.values() for place in places}
    found = dict(tree)
    for key, own in vars(section).items():
        if isinstance(own, PlugInSettings):
            usual = type(own)().model_dump(mode="json")
            found[key] = {
                leaf: value
                for leaf, value in tree[key].items()
                if f"{section.section}.{key}.{leaf}" in old or value != usual[leaf]
            }
    return found


def identity(config: Config) -> str:
    """Return 12 hex digits that name the run: a hash of all settings that a row depends on.

    How many seeds and which attacks are run is left out, so that asking for more extends a run; so
    are the thresholds by which reports count successes, and what is neutral in `LATER`.
    """
    tree = _named(config)
    for key in NOT_IN_IDENTITY:
        _drop(tree, key)
    return _digest(tree)


def original_identity(config: Config) -> str:
    """Return 12 hex digits that name the original model of the first seed.

    A hash of all that it depends on: runs in which they are equal have the same one.
    """
    tree = _named(config)
    return _digest({key: tree[key] for key in OF_ORIGINAL if key in tree})


def with_identity_of(wanted: Config, other: Config) -> Config:
    """`other`, but with what is in no identity as `wanted` has it."""
    tree, own = dumped(other), dumped(wanted)
    for key in (*NOT_IN_IDENTITY, "data.dir"):
        *sections, leaf = key.split(".")
        into, source = tree, own
        for section in sections:
            into, source = into[section], source[section]
        into[leaf] = source[leaf]
    return Config.model_validate(tree, context={"trusted": False})


def _named(config: Config) -> dict[str, Any]:
    """The settings without those added later that change nothing."""
    tree = to_dict(config)
    for key, neutral in LATER.items():
        if neutral(config):
            _drop(tree, key)
    return {key: value for key, value in tree.items() if value != {}}


def _drop(tree: dict[str, Any], key: str) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree[section]
    del tree[leaf]


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]
