"""Every benchmark runs, and so does what the Makefile offers; what they measure is not judged."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
BENCHMARKS = sorted((REPOSITORY / "benchmarks").glob("[!_]*.py"))
each = pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
@each
def test_a_benchmark_runs(path: Path, tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    options = ["--tiny", "--rounds=1", "--threads=1", "--clock=cpu", f"--json={written}"]
    done = run(path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(written.read_text())[path.stem]["figures"]
    assert figures and all(len(figure["name"]) <= len(done.stdout) for figure in figures)
    assert all(figure["name"] in done.stdout for figure in figures)


def test_contestants_that_are_not_installed_are_named(tmp_path: Path) -> None:
    """The extra `bench` is not needed: a probe that finds none of them says which it left out."""
    code = (
        "import sys; sys.modules['torchopt'] = sys.modules['higher'] = None\n"
        "from importlib import util; find = util.find_spec\n"
        "util.find_spec = lambda name: None if name in ('torchopt', 'higher') else find(name)\n"
        f"sys.path.insert(0, {str(REPOSITORY / 'benchmarks')!r})\n"
        "import _hypergradient_probe as probe\n"
        "print(probe.MISSING, list(probe.THEIRS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "['torchopt', 'higher'] ['create_graph']"


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "benchmarks").glob("*.py")), ids=lambda path: path.name
)
def test_a_benchmark_uses_public_names_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    private = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in imported
        and node.attr.startswith("_")
    ]
    modules = [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and "._" in node.module
    ]
    assert private + modules == []


def test_ci_runs_every_target_of_the_makefile() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert set(targets.split()) - set(re.findall(r"^make (\w+)", ci, re.MULTILINE)) == set()


def test_the_makefile_takes_another_folder_python_and_arguments() -> None:
    given = ["VENV=.other", "PYTHON=python3.99", "ARGS=tests/test_metrics.py -x"]
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "test", *given],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "PYTHON=python3.12 test" in done.stderr  # the remedy where there is no such Python
    given[1] = f"PYTHON={sys.executable}"
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "test", *given],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ".other/bin/python -m pytest" in done.stdout
    assert "tests/test_metrics.py -x" in done.stdout and "\n.venv/" not in done.stdout
