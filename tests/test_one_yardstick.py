"""A yardstick is one entry: added, it is in rows, records, schema, tables, pages and summaries."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import fake_run
from recondoor import records, report
from recondoor.config import Evaluate
from recondoor.evaluation import yardsticks
from recondoor.evaluation.judge import evaluate, summarise
from recondoor.evaluation.yardsticks import Yardstick
from recondoor.io.seal import sealed
from recondoor.poisoning import Artefact, Pairs, Trigger

TABLES = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "generate_tables.py"))
TOY = Yardstick(
    key="brightest",
    name="Brightest pixel",
    definition="max <i>f</i>(<i>z</i>)",
    measure=lambda seen: float(seen.clean.max()),
    values=yardsticks.Positive,
    over_seeds="mean and differences",
    unit="lx",
    better="lower",
)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yardsticks, "YARDSTICKS", (*yardsticks.YARDSTICKS, TOY))


class Doubled(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return 2 * z


def test_it_is_measured_into_the_row() -> None:
    x = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    pattern = torch.zeros(1, 12, 12)
    pattern[0, 2, 2] = 1
    trigger, artefact = Trigger(pattern, pattern), Artefact(pattern)
    row = evaluate(Doubled(), Pairs(x, x), trigger, artefact, Evaluate()).row
    assert row["brightest"] == pytest.approx(2 * float(x.max()))


def test_it_is_in_the_summary() -> None:
    data = fake_run.results(2)
    for row in data["rows"]:
        row |= {"brightest": 3.0 + row["seed"]}
    summary = summarise([dict(row) for row in data["rows"]])
    models, paired = summary["models"], summary["paired"]
    assert isinstance(models, dict)
    assert isinstance(paired, list)
    assert models["original"]["brightest"]["mean"] == 3.5
    assert "brightest" in {line["metric"] for line in paired}


def test_it_is_in_schema_record_and_tables() -> None:
    row = json.loads(TABLES["text"]("results"))["properties"]["rows"]["items"]
    assert row["properties"]["brightest"] == {
        "description": TOY.in_words,
        "minimum": 0,
        "type": "number",
    }
    assert "brightest" in row["required"]
    made = TABLES["tables"]()
    assert (
        f"| `rows[].brightest` | number | yes | {TOY.in_words} |"
        in made["results.md"]["results.json"]
    )
    line = "| Brightest pixel | `brightest` | max f(z) | lx | lower | mean and differences |"
    assert line in made["notation.md"]["yardsticks"]
    assert records.yardstick_lines()[-1][0] == "Brightest pixel"


def test_it_is_on_the_page_with_its_values(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run", seeds=2)
    data = json.loads((folder / "results.json").read_text())
    for row in data["rows"]:
        row["brightest"] = 3.0
    data["summary"] = summarise([dict(row) for row in data["rows"]])
    (folder / "results.json").write_text(json.dumps(sealed(data)))
    page = report.build(folder).read_text()
    assert "Brightest pixel" in page
    assert "3.000 ± 0.000 lx" in page
    assert "Brightest pixel (lx)" in page  # among the differences
