"""Reports: made from a run folder alone, the same each time, and true to its numbers."""

import copy
import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

import fake_run
from recondoor import report
from recondoor.errors import ReportError, RunError
from recondoor.report import _curves, _evolution, _names, _page, _results, _style, _tables, _verdict
from recondoor.report._build import FIGURES
from recondoor.report._load import Run, load
from recondoor.statistics import Estimate

ALL_FIGURES = {
    "threat-model", "trigger-artefact", "reconstructions", "trigger-evolution",
    "learning-curves", "asr", "ratios",
}  # fmt: skip
SCHEMA = Path(report.__file__).parents[1] / "schemas" / "results.schema.json"
VOID = {"meta", "link", "img", "br", "hr", "input"}


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


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


class Page(HTMLParser):
    """The parts of a page that tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


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
    for yardstick in _names.YARDSTICKS[:-4]:
        assert yardstick.at(0.5).definition in text
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


# The numbers


def half_width(values: list[float]) -> float:
    """Half the 95 % t-interval, from SciPy."""
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    return float(high - low) / 2


@pytest.mark.parametrize("seeds", [1, 3])
def test_table_1_holds_the_numbers_of_the_results(seeds: int, tmp_path: Path) -> None:
    results = fake_run.results(seeds)
    text = report.table1_text(results)
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    for label, name in _names.TITLES.items():
        for metric in _names.TABLE1_METRICS:
            values = [row[metric] for row in results["rows"] if row["model"] == label]
            cell = f"{np.mean(values):.3f}"
            if seeds > 1:
                cell += f" ± {half_width(values):.3f}"
            shown = label != "original" or metric != "artefact_rmse"
            assert (cell in rows[name]) == shown
    assert rows["Original (clean)"].endswith(" NA")


def test_table_1_as_markdown_and_csv(built: tuple[Path, dict[str, bytes]]) -> None:
    folder, before = built
    data = json.loads(before["results.json"])
    markdown = (folder / "table1.md").read_text().splitlines()
    assert markdown[0] == "| Method | Benign error | Attack error | Artefact error |"
    table = list(csv.DictReader((folder / "table1.csv").read_text().splitlines()))
    for row, line, read in zip(data["rows"], markdown[2:], table, strict=False):
        name = _names.title(row["model"])
        artefact = "NA" if row["model"] == "original" else f"{row['artefact_rmse']:.3f}"
        assert (
            line == f"| {name} | {row['benign_rmse']:.3f} | {row['attack_rmse']:.3f} | {artefact} |"
        )
        assert (read["method"], read["model"], read["seeds"]) == (name, row["model"], "1")
        assert float(read["benign_error"]) == row["benign_rmse"]
        assert read["benign_error_low"] == ""
        number = row["artefact_rmse"]
        assert read["artefact_error"] == ("NA" if row["model"] == "original" else str(number))


@pytest.mark.parametrize(
    ("mean", "half", "shown"),
    [
        (0.0767, None, "0.077"),
        (0.0767, 0.002, "0.077 ± 0.002"),
        (0.0767, 0.00012, "0.0767 ± 0.0001"),
        (-0.0001, None, "0.000"),
        (-0.25, None, "−0.250"),
        (3.0, 0.0, "3.000 ± 0.000"),
    ],
)
def test_a_half_width_gets_the_decimals_that_it_needs(
    mean: float, half: float | None, shown: str
) -> None:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    assert _tables.cell(Estimate(mean, low, high, 3)) == shown


def test_a_yardstick_outside_the_summary_is_the_mean_of_the_rows() -> None:
    data = fake_run.results(3)
    del data["summary"]["models"]["bilevel"]["epochs"]
    estimate = _results.check(data).estimate("bilevel", "epochs")
    assert estimate == Estimate(10.0, None, None, 3)


def test_a_difference_can_be_asked_either_way_round(three: Run) -> None:
    assert three.results is not None
    forth = three.results.paired("bilevel", "heuristic", "artefact_recovery")
    back = three.results.paired("heuristic", "bilevel", "artefact_recovery")
    assert forth is not None and back is not None
    assert forth.low is not None and forth.high is not None
    assert (back.mean, back.low, back.high) == (-forth.mean, -forth.high, -forth.low)
    assert forth.low < forth.mean < forth.high


# The verdict


def judged(seeds: int = 1, **changes: list[float]) -> _results.Results:
    """Results in which recovery (and with it ASR) of some models is changed, seed by seed."""
    data = fake_run.results(seeds, labels=("original", "heuristic", "bilevel"))
    for label, recoveries in changes.items():
        rows = [row for row in data["rows"] if row["model"] == label]
        for row, recovery in zip(rows, recoveries, strict=True):
            row |= {"artefact_recovery": recovery, "asr": float(recovery > 0.6)}
        models = data["summary"]["models"][label]
        models["artefact_recovery"]["mean"] = float(np.mean(recoveries))
        models["asr"]["mean"] = float(np.mean([r > 0.6 for r in recoveries]))
    return _results.check(data)


def test_the_headline_tells_those_that_took_from_those_on_the_hedge_line() -> None:
    text = _verdict.headline(judged(bilevel=[0.93], heuristic=[0.03]))
    assert text.startswith("The backdoor took with the BLO trigger (recovery 0.93, ASR(0.5) 100")
    assert "; it did not take with the heuristic trigger (recovery 0.03" in text
    assert text.endswith("on the hedge line).")


def test_the_headline_counts_seeds() -> None:
    text = _verdict.headline(judged(3, bilevel=[0.9, 0.9, 0.1], heuristic=[0.9, 0.8, 0.7]))
    assert text.startswith("The backdoor took with the heuristic trigger (recovery 0.80")
    assert "; it took in some seeds only with the BLO trigger (" in text
    assert "in 2 of 3 seeds" in text


def test_recovery_without_success_is_no_backdoor() -> None:
    assert _verdict.outcome(judged(bilevel=[0.55]), "bilevel").took == 0


def test_a_clean_run_has_nothing_to_judge() -> None:
    results = _results.check(fake_run.results(labels=("original",)))
    assert "no backdoor to judge" in _verdict.headline(results)
    assert _verdict.comparison(results) == ""


def test_one_seed_shows_no_better_method() -> None:
    text = _verdict.comparison(judged(bilevel=[0.93], heuristic=[0.03]))
    assert "BLO minus heuristic is +0.90; with one seed" in text


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([0.1, 0.5], "With the BLO trigger more of the artefact is recovered"),
        ([-0.5, -0.1], "With the heuristic trigger more of the artefact is recovered"),
        ([-0.1, 0.5], "No difference in recovery is shown"),
    ],
)
def test_who_is_better_needs_an_interval_clear_of_zero(ends: list[float], expected: str) -> None:
    data = fake_run.results(2)
    for pair in data["summary"]["paired"]:
        if {pair["a"], pair["b"]} == {"bilevel", "heuristic"}:
            sign = 1 if pair["a"] == "bilevel" else -1
            pair |= {"mean": sign * np.mean(ends), "ci95": sorted(sign * end for end in ends)}
    assert _verdict.comparison(_results.check(data)).startswith(expected)


# The figures


@pytest.mark.parametrize(
    "shape",
    [
        {"seeds": 3, "ratios": True},
        {"channels": 3, "size": 40, "labels": ("original", "heuristic", "bilevel")},
        {"labels": ("original", "heuristic", "bilevel", "random", "sleeper", "witch")},
    ],
    ids=["seeds", "colour", "plug-ins"],
)
def test_nothing_is_clipped(shape: dict[str, Any], tmp_path: Path) -> None:
    run = load(fake_run.write(tmp_path / "run", **shape))
    with _style.style():
        for draw in FIGURES:
            drawing = draw(run)
            if drawing is None:
                assert draw is _curves.ratios
                continue
            assert isinstance(drawing, _style.Drawing)
            canvas: Any = FigureCanvasAgg(drawing.figure)
            box = drawing.figure.get_tightbbox(canvas.get_renderer())
            width, height = drawing.figure.get_size_inches() + 1e-6
            assert min(box.x0, box.y0) >= -1e-6, drawing.name
            assert box.x1 <= width and box.y1 <= height, drawing.name


def test_the_hedge_line_is_where_the_closed_form_puts_it(three: Run) -> None:
    with _style.style():
        drawing = _curves.learning_curves(three)
    assert isinstance(drawing, _style.Drawing)
    rms = (9 / 784) ** 0.5
    expected = (0.3 * rms, 0.7 * rms, 0.0, 0.3)
    for axes, level in zip(drawing.figure.axes, expected, strict=True):
        found = [np.asarray(line.get_data()).tolist() for line in axes.lines]
        hedge = [ys for xs, ys in found if xs == [0, 1]]
        assert hedge == [[pytest.approx(level)] * 2]


def test_the_transition_is_the_first_epoch_above_one_half() -> None:
    samples = np.array([10.0, 20, 30, 40])
    nan = float("nan")
    recovery = np.array([nan, 0.5, 0.51, 0.2])
    assert _curves.transition({"samples": samples, "recovery": recovery}) == 30
    assert _curves.transition({"samples": samples, "recovery": recovery[:2]}) is None
    assert _curves.transition({"samples": samples}) is None


def test_the_transition_is_told_in_the_caption(three: Run) -> None:
    with _style.style():
        drawing = _curves.learning_curves(three)
    assert isinstance(drawing, _style.Drawing)
    assert "BLO after 60,000, 70,000, 80,000 samples" in drawing.caption
    assert "Baseline (heuristic) never" in drawing.caption


def test_a_running_median_passes_over_gaps() -> None:
    values = np.arange(40.0)
    values[[3, 20]] = np.nan
    found = _evolution._running_median(values)
    assert found[0] == np.nanmedian(values[:8])
    assert found[20] == np.nanmedian(values[13:28])


def test_a_window_is_the_bounding_box_of_a_mask() -> None:
    mask = np.zeros((2, 6, 9), np.float32)
    assert _style.Window.around(mask) is None
    mask[0, 2, 3] = mask[1, 4, 4] = 1
    window = _style.Window.around(mask)
    assert window == _style.Window(2, 5, 3, 5)
    assert window.small_in(mask.shape)
    assert window.cut(mask).shape == (2, 3, 2)


def test_a_signed_pattern_keeps_the_sign_of_its_strongest_channel() -> None:
    pattern = np.array([[[1.0, -1.0]], [[-2.0, 0.5]]], np.float32)
    assert _style.flat(pattern).tolist() == [[-2.0, -1.0]]


# Partial and damaged runs


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


# The schema


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_schema_accepts_a_run(seeds: int) -> None:
    assert _results.check(fake_run.results(seeds, ratios=True)).seeds == tuple(range(seeds))


def test_the_schema_accepts_what_is_undefined_and_what_it_does_not_know() -> None:
    data = fake_run.results()
    data["rows"][0] |= {"ssim": None, "trigger_psnr": None, "something_new": [1]}
    data["provenance"] |= {"git": None, "something_new": {}}
    _results.check(data)


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another version": (lambda d: d.update(schema="recondoor.results/2"), "recondoor.results/1"),
    "no rows": (lambda d: d.update(rows=[]), "rows"),
    "no seed": (lambda d: d["rows"][0].pop("seed"), r"rows\[0\].*seed"),
    "a seed of text": (lambda d: d["rows"][1].update(seed="0"), r"rows\[1\]\.seed.*integer"),
    "a rate above 1": (lambda d: d["rows"][0].update(asr=1.5), r"rows\[0\]\.asr.*1\.5"),
    "a negative error": (lambda d: d["rows"][0].update(benign_rmse=-0.1), "benign_rmse"),
    "a ratio above 1": (lambda d: d.update(poison_ratio=30), "poison_ratio.*30"),
    "no hedge line": (lambda d: d.pop("hedge"), "hedge"),
    "no fingerprint": (lambda d: d["provenance"]["data"].pop("fingerprint"), "fingerprint"),
    "a curve too short": (
        lambda d: d["rows"][2]["asr_curve"].pop(),
        r"rows\[2\]\.asr_curve has 20",
    ),
    "a row twice": (lambda d: d["rows"].append(d["rows"][0]), r"rows\[4\]: a second row for orig"),
    "a model unsummed": (lambda d: d["summary"]["models"].pop("random"), "not in the summary"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_results_file_is_refused_by_name(name: str) -> None:
    spoil, words = BREAKS[name]
    data = copy.deepcopy(fake_run.results())
    spoil(data)
    with pytest.raises(ReportError, match=words) as caught:
        _results.check(data)
    assert len(str(caught.value).splitlines()) <= 2


def test_something_else_than_an_object_is_refused() -> None:
    with pytest.raises(ReportError, match="the top level"):
        _results.check([])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("data = 3", "data: 3 is not of type 'object'"),
        ('[poison]\nratio = "<b>"', "poison.ratio: '<b>' is not of type 'number'"),
        ("a = " + "[" * 50_000, "config.toml: cannot be read"),
    ],
)
def test_settings_that_no_page_can_quote_are_refused(
    content: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(ReportError, match=re.escape(words)):
        report.build(tmp_path)


def test_members_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    path = folder / "trigger-heuristic-seed0.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "delta": np.array(["text"])})
    with pytest.raises(ReportError, match="no real numbers"):
        load(folder)
    np.savez(path, **{**arrays, "delta": arrays["delta"] * np.nan})
    with pytest.raises(ReportError, match="NaN or infinite"):
        load(folder)
    np.savez(path, **{n: a[..., 1:] if a.ndim > 2 else a for n, a in arrays.items()})
    with pytest.raises(ReportError, match="of different runs"):
        load(folder)


def test_figures_are_not_written_through_a_link(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (folder / "figures").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReportError, match="figures: is a link"):
        report.build(folder)
    assert contents(tmp_path / "elsewhere") == {}
