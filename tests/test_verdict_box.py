"""Verdicts look different: by word, symbol and style, on the page and in a notebook."""

import re

import pytest
from jinja2 import Environment

from recondoor.report._html import _template

KINDS = ("clean", "suspicious", "undecided")


def box(kind: str) -> str:
    macros = Environment(autoescape=True).from_string(_template("macros.html.j2")).module
    return str(macros.verdict(kind, "Why & how"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_the_box_has_the_word_and_the_sentence(kind: str) -> None:
    assert f'class="verdict {kind}"' in box(kind)
    assert kind.upper() in box(kind)
    assert "Why &amp; how." in box(kind)


def test_no_two_boxes_share_symbol_colour_or_ground() -> None:
    symbols = {re.findall(r'aria-hidden="true">\s*(\S)<', box(kind))[0] for kind in KINDS}
    style = _template("base.html.j2")
    for scheme in re.findall(r":root \{(.*?)\}", style, re.S):
        for suffix in ("", "-ground"):
            colours = {re.search(rf"--{kind}{suffix}: (#\w+)", scheme)[1] for kind in KINDS}  # type: ignore[index]
            assert len(colours) == 3
    assert len(symbols) == 3
    assert all(f".verdict.{kind}" in style for kind in KINDS)
