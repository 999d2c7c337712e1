"""The numbers that pages quote are those of the kept results."""

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NUMBERS: dict[str, Any] = runpy.run_path(str(DOCS / "generate_numbers.py"))


@pytest.fixture(scope="module")
def lines() -> list[dict[str, str]]:
    found: list[dict[str, str]] = NUMBERS["lines"]()
    return found


def test_no_number_of_a_page_is_stale(lines: list[dict[str, str]]) -> None:
    """If this fails: make numbers, and mend the page that it names."""
    assert NUMBERS["stale"](lines) == []
    assert {line["page"] for line in lines} == set(NUMBERS["PAGES"])


def test_the_file_of_numbers_is_up_to_date(lines: list[dict[str, str]]) -> None:
    """If this fails: make numbers."""
    assert NUMBERS["NUMBERS"].read_text("utf-8") == NUMBERS["text"](lines)


def test_every_source_is_kept(lines: list[dict[str, str]]) -> None:
    root = DOCS.parent
    assert [line["source"] for line in lines if not (root / line["source"]).exists()] == []


def test_a_changed_number_is_told(lines: list[dict[str, str]]) -> None:
    changed = {**lines[0], "words": lines[0]["words"].replace("2", "7")}
    assert len(NUMBERS["stale"]([changed])) == 1
