"""Sections in which plug-ins are chosen: each plug-in's settings lie under its name."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, model_validator

from recondoor.config._fields import allowed
from recondoor.config._older import OLDER, modern_section, place_of
from recondoor.config._section import Section
from recondoor.core import registry
from recondoor.core.errors import ConfigError, nearest

VERSION = "version"
"""Beside the settings of a plug-in from outside: its version, where that is not 1."""

Own = TypeVar("Own", bound=BaseModel)


class Choice(Section):
    """A section with a plug-in's name, or several, and their settings.

    kind: of the plug-ins, as the registry calls it; section: the key of the section. `outside` has
    the settings of plug-ins from outside the package that differ from their defaults; it is no key.
    """

    kind: ClassVar[str]
    section: ClassVar[str]

    outside: dict[str, dict[str, Any]] = Field({}, description="", exclude=True, repr=False)

    def __hash__(self) -> int:
        outside = json.dumps(self.outside, sort_keys=True)
        return hash((outside, *(v for k, v in vars(self).items() if k != "outside")))

    @model_validator(mode="before")
    @classmethod
    def _in_place(cls, given: object, info: ValidationInfo) -> object:
        """Put each setting where it belongs; those of plug-ins from outside are checked by them.

        Not so where the context says that the settings are a stranger's: no code may be imported.
        """
        if not isinstance(given, Mapping):
            return given
        tree = modern_section(cls.section, given)
        stranger = info.context is not None and not info.context["trusted"]
        outside = dict(tree.pop("outside", None) or {})
        for name in _outside_names(cls.kind, tree):
            key = registry.key(name)
            raw = tree.pop(key) if key not in cls.model_fields and key in tree else None
            raw = outside.get(key, {}) if raw is None else raw
            if not isinstance(raw, Mapping):
                raise ConfigError(f"{cls.section}.{key}: {raw!r} given; it is a section".strip())
            kept = dict(raw) if stranger else _checked(cls.kind, cls.section, name, raw)
            outside.pop(key, None)
            if kept:
                outside[key] = kept
        return tree | ({"outside": outside} if outside else {})

    @classmethod
    def in_full(cls, given: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """`given` with each setting of a chosen plug-in under the plug-in's name.

        `named` has the names that are chosen, if not the default. What no plug-in has, or several,
        and what is spelled as in 0.1.0 stays where it is.
        """
        key = "names" if "names" in cls.model_fields else "name"
        names = named.get(key, cls.model_fields[key].default)
        places = {registry.key(name) for name in _listed(names)}
        found = dict(given)
        for leaf in given.keys() - cls.model_fields.keys():
            owners = [each for each in places if leaf in cls._settings_of(each)]
            if len(owners) == 1 and f"{cls.section}.{leaf}" not in OLDER:
                inner = found.get(owners[0])
                own = inner if isinstance(inner, Mapping) else {}
                found[owners[0]] = {**own, leaf: found.pop(leaf)}
        return found

    @classmethod
    def _settings_of(cls, plug_in: str) -> Collection[str]:
        """Names of the settings of a plug-in of the package."""
        field = cls.model_fields.get(plug_in)
        kind = None if field is None else field.annotation
        return kind.model_fields if isinstance(kind, type) and issubclass(kind, Section) else ()

    def own(self, name: str, settings: type[Own]) -> Own:
        """The settings of the plug-in `name`, whose class of them is `settings`.

        Raises ConfigError where those of one from outside were not checked yet, and are refused.
        """
        key = registry.key(name)
        found = vars(self).get(key)
        if isinstance(found, settings):
            return found
        raw = {leaf: v for leaf, v in self.outside.get(key, {}).items() if leaf != VERSION}
        try:
            return settings.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(_told(error, f"{self.section}.{key}", settings)) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, which checks nothing; keys of 0.1.0 go where they are now."""
        changed = {k: v for k, v in (update or {}).items() if f"{self.section}.{k}" not in OLDER}
        for key, value in (update or {}).items():
            for place in OLDER.get(f"{self.section}.{key}", ()):
                _, plug_in, leaf = place.split(".")
                inner = changed.get(plug_in, getattr(self, plug_in))
                changed[plug_in] = inner.model_copy(update={leaf: value})
        return super().model_copy(update=changed, deep=deep)

    def __getattr__(self, name: str) -> Any:
        """Keys of 0.1.0 are read where they are now."""
        old = f"{type(self).section}.{name}"
        if old not in OLDER:
            raise AttributeError(f"'{type(self).__name__}' has no setting '{name}'")
        _, plug_in, leaf = place_of(old, vars(self).get("name")).split(".")
        return getattr(vars(self)[plug_in], leaf)


def _outside_names(kind: str, tree: Mapping[str, Any]) -> Iterator[str]:
    """Chosen plug-ins that are none of the package's."""
    for name in _listed(tree.get("names", tree.get("name", ()))):
        if not registry.is_ours(kind, name):
            yield name


def _listed(names: object) -> list[str]:
    """Plug-ins that were named in a list or with commas, without places of their own."""
    given = names.split(",") if isinstance(names, str) else names
    if not isinstance(given, list | tuple):
        return []
    return [registry.without_place(each.strip()) for each in given if isinstance(each, str)]


def _checked(kind: str, section: str, name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What of a plug-in's settings is no default, and its version; raises ConfigError."""
    if not registry.is_known(kind, name):
        return {}  # and is refused by its name
    plug_in = registry.load(kind, name)
    prefix = f"{section}.{registry.key(name)}"
    given = {key: value for key, value in raw.items() if key != VERSION}
    known = plug_in.Settings
    if known is None:
        if given:
            raise ConfigError(f"{prefix}: '{name}' has no settings of its own")
        kept = {}
    else:
        try:
            found = known.model_validate(given)
        except ValidationError as error:
            raise ConfigError(_told(error, prefix, known)) from None
        kept = found.model_dump(mode="json", exclude_defaults=True)
    return kept | ({VERSION: plug_in.version} if plug_in.version != 1 else {})


def _told(error: ValidationError, prefix: str, known: type[BaseModel]) -> str:
    """One line for the first fault."""
    item = error.errors()[0]
    leaf = str(item["loc"][0]) if item["loc"] else ""
    key, keys = f"{prefix}.{leaf}", [f"{prefix}.{field}" for field in known.model_fields]
    if item["type"] == "extra_forbidden":
        return f"{key}: there is no such setting" + nearest(key, keys)
    cause = (item.get("ctx") or {}).get("error")
    text = str(cause) if cause else item["msg"][0].lower() + item["msg"][1:]
    range_ = (
        f" (allowed: {allowed(known.model_fields[leaf])})" if leaf in known.model_fields else ""
    )
    return f"{key}: {item['input']!r} given; {text}{range_}"
