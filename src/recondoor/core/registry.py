"""Plug-ins by name: classes of the package, of installed packages, or of a file of one's own.

A plug-in of the package is one file in one folder. Its name is the file's stem with ``_`` written
as ``-``; files whose name starts with ``_`` are shared code. An installed package names its own by
entry points of the group ``recondoor.plugins``, called KIND.NAME. ``MODULE:NAME`` is a class in a
module that Python finds, also in the current folder. Nothing is imported before it is used:
`describe` reads the first line of a docstring from the source.
"""

import ast
import re
import sys
from collections.abc import Container, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

from recondoor.core.errors import ConfigError, nearest
from recondoor.core.imports import fault_of, imported, told_in_a_line

if TYPE_CHECKING:
    from pydantic import BaseModel  # of which nothing is needed when this runs

FOLDERS = {
    "datasets": "data",
    "operators": "operators",
    "models": "models",
    "attacks": "attacks",
    "defences": "defences",
}

GROUP = "recondoor.plugins"

OWN_CODE = re.compile(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:[^\W\d]\w*")
"""MODULE:NAME: a class of the user's own, whose module is run when it is used."""


class PlugIn:
    """A class that can be chosen by name; its docstring's first line says what it is.

    kind: what it is, one of `FOLDERS`; facts: class variables that every plug-in of the kind has
    to state. Settings: the class of its own settings, a `config.PlugInSettings`. version: of what
    it computes, which is part of a run's identity where it is not 1. content: of a class that is
    made for an object of a caller, what tells the object from others.
    """

    kind: ClassVar[str]
    facts: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar["type[BaseModel] | None"] = None
    version: ClassVar[int] = 1
    content: ClassVar[bytes] = b""

    def __init__(self, settings: "BaseModel | None" = None) -> None:
        self.settings = settings if settings is not None or not self.Settings else self.Settings()


_LENT: dict[tuple[str, str], type["PlugIn"]] = {}
"""Classes made for objects of a caller, by kind and name, while a call of his lasts."""


@contextmanager
def lent(kind: str, name: str, plug_in: type[PlugIn]) -> Iterator[None]:
    """Within, `name`, a MODULE:NAME, is that class."""
    _LENT[kind, name] = plug_in
    try:
        yield
    finally:
        del _LENT[kind, name]


def is_own_code(name: str) -> bool:
    """Whether `name` is MODULE:NAME, whose use runs code that the name's author chose."""
    return OWN_CODE.fullmatch(name) is not None


def is_ours(kind: str, name: str) -> bool:
    """Whether `name` is a plug-in of the package."""
    return name in _files(kind)


def is_known(kind: str, name: str) -> bool:
    """Whether `name` is registered, or MODULE:NAME; nothing is imported."""
    return is_ours(kind, name) or is_own_code(name) or name in _installed(kind)


def key(name: str) -> str:
    """The key of a plug-in's settings in its section: of MODULE:NAME the class's name."""
    return name.partition(":")[2] if is_own_code(name) else name.replace("-", "_")


PLACE = "@"
"""Between the name of an attack and the mask that it alone has: `bilevel@image`."""


def without_place(name: str) -> str:
    """The plug-in of an entry NAME or NAME@MASK."""
    return name.partition(PLACE)[0]


def label(name: str) -> str:
    """The name of a plug-in in tables and names of files: of MODULE:NAME that of the class.

    Of NAME@MASK it is NAME-MASK.
    """
    name, _, mask = name.partition(PLACE)
    if mask:
        return f"{label(name)}-{mask}"
    if not is_own_code(name):
        return name
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", name.partition(":")[2])
    return words.strip("-").lower()


def _require_kind(kind: str) -> None:
    if kind not in FOLDERS:
        raise ConfigError(
            f"nothing is registered as '{kind}'; there are {', '.join(FOLDERS)}"
            + nearest(kind, FOLDERS)
        )


@cache
def _files(kind: str) -> dict[str, Path]:
    """Plug-ins of the package."""
    _require_kind(kind)
    folder = Path(__file__).parents[1] / FOLDERS[kind]
    files = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem.replace("_", "-"): path for path in files}


def _installed(kind: str) -> dict[str, EntryPoint]:
    """Plug-ins of other packages; a name of the package itself is never taken by another."""
    _require_kind(kind)
    return {
        name: entry
        for (its, name), entry in _entries(tuple(sys.path)).items()
        if its == kind and name not in _files(kind)
    }


@cache
def _entries(_path: tuple[str, ...]) -> dict[tuple[str, str], EntryPoint]:
    """Entry points by kind and name, as they are where modules are looked for in `_path`."""
    found: dict[tuple[str, str], EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        kind, _, name = entry.name.partition(".")
        found.setdefault((kind, name), entry)
    return found


def names(kind: str) -> tuple[str, ...]:
    """Names registered under `kind`, one of `FOLDERS`: the package's, then those of others."""
    return (*_files(kind), *_installed(kind))


def describe(kind: str) -> dict[str, str]:
    """One line for each plug-in of `kind`, without importing any; '' where it cannot be read."""
    own = {name: _first_line(path.read_text("utf-8")) for name, path in _files(kind).items()}
    others = {}
    for name, entry in _installed(kind).items():
        path = _source(entry)
        others[name] = _first_line(path.read_text("utf-8"), entry.attr) if path else ""
    return own | others


def origins(kind: str) -> dict[str, str]:
    """The package and version of each plug-in of `kind` that another package brings."""
    found = {}
    for name, entry in _installed(kind).items():
        found[name] = "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    return found


def faults() -> list[str]:
    """What is wrong with the plug-ins of other packages, as far as is known without an import."""
    found = []
    for (kind, name), entry in _entries(tuple(sys.path)).items():
        whose = entry.name if entry.dist is None else f"{entry.dist.name}: {entry.name}"
        if kind not in FOLDERS or not name:
            found.append(
                f"{whose}: expected a name KIND.NAME in the group {GROUP}, with a KIND of "
                f"{', '.join(FOLDERS)}" + nearest(kind, FOLDERS)
            )
        elif name in _files(kind):
            found.append(f"{whose}: the package has {name} of its own; choose another name")
        elif (path := _source(entry)) is None:
            found.append(f"{whose}: there is no module {entry.module}")
        else:
            try:
                ast.parse(path.read_text("utf-8"))
            except (SyntaxError, ValueError, OSError) as error:
                found.append(f"{whose}: {path}: {fault_of(error)}")
    return found


def _source(entry: EntryPoint) -> Path | None:
    """The file of an entry point's module, found without importing it; None if there is none."""
    top, *inner = entry.module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *inner)
        for path in (place.with_suffix(".py") if inner else place, place / "__init__.py"):
            if path.is_file():
                return path
    return Path(spec.origin) if spec.origin and not inner else None


def _first_line(source: str, name: str | None = None) -> str:
    """First line of the docstring of class `name`, or else of its module."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    nodes: list[ast.ClassDef | ast.Module] = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name
    ]
    texts = (ast.get_docstring(node) for node in [*nodes, tree])
    return next((text.split("\n")[0] for text in texts if text), "")


def _derives(path: Path, bases: Container[str]) -> bool:
    """Whether a class in a file derives from one of `bases`, by its text: nothing is imported."""
    classes = [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.ClassDef)]
    return any(isinstance(b, ast.Name) and b.id in bases for each in classes for b in each.bases)


def check(kind: str, name: str, key: str, bases: Container[str] | None = None) -> str:
    """Return `name` if it is registered or MODULE:NAME, which is not imported yet.

    Raises ConfigError naming the setting `key`, with those that there are; of the package's own
    those whose class derives from one of `bases`, if these are given.
    """
    if is_known(kind, name):
        return name
    known = [
        each
        for each in names(kind)
        if bases is None or not is_ours(kind, each) or _derives(_files(kind)[each], bases)
    ]
    raise ConfigError(
        f"{key}: '{name}' is not registered; there are {', '.join(known)}, or give MODULE:NAME, a "
        "class of your own" + nearest(name, known)
    )


def load(kind: str, name: str) -> type[PlugIn]:
    """Import the plug-in `name`.

    Raises:
        ConfigError: there is none of that name, with the nearest one; it cannot be imported, with
            its file and the fault; it is no plug-in of this kind, or an unfinished one.
    """
    check(kind, name, kind)
    if (kind, name) in _LENT:
        return _LENT[kind, name]
    if name in _files(kind):
        return _only(import_module(f"recondoor.{FOLDERS[kind]}.{name.replace('-', '_')}"))
    entry = None if is_own_code(name) else _installed(kind)[name]
    module, attribute = (entry.module, entry.attr) if entry else name.split(":")
    found = imported(f"{kind}: '{name}'", module, attribute, here=entry is None)
    _require_plug_in(kind, name, found)
    return found  # type: ignore[return-value]


def _only(module: ModuleType) -> type[PlugIn]:
    """The class that a file of the package registers."""
    (found,) = (
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, PlugIn)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    )
    return found


def _require_plug_in(kind: str, name: str, found: object) -> None:
    """Refuse what is no finished plug-in of `kind`; raises ConfigError."""
    told = f"{kind}: '{name}'"
    if not (isinstance(found, type) and issubclass(found, PlugIn)):
        what = f"the {type(found).__name__} {found!r}"[:80]
        if isinstance(found, type):
            what = f"the class {found.__name__}"
        raise ConfigError(f"{told} is {what}; expected a class that derives from {BASES[kind]}")
    told = f"{told} ({_file(found)})"
    if getattr(found, "kind", None) != kind:
        raise ConfigError(f"{told} is registered as {getattr(found, 'kind', 'nothing')}")
    if isabstract(found):
        lacking = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(f"{told} is not finished: it does not define {lacking}")
    unsaid = [fact for fact in found.facts if not hasattr(found, fact)]
    if unsaid:
        raise ConfigError(f"{told} does not say {', '.join(unsaid)}: set it in the class")


BASES = {
    "datasets": "recondoor.data.DataSet",
    "operators": "recondoor.operators.Operator",
    "models": "recondoor.models.Network",
    "attacks": "recondoor.attacks.Attack",
    "defences": "PairDetector, InputDetector, NetworkDetector or Repair of recondoor.defences",
}
"""What a plug-in of each kind derives from."""


def is_outside(found: type[PlugIn]) -> bool:
    """Whether a plug-in is not one of the package's own: a caller's object is none either."""
    return bool(found.content) or found.__module__.partition(".")[0] != __name__.partition(".")[0]


def told(plug_in: PlugIn, what: str) -> AbstractContextManager[None]:
    """Within, a fault of another's code is one line that begins with `what`; our own stay bugs."""
    return told_in_a_line(what) if is_outside(type(plug_in)) else nullcontext()


def source(kind: str, name: str) -> bytes | None:
    """The file of a class of one's own, MODULE:NAME, which may be edited between two runs.

    Of an object that was lent, what tells it from others (`PlugIn.content`).
    """
    if (kind, name) in _LENT:
        return _LENT[kind, name].content
    if not is_own_code(name):
        return None
    try:
        return Path(_file(load(kind, name))).read_bytes()
    except OSError:
        return None


def _file(found: type) -> str:
    module = sys.modules.get(found.__module__)
    return str(getattr(module, "__file__", None) or found.__module__)
