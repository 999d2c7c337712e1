"""Tables of docs/real-audits.md, from the kept scores of pairs."""

from collections.abc import Iterator

from kept import Quote, script

SOURCE = "studies/real-audits"
SHOWN = ("No operator", "All fresh cells", "Kinds of poison", "Kinds of pairs")


def quotes() -> Iterator[Quote]:
    """Every line of the page's tables."""
    tables = script("real-audits/summary.py").tables()
    for name in SHOWN:
        yield from (Quote(line, SOURCE) for line in tables[name])
