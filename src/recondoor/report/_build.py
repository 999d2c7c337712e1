"""Everything that a report writes: two tables, the figures twice, the page."""

from collections.abc import Callable
from pathlib import Path

from recondoor.core import caller
from recondoor.report._html import Picture, put, save_figure
from recondoor.report._load import Run, load
from recondoor.report._places import explanation
from recondoor.report._results import Results, read
from recondoor.report._run._curves import asr, learning_curves, ratios
from recondoor.report._run._evolution import trigger_evolution
from recondoor.report._run._images import threat_model, trigger_artefact
from recondoor.report._run._page import page
from recondoor.report._run._reconstructions import reconstructions
from recondoor.report._run._verdict import headline
from recondoor.report._style import Drawing, Missing, style
from recondoor.report._sweep import build_sweep, is_sweep, sweep_verdict
from recondoor.report._tables import table1_csv, table1_markdown

# Each gives a drawing, says why it cannot, or gives None where the run calls for no such figure.
FIGURES: tuple[Callable[[Run], Drawing | Missing | None], ...] = (
    threat_model,
    trigger_artefact,
    reconstructions,
    trigger_evolution,
    learning_curves,
    asr,
    ratios,
)


@caller.as_found()
def verdict(folder: Path) -> str:
    """The answer of a run or a sweep in a sentence or two, as its page begins.

    Raises ReportError where its files are missing or damaged.
    """
    found = sweep_verdict(folder) if is_sweep(folder) else _of_run(read(folder / "results.json"))
    # A terminal may show a space that does not break as a sign of its own.
    return found.replace("\N{NO-BREAK SPACE}", " ")


def _of_run(results: Results) -> str:
    return explanation(results) or headline(results)


@caller.as_found()
def build(run_dir: str | Path, out: str | Path | None = None) -> Path:
    """Write tables, figures and report.html of a run, from its folder alone; return the page.

    They go to the folder `out`, which is `run_dir` where none is given.

    Of a sweep's folder, its figures and its page: see `docs/sweep.md`.

    Writes table1.md, table1.csv, figures/*.svg, figures/*.png and report.html, each replaced whole
    or left as it was, with the same bytes whenever the run's own files are the same; nothing else
    is touched. What a partial run lacks is left out and named in the page.

    Raises:
        ReportError: `run_dir` is no run folder, or a file in it is damaged.
        RunError: `out` cannot be written to.

    Example:
        >>> import recondoor as rd
        >>> folder = rd.study("smoke", "runs/smoke").folder
        >>> rd.build_report(folder).name
        'report.html'
    """
    run_dir = Path(run_dir)
    out = run_dir if out is None else Path(out)
    if is_sweep(run_dir):
        return build_sweep(run_dir, out)
    run = load(run_dir)
    pictures: list[Picture] = []
    missing: list[Missing] = []
    with style():
        for draw in FIGURES:
            drawn = draw(run)
            if isinstance(drawn, Missing):
                missing.append(drawn)
            elif drawn is not None:
                pictures.append(save_figure(out, drawn))
    if run.results is not None:
        put(out, "table1.md", table1_markdown(run.results).encode())
        put(out, "table1.csv", table1_csv(run.results).encode())
    return put(out, "report.html", page(run, pictures, missing).encode())
