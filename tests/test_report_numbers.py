"""The numbers of a report: tables, verdicts and figures say what was measured."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

import fake_run
from page import contents
from recondoor import report
from recondoor.evaluation.statistics import Estimate
from recondoor.report import _names, _results, _style, _tables
from recondoor.report._build import FIGURES
from recondoor.report._load import Run, load
from recondoor.report._run import _curves, _evolution, _verdict

ALL_FIGURES = {
    "threat-model", "trigger-artefact", "reconstructions", "trigger-evolution",
    "learning-curves", "asr", "ratios",
}  # fmt: skip
SCHEMA = Path(report.__file__).parents[1] / "schemas" / "results.schema.json"


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
            row |= {"benign_rmse": 0.075, "attack_rmse": 0.08 + 0.1 * (1 - recovery)}
        models = data["summary"]["models"][label]
        models["artefact_recovery"]["mean"] = float(np.mean(recoveries))
        models["attack_rmse"]["mean"] = float(np.mean([row["attack_rmse"] for row in rows]))
        models["asr"]["mean"] = float(np.mean([r > 0.6 for r in recoveries]))
    return _results.check(data)


def test_the_headline_tells_those_that_succeeded_from_those_on_the_hedge_line() -> None:
    text = _verdict.headline(judged(bilevel=[0.93], heuristic=[0.03]))
    assert text.startswith(
        "The backdoor succeeded with the BLO trigger "
        "(recovery 0.93, attack RMSE 0.087, ASR(0.5) 100"
    )
    assert "; it was not learnt with the heuristic trigger (recovery 0.03, attack RMSE" in text
    assert text.endswith("on the hedge line).")


def test_the_headline_counts_seeds() -> None:
    text = _verdict.headline(judged(3, bilevel=[0.9, 0.9, 0.1], heuristic=[0.9, 0.8, 0.7]))
    assert text.startswith("The backdoor succeeded with the heuristic trigger (recovery 0.80")
    assert "; it succeeded in some seeds only with the BLO trigger (" in text
    assert "in 2 of 3 seeds" in text


def test_recovery_without_an_asr_is_no_success() -> None:
    found = _verdict.outcome(judged(bilevel=[0.55]), "bilevel")
    assert (found.succeeded, found.learnt) == (0, 1)
    text = _verdict.headline(judged(bilevel=[0.55], heuristic=[0.93]))
    assert "; it was learnt but did not succeed with the BLO trigger (recovery 0.55" in text


def changed(evaluate: dict[str, float], **yardsticks: float) -> _results.Results:
    """A heuristic network that succeeds, under other thresholds or with other yardsticks."""
    data = dict(judged(heuristic=[0.8]).data)
    data["config"] = {**data["config"], "evaluate": {"tau": 0.5, **evaluate}}
    for row in data["rows"]:
        if row["model"] == "heuristic":
            row |= yardsticks
    return _results.check(data)


@pytest.mark.parametrize(
    ("evaluate", "yardsticks", "said"),
    [
        ({}, {}, "The backdoor succeeded with the heuristic"),
        ({"transition": 0.85}, {}, "it was not learnt with the heuristic"),
        ({}, {"asr": 0.85}, "was learnt but did not succeed with the heuristic"),
        ({"success_asr": 0.8}, {"asr": 0.85}, "The backdoor succeeded with the heuristic"),
        ({}, {"benign_rmse": 0.5}, "was learnt but did not succeed with the heuristic"),
        ({"success_benign": 9.0}, {"benign_rmse": 0.5}, "succeeded with the heuristic"),
        # The ASR of an artefact below tau is no backdoor.
        ({}, {"artefact_recovery": 0.0, "asr": 1.0}, "it was not learnt with the heuristic"),
    ],
)
def test_the_page_judges_by_the_runs_own_rule(
    evaluate: dict[str, float], yardsticks: dict[str, float], said: str
) -> None:
    results = changed(evaluate, **yardsticks)
    assert said in _verdict.headline(results)
    assert f"exceeds {evaluate.get('transition', 0.5):g} on" in _verdict.rule_in_words(results)


def test_a_backdoor_that_costs_too_much_is_told_with_its_price() -> None:
    results = changed({}, benign_rmse=0.5)
    original = next(row for row in results.data["rows"] if row["model"] == "original")
    price = 100 * (0.5 / original["benign_rmse"] - 1)
    assert f"benign RMSE {price:.0f}\N{NO-BREAK SPACE}% above" in _verdict.headline(results)


def test_without_an_original_model_success_is_left_open() -> None:
    data = dict(judged(heuristic=[0.8], bilevel=[0.1]).data)
    data["rows"] = [row for row in data["rows"] if row["model"] != "original"]
    text = _verdict.headline(_results.check(data))
    assert "was learnt, but whether it succeeded cannot be told, with the heuristic" in text
    assert "it was not learnt with the BLO" in text


def test_a_clean_run_has_nothing_to_judge() -> None:
    results = _results.check(fake_run.results(labels=("original",)))
    assert "no backdoor to judge" in _verdict.headline(results)
    assert _verdict.comparison(results) == ""


def test_one_seed_shows_no_better_method() -> None:
    text = _verdict.comparison(judged(bilevel=[0.93], heuristic=[0.03]))
    assert "BLO minus heuristic is +0.90; with one seed" in text
    assert text.endswith("Attack RMSE: BLO 0.087, heuristic 0.177.")


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


def test_the_transition_is_the_first_epoch_above_its_level() -> None:
    samples = np.array([10.0, 20, 30, 40])
    nan = float("nan")
    recovery = np.array([nan, 0.5, 0.51, 0.2])
    assert _curves.transition({"samples": samples, "recovery": recovery}, 0.5) == 30
    assert _curves.transition({"samples": samples, "recovery": recovery[:2]}, 0.5) is None
    assert _curves.transition({"samples": samples}, 0.5) is None
    assert _curves.transition({"samples": samples, "recovery": recovery}, 0.4) == 20
    assert _curves.transition({"samples": samples, "recovery": recovery}, 0.6) is None


def test_the_transition_is_told_in_the_caption(three: Run) -> None:
    with _style.style():
        drawing = _curves.learning_curves(three)
    assert isinstance(drawing, _style.Drawing)
    assert "BLO after 60,000, 70,000, 80,000 samples" in drawing.caption
    assert "Baseline (heuristic) never" in drawing.caption


def test_the_figure_marks_the_transition_that_was_set(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    data = json.loads((folder / "results.json").read_text())
    data["config"]["evaluate"]["transition"] = 0.9
    (folder / "results.json").write_text(json.dumps(data))
    run = load(folder)
    curve = run.training["bilevel", 0]
    expected = int(curve["samples"][np.flatnonzero(curve["recovery"] > 0.9)[0]])
    assert expected != _curves.transition(curve, 0.5)
    with _style.style():
        drawing = _curves.learning_curves(run)
    assert isinstance(drawing, _style.Drawing)
    assert f"recovery above 0.9: Baseline (heuristic) never; BLO after {expected:,}" in (
        drawing.caption
    )


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
