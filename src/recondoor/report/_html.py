"""What the pages share: one file that needs nothing else, neither network nor fonts nor scripts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from recondoor.core.errors import ReportError, plain
from recondoor.io import gate
from recondoor.report._style import Drawing, render
from recondoor.report._tables import UNDEFINED
from recondoor.rundir import explain


@dataclass(frozen=True)
class Picture:
    """A drawing and its SVG file's text."""

    drawing: Drawing
    svg: str

    @property
    def inline(self) -> Markup:
        """The SVG for use inside a page: named for screen readers, ids that no other figure has.

        The figures share ids, which are hashes of what they hold; in one page each must be unique.
        """
        name = self.drawing.name
        body = self.svg[self.svg.index("<svg") :]
        body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
        body = re.sub(r'\bid="', f'id="{name}-', body)
        body = re.sub(r'href="#', f'href="#{name}-', body)
        body = body.replace("url(#", f"url(#{name}-")
        alt = Markup.escape(self.drawing.alt)
        # One scale for all, so that letters are of one size down the page; on a narrow screen a
        # figure stops shrinking while its letters can still be read, and scrolls in its card.
        width = 96 * self.drawing.figure.get_figwidth()
        limits = f"min-width:{self.drawing.narrowest * width:.0f}px;max-width:{1.3 * width:.0f}px"
        attributes = f'role="img" aria-label="{alt}" style="{limits}"'
        return Markup(body.replace("<svg ", f"<svg {attributes} ", 1))


def save_figure(folder: Path, drawn: Drawing, kinds: tuple[str, ...] = ("svg", "png")) -> Picture:
    """Write a drawing into figures/ of a folder, once for each kind of file; errors as `put`."""
    files = render(drawn.figure, kinds)
    for kind, content in files.items():
        put(folder, f"figures/{drawn.name}.{kind}", content)
    return Picture(drawn, files["svg"].decode())


def put(folder: Path, name: str, content: bytes) -> Path:
    """Write a file of a report whole or not at all; return its path.

    What a killed report had begun to write under this name goes.

    Raises:
        ReportError: a step below `folder` is a link: a folder from elsewhere decides nothing
            outside it.
        RunError: the folder cannot be written to.
    """
    path = folder / name
    try:
        gate.write_bytes(path, content, inside=folder)
        gate.delete_stale(path, inside=folder)
    except gate.Refused as error:
        raise ReportError(f"{path.parent}: {error}; remove it") from error
    except OSError as error:
        remedy = "give recondoor report FOLDER --out ANOTHER"
        raise explain(error, folder / name, remedy, "it writes the report anew") from error
    return path


def fill(template: str, content: Mapping[str, Any]) -> str:
    """A page as text; what `content` holds is escaped and made visible unless it is Markup."""
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(content)


def _visible(value: object) -> object:
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _template(name: str) -> str:
    return resources.files("recondoor.report").joinpath("templates", name).read_text("utf-8")


def flat(key: str, value: object) -> list[tuple[str, str]]:
    """A tree of settings as (dotted key, text) pairs."""
    if isinstance(value, Mapping) and value:
        return [pair for name, inner in value.items() for pair in flat(f"{key}.{name}", inner)]
    return [(key, _text(value))]


def _text(value: object) -> str:
    if value is None or value in ("", [], {}):
        return UNDEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)
