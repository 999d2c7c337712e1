"""Spellings of release 0.1.0, which knew no settings of a plug-in's own: still read, and recorded.

Records of runs and the names of runs are in its layout, so that both stay what they were.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from recondoor.core.errors import ConfigError

LAYOUT: Mapping[str, tuple[str, ...]] = {
    "operator": ("name", "ratio", "sigma", "file"),
    "model": ("name", "width", "code", "kernel"),
    "attack": (
        *("names", "mask", "distance", "budget", "l2", "linf"),
        *("variant", "start", "iterations", "patience", "solver", "inner_steps", "inner_lr"),
        *("inner_optimiser", "truncation", "terms", "damping", "outer_optimiser", "outer_lr"),
        *("step", "objective", "benign_weight", "direct_weight", "batch", "holdout"),
        *("loss_scale", "warm_steps", "surrogates", "surrogate_width", "surrogate_code"),
        *("surrogate_kernel", "tangent_steps"),
    ),
}
"""Keys of the sections of 0.1.0 in which plug-ins are chosen."""

_COMMON = {
    *("name", "sigma", "names", "mask", "distance", "budget", "l2", "linf", "batch", "holdout"),
    *("warm_steps", "surrogates", "surrogate_width", "surrogate_code", "surrogate_kernel"),
}
_SAMPLED = ("gaussian", "fourier", "pixel_mask")
_ELSEWHERE = {
    "operator.ratio": tuple(f"operator.{name}.ratio" for name in _SAMPLED),
    "operator.file": ("operator.matrix.file",),
    "attack.tangent_steps": ("attack.tangent.steps",),
}
_OF = {"model": "cae", "attack": "bilevel"}

OLDER: Mapping[str, tuple[str, ...]] = {
    key: _ELSEWHERE.get(key) or (f"{section}.{_OF[section]}.{leaf}",)
    for section, leaves in LAYOUT.items()
    for leaf in leaves
    if leaf not in _COMMON and (key := f"{section}.{leaf}")
}
"""Keys of 0.1.0 and where they are now; the ratio was that of every operator that has one."""


def modern(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree in which no setting is spelled as in 0.1.0.

    Raises ConfigError where both spellings are given, with different values.
    """
    return {
        key: modern_section(key, value) if key in LAYOUT and isinstance(value, Mapping) else value
        for key, value in tree.items()
    }


def modern_section(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The same of one section."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if f"{section}.{key}" not in OLDER:
            name = str(key).replace("-", "_") if isinstance(value, Mapping) else str(key)
            found[name] = dict(value) if isinstance(value, Mapping) else value
    for key, value in given.items():
        for place in OLDER.get(f"{section}.{key}", ()):
            _, plug_in, leaf = place.split(".")
            inner = found.setdefault(plug_in, {})
            there = inner if isinstance(inner, dict) else inner.model_dump(exclude_unset=True)
            if leaf in there and there[leaf] != value:
                raise ConfigError(
                    f"{section}.{key}: {value!r} given, and {there[leaf]!r} as {place}, which is "
                    "its name now; give it once"
                )
            found[plug_in] = (
                {**inner, leaf: value}
                if isinstance(inner, dict)
                else inner.model_copy(update={leaf: value})
            )
    return found


def older_in(tree: Mapping[str, Any]) -> Iterator[str]:
    """Keys of a tree that are spelled as in 0.1.0."""
    for section in LAYOUT:
        given = tree.get(section)
        if isinstance(given, Mapping):
            yield from (f"{section}.{key}" for key in given if f"{section}.{key}" in OLDER)


def place_of(key: str, chosen: str | None = None) -> str:
    """Where a setting of 0.1.0 is now: of several places that of the plug-in `chosen`."""
    places = OLDER.get(key, (key,))
    own = [place for place in places if chosen and place.split(".")[1] == chosen.replace("-", "_")]
    return (own or places)[0]


def recorded_key(key: str) -> str:
    """The name under which records list a setting, as 0.1.0 spelled it."""
    key = key.replace("-", "_")
    return next((old for old, places in OLDER.items() if key in places), key)


def recorded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A dumped tree of settings as 0.1.0 would have written it.

    Of what it did not know, the settings of plug-ins that differ from their defaults are added
    under the plug-in's name; `tree` has no others.
    """
    return {
        key: _recorded_section(key, value) if key in LAYOUT else value
        for key, value in tree.items()
    }


def _recorded_section(section: str, given: Mapping[str, Any]) -> dict[str, Any]:
    rest = {key: dict(value) if isinstance(value, dict) else value for key, value in given.items()}
    found: dict[str, Any] = {}
    for leaf in LAYOUT[section]:
        old = f"{section}.{leaf}"
        if old not in OLDER:
            found[leaf] = rest.pop(leaf)
            continue
        _, plug_in, own = place_of(old, given.get("name")).split(".")
        found[leaf] = given[plug_in][own]
    for places in OLDER.values():
        for place in places:
            where, plug_in, own = place.split(".")
            if where == section:
                rest[plug_in].pop(own, None)
    return found | {key: value for key, value in rest.items() if value != {}}
