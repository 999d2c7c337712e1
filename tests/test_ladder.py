"""Imports only go up the list of rooms, and the rooms that answer at once import no torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import recondoor

ROOT = Path(recondoor.__file__).parent

# In the order in which data flows; each imports only from those before it. A dot: a group's room.
ROOMS = (
    "core.errors",
    "core.words",
    "io.gate",
    "io.seal",
    "io.tables",
    "io.arrays",
    "io.confined",
    "core.progress",
    "core.terminal",
    "core.seeding",
    "core.caller",
    "core.imports",
    "core.registry",
    "config",
    "data",
    "core.equations",
    "operators",
    "measurement",
    "patterns",
    "targets",
    "poisoning",
    "models",
    "training.losses",
    "training.state",
    "training.graph",
    "training.loop",
    "training.together",
    "training.hypergradient",
    "attacks",
    "evaluation.statistics",
    "evaluation.censored",
    "evaluation.windows",
    "evaluation.metrics",
    "evaluation.answers",
    "evaluation.yardsticks",
    "evaluation.judge",
    "theory",
    "defences",
    "core.provenance",
    "records",
    "rundir",
    "report",
    "studies",
    "audit",
    "sweeps",
    "testing",
    "doors",
    "explore",
    "cli",
)
GROUPS = {name.split(".")[0] for name in ROOMS if "." in name}
TORCH_FREE = (
    "core.errors",
    "core.words",
    "core.words",
    "io.gate",
    "io.seal",
    "io.tables",
    "io.arrays",
    "io.confined",
    "core.progress",
    "core.terminal",
    "core.seeding",
    "core.caller",
    "core.imports",
    "core.registry",
    "config",
    "data",
    "evaluation.statistics",
    "evaluation.censored",
    "evaluation.windows",
    "evaluation.metrics",
    "evaluation.answers",
    "evaluation.yardsticks",
    "core.provenance",
    "records",
    "rundir",
    "report",
    "sweeps",
    "cli",
)
JOINED_ONLY_IN_STUDY = {"attacks", "defences", "evaluation.judge"}
# All that a room may take from the public face, which stands above the rooms.
VERSION = "recondoor.__version__"


def dotted(path: Path) -> str:
    """`recondoor.data.mnist` for its file, `recondoor.data` for the package's __init__.py."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in sorted(ROOT.rglob("*.py"))}
INSIDE = {name: path for name, path in FILES.items() if name.count(".") and path.stem != "__main__"}


def room(module: str) -> str:
    """`core.errors` or `data`: the longest name on the list that the module lies in."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in ROOMS), parts[0])


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of the package that a file imports anywhere, also in functions and for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("recondoor"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module.split(".")[0] == "recondoor":
                below = [f"{module}.{alias.name}" for alias in node.names]
                yield from (name if name in known else module for name in below if name != VERSION)


def complaint(module: str, target: str, is_package: bool) -> str | None:
    """What is wrong with `module` importing `target`, if anything."""
    if target == "recondoor":
        return "takes something from the public face"
    if not {room(module), room(target)} <= set(ROOMS):
        return "joins a room that is not on the list"
    if room(target) != room(module):
        if ROOMS.index(room(target)) > ROOMS.index(room(module)):
            return "is further down the list"
        return "is private to another room" if "._" in target else None
    inside = target.removeprefix(f"recondoor.{room(target)}").split(".")[1:]
    if is_package or not inside or inside[0].startswith("_"):
        return None
    return "is a sibling"


@pytest.mark.parametrize("module", INSIDE)
def test_imports_only_go_up(module: str) -> None:
    path = INSIDE[module]
    wrong = {
        target: problem
        for target in imports(path, set(FILES))
        if (problem := complaint(module, target, path.stem == "__init__"))
    }
    assert wrong == {}


def test_every_room_is_on_the_list() -> None:
    assert {room(module) for module in INSIDE} <= {*ROOMS, *GROUPS}


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_a_group_of_rooms_is_a_name_alone(name: str) -> None:
    assert list(imports(INSIDE[f"recondoor.{name}"], set(FILES))) == []


@pytest.mark.parametrize("module", [name for name in INSIDE if room(name) != "studies"])
def test_only_the_study_joins_attacks_defences_and_evaluation(module: str) -> None:
    rooms = {room(target) for target in imports(INSIDE[module], set(FILES)) if "." in target}
    assert len(({*rooms, room(module)}) & JOINED_ONLY_IN_STUDY) <= 1


@pytest.mark.parametrize(
    ("module", "target", "is_package", "problem"),
    [
        ("recondoor.config", "recondoor.core.errors", False, None),
        ("recondoor.config", "recondoor.studies", False, "is further down the list"),
        ("recondoor.data.mnist", "recondoor.data.mnist5k", False, "is a sibling"),
        ("recondoor.data.mnist", "recondoor.data._idx", False, None),
        ("recondoor.data.mnist", "recondoor.data", False, None),
        ("recondoor.data", "recondoor.data.mnist", True, None),
        ("recondoor.studies", "recondoor.data.mnist", False, None),
        ("recondoor.studies", "recondoor.data._idx", False, "is private to another room"),
        ("recondoor.studies", "recondoor", False, "takes something from the public face"),
    ],
)
def test_the_rule_itself(module: str, target: str, is_package: bool, problem: str | None) -> None:
    assert complaint(module, target, is_package) == problem


def loads_torch(*modules: str) -> bool:
    code = "; ".join([*(f"import {module}" for module in modules), "import sys"])
    command = [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT.parent)
    return answer.stdout.strip() == "True"


@pytest.mark.parametrize("name", ["recondoor", *TORCH_FREE])
def test_torch_stays_out_of(name: str) -> None:
    modules = [m for m in FILES if m == name or (m in INSIDE and room(m) == name)]
    assert modules, f"there is no room {name}"
    assert not loads_torch(*modules)
