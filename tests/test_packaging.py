"""The wheel is complete and works outside the repository; what is said twice about it agrees."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

import recondoor

REPOSITORY = Path(__file__).parents[1]
SOURCES = REPOSITORY / "src"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def run(*command: str | Path, cwd: Path) -> str:
    """Output of a command that must succeed, in an environment that does not know the sources."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", ".")
    run(*PIP, *build, REPOSITORY, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a fresh environment with the wheel and its dependencies.

    The dependencies are lent by the environment that runs the tests: its folder is added to the
    path, where its own .pth files, hence an editable install of these sources, have no effect.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    programs = folder / "bin"
    python = programs / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = ("install", "--no-deps", "--no-index", "--quiet", wheel)
    run(*PIP, "--python", python, *install, cwd=folder)
    return programs


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return table


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    expected = {
        path.relative_to(SOURCES).as_posix()
        for path in (SOURCES / "recondoor").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


@pytest.mark.parametrize(
    "pattern", ["templates/*.j2", "schemas/*.json", "presets/*.toml", "page/*.js"]
)
def test_the_wheel_holds_what_is_not_python(wheel: Path, pattern: str) -> None:
    assert any(Path(name).match(pattern) for name in zipfile.ZipFile(wheel).namelist())


def test_the_wheel_is_typed_and_carries_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "recondoor/py.typed" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_an_installed_wheel_does_not_use_the_sources(installed: Path, tmp_path: Path) -> None:
    code = "import recondoor; print(recondoor.__file__)"
    found = Path(run(installed / "python", "-c", code, cwd=tmp_path).strip())
    assert found.is_relative_to(installed.parent)


@pytest.mark.parametrize("form", [("recondoor",), ("python", "-m", "recondoor")], ids=" ".join)
def test_help_from_an_installed_wheel(
    installed: Path, tmp_path: Path, form: tuple[str, ...]
) -> None:
    text = run(installed / form[0], *form[1:], "--help", cwd=tmp_path)
    commands = ("study", "train", "attack", "evaluate", "report", "sweep", "list", "doctor")
    assert [command for command in commands if command not in text] == []


def test_list_from_an_installed_wheel(installed: Path, tmp_path: Path) -> None:
    text = run(installed / "recondoor", "list", "operators", cwd=tmp_path)
    operators = ("fourier", "gaussian", "identity", "pixel-mask")
    assert [name for name in operators if name not in text] == []


def requirement(line: str) -> str:
    """Normalised name of the package that a requirement is about."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", line, maxsplit=1)[0]).lower()


def test_every_dependency_is_pinned(project: dict[str, Any]) -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9.-]+==[\w.]+", pin)] == []
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["docs"]]
    assert {requirement(line) for line in wanted} <= {requirement(pin) for pin in pins}


def test_the_version_is_the_same_everywhere(project: dict[str, Any]) -> None:
    version = project["version"]
    assert recondoor.__version__ == version
    assert f"\nversion: {version}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (REPOSITORY / "CHANGELOG.md").read_text()
