"""Settings as plain trees, and the one spelling of those that have several."""

from collections.abc import Mapping
from typing import Any, TypeVar

from recondoor.config._section import Section
from recondoor.config._tree import PLACES
from recondoor.core.errors import ConfigError

AnySection = TypeVar("AnySection", bound=Section)


def canonical(settings: AnySection) -> AnySection:
    """The same settings in one spelling: 0.0 for -0.0, and '3,4' for '3, 4'."""
    changed = {
        name: spelled
        for name, value in vars(settings).items()
        if (spelled := _spelled(name, value)) is not value
    }
    return settings.model_copy(update=changed) if changed else settings


def _spelled(name: str, value: Any) -> Any:
    if isinstance(value, Section):
        return canonical(value)
    if isinstance(value, float) and value == 0 and str(value).startswith("-"):
        return 0.0
    if name == "place" and value not in PLACES:
        own = ",".join(str(int(part)) for part in value.split(","))
        return value if own == value else own
    return value


def as_tree(settings: Section, where: str = "") -> dict[str, Any]:
    """Everything that was set, also what `model_copy` brought unchecked; raises ConfigError.

    What was left to its default is left out, as audits ask whether a noise level was given.
    """
    found: dict[str, Any] = {}
    for name, value in vars(settings).items():
        field = type(settings).model_fields.get(name)
        kind = None if field is None else field.annotation
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            if field is None or name in settings.model_fields_set or value is not field.default:
                found[name] = value
        elif isinstance(value, kind):
            found[name] = as_tree(value, f"{where}{name}.")
        else:
            what = "a dict" if isinstance(value, Mapping) else repr(value)[:80]
            raise ConfigError(
                f"{where}{name}: {what} given; it is a section, so give {kind.__name__}, as in "
                f"settings.{where}{name}.model_copy(update=...)"
            )
    return found
