"""Numbers of things in sentences."""

import re
from pathlib import Path

import pytest

import recondoor
from recondoor.core.words import plural, plural_of


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (plural(0, "pair"), "0 pairs"),
        (plural(1, "trusted pair"), "1 trusted pair"),
        (plural(1200, "pair"), "1,200 pairs"),
        (plural(1, "pair", "are"), "1 pair is"),
        (plural(2, "pair", "have"), "2 pairs have"),
        (plural_of(1, 8, "reference", "score"), "1 of 8 references scores"),
        (plural_of(0, 1, "pair", "are"), "0 of 1 pair are"),
    ],
)
def test_one_thing_is_no_several(said: str, expected: str) -> None:
    assert said == expected


def test_sentences_count_by_it() -> None:
    """What people give and read of may be one: no message has a plural for every number."""
    things = "pairs|inputs|references|points|networks|epochs"
    several = re.compile(rf"\{{len\([^}}]*\}} (trusted |clean |reference )*({things})\b")
    package = Path(recondoor.__file__).parent
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text().splitlines()
        if several.search(line)
    ]
    # Of a detector of the package that has twenty or none.
    assert [each for each in found if "detector.clean_scores" not in each] == []
