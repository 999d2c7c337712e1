"""Damaged and hostile files are read or refused; `make fuzz` runs many more of the same."""

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzzing import drive as driving
from fuzzing import forge
from fuzzing.case import Case
from fuzzing.drive import Count, Worker, drive, plan, reproducer
from fuzzing.mutate import ODD_VALUES
from fuzzing.target import Target
from fuzzing.targets import TARGETS
from fuzzing.worker import MEMORY, WHOLE, Sandbox, fault_of, limited, outcome_of
from recondoor import config
from recondoor.core.errors import LONGEST_LINE, ConfigError, RecondoorError
from recondoor.defences import Defender
from recondoor.io.arrays import UNREADABLE, load
from recondoor.poisoning import Pairs
from recondoor.sweeps import parse

SEED = 0
INPUTS = 500
# Figures take seconds an input; `make fuzz` draws them.
DRAWN = ("audit-page", "run-page", "sweep-page")

KEYS = config.keys()
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(ODD_VALUES)
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
SETTINGS = st.dictionaries(
    st.sampled_from(["data", "trigger", "attack", "seed", "poison", "poison.ratio"]) | st.text(),
    TREES | st.dictionaries(st.sampled_from([key.split(".")[-1] for key in KEYS]), LEAVES),
)


def test_damaged_files_are_read_or_refused() -> None:
    counts = {name: n for name, n in plan(INPUTS).items() if name not in DRAWN}
    found: dict[str, Count] = {}
    for name, count in drive(counts, SEED):
        found[name] = count
        for index, text in count.failures:
            pytest.fail(f"{name}: {text}\n{reproducer(name, SEED, index)}")
    assert {name: count.inputs for name, count in found.items()} == counts
    assert sum(count.refused for count in found.values()) > 100
    assert sum(count.accepted for count in found.values()) > 50
    assert all(0 < count.memory < WHOLE for count in found.values())


@given(text=st.text() | st.builds("{}={}".format, st.sampled_from(KEYS), LEAVES))
def test_any_override_is_taken_or_refused(text: str) -> None:
    try:
        with limited():
            config.identity(config.load_config("smoke", (), [text]))
    except ConfigError as error:
        assert fault_of(error) == ""


@given(tree=SETTINGS)
def test_any_tree_of_settings_is_taken_or_refused(tree: dict[str, object]) -> None:
    try:
        with limited():
            config.identity(config.from_dict(tree))
    except ConfigError as error:
        assert fault_of(error) == ""


@given(
    tree=st.fixed_dictionaries(
        {},
        optional={
            "preset": LEAVES,
            "seeds": LEAVES | st.lists(LEAVES, max_size=3),
            "base": SETTINGS | LEAVES,
            "block": st.lists(
                st.fixed_dictionaries({"grid": SETTINGS}, optional={"name": LEAVES}), max_size=2
            ),
            "point": TREES,
        },
    )
)
def test_any_sweep_is_taken_or_refused(tree: dict[str, object]) -> None:
    try:
        with limited():
            parse(tree)
    except ConfigError as error:
        assert fault_of(error) == ""


def test_the_planted_pickle_would_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its absence would show nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.npy").write_bytes(forge.planted())
    with (tmp_path / "planted.npy").open("rb") as stream, pytest.raises(UNREADABLE):
        load(stream)
    assert not (tmp_path / "executed").exists()
    np.load(tmp_path / "planted.npy", allow_pickle=True)
    assert (tmp_path / "executed").exists()


def test_a_message_is_short_and_printable() -> None:
    assert str(RecondoorError("a\x1b[31m\u202e\nb")) == "a\\x1b[31m\\u202e\nb"
    assert len(str(RecondoorError("x" * 10**6))) == LONGEST_LINE
    assert fault_of(RecondoorError("a\nb\nc")) != ""


def test_the_sandbox_sees_what_is_made_and_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> None:
        (folder / "x.txt").write_text("a=1")

    def meddle(folder: Path) -> None:
        (folder / "x.txt").write_text("longer than before, whatever it was" * 100)
        (folder.parent / "stray").write_text("")

    monkeypatch.chdir(tmp_path)  # and back at the end, as a sandbox moves too
    sandbox = Sandbox(tmp_path)
    target = Target("meddler", write, meddle, 1.0, (".txt",))
    answer = sandbox.try_input(target, 0, 0)
    assert answer["outcome"] == "failed"
    assert "x.txt was changed" in answer["text"]


# Memory


def test_reading_has_a_limit_of_memory(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    greedy = Case({}, lambda folder: np.ones(2 * MEMORY, np.uint8).sum())
    outcome, text = outcome_of(greedy, tmp_path)
    assert outcome == "failed"
    assert "MemoryError" in text
    with limited(1 << 24), pytest.raises(MemoryError):
        bytearray(1 << 28)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_worker_has_a_limit_of_memory_at_all_times() -> None:
    worker = Worker()
    try:
        worker.ask("settings", SEED, 0)
        limits = Path(f"/proc/{worker.process.pid}/limits").read_text()
        (line,) = (each for each in limits.splitlines() if each.startswith("Max data size"))
        assert line.split()[3:5] == [str(WHOLE)] * 2
    finally:
        worker.close()


def test_a_worker_that_takes_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its processes together, as a limit of the kernel is one of each."""
    monkeypatch.setattr(driving, "MOST", 1 << 20)
    worker = Worker()
    answer = worker.ask("settings", SEED, 0)
    assert answer["outcome"] == "failed"
    assert "GiB, of" in answer["text"]
    assert not worker.alive


# Traps: what they compare has to be seen where it is wrong.


def halved(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32) / np.float32(510)


def with_units(detector: object, pairs: Pairs, defender: Defender) -> torch.Tensor:
    """The mean square of z itself, which counts in the units of z."""
    return pairs.z.double().square().mean((1, 2, 3))


@pytest.mark.parametrize(
    ("name", "what", "wrong"),
    [
        ("trap-patches", "recondoor.io.arrays.to_float32", halved),
        ("trap-images", "recondoor.io.arrays.require_scale", lambda kind: None),
        ("trap-pairs", "recondoor.io.arrays.to_float32", halved),
        (
            "trap-units",
            "recondoor.defences.measurement_residual.MeasurementResidual.scores",
            with_units,
        ),
        ("trap-yardsticks", "recondoor.evaluation.metrics.artefact_rms", lambda artefact: 1e9),
    ],
)
def test_a_trap_sees_a_reader_that_is_wrong(
    name: str, what: str, wrong: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sandbox = Sandbox(tmp_path)
    sandbox.prepare(TARGETS[name])
    monkeypatch.setattr(what, wrong)
    found = {sandbox.try_input(TARGETS[name], SEED, index)["outcome"] for index in range(40)}
    assert "failed" in found
