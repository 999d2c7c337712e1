"""The run folder: nothing is ever half written, damage is seen, and one process works at a time."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recondoor import rundir
from recondoor.core.errors import RunError
from recondoor.rundir import RunDir, read_json, read_tensors, write_atomically, write_tensors
from rundir_kit import (
    failing,
)


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def arrays(step: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(step)
    return {
        "weights.a": generator.normal(size=(3, 4)).astype(np.float32),
        "weights.b": generator.normal(size=5),
        "step": np.array(float(step), dtype=np.float32),
        "empty": np.zeros((0, 2), dtype=np.int64),
    }


def meta(step: int = 0) -> dict[str, Any]:
    return {"epoch": step, "best_loss": 0.1 + step, "history": [{"epoch": 1, "note": "é"}]}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert np.array_equal(found[name], value)


def only_child(folder: Path) -> str:
    (name,) = (path.name for path in folder.iterdir())
    return name


def test_write_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert only_child(path.parent) == "file.txt"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full; free some space and give the same command again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "cannot be written (Permission denied); choose another --out"),
        (errno.EROFS, "cannot be written (Read-only file system); choose another --out"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, said: str
) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(RunError) as caught:
        write_atomically(path, b"new")
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert only_child(tmp_path) == "file.json"


def test_a_full_disk_while_the_bytes_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that takes the name but no byte."""
    path = tmp_path / "file.json"
    write_atomically(path, b"old")
    opened = os.open

    def full(name: Any, flags: int, *rest: Any, **named: Any) -> int:
        descriptor = opened(name, flags, *rest, **named)
        if not flags & os.O_CREAT:
            return descriptor
        os.close(descriptor)
        return opened("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(RunError, match="the disk is full"):
        write_atomically(path, b"new" * 10_000)
    assert path.read_bytes() == b"old"
    assert only_child(tmp_path) == "file.json"


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError):
        write_atomically(tmp_path / "file" / "inner", b"")
    with pytest.raises(RunError), RunDir(tmp_path / "file").lock():
        pass


def test_json_round_trip_and_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rundir.write_json(path, {"b": [1, 2.5, None]})
    assert read_json(path) == {"b": [1, 2.5, None]}
    with pytest.raises(ValueError, match="nan"):
        rundir.write_json(path, {"b": float("nan")})
    assert read_json(path) == {"b": [1, 2.5, None]}
    path.write_bytes(path.read_bytes()[:5])
    with pytest.raises(RunError, match=r"a\.json: not valid JSON .*restore it"):
        read_json(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(RunError, match="No such file"):
        read_json(tmp_path / "none.json")


def test_tensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    transposed = {**arrays(), "t": np.arange(6.0).reshape(2, 3).T}
    write_tensors(path, transposed, meta())
    found, header = read_tensors(path)
    assert_same(found, transposed)
    assert header == meta()


def test_every_damaged_byte_of_a_checkpoint_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, arrays(), meta())
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    seen = 0
    for position in range(0, len(good), 3):
        damaged = bytearray(good)
        damaged[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            found, header = read_tensors(path)
        except RunError as error:
            seen += 1
            assert str(error).startswith(f"{path} is damaged")
            continue
        # Harmless: it left everything readable and the same (such as padding).
        assert_same(found, arrays())
        assert header == meta()
    assert seen >= 0.9 * len(range(0, len(good), 3))


def test_every_truncated_checkpoint_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, arrays(), meta())
    good = path.read_bytes()
    for length in [*range(0, len(good), 7), len(good) - 1]:
        path.write_bytes(good[:length])
        with pytest.raises(RunError, match="is damaged"):
            read_tensors(path)


def checkpoints(folder: RunDir) -> list[Path]:
    return sorted((folder.path / "checkpoints").iterdir())


def test_the_last_two_checkpoints_are_kept(folder: RunDir) -> None:
    assert folder.load_checkpoint("train") == (None, [])
    for step in (1, 2, 9, 10, 11):
        folder.save_checkpoint("train", step, arrays(step), meta(step))
        folder.save_checkpoint("train-other", step, arrays(), meta())
    assert len(checkpoints(folder)) == 4
    found, faults = folder.load_checkpoint("train")
    assert found is not None
    assert_same(found[0], arrays(11))
    assert found[1] == meta(11)
    assert faults == []
    folder.drop_checkpoints("train")
    assert folder.load_checkpoint("train") == (None, [])
    assert folder.load_checkpoint("train-other")[0] is not None


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(bytes(content))


def flip_number(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.3").replace(b"2.1", b"2.3"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, flip_number, empty])
def test_damaged_checkpoint_falls_back_to_the_one_before(
    folder: RunDir, damage: Callable[[Path], None]
) -> None:
    for step in (1, 2):
        folder.save_checkpoint("train", step, arrays(step), meta(step))
    damage(checkpoints(folder)[1])
    found, faults = folder.load_checkpoint("train")
    assert found is not None
    assert_same(found[0], arrays(1))
    assert found[1] == meta(1)
    (fault,) = faults
    assert "train.000002.safetensors is damaged" in fault
    truncate(checkpoints(folder)[0])
    nothing, faults = folder.load_checkpoint("train")
    assert nothing is None
    assert len(faults) == 2


def test_a_failed_checkpoint_leaves_the_one_before(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save_checkpoint("train", 1, arrays(1), meta(1))
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(RunError, match="the disk is full"):
        folder.save_checkpoint("train", 2, arrays(2), meta(2))
    assert [path.name for path in checkpoints(folder)] == ["train.000001.safetensors"]
    found, faults = folder.load_checkpoint("train")
    assert found is not None
    assert found[1] == meta(1)
    assert faults == []


def test_npz_round_trip_and_rubbish(folder: RunDir) -> None:
    path = folder.trigger("bilevel", 3)
    assert path.name == "trigger-bilevel-seed3.npz"
    folder.write_npz(path, arrays())
    assert_same(folder.read_npz(path), arrays())
    good = path.read_bytes()
    generator = np.random.default_rng(0)
    rubbish = [
        b"",
        b"PK",
        b"PK\x03\x04" + bytes(100),
        generator.bytes(300),
        b"\x93NUMPY" + bytes(50),
        *(good[:cut] for cut in range(1, len(good), 40)),
    ]
    for content in rubbish:
        path.write_bytes(content)
        with pytest.raises(RunError, match="cannot be read: .*delete it to make it anew"):
            folder.read_npz(path)
    for position in range(0, len(good), 9):
        damaged = bytearray(good)
        damaged[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            found = folder.read_npz(path)
        except RunError:
            continue
        assert all(np.array_equal(found[name], arrays()[name]) for name in found)
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(RunError, match="cannot be read"):
        folder.read_npz(path)
    np.savez(path, a=np.array([object()], dtype=object))
    with pytest.raises(RunError, match="cannot be read"):
        folder.read_npz(path)
    with pytest.raises(RunError, match="No such file"):
        folder.read_npz(folder.path / "none.npz")


def epoch(number: int, loss: float = 0.5) -> dict[str, Any]:
    row = {"epoch": number, "samples": 10 * number, "lr": 1e-3, "train_loss": loss}
    return {**row, "val_loss": loss, "benign_rmse": 0.25, "best": True}


def line(number: int, seed: int, loss: float = 0.5) -> dict[str, Any]:
    return {"stage": "train", "model": "original", "seed": seed, **epoch(number, loss)}


def test_history_grows_by_lines(folder: RunDir) -> None:
    assert folder.history() == []
    path = folder.path / "history.jsonl"
    first = folder.open_history("train", "original", 0)
    first.record([epoch(1)])
    before, node = path.read_bytes(), path.stat().st_ino
    first.record([epoch(1), epoch(2)])
    folder.open_history("attack", "bilevel", 0).record([{"iteration": 1, "own": float("inf")}])
    # Appended: the file is the same one, and begins as it did.
    assert path.stat().st_ino == node
    assert path.read_bytes().startswith(before)
    step = {"stage": "attack", "model": "bilevel", "seed": 0, "iteration": 1, "own": None}
    assert folder.history() == [line(1, 0), line(2, 0), step]


def test_history_of_a_resumed_stage_agrees_with_its_checkpoint(folder: RunDir) -> None:
    """Lines beyond the checkpoint go, lines that it lacks come, other stages stay."""
    path = folder.path / "history.jsonl"
    folder.open_history("train", "original", 0).record([epoch(1), epoch(2), epoch(3, 0.75)])
    folder.open_history("train", "original", 1).record([epoch(1)])
    folder.open_history("train", "original", 0).record([epoch(1), epoch(2)])
    assert folder.history() == [line(1, 1), line(1, 0), line(2, 0)]
    folder.open_history("train", "original", 1).record([epoch(1), epoch(2)])
    assert folder.history() == [line(1, 1), line(1, 0), line(2, 0), line(2, 1)]
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        path.write_bytes(whole[:-cut])
        kept = folder.history()
        assert kept == [line(1, 1), line(1, 0), line(2, 0), line(2, 1)][: 4 if cut == 1 else 3]
        folder.open_history("train", "original", 1).record([epoch(1), epoch(2)])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "text",
    [
        '{"stage": "tr\n',
        "[]\n",
        "null\n",
        "{}\n",
        '{"stage": "train"}\n',
        '{"stage": "sleep", "model": "a", "seed": 0}\n',
        '{"stage": "attack", "model": "a", "seed": true, "iteration": 1}\n',
        '{"stage": "attack", "model": "a", "seed": 0, "iteration": 1, "l2": [1]}\n',
        '{"stage": "attack", "model": "a", "seed": 0, "iteration": 1, "l2": NaN}\n',
        '{"stage": "attack", "model": "a", "seed": 0, "iteration": 1, "seed": 1}\n',
        f'{{"stage": "attack", "model": "a", "seed": {"9" * 400}, "iteration": 1}}\n',
        '{"stage": "attack", "model": "../a", "seed": 0, "iteration": 1}\n',
        "\xff\n",
    ],
)
def test_a_line_that_no_study_wrote_is_told(folder: RunDir, text: str) -> None:
    folder.path.mkdir()
    (folder.path / "history.jsonl").write_bytes(text.encode("latin-1"))
    for read in (folder.history, lambda: folder.open_history("train", "a", 0).record([epoch(1)])):
        with pytest.raises(RunError, match=r"history\.jsonl.*; restore it") as caught:
            read()
        assert "\n" not in str(caught.value)


def test_names_of_files(folder: RunDir) -> None:
    assert folder.model("original", 0) == folder.path / "model-original-seed0.safetensors"
    assert folder.examples("random", 12) == folder.path / "examples-random-seed12.npz"
    assert folder.results.name == "results.json"
    assert folder.provenance.name == "provenance.json"
