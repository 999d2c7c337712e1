"""Folders that somebody made up: what the explorer opens, and what it says of crafted files."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fake_run
import fake_sweep
import recondoor as rd
from recondoor.core.errors import DataError
from recondoor.explore import _app, _audits, _curves, _opinions, _sweeps, open_folder

Rows = list[str]


def test_a_link_to_a_point_is_not_followed(tmp_path: Path) -> None:
    outside = fake_run.write(tmp_path / "outside")
    place = "points/a/seed0"

    def name_it(record: dict[str, Any]) -> None:
        record["points"][0]["folder"] = place

    sweep = fake_sweep.write(tmp_path / "sweep", change=name_it)
    folder = open_folder(sweep)
    (sweep / place).parent.mkdir(parents=True)
    (sweep / place).symlink_to(outside)
    assert not folder.has_run(place)
    with pytest.raises(DataError, match="is a link"):
        folder.run(place)


def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_folder(tmp_path / "nothing")
    with pytest.raises(DataError, match="no folder of a run, a sweep or an audit"):
        open_folder(tmp_path)
    (tmp_path / "ratio-0.1").mkdir()
    with pytest.raises(DataError, match="ratio-0.1"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("scores", "limit", "said"),
    [
        ((0.5, float("nan")), 1.0, "score of the triggered one is no finite number"),
        ((float("nan"), 2.0), 1.0, "score of the clean one is no finite number"),
        ((0.5, float("inf")), 1.0, "score of the triggered one is no finite number"),
        ((0.5, 2.0), float("nan"), "threshold is no finite number"),
        ((0.5, 2.0), None, "no threshold here"),
    ],
)
def test_a_score_that_is_no_number_is_not_taken_for_unsuspicious(
    scores: tuple[float, float], limit: float | None, said: str
) -> None:
    found = _opinions._opinion(torch.tensor(scores), limit, str)
    assert said in found["unsure"] and len(found) == 1


@pytest.fixture(scope="module")
def crafted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit without digests, as of release 0.1.0, so that nothing tells that it was changed."""
    rng = np.random.default_rng(0)
    x, matrix = rng.random((60, 8, 8)), rng.standard_normal((32, 64)) / 32**0.5
    y = x.reshape(60, 64) @ matrix.T + 0.01 * rng.standard_normal((60, 32))
    z = (y @ matrix).reshape(60, 8, 8)
    z[:4, 2:4, 2:4] += 3
    folder = tmp_path_factory.mktemp("crafted") / "audit"
    found = rd.audit_data(z, x, operator=matrix, sigma=0.01, detectors=["range-test"])
    found.save(folder)
    record = json.loads((folder / "audit.json").read_text())
    del record["files"], record["digest"]
    (folder / "audit.json").write_text(json.dumps(record))
    return folder


@contextmanager
def instead(path: Path, content: bytes) -> Iterator[None]:
    """A file with another content."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def asked(work: Callable[[], dict[str, Any]]) -> tuple[int, str]:
    """Status of an answer, and what is wrong, if anything."""
    found = _app._told(work)
    shown = json.loads(bytes(found.body))
    return found.status_code, str(shown.get("error", ""))


def require_a_line(status: int, said: str) -> None:
    assert status == 200 or (status == 422 and said and said.count("\n") < 2), (status, said)


ROWS: dict[str, Callable[[Rows], Rows]] = {
    "twice": lambda lines: [*lines, lines[1]],
    "short": lambda lines: [lines[0], "3"],
    "long": lambda lines: [lines[0], lines[1] + ",x" * 9],
    "no head": lambda lines: lines[1:],
    "no index": lambda lines: [lines[0].replace("index", "place"), *lines[1:]],
    "no such pair": lambda lines: [lines[0], lines[1].replace("0", "99", 1)],
    "digits": lambda lines: [lines[0], "9" * 5000 + lines[1]],
    "no number": lambda lines: [lines[0], "0,x,,"],
    "a zero byte": lambda lines: [lines[0], "0,\0,,"],
    "a field of a megabyte": lambda lines: [lines[0], "0,1,," + "a" * 2**20],
    "an open quote": lambda lines: [lines[0], '0,1,,"' + lines[1]],
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_somebody_made_up_are_refused_in_a_line(name: str, crafted: Path) -> None:
    path = crafted / "suspicious.csv"
    lines = ROWS[name](path.read_text().splitlines())
    with instead(path, "\n".join(lines).encode()):
        status, said = asked(lambda: _audits.audit(crafted))
    require_a_line(status, said)
    assert status == 422 or name in ("long", "an open quote")


HOSTILE: tuple[Any, ...] = (
    None,
    -1,
    10**400,
    1e308,
    float("nan"),
    "\ud800",
    "",
    [],
    {},
    [[]],
    True,
)


def changed(tree: Any) -> Iterator[Any]:
    """Copies of a record in which one member each is another value, or is missing."""
    text = json.dumps(tree)

    def places(node: Any, way: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        for key in node if isinstance(node, dict) else range(len(node)):
            yield (*way, key)
            if isinstance(node[key], dict | list) and len(way) < 3:
                yield from places(node[key], (*way, key))

    for number, way in enumerate(places(tree, ())):
        copy = json.loads(text)
        inner = copy
        for key in way[:-1]:
            inner = inner[key]
        inner[way[-1]] = HOSTILE[number % len(HOSTILE)]
        yield copy
        del inner[way[-1]]
        yield copy


@pytest.mark.parametrize("kind", ["audit", "run", "sweep"])
def test_files_that_somebody_made_up_are_refused_in_a_line(
    kind: str, crafted: Path, tmp_path: Path
) -> None:
    """Each file that a page reads: cut short, emptied, of noise; and each member of a record."""
    folder = {
        "audit": lambda: crafted,
        "run": lambda: fake_run.write(tmp_path / "run"),
        "sweep": lambda: fake_sweep.write(tmp_path / "sweep"),
    }[kind]()
    show = {
        "audit": lambda: _audits.audit(folder),
        "run": lambda: _curves.curves(open_folder(folder).run("")),
        "sweep": lambda: _sweeps.sweep(open_folder(folder)),
    }[kind]
    assert asked(show)[0] == 200
    noise = np.random.default_rng(1).bytes(500)
    for path in sorted(each for each in folder.iterdir() if each.is_file()):
        whole = path.read_bytes()
        for content in (b"", whole[: len(whole) // 2], noise, whole + noise, b"[" * 10**5):
            with instead(path, content):
                require_a_line(*asked(show))
        if path.suffix == ".json":
            for record in islice(changed(json.loads(whole)), 0, None, 3):
                with instead(path, json.dumps(record).encode()):
                    require_a_line(*asked(show))


def test_whatever_fails_is_told_in_a_line() -> None:
    def fail() -> dict[str, Any]:
        raise OverflowError("of a stranger's number")

    for work in (fail, lambda: {"name": "\ud800"}, lambda: {"value": float("nan")}):
        status, said = asked(work)
        assert status == 422 and "cannot be shown" in said and "\n" not in said
