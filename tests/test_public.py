"""The public face: every name is there, tells about itself, and its example runs as it stands."""

import ast
import doctest
import inspect
import pydoc
import re
from pathlib import Path

import pytest

import recondoor as rd

RESULTS = [name for name in rd.__all__ if name.endswith("Result") or name == "Predictions"]
FUNCTIONS = [name for name in rd.__all__ if inspect.isfunction(getattr(rd, name))]


def test_every_public_name_is_the_one_that_type_checkers_see() -> None:
    tree = ast.parse(Path(rd.__file__).read_text(encoding="utf-8"))
    typed = {
        each.asname: (node.module, each.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module != "importlib"
        and node.module != "typing"
        for each in node.names
    }
    lazy = {
        name: (f"recondoor.{where.rpartition('.')[0]}", where.rpartition(".")[2])
        for name, where in rd._PUBLIC.items()
    }
    assert typed == lazy
    assert set(rd.__all__) <= set(dir(rd))
    for name in rd.__all__:
        assert getattr(rd, name).__module__.startswith("recondoor.")


def test_help_tells_of_every_public_name() -> None:
    text = pydoc.plain(pydoc.render_doc(rd))
    assert [name for name in rd.__all__ if f" {name}" not in text] == []
    functions = text.partition("\nFUNCTIONS\n")[2].partition("\nDATA\n")[0]
    assert set(re.findall(r"^    (\w+)(?: = \w+)?\(", functions, re.M)) == set(FUNCTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all examples run, so that the study that several of them show is run once."""
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_of_a_function_runs(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(rd, name), name, globs={})
    assert found.examples, f"{name} shows no example"
    assert not any(doctest.SKIP in example.options for example in found.examples)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(found, out=told.append)
    assert runner.failures == 0, "".join(told)


@pytest.mark.parametrize("name", RESULTS)
def test_results_show_themselves_in_a_notebook(name: str) -> None:
    assert callable(getattr(rd, name)._repr_html_)
