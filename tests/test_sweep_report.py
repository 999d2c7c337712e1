"""Figures and tables of a sweep's report are true to the sweep's numbers."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from matplotlib import colormaps

import fake_sweep
from recondoor import report
from recondoor.evaluation.statistics import mean_interval
from recondoor.report._sweep import _curves, _glance, _heat, _lines, _maps, _sentences, _tables
from recondoor.report._sweep._axes import axes_of
from recondoor.report._sweep._load import SweepData, load_sweep
from recondoor.report._sweep._series import levels_of, series
from recondoor.report._sweep._tables import comparisons


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SweepData:
    return load_sweep(fake_sweep.write(tmp_path_factory.mktemp("sweep")))


def small(folder: Path, rows: list[dict[str, Any]]) -> SweepData:
    return load_sweep(fake_sweep.write(folder, rows))


def test_axes_are_what_varies_in_the_order_of_the_file(data: SweepData) -> None:
    axes = axes_of(data)
    assert [(axis.key, axis.levels, axis.numeric) for axis in axes] == [
        ("attack.l2", (1.0, 4.0, 16.0), True),
        ("poison.ratio", (0.05, 0.1, 0.2, 0.4), True),
    ]
    assert [axis.scale for axis in axes] == ["log", "linear"]


def test_settings_that_change_together_are_one_axis(tmp_path: Path) -> None:
    rows = [
        fake_sweep.row(name, "heuristic", 0, True, 0.1, operator__name=name, operator__ratio=ratio)
        for name, ratio in (("fourier", 0.4), ("gaussian", 0.5))
    ]
    (axis,) = axes_of(small(tmp_path, rows))
    assert (axis.key, axis.numeric, axis.together) == ("operator.name", False, ("operator.ratio",))


def test_places_are_rows_and_columns(tmp_path: Path) -> None:
    rows = [
        fake_sweep.row(f"{y},{x}", "heuristic", 0, y > x, 0.1, trigger__place=f"{y},{x}")
        for y in (0, 8, 20)
        for x in (4, 9)
    ]
    found = small(tmp_path, rows)
    row, column = axes_of(found)
    assert (row.levels, column.levels) == ((0, 8, 20), (4, 9))
    drawn = _maps.maps(found, [row, column])
    assert [each.name for each in drawn] == [
        f"{kind}-trigger-place-column-trigger-place-row" for kind in ("map", "learnt-map")
    ]
    assert _curves.curves(found, [row, column]) == []


def test_a_map_holds_the_means_of_its_cells(data: SweepData) -> None:
    l2, p = axes_of(data)
    blo = next(one for one in series(data.attacked, []) if one.model == "bilevel")
    grid = (p.levels, l2.levels)
    means = _heat.cells(blo.rows, grid, p, l2, _maps._mean(lambda row: row["artefact_recovery"]))
    expected = [
        [0.95 if ratio * budget > 0.15 else 0.01 for budget in l2.levels] for ratio in p.levels
    ]
    assert means == pytest.approx(np.array(expected))


def test_sparse_rows_and_columns_are_left_out_of_a_map(tmp_path: Path) -> None:
    cells = [(p, l2) for p in (0.1, 0.2, 0.3) for l2 in (1.0, 2.0, 3.0)] + [(0.4, 9.0)]
    rows = [fake_sweep.row(f"{p} {l2}", "heuristic", 0, True, p, attack__l2=l2) for p, l2 in cells]
    found = small(tmp_path, rows)
    l2, p = axes_of(found)
    (one,) = series(found.attacked, [])
    assert _maps._grid(one, p, l2) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    drawn = _maps.maps(found, [l2, p])[0]
    assert "less than half full are left out" in drawn.caption  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0])
def test_numbers_in_cells_can_be_read(share: float) -> None:
    """WCAG 2.1 asks for a contrast of 4.5."""

    def light(colour: tuple[float, ...]) -> float:
        part = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return float(np.dot([0.2126, 0.7152, 0.0722], part))

    cell = colormaps["cividis"](share)
    ink = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}[_heat.readable_on(cell)]
    lights = sorted((light(cell), light(ink)))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_curves_have_means_bands_and_the_hedge_line(data: SweepData) -> None:
    axes = axes_of(data)
    drawing = next(d for d in _curves.curves(data, axes) if d.name == "over-poison-ratio")
    recovery, ghost, rmse, _ = drawing.figure.axes  # type: ignore[union-attr]
    for panel, hedge in ((ghost, [0.05, 0.1, 0.2, 0.4]), (rmse, [0.95, 0.9, 0.8, 0.6])):
        dotted = panel.get_lines()[-1]
        assert list(dotted.get_xdata()) == [0.05, 0.1, 0.2, 0.4]
        assert list(dotted.get_ydata()) == pytest.approx(hedge)
    assert set(recovery.get_lines()[-1].get_ydata()) == {0.0}
    every = _lines.over(data, axes, axes[1])
    assert len(recovery.get_lines()) == len(every) + 1 == 7
    levels = levels_of(axes[1], every[2].rows)
    expected = [mean_interval([r["artefact_rmse"] for r in group]) for group in levels.values()]
    assert list(rmse.get_lines()[2].get_ydata()) == pytest.approx([e.mean for e in expected])
    band = rmse.collections[2].get_paths()[0].vertices[:, 1]
    assert {round(e.high, 9) for e in expected if e.high} <= set(np.round(band, 9))


def test_seeds_that_never_learnt_it_are_open_markers_at_the_top(data: SweepData) -> None:
    drawing = next(d for d in _curves.curves(data, axes_of(data)) if d.name.startswith("learnt"))
    (panel,) = drawing.figure.axes  # type: ignore[union-attr]
    high = [y for line in panel.get_lines() for y in line.get_ydata() if y > 4200]
    never = [r for r in data.attacked if r["transition_samples"] is None]
    assert len(high) == len(never) == 24
    assert len(set(high)) == 1


def test_points_are_shown_one_by_one_where_there_is_no_axis_of_numbers(tmp_path: Path) -> None:
    rows = [
        fake_sweep.row(name, "heuristic", seed, name == "fourier", 0.1, operator__name=name)
        for name in ("fourier", "gaussian")
        for seed in (0, 1, 2)
    ]
    found = small(tmp_path, rows)
    axes = axes_of(found)
    assert _curves.curves(found, axes) == []
    (drawing,) = _glance.glance(found, axes)
    recovery, ghost, _ = drawing.figure.axes
    assert [label.get_text() for label in recovery.get_yticklabels()] == ["fourier", "gaussian"]
    lines = ghost.get_lines()
    assert [line.get_xdata()[0] for line in lines[::4]] == [0.1, 0.1]  # the hedge line
    assert [line.get_xdata()[0] for line in lines[3::4]] == pytest.approx([0.02, 0.1])


def test_the_table_has_a_line_for_each_point_and_model(data: SweepData) -> None:
    lines = _tables.points(data)
    assert len(lines) == 12 * 3
    line = next(
        each
        for each in lines
        if (each.point, each.model) == ("attack.l2=4,poison.ratio=0.2", "BLO")
    )
    cells = dict(zip(_tables.heads(data), line.cells, strict=True))
    assert line.n == 3
    # 0.09, 0.10 and 0.11: t of 2 degrees of freedom, 4.3027, times 0.01 / sqrt(3) is 0.0248.
    assert cells["Artefact RMSE"] == "0.100 [0.075, 0.125]"
    assert cells["ASR(0.5) (%)"] == "98.0 [98.0, 98.0]"
    assert cells["Images until learnt"] == f"{(4000 * 4100 * 4200) ** (1 / 3):,.0f}"
    assert cells["Successes"] == "3 of 3"


def test_success_is_left_open_without_an_original(tmp_path: Path) -> None:
    found = small(tmp_path, fake_sweep.rows(models=("heuristic",)))
    assert not found.judged
    assert {found.success(row) for row in found.attacked} == {None, False}
    assert "Successes" not in _tables.heads(found)
    assert {line.cells[0] for line in _tables.points(found)} == {"0 of 3", "3 of 3"}
    assert "have learnt the backdoor" in _sentences.headline(found)
    assert "no such model was trained" in _sentences.unjudged(found)


def test_a_point_leads_to_those_of_its_runs_that_are_there(tmp_path: Path) -> None:
    """Not to what a name of a stranger's table reaches outside the folder."""
    rows = fake_sweep.rows(models=("heuristic",))
    here, outside = rows[0]["point"], "../../elsewhere"
    changed = [
        {**row, "point": outside} if row["point"] == rows[-1]["point"] else row for row in rows
    ]
    found = small(tmp_path / "sweep", changed)
    for place in (tmp_path / "sweep" / "points" / here, tmp_path / "elsewhere"):
        (place / "seed0").mkdir(parents=True)
        (place / "seed0" / "config.toml").write_text("seed = 0")
    runs = {line.point: line.runs for line in _tables.points(found)}
    assert runs[here] == ((0, quote(f"points/{here}/seed0/")),)
    assert [point for point, links in runs.items() if links] == [here]
    assert all(line.runs == () for line in _tables.points(found, linked=False))


def test_thresholds_are_those_of_the_sweep(tmp_path: Path) -> None:
    strict = [{**row, "evaluate.success_benign": 0.01} for row in fake_sweep.rows()]
    found = small(tmp_path, strict)
    assert found.judged
    assert not any(found.success(row) for row in found.attacked)


def test_an_asr_alone_is_no_success(tmp_path: Path) -> None:
    """A hedge at a large p, or an artefact below tau, has it without a backdoor."""
    found = small(tmp_path, [{**row, "artefact_recovery": 0.02} for row in fake_sweep.rows()])
    assert not any(found.strong(row) or found.success(row) for row in found.attacked)
    half = [{**row, "evaluate.transition": 0.01} for row in found.rows]
    assert any(found.success(row) for row in small(tmp_path, half).attacked)


def test_the_hedge_line_of_an_artefact_that_is_not_drawn_as_set() -> None:
    """Of a file, or of its part in ker(A), the amplitude is not its rms."""
    row = {**fake_sweep.rows()[1], "poison.ratio": 0.25, "artefact.amplitude": -0.4}
    assert _curves.hedge(row, "artefact_rmse") == pytest.approx(0.75 * 0.4)
    for other in ({"artefact.space": "kernel"}, {"artefact.file": "a.npy"}):
        assert _curves.hedge(row | other, "artefact_rmse") is None
        assert _curves.hedge(
            row | other | {"artefact_rms": 0.08}, "artefact_rmse"
        ) == pytest.approx(0.06)


def test_tau_is_named_by_its_unit(tmp_path: Path) -> None:
    rows = fake_sweep.rows()
    assert small(tmp_path, rows).measured.asr == "ASR(0.5)"
    weak = [{**row, "artefact.amplitude": 0.37} for row in rows]
    assert small(tmp_path, weak).measured.asr == "ASR(0.5)"
    assert "times the root mean square" in small(tmp_path, weak).measured.tau_words
    old = [{k: v for k, v in row.items() if k != "evaluate.tau_unit"} for row in weak]
    assert small(tmp_path, old).measured.asr == "ASR(0.5 in pixel values)"
    assert small(tmp_path, old).measured.tau_words == "τ = 0.5 in pixel values"


def test_methods_are_compared_under_the_same_settings(tmp_path: Path) -> None:
    table = fake_sweep.rows()
    for line in table:
        line["attack.mask"] = "image" if line["model"] == "bilevel" else "trigger"
        if line["model"] == "bilevel":
            line["point"] = f"image,{line['point']}"
            line["benign_rmse"] += 0.001 * line["seed"]
    found = small(tmp_path, table)
    pairs = comparisons(found, axes_of(found))
    assert len(pairs) == 12 * 4
    here = next(pair for pair in pairs if pair.where == "L2 = 1, p = 0.2")
    assert (here.pair, here.yardstick) == ("Baseline (heuristic) − BLO", "Benign RMSE")
    assert (here.difference, here.seeds) == ("−0.001 [−0.003, 0.001]", 3)
    # Differences 0, -1, -2: t = -sqrt(3) with 2 degrees of freedom, p = 1 - sqrt(3/5).
    assert here.p == f"{1 - np.sqrt(3 / 5):.2f}" == here.adjusted
    assert here.sign_flip == "0.50"


def test_the_transition_is_found(data: SweepData) -> None:
    over_l2, over_p = _sentences.transitions(data, axes_of(data))
    assert "between 0.1 and 0.2 (Baseline (heuristic), L2 = 4; BLO, L2 = 1)" in over_p
    assert "before 0.05 (Baseline (heuristic), L2 = 16;" in over_p
    assert "nowhere up to 0.4 (Baseline (heuristic), L2 = 1)" in over_p
    assert over_l2.startswith("Over the trigger L2, mean recovery passes 0.5 between 4 and 16")


def test_networks_below_the_limit_are_counted(tmp_path: Path) -> None:
    table = [{**line, "limit_ghost": 0.03} for line in fake_sweep.rows()]
    folder = fake_sweep.write(tmp_path, table)
    text = report.build(folder).read_text()
    assert "0 of 72 networks lie below the limit of artefact RMSE" in text
    assert "48 of 72 networks lie below the limit of ghost, by 0.01 at the most" in text
