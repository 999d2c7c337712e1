"""A page says so itself where a run's files are not as the run wrote them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recondoor import report
from recondoor.report._run._page import page
from recondoor.report._seals import UNSEALED, doubts
from recondoor.studies import run
from small_study import CPU, tiny, write_images

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

RELEASE_0_1_0 = Path(__file__).with_name("release-0.1.0")
TRIGGER, EXAMPLES = "trigger-heuristic-seed0.npz", "examples-heuristic-seed0.npz"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = write_images(tmp_path_factory.mktemp("data"))
    config = tiny(images, attack={"names": ["none", "heuristic"]})
    return run(config, tmp_path_factory.mktemp("runs") / "run", CPU)


def rewrite(path: Path, *, sealed: bool) -> None:
    """The same arrays, one of them with another number, with their seal or without."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if sealed or name != "seal"}
    name = "delta" if "delta" in arrays else "clean"
    arrays[name] = arrays[name] + 1
    np.savez_compressed(path, **arrays)


def unseal(folder: Path) -> None:
    path = folder / "provenance.json"
    record = json.loads(path.read_text())
    del record["digest"]
    path.write_text(json.dumps(record))


def retouch(folder: Path) -> None:
    path = folder / "history.jsonl"
    path.write_text(path.read_text().replace('"lr": 0.', '"lr": 0.0', 1))


def text_of(folder: Path) -> str:
    return page(report.load(folder), [], [])


def test_a_page_of_a_run_as_it_was_written_has_no_doubts(whole: Path) -> None:
    assert doubts(whole) == []
    assert 'id="doubts"' not in text_of(whole)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: rewrite(run / TRIGGER, sealed=True), f"{TRIGGER} cannot be read: its digest"),
        (lambda run: rewrite(run / TRIGGER, sealed=False), f"{TRIGGER}: does not say which run"),
        (lambda run: rewrite(run / EXAMPLES, sealed=False), f"{EXAMPLES}: does not say which run"),
        (unseal, UNSEALED),
        (lambda run: (run / "provenance.json").unlink(), f"{UNSEALED}: there is no provenance"),
        (retouch, "history.jsonl: line 1 was changed or is of another run"),
    ],
    ids=["changed", "stripped", "examples", "unsealed", "no provenance", "history"],
)
def test_a_page_says_what_does_not_fit(
    change: Callable[[Path], object], told: str, whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    assert report.is_current(folder) is False
    change(folder)
    text = text_of(folder).replace("&#39;", "'")
    assert 'id="doubts"' in text
    assert told in text
    assert str(tmp_path) not in text


def test_of_a_run_without_seals_what_it_has_is_still_checked(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    unseal(folder)
    rewrite(folder / TRIGGER, sealed=True)
    first, second = doubts(folder)
    assert (first, second[: len(TRIGGER)]) == (UNSEALED, TRIGGER)


def test_a_run_of_the_first_release_is_told_to_have_no_seals() -> None:
    assert doubts(RELEASE_0_1_0) == [UNSEALED]


def test_a_page_is_no_longer_current_once_its_provenance_is_another(
    whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    report.build(folder)
    assert report.is_current(folder)
    unseal(folder)
    assert not report.is_current(folder)
