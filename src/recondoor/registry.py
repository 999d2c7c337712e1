"""Plug-ins by name: a plug-in is one file in one folder, found without being imported.

The name is the file's stem with ``_`` written as ``-``; the one-line description is the first line
of its docstring, read from the source so that listing needs no torch. Files whose name starts with
``_`` are shared code, not plug-ins.
"""

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

from recondoor.errors import ConfigError, nearest

FOLDERS = {
    "datasets": "data",
    "operators": "operators",
    "models": "models",
    "attacks": "attacks",
    "defences": "defences",
}


def _files(kind: str) -> dict[str, Path]:
    if kind not in FOLDERS:
        raise ConfigError(
            f"nothing is registered as '{kind}'; there are {', '.join(FOLDERS)}"
            + nearest(kind, FOLDERS)
        )
    folder = Path(__file__).parent / FOLDERS[kind]
    files = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem.replace("_", "-"): path for path in files}


def names(kind: str) -> tuple[str, ...]:
    """Names registered under `kind`, one of `FOLDERS`."""
    return tuple(_files(kind))


def describe(kind: str) -> dict[str, str]:
    """One line for each plug-in of `kind`, without importing any."""
    return {
        name: (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n")[0]
        for name, path in _files(kind).items()
    }


def check(kind: str, name: str, key: str) -> str:
    """Return `name` if it is registered, else raise ConfigError naming the setting `key`."""
    known = names(kind)
    if name not in known:
        raise ConfigError(
            f"{key}: '{name}' is not registered; there are {', '.join(known)}"
            + nearest(name, known)
        )
    return name


def load(kind: str, name: str) -> ModuleType:
    """Import the plug-in `name`; raises ConfigError with the nearest name if there is none."""
    check(kind, name, kind)
    return import_module(f"recondoor.{FOLDERS[kind]}.{name.replace('-', '_')}")
