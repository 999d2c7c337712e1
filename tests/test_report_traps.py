"""Reports of runs whose images, thresholds or yardsticks are not the usual ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_run
from recondoor import report
from recondoor.evaluation.judge import yardsticks
from recondoor.report import _results, _style, _tables
from recondoor.report._build import FIGURES
from recondoor.report._load import load
from recondoor.report._run import _curves, _images, _reconstructions, _verdict

STUDIES = Path(__file__).parents[1] / "studies"
RELEASE_0_1_0 = Path(__file__).with_name("release-0.1.0")


def changed(seeds: int = 1, change: Callable[[dict[str, Any]], object] = lambda data: None) -> Any:
    """A view of results that `change` has edited."""
    data = fake_run.results(seeds)
    change(data)
    return _results.check(data)


def set_tau(unit: str | None, rms: float) -> Callable[[dict[str, Any]], None]:
    """Results of an artefact of some rms, with tau in `unit`; None: from before there was one."""

    def change(data: dict[str, Any]) -> None:
        data["hedge"]["artefact_rmse"] = 0.7 * rms
        if unit is not None:
            data["config"]["evaluate"]["tau_unit"] = unit
            for row in data["rows"]:
                row["artefact_rms"] = rms

    return change


# Sizes


@pytest.mark.parametrize("size", [(27, 31), (31, 27), (40, 12), (1, 40)], ids=str)
def test_every_figure_and_the_page_of_images_that_are_not_square(
    size: tuple[int, int], tmp_path: Path
) -> None:
    folder = fake_run.write(tmp_path / "run", size=size, ratios=True)
    run = load(folder)
    with _style.style():
        for draw in FIGURES:
            assert isinstance(draw(run), _style.Drawing), draw
        pictures = [
            image.get_array().shape[:2]
            for draw in (
                _images.threat_model,
                _images.trigger_artefact,
                _reconstructions.reconstructions,
            )
            for axes in draw(run).figure.axes  # type: ignore[union-attr]
            for image in axes.images
        ]
    assert size in pictures
    # Nothing is turned round.
    assert size[::-1] not in pictures
    assert report.build(folder).read_text().count("<figure") >= 6


def test_images_in_other_units_are_drawn_over_their_own_range(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    for path in folder.glob("examples-*.npz"):
        with np.load(path) as file:
            arrays = {name: -1000 + 4000 * file[name] for name in file.files}
        np.savez(path, **arrays)
    run = load(folder)
    with _style.style():
        drawing = _reconstructions.reconstructions(run)
    assert isinstance(drawing, _style.Drawing)
    x = run.examples["original"].x
    assert f"images from {x.min():g} to {x.max():g} and clipped" in drawing.caption
    shown = [image.get_array() for axes in drawing.figure.axes for image in axes.images]
    truth = (x[0, 0] - x.min()) / (x.max() - x.min())
    assert any(np.allclose(picture, truth, atol=1e-6) for picture in shown)


# Tau


@pytest.mark.parametrize(
    ("unit", "rms", "name", "definition"),
    [
        (None, 1.0, "ASR(0.5)", "τ = 0.5 in pixel values"),
        (None, 0.37, "ASR(0.5 in pixel values)", "τ = 0.5 in pixel values"),
        ("absolute", 0.37, "ASR(0.5 in pixel values)", "τ = 0.5 in pixel values"),
        ("rms", 0.37, "ASR(0.5)", "τ = 0.5 times the root mean square of Δ"),
    ],
)
def test_asr_is_named_by_the_definition_that_it_was_made_with(
    unit: str | None, rms: float, name: str, definition: str
) -> None:
    results = changed(1, set_tau(unit, rms))
    yardstick = yardsticks.of("asr").at(results.measured)
    assert yardstick.name == name
    assert definition in yardstick.definition
    assert f"{name} 100" in _verdict.headline(results)


def test_a_tau_above_the_artefact_is_told() -> None:
    told = "a model that draws nothing has this ASR too"
    assert told in _verdict.rule_in_words(changed(1, set_tau(None, 0.37)))
    for unit, rms in ((None, 1.0), ("rms", 0.37)):
        assert told not in _verdict.rule_in_words(changed(1, set_tau(unit, rms)))


@pytest.mark.parametrize(
    ("unit", "label", "hedge"),
    [("rms", "in units of rms(Δ)", 0.7), ("absolute", "in pixel values", 0.7 * 0.8)],
)
def test_the_axis_of_tau_has_its_unit_and_the_hedge_in_it(
    unit: str, label: str, hedge: float, tmp_path: Path
) -> None:
    folder = fake_run.write(tmp_path / "run")
    data = json.loads((folder / "results.json").read_text())
    set_tau(unit, 0.8)(data)
    (folder / "results.json").write_text(json.dumps(data))
    with _style.style():
        drawing = _curves.asr(load(folder))
    assert isinstance(drawing, _style.Drawing)
    axes = drawing.figure.axes[0]
    assert axes.get_xlabel().endswith(label)
    marks = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert marks == pytest.approx([0.5, hedge])


def test_a_run_of_release_0_1_0_is_read_and_judged() -> None:
    folder = RELEASE_0_1_0
    results = load(folder).results
    assert results is not None
    assert (results.tau_unit, results.measured.asr) == ("absolute", "ASR(0.5)")
    assert results.artefact_rms == pytest.approx(1)
    text = report.verdict(folder)
    assert text.startswith("The backdoor succeeded with the heuristic trigger (recovery 0.99, ")
    assert "attack RMSE 0.072" in text
    assert "the BLO trigger (recovery 0.99, attack RMSE 0.071" in text


def test_an_asr_that_any_network_has_is_no_success_of_the_kept_sweep() -> None:
    """Its artefact in ker(A) is smaller than tau; recovery is 0.02 and ASR(0.5) is 1."""
    from recondoor.report._sweep._load import load_sweep

    data = load_sweep(STUDIES / "defences" / "attacks")
    weak = [row for row in data.attacked if row["point"] == "unseen-artefact"]
    assert [row["asr"] for row in weak] == [1.0] * 5
    assert [data.success(row) for row in weak] == [False] * 5
    assert report.verdict(STUDIES / "defences" / "attacks").count("recovery") == 1


# Yardsticks without a value


@pytest.mark.parametrize(("infinite", "shown"), [(3, "∞"), (1, "∞ in 1 of 3 seeds")])
def test_an_infinite_psnr_is_shown_as_such(infinite: int, shown: str) -> None:
    def perfect(data: dict[str, Any]) -> None:
        rows = [row for row in data["rows"] if row["model"] == "original"]
        for row in rows[:infinite]:
            row["psnr"] = None
        del data["summary"]["models"]["original"]["psnr"]

    results = changed(3, perfect)
    assert _tables.yardstick_cell(results, "original", yardsticks.of("psnr")) == shown
    assert results.estimate("original", "psnr") is None
    assert "∞" not in _tables.yardstick_cell(results, "bilevel", yardsticks.of("psnr"))


def test_a_mean_of_fewer_seeds_says_so() -> None:
    def gap(data: dict[str, Any]) -> None:
        data["rows"][-1]["artefact_rmse"] = None
        data["summary"]["models"]["random"]["artefact_rmse"]["n"] = 2

    results = changed(3, gap)
    assert _tables.yardstick_cell(results, "random", yardsticks.of("artefact_rmse")).endswith(
        " (2 of 3 seeds)"
    )
    assert _tables.table1(results)[-1][-1].endswith(" (2 of 3 seeds)")
    assert "seeds)" not in "".join(_tables.table1(results)[0])


def test_ranges_and_windows_are_in_the_words() -> None:
    def other(data: dict[str, Any]) -> None:
        for row in data["rows"]:
            row |= {"data_range": 4095.0, "ssim_window": 7}

    measured = changed(1, other).measured
    assert "10 log₁₀((4095)² /" in yardsticks.of("psnr").at(measured).definition
    assert (
        "7×7 Gaussian window, σ = 1.5, range 4095" in yardsticks.of("ssim").at(measured).definition
    )
    plain = changed().measured
    assert "10 log₁₀(1 / mean" in yardsticks.of("psnr").at(plain).definition
    assert "11×11 Gaussian window, σ = 1.5, range 1," in yardsticks.of("ssim").at(plain).definition


def test_a_page_keeps_the_space_before_a_unit(tmp_path: Path) -> None:
    text = report.build(fake_run.write(tmp_path / "run")).read_text()
    assert "\\xa0" not in text
    assert "ASR(0.5) 100\N{NO-BREAK SPACE}%" in text
