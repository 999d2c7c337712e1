"""What a run's page says of its files: are they the run's own, as it wrote them?"""

from collections.abc import Callable, Iterator
from pathlib import Path

from recondoor.core.errors import RecondoorError
from recondoor.io import gate, seal
from recondoor.report._sources import SOURCES
from recondoor.rundir import ANEW, RESTORE, RunDir, read_json, sealed_by_itself

SETTINGS = "config.toml"
UNSEALED = (
    "The run was begun without seals, so that nobody can tell whether a file of it was changed or "
    "is another run's"
)


def doubts(folder: Path) -> list[str]:
    """Why the files that a page shows may not be the run's own, a sentence each, without its stop.

    What of a run without seals can be checked all the same is checked.
    """
    path = folder / "provenance.json"
    if not path.exists():
        shown = [n for p in SOURCES if p != SETTINGS for n in gate.names(folder, p, inside=folder)]
        return [f"{UNSEALED}: there is no provenance.json"] if shown else []
    try:
        record = read_json(path, inside=folder)
        sealed = isinstance(record, dict) and seal.MEMBER in record
        run = sealed_by_itself(folder) if sealed else RunDir(folder)
    except RecondoorError as error:
        return [_plain(error, folder)]
    found = [] if sealed else [UNSEALED]
    for check in _checks(run):
        try:
            check()
        except RecondoorError as error:
            found.append(_plain(error, folder))
    return found


def _checks(run: RunDir) -> Iterator[Callable[[], object]]:
    if run.seal is not None:
        yield run.require_settings
        yield run.history
        if run.results.exists():
            yield run.read_results
    patterns = [pattern for pattern in SOURCES if pattern.endswith(".npz")]
    for name in sorted({n for p in patterns for n in gate.names(run.path, p, inside=run.path)}):
        yield lambda name=name: run.read_npz(run.path / name)  # type: ignore[misc]


def _plain(error: RecondoorError, folder: Path) -> str:
    """What is wrong, without where the folder happens to lie and what a study would be told."""
    text = str(error).replace(f"{folder}/", "")
    for remedy in (f"; restore the run's own, or {ANEW}", f"; {ANEW}", f"; {RESTORE}"):
        text = text.removesuffix(remedy)
    return text
