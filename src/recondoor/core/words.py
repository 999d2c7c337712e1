"""Numbers of things in sentences: one place knows their plural."""

SINGULAR = {
    "are": "is",
    "were": "was",
    "have": "has",
    "differ": "differs",
    "lie": "lies",
    "score": "scores",
    "stand": "stands",
}
"""Verbs as they are with several things, and with one."""


def plural(number: int, word: str, verb: str = "") -> str:
    """E.g. ``1 point``, ``2 points``; with a verb ``1 point is``, ``2 points are``."""
    return f"{number:,} {_inflected(number, word)}{_conjugated(number, verb)}"


def plural_of(number: int, total: int, word: str, verb: str = "") -> str:
    """E.g. ``1 of 2 points is``, ``2 of 2 points are``, ``0 of 1 point are``."""
    return f"{number:,} of {plural(total, word)}{_conjugated(number, verb)}"


def _inflected(number: int, word: str) -> str:
    """The last word counts: ``trusted pair``, ``trusted pairs``."""
    return word if number == 1 else f"{word}s"


def _conjugated(number: int, verb: str) -> str:
    if not verb:
        return ""
    return f" {SINGULAR[verb] if number == 1 else verb}"
