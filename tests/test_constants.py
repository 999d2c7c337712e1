"""What is defined once: constants, and defaults of the functions and of the command line."""

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

import recondoor
from recondoor import audit, doors
from recondoor.cli import _audit, _network, _study, _sweep

PACKAGE = Path(recondoor.__file__).parent

PAIRS = {
    "audit data": (_audit.data, doors.audit_data),
    "audit model": (_network.model, doors.audit_model),
    "audit input": (_network.input_, doors.audit_inputs),
    "clean": (_network.clean, doors.clean),
    "study": (_study.study, doors.study),
    "predict": (_study.predict, doors.predict),
    "sweep": (_sweep.sweep, doors.sweep),
}
"""Commands, and the functions that do the same from Python."""

DIFFERENT = {("sweep", "workers")}
"""A library starts no processes unasked; the command takes all cores."""

REQUESTS = {
    "audit data": audit.Request,
    "audit model": audit.ModelRequest,
    "audit input": audit.InputRequest,
    "clean": audit.MendRequest,
}

EQUAL = {
    "HALF": "of a law's weight, and of a repair",
    "RATE": "of an encoder, and of a repair",
    "ALARM": "of repairs, of tests of plug-ins",
    "BATCH": "of repairs with and without the layers",
    "BLENDS": "a method as published, and changed",
    "CHUNK": "what fits into a cache, of each test",
    "EPOCHS": "of three repairs",
    "EPSILON": "of Adam, and of a norm",
    "LEVEL": "of a verdict, and of one misfit",
    "MOST_PIXELS": "of three matrices",
    "RARE": "of directions, and of images",
    "SECONDS_BETWEEN_LOOKS": "of two kinds of workers",
    "SHARE": "of planted lesions, and of a repair",
    "SHOWN": "of two pages",
    "CERTAIN": "of a posterior, and of 64 bits",
    "EXPLAINED": "of inputs, and of residuals",
    "MOST": "of images of two tests",
    "NOTHING": "of an operator, and of an artefact",
    "PIXELS": "of settings, and of a process of few rights",
    "TINY": "of two divisions",
    "TO_SIGMA": "a number of the normal law",
}
"""Constants of one name and value that may differ, and what they are of."""


def defaults(function: Callable[..., object]) -> dict[str, object]:
    """Of the parameters of a function; options that a command takes as a record count too."""
    found: dict[str, object] = {}
    for name, each in inspect.signature(function).parameters.items():
        if is_dataclass(each.default) and not isinstance(each.default, type):
            own = fields(each.default)
            found |= {field.name: field.default for field in own if field.default is not MISSING}
        elif each.default is not inspect.Parameter.empty:
            found[name] = each.default
    return found


@pytest.mark.parametrize("command", PAIRS)
def test_a_command_and_its_function_have_the_same_defaults(command: str) -> None:
    typed, called = map(defaults, PAIRS[command])
    shared = {name for name in typed.keys() & called.keys() if (command, name) not in DIFFERENT}
    assert shared
    assert {name: typed[name] for name in shared} == {name: called[name] for name in shared}


@pytest.mark.parametrize("command", REQUESTS)
def test_a_request_has_the_defaults_of_its_function(command: str) -> None:
    request = {field.name: field.default for field in fields(REQUESTS[command])}
    called = defaults(PAIRS[command][1])
    shared = {name for name in request.keys() & called.keys() if request[name] is not MISSING}
    assert "alarm" in shared
    assert {name: request[name] for name in shared} == {name: called[name] for name in shared}


def constants(path: Path) -> Iterator[tuple[str, str]]:
    """Names in capitals that a module defines as a literal, and their values as code."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            both = (target, node.value)
            several = all(isinstance(each, ast.Tuple) for each in both)
            pairs = zip(*(each.elts for each in both), strict=True) if several else [both]  # type: ignore[attr-defined]
            for name, value in pairs:
                called = any(isinstance(each, ast.Call) for each in ast.walk(value))
                if isinstance(name, ast.Name) and name.id.strip("_").isupper() and not called:
                    yield name.id.strip("_"), ast.unparse(value)


def defined_twice() -> Mapping[tuple[str, str], list[str]]:
    """Where each constant of one name and value is defined, if in several modules."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for constant in constants(path):
            found[constant].append(str(path.relative_to(PACKAGE)))
    return {constant: where for constant, where in found.items() if len(where) > 1}


def test_what_has_to_agree_is_defined_once() -> None:
    others = {key: where for key, where in defined_twice().items() if key[0] not in EQUAL}
    assert others == {}
