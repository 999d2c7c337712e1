"""The page of a sweep: complete, safe, readable anywhere; what is damaged is refused."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fake_sweep
from page import Page, browser, contents
from recondoor import cli, report
from recondoor.core.errors import ReportError

FIGURES = {
    "map-attack-l2-poison-ratio", "learnt-map-attack-l2-poison-ratio", "limits",
    "over-attack-l2", "over-poison-ratio", "learnt-over-attack-l2", "learnt-over-poison-ratio",
}  # fmt: skip
NAUGHTY = '<script>alert("x")</script> & co'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with points that failed or wait, and its report."""
    states = {NAUGHTY: "failed", "late": "waiting"}
    folder = fake_sweep.write(tmp_path_factory.mktemp("sweeps") / "axes", states=states)
    assert report.build(folder) == folder / "report.html"
    return folder


@pytest.fixture(scope="module")
def page(built: Path) -> str:
    return (built / "report.html").read_text()


# What is written


def test_figures_in_three_forms_and_a_page(built: Path) -> None:
    figures = {f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf", "png")}
    assert set(contents(built)) == {"sweep.json", "sweep.parquet", "report.html", *figures}


def test_a_second_report_is_the_same_to_the_byte(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "axes"
    again.mkdir()
    for name in ("sweep.json", "sweep.parquet"):
        shutil.copy(built / name, again)
    report.build(again)
    assert contents(again) == contents(built)


def test_no_date_is_in_a_pdf(built: Path) -> None:
    for path in (built / "figures").glob("*.pdf"):
        assert not re.search(rb"CreationDate|ModDate|atplotlib", path.read_bytes())


# The page


def test_the_page_needs_nothing_else(page: str) -> None:
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert "@import" not in page
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parsed.tags}
    links = [a.get("xlink:href") or a.get("href") or a.get("src") or "#" for _, a in parsed.tags]
    assert [link for link in links if not link.startswith(("#", "data:image/png;base64,"))] == []
    assert [found for found in re.findall(r"url\((.)", page) if found != "#"] == []


def test_the_page_is_well_formed(page: str) -> None:
    parsed = Page(page)
    assert (parsed.unbalanced, parsed.open) == ([], [])
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [a.get("xlink:href") or a.get("href") or "" for _, a in parsed.tags]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)


def test_names_are_escaped(page: str) -> None:
    assert NAUGHTY not in page
    assert "&lt;script&gt;alert(" in page
    assert "the loss became NaN" in page


def test_the_page_tells_state_rule_versions_and_command(page: str) -> None:
    text = " ".join(re.sub(r"<[^>]+>", "", page).split())
    assert "38 runs (points times seeds): 36 finished, 1 waiting, 1 failed" in text
    assert (
        "48 succeed (ASR(0.5) ≥ 0.9, benign RMSE near the original model’s), with a mean recovery "
        "of 0.95 and a mean attack RMSE of 0.120." in text
    )
    assert (
        "artefact recovery above 0.5, ASR(0.5) of 0.9 or more, and a benign RMSE at most 10 % above"
        in text
    )
    assert "of Student’s t over seeds at 95 %" in text
    assert "torch 2.9" in text
    assert "recondoor sweep axes.toml" in text


def test_tables_scroll_inside_their_cards(page: str) -> None:
    for before in re.split(r"<table", page)[:-1]:
        assert re.search(r'<div class="scroll[^>]*tabindex="0">\s*$', before)


# Sweeps that are not whole


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "No point is finished yet"),
        (fake_sweep.rows()[1:2], "1 poisoned network of 1 point and 1 seed"),
        (fake_sweep.rows(models=["original"])[:3], "only original models were trained"),
        (fake_sweep.rows()[:7], "poisoned networks of 3 points and 1 seed"),
    ],
    ids=["nothing", "one network", "original only", "begun"],
)
def test_a_sweep_that_is_not_whole(tmp_path: Path, rows: list[Any], said: str) -> None:
    folder = fake_sweep.write(tmp_path, rows, {"late": "waiting"})
    parsed = Page(text := report.build(folder).read_text())
    assert said in text
    assert (parsed.unbalanced, parsed.open) == ([], [])


def without(key: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != key} for row in fake_sweep.rows()]


def changed(**values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} for row in fake_sweep.rows()]


def test_strange_names_of_files_do_no_harm(tmp_path: Path) -> None:
    rows = [
        {**row, "trigger.file": f"{name}{'x' * 80}", "point": f"{name} {row['point']}"}
        for name in ("$a$ & <b>", "_$_{\\ --> ")
        for row in fake_sweep.rows(seeds=[0])
    ]
    parsed = Page(text := report.build(fake_sweep.write(tmp_path, rows)).read_text())
    assert "<b>" not in text
    assert (parsed.unbalanced, parsed.open) == ([], [])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (without("ghost"), "there is no column ghost"),
        (changed(asr="much"), "asr is 'much', no number"),
        (changed(benign_rmse=float("nan")), "benign_rmse or seed is missing"),
        (changed(seed=1), "there twice"),
        (changed(point=None), "incomplete or there twice"),
        (changed(**{"attack.l2": [1.0]}), "attack.l2 is neither text nor a number"),
        (changed(**{"evaluate.tau": "0.5"}), "evaluate.tau is '0.5', no number"),
        (changed(transition_samples="soon"), "transition_samples is 'soon', no number"),
        (changed(point=3), "point and model must be texts"),
    ],
    ids=["column", "text", "nan", "twice", "nameless", "list", "threshold", "wait", "number"],
)
def test_a_damaged_table_is_refused(tmp_path: Path, rows: list[Any], said: str) -> None:
    refuse(fake_sweep.write(tmp_path, rows), said)


def refuse(folder: Path, said: str) -> None:
    with pytest.raises(ReportError) as caught:
        report.build(folder)
    text = str(caught.value)
    assert said in text
    assert "given again, writes it anew" in text
    assert "\n" not in text
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "sweep.parquet").unlink(), "there is no such file"),
        (lambda folder: (folder / "sweep.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "sweep.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "sweep.json").write_text("[]"), "schema 'None' is not"),
        (lambda folder: cut(folder / "sweep.parquet"), "not a readable Parquet file"),
        (lambda folder: (folder / "sweep.parquet").write_bytes(b""), "not a readable Parquet"),
    ],
    ids=["no table", "no record", "half a record", "no object", "half a table", "empty table"],
)
def test_damaged_files_are_refused(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    folder = fake_sweep.write(tmp_path)
    change(folder)
    refuse(folder, said)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("member", ["points", "failures", "spec", "provenance"])
def test_a_record_with_wrong_members_is_refused(tmp_path: Path, member: str) -> None:
    folder = fake_sweep.write(tmp_path, change=lambda record: record.update({member: [1]}))
    where = f"{member}[0]: 1" if member in ("points", "failures") else f"{member}: [1]"
    refuse(folder, f"{where} is not of type 'object'")


def test_the_command_takes_sweeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fake_sweep.write(tmp_path / "one", fake_sweep.rows()[1:2])
    cli.main(["report", str(folder)])
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert json.loads((folder / "sweep.json").read_text())["points"]


# In a browser

# The page in a frame of a fixed width, as browsers refuse windows as narrow as a telephone's.
FRAME = """<!DOCTYPE html><iframe id="f" style="width:{width}px;height:900px;border:0"></iframe>
<script>const frame = document.getElementById("f"); frame.onload = () => {{
  const root = frame.contentDocument.documentElement;
  document.title = root.scrollWidth + " in " + root.clientWidth; }};
frame.srcdoc = {page};</script>"""


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_fits_a_window(page: str, tmp_path: Path, width: int) -> None:
    quoted = json.dumps(page).replace("</", "<\\/")
    (tmp_path / "frame.html").write_text(FRAME.format(width=width, page=quoted))
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=10000",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={max(width, 800)},1000",
        "--dump-dom", (tmp_path / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>(\d+) in (\d+)</title>", done.stdout)
    assert found is not None, done.stderr[-2000:]
    assert int(found[1]) <= int(found[2])
    assert "CONSOLE" not in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"block": [3]}}, "spec.block[0]: 3 is not of type 'object'"),
        ({"provenance": {"versions": []}}, "provenance.versions: [] is not of type 'object'"),
        ({"points": [{"point": "a", "seed": 0, "state": []}]}, "points[0].state: [] is not"),
    ],
)
def test_a_record_with_odd_parts_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    refuse(fake_sweep.write(tmp_path, change=lambda record: record.update(change)), said)


def test_a_table_of_too_many_cells_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recondoor.report._sweep._table.MOST_CELLS", 100)
    refuse(fake_sweep.write(tmp_path), "rows are more than are read")
