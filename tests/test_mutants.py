"""The tool that changes the core files: what it changes, and that it sees what tests notice."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from mutants.__main__ import KEY, equivalent, key_of, sample
from mutants.change import Mutant, mutants
from mutants.core import TESTS, core, module_of
from mutants.run import Job, outcomes

SOURCE = '''"""A module."""
LIMIT = 3


def area(a: float, b: float) -> float:
    """Of a rectangle."""
    if a < 0:
        raise ValueError(f"{a + 1}: below 0")
    return a * b
'''
TEST = """
import {name}
import pytest


def test_area():
    assert {name}.area(2, 3) == 6
    with pytest.raises(ValueError):
        {name}.area(-1, 1)
"""


def ended(jobs: Sequence[Job], workers: int) -> list[tuple[int, int | None, float]]:
    """Run the jobs from a fresh process.

    The tool forks. A process of the suite may have threads, whose locks a fork would never get.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_ended, jobs, workers).result()


def _ended(jobs: Sequence[Job], workers: int) -> list[tuple[int, int | None, float]]:
    return list(outcomes(jobs, workers))


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Path]:
    """A module of a name of its own, and its test."""
    path = tmp_path / "module_under_change.py"
    path.write_text(SOURCE)
    test = tmp_path / "test_it.py"
    head = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
    test.write_text(head + TEST.format(name=path.stem))
    return path, test


def test_operators_terms_signs_conditions_and_constants_are_changed(
    written: tuple[Path, Path],
) -> None:
    """Messages, documentation, annotations and constants of the module are not."""
    found = {(each.line, each.old, each.new) for each in mutants(written[0])}
    assert found == {
        (7, "a < 0", "(a <= 0)"),
        (7, "a < 0", "(a >= 0)"),
        (7, "a < 0", "(not (a < 0))"),
        (7, "0", "(1)"),
        (9, "a * b", "(a / b)"),
        (9, "a * b", "(a)"),
        (9, "a * b", "(b)"),
        (9, "a * b", "(-(a * b))"),
    }


def test_a_mutant_is_noticed_where_a_test_fails(written: tuple[Path, Path]) -> None:
    path, test = written
    changed = {each.new: each for each in mutants(path)}
    jobs = [Job((test,), 60.0)] + [
        Job((test,), 60.0, path.stem, path, changed[new].source)
        for new in ("(a / b)", "(a >= 0)", "(a <= 0)")
    ]
    codes = {place: code for place, code, _ in ended(jobs, 2)}
    # Nothing tests a side of 0.
    assert codes == {0: 0, 1: 1, 2: 1, 3: 0}
    assert path.read_text() == SOURCE


def test_what_never_ends_is_stopped(written: tuple[Path, Path]) -> None:
    path, test = written
    endless = SOURCE.replace("return a * b", "while True: pass")
    ((place, code, seconds),) = ended([Job((test,), 5.0, path.stem, path, endless)], 1)
    assert (place, code) == (0, None)
    assert 5 <= seconds < 30


def test_every_core_file_has_test_files_that_exist() -> None:
    for path, files in core().items():
        assert files and all(file.is_file() for file in files), path
        assert module_of(path).startswith("recondoor.")
    assert len({path.parent.name for path in core()}) >= 5
    assert Path(__file__).parent == TESTS


def test_every_mutant_is_python() -> None:
    for path in core():
        for each in mutants(path)[::20]:
            compile(each.source, str(path), "exec")


def test_a_sample_is_that_of_its_seed() -> None:
    first, again, other = (
        [key_of(each) for each in sample(core(), 20, seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(first) == 20


def test_mutants_that_are_kept_as_equivalent_are_still_there() -> None:
    """An entry whose code has changed says nothing any more, and has to go."""
    known = {key_of(each) for path in core() for each in mutants(path)}
    for entry in equivalent():
        assert set(entry) == {*KEY, "reason"}
        assert tuple(entry[key] for key in KEY) in known, entry


def test_a_mutant_is_told_by_its_file_function_and_text(written: tuple[Path, Path]) -> None:
    path = next(iter(core()))
    given = Mutant(path, "draw", 1, "x = a", "a", "b", "")
    assert key_of(given) == (f"recondoor/{path.name}", "draw", "x = a", "a", "b")
