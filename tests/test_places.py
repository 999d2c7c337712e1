"""An attack with a mask of its own, NAME@MASK: its settings, its trigger, its words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fake_run
from recondoor import config, report, studies
from recondoor.config import load_config
from recondoor.core.errors import ConfigError
from recondoor.report._names import title, trigger_words

TINY = ["data.limit=60", "model.cae.width=4", "model.cae.code=4", "train.max_epochs=1"]


def test_entries_do_not_rename_a_run() -> None:
    plain, placed = (
        load_config("smoke", (), [f"attack.names={names}"])
        for names in ("none,bilevel", "none,bilevel,random@image")
    )
    assert config.identity(plain) == config.identity(placed)
    assert config.row_label("random@image") == "random-image"
    assert placed.attack.at("random@image").mask == "image"
    assert placed.attack.at("bilevel").mask == placed.attack.mask == "trigger"
    assert placed.attack.plug_ins == ("none", "bilevel", "random")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("bilevel@corner", "the mask after @ has to be trigger, search, image"),
        ("none@image", "has no trigger"),
        ("bilevle@image", "bilevel"),
        ("random@image,random@image", "named twice"),
    ],
)
def test_what_is_no_entry_is_refused(names: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config("smoke", (), [f"attack.names={names}"])


def test_each_trigger_lies_in_its_own_mask_at_one_size(tmp_path: Path) -> None:
    names = "attack.names=none,heuristic,tangent,random@image,tangent@image"
    folder = studies.run(load_config("smoke", (), [*TINY, names]), tmp_path / "run")
    rows = {row["model"]: row for row in json.loads((folder / "results.json").read_text())["rows"]}
    assert [row["trigger_l2"] for row in rows.values()] == pytest.approx([3] * 5, abs=1e-5)
    pixels = {
        label: int(np.load(folder / f"trigger-{label}-seed0.npz")["mask"].sum())
        for label in rows
        if label != "original"
    }
    assert pixels["heuristic"] == pixels["tangent"] == 9
    # All but two pixels around the plus: each arm of five pixels takes nine by five.
    assert pixels["random-image"] == pixels["tangent-image"] == 28 * 28 - (45 + 45 - 25)


def test_words_name_the_place() -> None:
    assert title("bilevel-image") == "BLO, anywhere"
    assert trigger_words("random-image") == "random trigger anywhere"
    assert title("random-signs") == "Random signs"


def placed_run(tmp_path: Path, learnt: dict[str, float], l2: float = 3.0) -> Path:
    """A run whose bilevel and random rows have other places, with these recoveries."""
    folder = fake_run.write(tmp_path / "run", seeds=1)
    data: dict[str, Any] = json.loads((folder / "results.json").read_text())
    source = {row["model"]: row for row in data["rows"]}
    data["rows"] = [source["original"]]
    summary = data["summary"]["models"]
    for label, recovery in learnt.items():
        model = "bilevel" if label.startswith("bilevel") else "heuristic"
        size = l2 if label == "random-image" else 3.0
        row = source[model] | {"model": label, "artefact_recovery": recovery, "trigger_l2": size}
        data["rows"].append(row | {"transition_samples": 1000 if recovery > 0.5 else None})
        summary[label] = summary[model]
    data["summary"]["paired"] = []
    data.pop("digest", None)
    (folder / "results.json").write_text(json.dumps(data))
    return folder


LEARNT = {"heuristic": 0.0, "bilevel": 0.1, "random-image": 0.9}


def test_place_is_named_only_where_the_runs_tell_it(tmp_path: Path) -> None:
    told = report.verdict(placed_run(tmp_path / "a", LEARNT))
    assert "in the square's pixels 0 of 2, anywhere 1 of 1 (all of L2 3)" in told
    assert "Place and support decide here, not the pattern: a random pattern anywhere" in told
    told = report.verdict(placed_run(tmp_path / "b", LEARNT | {"bilevel": 0.8}))
    assert "does not tell place and support from the pattern" in told
    told = report.verdict(placed_run(tmp_path / "c", LEARNT, l2=6.0))
    assert "does not tell" in told and "no comparison at one budget" in told
