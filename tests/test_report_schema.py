"""results.json: what its schema takes, and what is refused by name."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import fake_run
from recondoor import report
from recondoor.core.errors import ReportError
from recondoor.report import _results
from recondoor.report._load import load

SCHEMA = Path(report.__file__).parents[1] / "schemas" / "results.schema.json"

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
