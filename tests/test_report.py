"""Reports: made from a run folder alone, the same each time, and true to its numbers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

import fake_run
from page import Page, contents
from recondoor import report
from recondoor.core.errors import ReportError, RunError
from recondoor.evaluation import yardsticks
from recondoor.io.seal import sealed
from recondoor.report import _names, _results, _style
from recondoor.report._load import Run, load
from recondoor.report._run import _curves, _page

ALL_FIGURES = {
    "threat-model", "trigger-artefact", "reconstructions", "trigger-evolution",
    "learning-curves", "asr", "ratios",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A run with its report, and what was in the folder before."""
    folder = fake_run.write(tmp_path_factory.mktemp("runs") / "one", ratios=True)
    before = contents(folder)
    assert report.build(folder) == folder / "report.html"
    return folder, before


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(fake_run.write(tmp_path_factory.mktemp("runs") / "three", seeds=3))


# What is written


def test_a_report_is_tables_figures_and_a_page(built: tuple[Path, dict[str, bytes]]) -> None:
    folder, before = built
    figures = {f"figures/{name}.{kind}" for name in ALL_FIGURES for kind in ("png", "svg")}
    new = {"table1.md", "table1.csv", "report.html", *figures}
    after = contents(folder)
    assert set(after) == set(before) | new
    assert {name: after[name] for name in before} == before


def test_a_second_report_is_the_same_to_the_byte(built: tuple[Path, dict[str, bytes]]) -> None:
    folder, _ = built
    first = contents(folder)
    report.build(folder)
    assert contents(folder) == first


def test_neither_the_users_style_nor_the_report_leaks(three: Run) -> None:
    def drawn() -> dict[str, bytes]:
        with _style.style():
            drawing = _curves.asr(three)
            assert isinstance(drawing, _style.Drawing)
            return _style.render(drawing.figure)

    plain = drawn()
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "svg.hashsalt": "mine"}):
        assert drawn() == plain
        assert mpl.rcParams["font.size"] == 20


def test_no_date_or_version_is_in_a_figure(built: tuple[Path, dict[str, bytes]]) -> None:
    folder, _ = built
    for path in (folder / "figures").glob("*.svg"):
        assert not re.search(r"<dc:date>|Matplotlib v", path.read_text())
    for path in (folder / "figures").glob("*.png"):
        assert b"Software" not in path.read_bytes()[:400]


def test_importing_the_report_imports_no_torch() -> None:
    code = "import sys, recondoor.report; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert not {"torch", "matplotlib.pyplot", "pandas"} & set(answer.stdout.split())


# The page


def test_the_page_needs_nothing_else(built: tuple[Path, dict[str, bytes]]) -> None:
    text = (built[0] / "report.html").read_text()
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "@import" not in text
    assert [found for found in re.findall(r"url\((.)", text) if found != "#"] == []
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    links = [a.get("xlink:href") or a.get("href") or a.get("src") or "#" for _, a in page.tags]
    assert [link for link in links if not link.startswith(("#", "data:image/png;base64,"))] == []


def test_the_page_is_well_formed_and_its_links_lead_somewhere(
    built: tuple[Path, dict[str, bytes]],
) -> None:
    page = Page((built[0] / "report.html").read_text())
    assert page.unbalanced == []
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a.get("xlink:href") or a.get("href") for _, a in page.tags]
    targets += [a.get("aria-labelledby") and f"#{a['aria-labelledby']}" for _, a in page.tags]
    inside = {target[1:] for target in targets if target and target.startswith("#")}
    assert inside <= set(ids)


def test_the_page_can_be_read_without_seeing_it(built: tuple[Path, dict[str, bytes]]) -> None:
    page = Page((built[0] / "report.html").read_text())
    assert page.all("html")[0]["lang"] == "en"
    drawings = page.all("svg")
    assert len(drawings) == len(ALL_FIGURES)
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    assert all(th.get("scope") in ("col", "row", "colgroup") for th in page.all("th"))
    assert all(len(page.all(tag)) >= len(page.all("table")) for tag in ("thead", "tbody"))


def test_the_page_says_what_was_measured_how_and_how_to_repeat_it(
    built: tuple[Path, dict[str, bytes]],
) -> None:
    text = (built[0] / "report.html").read_text()
    measured = _results.check(json.loads((built[0] / "results.json").read_text())).measured
    for yardstick in (
        y for y in yardsticks.YARDSTICKS if y.definition and y.key in fake_run.METRICS
    ):
        assert yardstick.at(measured).definition in text
    for words in (
        "operator.sigma",
        "4f" * 32,
        "2.13.0",
        "0123456789abcdef",
        "prefers-color-scheme",
    ):
        assert words in text
    assert "recondoor study --preset quick --seeds 1" in text
    for values in _names.PAPER_TABLE1.values():
        assert all(f">{value}</td>" in text for value in values)


def test_what_a_run_says_cannot_break_the_page(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "<b>run", seeds=2)
    data = json.loads((folder / "results.json").read_text())
    naughty = "\"'><script>alert(1)</script>"
    data["provenance"]["data"]["name"] = data["provenance"]["command"] = naughty
    data["provenance"]["versions"][naughty] = data["config"][naughty] = naughty
    data["config"]["data"]["name"] = naughty
    data["config"]["attack"]["names"].append(naughty)
    data["summary"]["paired"][0]["metric"] = naughty
    (folder / "results.json").write_text(json.dumps(data))
    text = report.build(folder).read_text()
    assert "<script" not in text and "<b>run" not in text
    assert text.count("&lt;script&gt;alert(1)") > 6
    # Nor does a quote end the attribute that it is in.
    assert not re.search("[\"']&gt;&lt;script", text)


def test_the_page_may_load_nothing(built: tuple[Path, dict[str, bytes]]) -> None:
    text = (built[0] / "report.html").read_text()
    assert "default-src 'none'" in text[:1000]
    assert "script-src" not in text


def test_what_a_run_says_cannot_break_the_markdown_table(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    data = json.loads((folder / "results.json").read_text())
    data["provenance"]["data"]["name"] = "a|b\n<img src=x>[c](d)\x1b\u202e"
    (folder / "results.json").write_text(json.dumps(data))
    report.build(folder)
    text = (folder / "table1.md").read_text()
    assert r"a\|b \<img src=x\>\[c\](d)\\x1b\\u202e" in text
    assert len(text.splitlines()) == len(load(folder).models) + 4


def test_a_page_is_current_as_long_as_its_files_are_the_same(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    assert not report.is_current(folder)
    report.build(folder)
    assert report.is_current(folder)
    (folder / "results.json").touch()
    os.utime(folder / "report.html", (0, 0))
    assert report.is_current(folder)
    data = json.loads((folder / "results.json").read_text())
    data["rows"][0]["benign_rmse"] *= 2
    (folder / "results.json").write_text(json.dumps(data))
    os.utime(folder / "results.json", (0, 0))
    assert not report.is_current(folder)


@pytest.mark.parametrize(
    "name", ["results.json", "history.jsonl", "config.toml", "trigger-bilevel-seed0.npz"]
)
@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_strangers_run_is_made_of_regular_files(tmp_path: Path, name: str, kind: str) -> None:
    folder = fake_run.write(tmp_path / "run")
    if name == "config.toml":
        (folder / "results.json").unlink()
    (folder / name).unlink(missing_ok=True)
    (tmp_path / "secret").write_text("secret")
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(tmp_path / "secret" if kind == "link" else "/dev/zero")
    with pytest.raises(ReportError, match=re.escape(name)) as caught:
        report.build(folder)
    assert "secret" not in str(caught.value)


def test_a_changed_digit_of_sealed_results_is_told(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    data = sealed(json.loads((folder / "results.json").read_text()))
    (folder / "results.json").write_text(json.dumps(data))
    load(folder)
    data["rows"][0]["benign_rmse"] += 0.001
    (folder / "results.json").write_text(json.dumps(data))
    with pytest.raises(ReportError, match="changed after it was written"):
        report.build(folder)


def test_leftovers_of_killed_reports_go(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    report.build(folder)
    old, fresh = folder / ".report.html.0a1b2c3d", folder / ".report.html.4e5f6a7b"
    figure = folder / "figures" / ".asr.svg.0a1b2c3d"
    for path in (old, fresh, figure):
        path.write_text("half")
    for path in (old, figure):
        os.utime(path, (0, 0))
    report.build(folder)
    assert fresh.exists() and not old.exists() and not figure.exists()


# The numbers


def test_a_run_that_has_only_begun_is_reported_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    for path in folder.glob("*.npz"):
        path.unlink()
    (folder / "results.json").unlink()
    history = (folder / "history.jsonl").read_text()
    (folder / "history.jsonl").write_text(history[:-30])
    text = report.build(folder).read_text()
    assert "This run is not finished" in text
    assert "Attack success rate: the run is not finished" in text
    assert "Reconstructions: no model has left example reconstructions yet." in text
    drawn = {path.stem for path in (folder / "figures").iterdir()}
    assert drawn == {"trigger-evolution", "learning-curves"}
    assert not (folder / "table1.md").exists()


def test_models_that_are_still_to_come_are_named(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run", labels=("original", "heuristic"))
    text = _page.page(load(folder), [], [])
    assert "Not measured yet:\nBLO, seed 0; Random trigger, seed 0." in text


def test_an_empty_run_folder_gives_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("seed = 0\n")
    text = report.build(tmp_path).read_text()
    assert text.count("<li>") == len(ALL_FIGURES) - 1 + 3  # all but ratios; three links above


def test_of_an_epoch_that_was_done_twice_the_later_line_counts(tmp_path: Path) -> None:
    rows = [
        {"stage": "train", "model": "original", "seed": 0, "epoch": e, "samples": s, "ghost": g}
        for e, s, g in ((1, 10, 0.1), (2, 20, None), (2, 20, 0.3))
    ]
    (tmp_path / "history.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    curve = load(tmp_path).training["original", 0]
    assert curve["ghost"].tolist() == [0.1, 0.3]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("results.json", b"{", "results.json: not valid JSON"),
        ("results.json", b'{"a": NaN}', "NaN is not JSON"),
        ("results.json", b"\xff\xfe", "results.json: not valid JSON"),
        ("results.json", b'{"a": 1e999}', "1e999 is too large"),
        ("results.json", b'{"a": ' + b"9" * 400 + b"}", "an integer of 400 digits"),
        ("results.json", b"[" * 100_000, "results.json: not valid JSON"),
        ("history.jsonl", b'{"stage": []}\n{\n{}\n', "history.jsonl: line 2 is not a JSON object"),
        (
            "history.jsonl",
            b'{"stage": "train", "model": "a", "seed": 1e999}\n',
            "line 1: one of model, seed, epoch",
        ),
        (
            "history.jsonl",
            b'{"stage": "attack", "model": "$\\\\frac{", "seed": 0, "iteration": 1}\n',
            "line 1: one of model, seed, iteration",
        ),
        ("history.jsonl", b"{}\n{\n{}\n", "history.jsonl: line 2 is not a JSON object"),
        ("history.jsonl", b'{"stage": "train"}\n', "line 1: one of model, seed, epoch"),
        ("trigger-bilevel-seed0.npz", b"PK\x03\x04", "trigger-bilevel-seed0.npz: not a"),
        ("examples-random-seed0.npz", b"", "examples-random-seed0.npz: not a"),
    ],
)
def test_damage_is_one_clear_error(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    (folder / name).write_bytes(content)
    with pytest.raises(ReportError, match=re.escape(words)):
        load(folder)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    path = folder / "trigger-heuristic-seed0.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "mask": arrays["mask"][:, 1:]})
    with pytest.raises(ReportError, match="do not match"):
        load(folder)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "path"})
    with pytest.raises(ReportError, match="lacks the array 'path'"):
        load(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="not the folder of a run"):
        report.build(tmp_path)
    with pytest.raises(ReportError, match="no such folder"):
        report.build(tmp_path / "nowhere")
    assert contents(tmp_path) == {}


def test_a_page_that_cannot_be_replaced_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("seed = 0\n")
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html"):
        report.build(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "report.html"]


def test_figures_are_not_written_through_a_link(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (folder / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReportError, match="figures: is a link"):
        report.build(folder)
    assert contents(tmp_path / "elsewhere") == {}
