"""index.html of a folder of runs, sweeps and audits: one table that sorts, with a link to each."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from recondoor.core.errors import RecondoorError, ReportError
from recondoor.report._audit._build import build_audit, read_audit
from recondoor.report._build import build, verdict
from recondoor.report._html import fill, put
from recondoor.report._names import number, title
from recondoor.report._results import Results, read
from recondoor.report._sources import is_current
from recondoor.report._sweep import is_sweep
from recondoor.report._tables import UNDEFINED

MARKS = {"config.toml": "run", "sweep.json": "sweep", "audit.json": "audit"}
"""What a folder is, by a file that it has."""

MOST = 5_000
"""Folders that are listed."""

SORT = Markup("""
for (const head of document.querySelectorAll("th button")) head.onclick = () => {
  const cell = head.parentNode, body = cell.closest("table").tBodies[0], at = cell.cellIndex;
  const way = cell.ariaSort === "ascending" ? -1 : 1;
  for (const other of cell.parentNode.cells) other.removeAttribute("aria-sort");
  cell.ariaSort = way > 0 ? "ascending" : "descending";
  const key = row => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();
  const order = (a, b) => {
    const [p, q] = [key(a), key(b)], [m, n] = [parseFloat(p), parseFloat(q)];
    if (Number.isNaN(m) !== Number.isNaN(n)) return Number.isNaN(m) ? 1 : -1;
    return way * (Number.isNaN(m) ? p.localeCompare(q) : m - n);
  };
  body.append(...[...body.rows].sort(order));
};
""")
"""The one script of the pages; its digest stands in the page, which lets no other run."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model of a run, one sweep or one audit; a number that is not known is None."""

    folder: str
    kind: str
    link: str
    data: str = UNDEFINED
    operator: str = UNDEFINED
    model: str = UNDEFINED
    ratio: float | None = None
    seeds: int | None = None
    recovery: float | None = None
    attack_rmse: float | None = None
    benign_rmse: float | None = None
    said: str = ""


def kind_of(folder: Path) -> str | None:
    """What lies in a folder: a run, a sweep or an audit; None for anything else."""
    return next((kind for name, kind in MARKS.items() if (folder / name).is_file()), None)


def members(folder: Path) -> list[Path]:
    """Runs, sweeps and audits in a folder, and those of studies of ratios, by name."""
    places = sorted((*folder.iterdir(), *folder.glob("*/ratio-*"))) if folder.is_dir() else []
    return [place for place in places if place.is_dir() and kind_of(place)]


def is_collection(folder: Path) -> bool:
    """Whether a folder is none itself, and has some in it."""
    return kind_of(folder) is None and bool(members(folder))


def build_index(folder: str | Path) -> Path:
    """Write index.html of a folder of runs, sweeps and audits, and their missing pages.

    Returns the page. What is damaged is listed with the reason, and nothing in it is changed.

    Raises:
        ReportError: there are no runs in the folder.
        RunError: the folder cannot be written to.
    """
    folder = Path(folder)
    found = members(folder)
    if not found:
        raise ReportError(f"{folder}: no run, sweep or audit lies in it; recondoor study makes one")
    lines = [line for place in found[:MOST] for line in _lines(folder, place)]
    digest = base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
    content = {
        "name": folder.resolve().name,
        "lines": lines,
        "number": number,
        "folders": len(found),
        "most": MOST,
        "script": SORT,
        "digest": digest,
    }
    return put(folder, "index.html", fill("index.html.j2", content).encode())


def _lines(folder: Path, place: Path) -> Iterator[Line]:
    kind = str(kind_of(place))
    name = place.relative_to(folder).as_posix()
    here: dict[str, Any] = {"folder": name, "kind": kind, "link": quote(f"{name}/report.html")}
    try:
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ReportError("a link that leads out of this folder")
        yield from _of(kind, place, here)
    except RecondoorError as error:
        yield Line(**{**here, "link": "", "said": str(error)})


def _of(kind: str, place: Path, here: Mapping[str, Any]) -> Iterator[Line]:
    if kind == "audit":
        record = read_audit(place)
        if not (place / "report.html").exists():
            build_audit(place)
        yield Line(**here, said=str(record["verdict"]).upper())
        return
    if is_sweep(place):
        if not (place / "report.html").exists():
            build(place)
        yield Line(**here, said=verdict(place))
        return
    if not (place / "results.json").exists():
        link = here["link"] if (place / "report.html").exists() else ""
        yield Line(**{**here, "link": link, "said": "not finished"})
        return
    if not is_current(place):
        build(place)
    results = read(place / "results.json")
    yield from (_of_model(results, model, here) for model in results.models)


def _of_model(results: Results, model: str, here: Mapping[str, Any]) -> Line:
    settings, rows = results.data["config"], results.rows(model)

    def mean(metric: str) -> float | None:
        found = results.estimate(model, metric)
        return None if found is None else found.mean

    known = [] if model == "original" else [results.success(row) for row in rows]
    said = f"succeeded in {known.count(True)} of {len(known)} seeds" if known else ""
    return Line(
        **here,
        data=str(settings["data"]["name"]),
        operator=str(settings["operator"]["name"]),
        model=title(model),
        ratio=float(results.data["poison_ratio"]),
        seeds=len(rows),
        recovery=mean("artefact_recovery"),
        attack_rmse=mean("attack_rmse"),
        benign_rmse=mean("benign_rmse"),
        said=said,
    )
