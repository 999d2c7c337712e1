"""The page that lists runs, sweeps and audits, sorted by hand and in a browser."""

import base64
import hashlib
import re
import subprocess
from pathlib import Path

import pytest

import fake_run
import fake_sweep
from page import Page, browser
from recondoor.core.errors import ReportError
from recondoor.report import build_index, is_collection

CLICK = """
<script>for (const head of document.querySelectorAll("th button"))
  if (head.textContent === "Attack RMSE") head.click();</script>
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, a sweep, a run without results, a damaged one, and something else."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("b-run", "a & run"):
        (folder / name).mkdir()
        fake_run.write(folder / name)
    (folder / "sweep").mkdir()
    fake_sweep.write(folder / "sweep")
    for name, results in (("begun", None), ("damaged", "{}")):
        (folder / name).mkdir()
        (folder / name / "config.toml").write_text("seed = 0\n")
        if results is not None:
            (folder / name / "results.json").write_text(results)
    (folder / "notes").mkdir()
    build_index(folder)
    return folder


def rows(text: str) -> list[list[str]]:
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    cells = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.S)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in cells.findall(row)]
        for row in body.split("<tr>")[1:]
    ]


def test_every_run_and_sweep_is_listed_with_a_link_to_its_page(runs: Path) -> None:
    text = (runs / "index.html").read_text(encoding="utf-8")
    found = rows(text)
    assert {row[0] for row in found} == {"a &amp; run", "b-run", "sweep", "begun", "damaged"}
    links = [str(link["href"]) for link in Page(text).all("a")]
    assert set(links) == {"a%20%26%20run/report.html", "b-run/report.html", "sweep/report.html"}
    assert (runs / "a & run" / "report.html").exists()
    said = {row[0]: row[-1] for row in found}
    assert said["begun"] == "not finished"
    assert "results.json" in said["damaged"]
    assert {row[4] for row in found if row[0] == "b-run"} >= {"Original (clean)", "BLO"}


def test_the_page_lets_its_own_script_run_and_no_other(runs: Path) -> None:
    text = (runs / "index.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert f"script-src 'sha256-{digest}'\"" in text


def test_a_click_on_a_head_sorts_by_numbers_and_leaves_unknown_ones_last(
    runs: Path, tmp_path: Path
) -> None:
    text = (runs / "index.html").read_text(encoding="utf-8")
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    clicked = tmp_path / "clicked.html"
    clicked.write_text(without_policy.replace("</body>", f"{CLICK}</body>"), encoding="utf-8")
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    done = subprocess.run([*command, clicked.as_uri()], capture_output=True, text=True, timeout=120)
    shown = [row[8] for row in rows(done.stdout)]
    known = [float(value) for value in shown if value != "–"]
    assert known == sorted(known)
    assert len(known) >= 4
    assert shown[len(known) :] == ["–"] * (len(shown) - len(known))


def test_what_is_a_run_or_empty_is_no_collection(runs: Path, tmp_path: Path) -> None:
    assert is_collection(runs)
    assert not is_collection(runs / "b-run")
    assert not is_collection(tmp_path)
    with pytest.raises(ReportError, match="no run, sweep or audit"):
        build_index(tmp_path)
