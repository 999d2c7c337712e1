"""Check the numbers of the documentation against the kept results: make numbers.

Each page's numbers are made anew by studies/quotes, as the words that the page has to hold. All of
them are written to docs/numbers.json, and those that a page does not hold are told; exit code 1.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NUMBERS = DOCS / "numbers.json"
# Page -> the module of studies/quotes that makes its numbers.
PAGES = {
    "README.md": "readme",
    "docs/findings.md": "findings",
    "docs/when.md": "when",
    "docs/theory.md": "theory",
    "docs/bilevel.md": "bilevel",
    "docs/attacks.md": "attacks",
    "docs/defences.md": "defences",
    "docs/scanners.md": "scanners",
    "docs/table1.md": "table1",
    "docs/limits.md": "limits",
    "docs/speed.md": "speed",
    "docs/real-audits.md": "audits",
}
Line = dict[str, str]


def lines() -> list[Line]:
    """Page, words and source of every number, made from the kept results."""
    folder = str(ROOT / "studies" / "quotes")
    sys.path.insert(0, folder)
    try:
        makers: dict[str, Callable[[], Iterable[tuple[str, str]]]] = {
            page: import_module(name).quotes for page, name in PAGES.items()
        }
        return [
            {"page": page, "words": words, "source": source}
            for page, quotes in makers.items()
            for words, source in quotes()
        ]
    finally:
        sys.path.remove(folder)


def text(found: list[Line]) -> str:
    """The file numbers.json."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def stale(found: Iterable[Line]) -> list[str]:
    """Words that their page does not hold."""
    pages = {page: flat((ROOT / page).read_text("utf-8")) for page in PAGES}
    return [
        f"{one['page']}: not there: {one['words']} ({one['source']})"
        for one in found
        if flat(one["words"]) not in pages[one["page"]]
    ]


def flat(words: str) -> str:
    """On one line, a minus as a hyphen, and without emphasis."""
    return re.sub(r"\s+", " ", words.replace("−", "-").replace("**", ""))


if __name__ == "__main__":
    made = lines()
    NUMBERS.write_text(text(made), encoding="utf-8")
    told = stale(made)
    print(
        "\n".join(told)
        or f"{len(made)} numbers of {len(PAGES)} pages are those of the kept results"
    )
    sys.exit(bool(told))
