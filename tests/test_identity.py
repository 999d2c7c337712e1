"""Names of runs: what is added later renames none, and two meanings of tau are never one run."""

import json
from pathlib import Path

import pytest

from recondoor import config
from recondoor.config import from_dict, identity, load_config, original_identity
from recondoor.config._identity import LATER, NOT_IN_IDENTITY
from recondoor.core.errors import RunError
from recondoor.rundir import RunDir
from recondoor.studies._record import require_same_run

# Of release 0.1.0, by its own code: run folders out there are named so.
PRESETS = {
    "paper": ("53c2a59c13ec", "2730340b2ec3"),
    "quick": ("c34be3d543a4", "3e96c3fcc0ab"),
    "smoke": ("3dfc6bcddf88", "b8ae27397207"),
}
# What a preset said then, where it says something else now.
THEN = {"quick": ("trigger.amplitude=4",)}
# Of release 0.1.0 too, with artefacts whose rms is not 1, when tau was in pixel values.
WEAK = {"paper": "cbdb3a3b73b0", "quick": "077efda0a567", "smoke": "a6361deabbf5"}
KERNEL = {"paper": "6f10de8dec81", "quick": "b09a06e44391", "smoke": "49fad3f76b97"}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_their_names(name: str) -> None:
    settings = load_config(name, (), THEN.get(name, ()))
    assert (identity(settings), original_identity(settings)) == PRESETS[name]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    ("text", "names"),
    [("artefact.amplitude=0.37", WEAK), ("artefact.space=kernel", KERNEL)],
    ids=["weak", "kernel"],
)
def test_another_meaning_of_tau_is_another_run(name: str, text: str, names: dict[str, str]) -> None:
    then = THEN.get(name, ())
    relative = load_config(name, (), [*then, text])
    absolute = load_config(name, (), [*then, text, "evaluate.tau_unit=absolute"])
    assert identity(absolute) == names[name]
    assert identity(relative) != names[name]
    assert original_identity(relative) == original_identity(absolute) == PRESETS[name][1]


@pytest.mark.parametrize("amplitude", [1.0, -1.0])
def test_both_units_are_one_run_where_the_artefacts_rms_is_1(amplitude: float) -> None:
    trees = [
        {"artefact": {"amplitude": amplitude}, "evaluate": {"tau_unit": unit}}
        for unit in ("rms", "absolute")
    ]
    assert len({identity(from_dict(tree)) for tree in trees}) == 1


def test_of_a_file_the_rms_is_not_known() -> None:
    trees = [
        {"artefact": {"file": "a.npy"}, "evaluate": {"tau_unit": unit}}
        for unit in ("rms", "absolute")
    ]
    assert len({identity(from_dict(tree)) for tree in trees}) == 2


def test_what_is_left_out_are_settings() -> None:
    assert {*LATER, *NOT_IN_IDENTITY} <= set(config.keys())


def test_a_run_in_pixel_values_is_not_carried_on_in_units_of_the_rms(tmp_path: Path) -> None:
    settings = load_config("smoke", (), ["artefact.amplitude=0.37"])
    data = {"name": "a", "fingerprint": "f", "train": 1, "validation": 1, "test": 1}
    record = {
        "identity": WEAK["smoke"],
        "patterns": "f0" * 4,
        "versions": {},
        "hardware": {},
        "device": "cpu",
        "threads": 1,
        "seeds": [0],
        "data": data,
        "git": None,
        "command": "recondoor study",
        "started": "2026-01-01T00:00:00+00:00",
        "finished": None,
    }
    (tmp_path / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="other settings"):
        require_same_run(RunDir(tmp_path), settings, "f", "f0" * 4)
    old = load_config("smoke", (), ["artefact.amplitude=0.37", "evaluate.tau_unit=absolute"])
    require_same_run(RunDir(tmp_path), old, "f", "f0" * 4)
