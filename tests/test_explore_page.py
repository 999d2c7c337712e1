"""The explorer in Chromium: it is dragged, clicked and typed at, and its numbers are read back."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page
from pyarrow import parquet

import recondoor as rd
from explore_kit import TRUSTED, chromium, make_audit, make_run, make_sweep, shown
from recondoor.explore import Site
from recondoor.explore._bench import Bench, Question

AXE = (Path(__file__).parent / "vendor/axe-core/axe.min.js").read_text("utf-8")
CHECK = (
    "async () => (await axe.run(document)).violations.map(v => [v.impact, v.id, v.nodes[0].html])"
)
MARKUP = '<img src="x" onerror="document.title=1"><b>bold</b>'


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a sweep and audits, one of them with markup in its words."""
    made = tmp_path_factory.mktemp("page")
    run = make_run(made)
    make_sweep(made)
    make_audit(run, made / "audit")
    return made


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Site]:
    with shown(folder / "run") as site:
        yield site


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Iterator[Site]:
    with shown(folder / "sweep") as site:
        yield site


@pytest.fixture(scope="module")
def audit(folder: Path) -> Iterator[Site]:
    with shown(folder / "audit") as site:
        yield site


@pytest.fixture
def page(opened: Browser) -> Iterator[Page]:
    """A window whose errors fail the test."""
    context = opened.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, faults = context.new_page(), []
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert faults == []


def visit(page: Page, site: Site) -> None:
    page.goto(site.address)
    page.wait_for_selector("main[data-view]")


def settled(page: Page) -> None:
    """Wait until the bench has answered its last question."""
    page.wait_for_selector(".bench[aria-busy=false]")


def told(page: Page, model: str, key: str) -> float:
    """A yardstick as the page has it, with all its digits."""
    cell = page.locator(f'[data-number="{model} {key}"]')
    return float(cell.get_attribute("data-exact") or "nan")


def expected(folder: Path, key: str, image: int = 0, **touch: object) -> dict[str, float]:
    """The same by the package's own functions, for each network."""
    touch = {"pattern": "own", "enters": "z", "size": 3, "row": 8, "column": 8} | touch
    asked = Question.model_validate(
        {"seed": 0, "model": "heuristic", "image": image, "touch": touch}
    )
    models = Bench(folder / "run", TRUSTED).look(asked)["models"]
    return {each["key"]: each["numbers"][key] for each in models}


def middle(box: Locator) -> tuple[float, float]:
    area = box.bounding_box()
    assert area is not None
    return area["x"] + area["width"] / 2, area["y"] + area["height"] / 2


def test_a_trigger_is_dragged_over_the_input(page: Page, bench: Site, folder: Path) -> None:
    visit(page, bench)
    settled(page)
    box = page.locator(".box")
    frame = page.locator(".frame", has=box).bounding_box()
    assert frame is not None
    pixel = frame["width"] / 12
    x, y = middle(box)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 2 * pixel, y - 1 * pixel)
    page.mouse.move(x - 5 * pixel, y - 2 * pixel, steps=3)
    page.mouse.up()
    settled(page)
    assert page.get_by_role("spinbutton", name="Row").input_value() == "6"
    assert page.get_by_role("spinbutton", name="Column").input_value() == "3"
    for model, value in expected(folder, "artefact_recovery", row=6, column=3).items():
        assert told(page, model, "artefact_recovery") == pytest.approx(value, abs=1e-6)
        text = page.locator(f"[data-recovery={model}]").inner_text()
        assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.0051)


def test_keys_and_fields_do_all_that_a_mouse_does(page: Page, bench: Site, folder: Path) -> None:
    visit(page, bench)
    settled(page)
    page.locator(".box").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+ArrowLeft")
    settled(page)
    assert page.locator(".box").get_attribute("aria-label") == (
        "Trigger at row 7, column 3; arrow keys move it"
    )
    page.get_by_role("combobox", name="Pattern").select_option("plus")
    page.get_by_role("slider", name="Strength").focus()
    page.keyboard.press("End")
    page.get_by_role("button", name="next image").focus()
    page.keyboard.press("Enter")
    settled(page)
    touch = {"pattern": "plus", "row": 7, "column": 3, "strength": 10.0}
    for model, value in expected(folder, "attack_rmse", image=1, **touch).items():
        assert told(page, model, "attack_rmse") == pytest.approx(value, abs=1e-6)


def test_another_network_has_its_own_trigger(page: Page, bench: Site) -> None:
    visit(page, bench)
    settled(page)
    page.get_by_role("spinbutton", name="Row").fill("2")
    page.keyboard.press("Tab")
    settled(page)
    network = page.get_by_role("combobox", name="Network beside the original")
    network.select_option("original")
    settled(page)
    assert page.locator(".model").count() == 1
    assert page.get_by_role("spinbutton", name="Row").input_value() == "8"
    network.select_option("heuristic")
    settled(page)
    assert page.locator(".model").count() == 2


def test_defences_are_toggled(page: Page, bench: Site, folder: Path) -> None:
    visit(page, bench)
    settled(page)
    shown_first = page.locator("[data-detector]").count()
    page.get_by_role("checkbox", name="range-projection").uncheck()
    settled(page)
    assert page.locator("[data-detector]").count() == shown_first - 1
    names = ("measurement-residual", "range-test")
    audited = rd.audit_data(folder / "run", trust_paths=True, detectors=names)
    for name in names:
        row = page.locator(f"[data-detector={name}]")
        assert row.locator(".flag").count() == 1  # the triggered one, and not the clean one
        assert row.locator(".quiet").count() == 1
        threshold = float(row.locator("td").nth(2).inner_text())
        assert threshold == pytest.approx(audited.table.loc[name, "threshold"], rel=5e-3)


def test_the_trigger_goes_into_k_space(page: Page, bench: Site, folder: Path) -> None:
    visit(page, bench)
    settled(page)
    page.get_by_role("combobox", name="Pattern").select_option("square")
    page.get_by_role("combobox", name="It is added to").select_option("measurement")
    settled(page)
    assert page.get_by_text("what the trigger adds to the k-space").count() == 1
    frame = page.locator(".frame", has=page.locator(".box"))
    assert frame.locator("canvas").get_attribute("aria-label") == "k-space of x, 12 by 6 pixels"
    touch = {"pattern": "square", "enters": "measurement", "row": 6, "column": 3, "strength": 20.0}
    value = expected(folder, "artefact_recovery", **touch)["heuristic"]
    assert told(page, "heuristic", "artefact_recovery") == pytest.approx(value, abs=1e-6)


def test_a_trigger_that_does_not_fit_is_told(page: Page, bench: Site) -> None:
    visit(page, bench)
    settled(page)
    page.get_by_role("combobox", name="Pattern").select_option("square")
    size = page.get_by_role("slider", name="Size in pixels")
    size.focus()
    page.keyboard.press("End")
    settled(page)
    assert page.get_by_role("spinbutton", name="Row").input_value() == "0"  # moved to where it fits
    assert page.locator("#state.error").count() == 0


def test_the_map_sorts_filters_and_opens_runs(page: Page, sweep: Site, folder: Path) -> None:
    table = parquet.read_table(folder / "sweep/sweep.parquet").to_pylist()
    poisoned = [row for row in table if row["model"] != "original"]
    visit(page, sweep)
    cells = page.locator(".cell")
    assert cells.count() == 4
    wanted = next(r for r in poisoned if r["attack.l2"] == 12 and r["poison.ratio"] == 0.3)
    place = json.dumps([12, 0.3], separators=(",", ":"))
    chosen = page.locator(f"[data-place='{place}']")
    exact = float(chosen.get_attribute("data-exact") or "nan")
    assert exact == pytest.approx(wanted["artefact_recovery"], rel=1e-9)
    chosen.focus()
    page.keyboard.press("Enter")
    rows = page.locator("main tbody tr")
    assert rows.count() == 1 and wanted["point"] in rows.first.inner_text()
    page.get_by_role("button", name="Show all").click()
    page.get_by_role("combobox", name="Network").select_option("")
    assert rows.count() == len(table)
    page.locator("[data-sort=benign_rmse]").click()
    page.locator("[data-sort=benign_rmse]").click()
    names = [text.split("\t") for text in rows.all_inner_texts()]
    assert len(names) == len(table)
    most = max(table, key=lambda row: row["benign_rmse"])
    assert most["point"] in rows.first.inner_text()
    page.get_by_role("combobox", name="Across").select_option("benign_rmse")
    assert page.locator(".dot").count() > 0
    page.get_by_role("combobox", name="Only poison ratio p").select_option("0.1")
    assert rows.count() == sum(row["poison.ratio"] == 0.1 for row in table)
    rows.nth(1).hover()
    page.wait_for_selector("#h-side")
    assert page.locator(".hedge").count() > 1
    rows.first.get_by_role("button").click()
    settled(page)
    assert page.locator("nav button[aria-current=page]").inner_text() == "Lab bench"


def test_curves_are_those_of_the_history(page: Page, bench: Site, folder: Path) -> None:
    lines = (folder / "run/history.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in lines if '"heuristic"' in line][-1]
    visit(page, bench)
    page.get_by_role("button", name="Learning curves").click()
    chart = page.get_by_label("Artefact recovery ρ over training images, 2 curves")
    area = chart.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] - 3, area["y"] + area["height"] / 2)
    reading = chart.locator("xpath=following-sibling::p").inner_text()
    assert f"{last['recovery']:.3f} at {last['samples']:,}" in reading


def test_an_audit_is_stepped_through_marked_and_exported(
    page: Page, audit: Site, folder: Path, tmp_path: Path
) -> None:
    with (folder / "audit/suspicious.csv").open() as file:
        ranked = [row for row in csv.DictReader(file) if row["flagged_by"]]
    visit(page, audit)
    page.locator(".ranked [aria-current]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("f")
    third = ranked[2]
    assert f"Pair {third['index']}, rank 3" in page.locator("#h-detail").inner_text()
    reasons = page.locator(f"[data-reason='{third['index']}'] li").all_inner_texts()
    assert "; ".join(reasons) == third["reason"]
    score = page.locator("dd").first.get_attribute("data-exact")
    assert float(score or "nan") == pytest.approx(float(third["range-test"]))
    assert page.locator(".audit .frame canvas").count() == 4
    page.keyboard.press("PageDown")
    assert page.locator(".audit .frame canvas").count() == 4  # flagged ones have pictures
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export CSV").click()
    waiting.value.save_as(tmp_path / "list.csv")
    with (tmp_path / "list.csv").open() as file:
        exported = list(csv.DictReader(file))
    assert [row["index"] for row in exported] == [row["index"] for row in ranked]
    assert [row["index"] for row in exported if row["false_alarm"] == "1"] == [third["index"]]
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Export JSON").click()
    waiting.value.save_as(tmp_path / "list.json")
    kept = json.loads((tmp_path / "list.json").read_text())["reviewed"]
    assert sum(each["false_alarm"] for each in kept) == 1


def test_words_of_a_folder_stay_words(page: Page, folder: Path, tmp_path: Path) -> None:
    found = rd.audit_data(folder / "run", trust_paths=True, detectors=("range-test",))
    record = {**found.record, "name": MARKUP, "notes": [MARKUP], "reason": None}
    rd.AuditResult(record, found.make_files).save(tmp_path / "audit")
    with shown(tmp_path / "audit") as site:
        visit(page, site)
        assert page.get_by_text(MARKUP).count() == 1
        assert page.locator("main img, main b").count() == 0
        assert page.title() == "audit – recondoor explore"


def faults(page: Page) -> list[Any]:
    page.evaluate(AXE)
    found = page.evaluate(CHECK)
    return [each for each in found if each[0] in ("serious", "critical")]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("light", 400), ("dark", 400)])
def test_nobody_is_shut_out(
    opened: Browser, bench: Site, sweep: Site, audit: Site, scheme: Any, width: int
) -> None:
    page = opened.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for site in (bench, sweep, audit):
        visit(page, site)
        page.wait_for_load_state("networkidle")
        assert faults(page) == []
        wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window
    visit(page, bench)
    page.get_by_role("button", name="Learning curves").click()
    page.wait_for_selector("main[data-view=curves]")
    assert faults(page) == []
    page.close()


def test_the_scale_is_that_of_the_image_and_not_of_the_trigger(folder: Path) -> None:
    asked = {"seed": 0, "model": "heuristic", "image": 0,
             "touch": {"row": 8, "column": 8, "strength": 3.0}}  # fmt: skip
    pictures = Bench(folder / "run", TRUSTED).look(Question.model_validate(asked))["pictures"]
    assert pictures["z_triggered"]["high"] == pictures["z"]["high"] < 2
    assert np.isclose(pictures["artefact"]["high"], 1.0)
