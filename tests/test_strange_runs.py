"""A run folder is data: links, pipes, wrong JSON, and files of another run are told, not obeyed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recondoor.core.errors import ConfigError, RunError
from recondoor.io import seal
from recondoor.rundir import sealed_by_itself
from recondoor.studies import Runtime, run
from small_study import (
    CPU,
    Listener,
    assert_same,
)
from strange_kit import (  # noqa: F401
    CHECKPOINT,
    FILES,
    begun,
    copy,
    data,
    finished,
    in_time,
    long,
    private,
    put,
    refuses,
    settings,
    stopped,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "in_time")

CRAFT = "checkpoints/attack-bilevel-seed0.000005.safetensors"


@pytest.fixture(scope="module")
def crafting(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the checkpoint of an attack."""
    out = tmp_path_factory.mktemp("crafting") / "run"
    return stopped(long(data, "bilevel"), out, ("attack",))


# Links, pipes, devices


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "folder", "large"])
@pytest.mark.parametrize("name", FILES)
def test_only_regular_files_of_the_folder_are_read(
    copy: Path, data: Path, private: Path, name: str, kind: str
) -> None:
    put(copy / name, kind, private)
    more = ("random",) if name in ("history.jsonl", "place-seed0.npz") else ()
    with pytest.raises((RunError, ConfigError), match="regular file|is a link|has 5 GiB") as caught:
        run(settings(data, *more), copy, CPU)
    assert name in str(caught.value)
    assert ";" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert private.read_text() == "mine"


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "large"])
def test_a_strange_checkpoint_is_told_and_the_one_before_used(
    begun: Path, data: Path, tmp_path: Path, private: Path, kind: str
) -> None:
    out = Path(shutil.copytree(begun, tmp_path / "run"))
    put(out / CHECKPOINT, kind, private)
    listener = Listener()
    run(long(data, "none"), out, Runtime(device="cpu", progress=listener))
    (line,) = listener.said
    assert CHECKPOINT in line
    assert line.endswith("the checkpoint before it is used")
    assert private.read_text() == "mine"
    assert_same(out, run(long(data, "none"), tmp_path / "straight", CPU))


@pytest.mark.parametrize("kind", ["link", "pipe", "device"])
def test_a_strange_lock_is_refused(copy: Path, data: Path, private: Path, kind: str) -> None:
    put(copy / "lock", kind, private)
    refuses(settings(data, "random"), copy, r"lock: is a .*; delete it, or choose another --out")
    assert private.read_text() == "mine"


def test_nothing_is_deleted_through_a_linked_folder(copy: Path, data: Path, private: Path) -> None:
    home = private.parent
    precious = [".bashrc", ".train-original-seed0.000001.safetensors.0a1b2c3d"]
    precious += ["train-original-seed0.000001.safetensors"]
    for name in precious:
        (home / name).touch()
    (copy / "checkpoints").rmdir()
    (copy / "checkpoints").symlink_to(home)
    refuses(settings(data, "random"), copy, "checkpoints: is a link")
    assert {path.name for path in home.iterdir()} == {*precious, "private"}


# JSON that is valid and wrong


def restamp(path: Path, change: Callable[[Any], object]) -> None:
    """Change a record and give it a digest that fits, as somebody with an editor could."""
    record = json.loads(path.read_text())
    changed = change(record)
    record = record if changed is None else changed
    path.write_text(json.dumps(seal.sealed(record)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "3",
        '"text"',
        '{"a": NaN}',
        '{"a": 1, "a": 2}',
        '{"a": 1e999}',
        f'{{"a": {"9" * 400}}}',
        "[" * 100_000,
        '{"identity": []}',
        '{"rows": [null]}',
    ],
)
@pytest.mark.parametrize("name", ["results.json", "provenance.json"])
def test_json_of_no_run(copy: Path, data: Path, name: str, text: str) -> None:
    (copy / name).write_text(text)
    refuses(settings(data), copy, f"{name}.*; restore it, or choose another --out")


def set_to(*keys: str | int, value: object) -> Callable[[Any], None]:
    def change(record: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("name", "keys", "value", "said"),
    [
        ("results.json", ("rows",), [], "rows"),
        ("results.json", ("rows",), {}, "rows"),
        ("results.json", ("rows", 0), None, "rows.0"),
        ("results.json", ("rows", 0, "model"), 3, "rows.0.model"),
        ("results.json", ("rows", 0, "model"), "../a", "rows.0.model"),
        ("results.json", ("rows", 0, "seed"), "0", "rows.0.seed"),
        ("results.json", ("rows", 0, "seed"), True, "rows.0.seed"),
        ("results.json", ("rows", 0, "seed"), 10**30, "rows.0.seed"),
        ("results.json", ("rows", 0, "ghost"), "0.1", "rows.0.ghost"),
        ("results.json", ("rows", 0, "asr_curve"), [None], "rows.0.asr_curve"),
        ("results.json", ("rows", 1, "model"), "original", "twice"),
        ("results.json", ("identity",), 12, "identity"),
        ("results.json", ("summary",), [], "summary"),
        ("results.json", ("schema",), "recondoor.results/9", "schema"),
        ("results.json", ("provenance",), {}, "provenance.identity is missing"),
        ("results.json", ("ratios",), [3], "ratios.0"),
        ("provenance.json", ("identity",), None, "identity"),
        ("provenance.json", ("data",), [], "data"),
        ("provenance.json", ("data", "fingerprint"), 7, "data.fingerprint"),
        ("provenance.json", ("threads",), 0, "threads"),
        ("provenance.json", ("threads",), "1", "threads"),
        ("provenance.json", ("device",), 1, "device"),
        ("provenance.json", ("versions",), {"a": []}, "versions.a"),
        ("provenance.json", ("seeds",), [-1], "seeds.0"),
    ],
)
def test_a_member_of_another_type(
    copy: Path, data: Path, name: str, keys: tuple[str | int, ...], value: object, said: str
) -> None:
    restamp(copy / name, set_to(*keys, value=value))
    refuses(settings(data), copy, f"{name}: .*{said}.*; restore it, or choose another --out")


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("epoch",), "2"),
        (("epoch",), 1),
        (("best_epoch",), 3),
        (("best_loss",), None),
        (("seconds",), -1.0),
        (("history",), {}),
        (("history",), []),
        (("history", 0), []),
        (("history", 0, "epoch"), 7),
        (("history", 0, "train_loss"), "0.1"),
        (("history", 0, "learnt"), "no"),
        (("history", 0, "own"), [1]),
    ],
)
def test_wrong_metadata_of_a_training(
    begun: Path, data: Path, tmp_path: Path, keys: tuple[str | int, ...], value: object
) -> None:
    out = Path(shutil.copytree(begun, tmp_path / "run"))
    folder = sealed_by_itself(out)
    arrays, meta = folder.read_tensors(out / CHECKPOINT)
    set_to(*keys, value=value)(meta)
    folder.write_tensors(out / CHECKPOINT, arrays, meta)
    refuses(long(data, "none"), out, f"{CHECKPOINT}: .*; delete it to make it anew")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iteration", "5"),
        ("iteration", 4),
        ("numbers", []),
        ("path_iteration", [0]),
        ("path_iteration", ["a"]),
        ("history", [{"iteration": None}]),
    ],
)
def test_wrong_metadata_of_an_attack(
    crafting: Path, data: Path, tmp_path: Path, key: str, value: object
) -> None:
    out = Path(shutil.copytree(crafting, tmp_path / "run"))
    folder = sealed_by_itself(out)
    arrays, meta = folder.read_tensors(out / CRAFT)
    folder.write_tensors(out / CRAFT, arrays, {**meta, key: value})
    refuses(long(data, "bilevel"), out, f"{CRAFT}: .*; delete it to make it anew")


def odd(array: Any, how: str) -> Any:
    if how == "type":
        return array.astype(np.int8 if array.dtype.kind == "b" else np.float16)
    return array[None]


ARRAYS = (
    ("plan-seed0.npz", "train"),
    ("plan-seed0.npz", "validation"),
    ("place-seed0.npz", "delta"),
    ("place-seed0.npz", "mask"),
    ("trigger-heuristic-seed0.npz", "delta"),
    ("trigger-heuristic-seed0.npz", "mask"),
    ("trigger-heuristic-seed0.npz", "path"),
    ("trigger-heuristic-seed0.npz", "seconds"),
)


@pytest.mark.parametrize("how", ["type", "shape", "missing", "more"])
@pytest.mark.parametrize(("name", "member"), ARRAYS)
def test_arrays_of_another_shape_or_type(
    copy: Path, data: Path, name: str, member: str, how: str
) -> None:
    """Sealed, so that only what they hold is wrong."""
    folder = sealed_by_itself(copy)
    arrays = folder.read_npz(copy / name)
    if how == "more":
        arrays["more"] = arrays[member]
    elif how == "missing":
        del arrays[member]
    else:
        arrays[member] = odd(arrays[member], how)
    folder.write_npz(copy / name, arrays)
    # So that the trigger is read again.
    (copy / "results.json").unlink()
    with pytest.raises(RunError, match=f"{name}: .*; delete it to make it anew"):
        run(settings(data), copy, CPU)


def test_a_path_without_its_iterations(copy: Path, data: Path) -> None:
    folder = sealed_by_itself(copy)
    path = folder.trigger("heuristic", 0)
    arrays = folder.read_npz(path)
    folder.write_npz(path, {**arrays, "path": arrays["delta"][None]})
    (copy / "results.json").unlink()
    refuses(settings(data), copy, "path has 1 snapshots, path_iteration 0; delete it to make it")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1.0])
def test_a_trigger_of_impossible_values(copy: Path, data: Path, value: float) -> None:
    folder = sealed_by_itself(copy)
    path = folder.trigger("heuristic", 0)
    arrays = folder.read_npz(path)
    folder.write_npz(path, {**arrays, "delta": np.full_like(arrays["delta"], value)})
    (copy / "results.json").unlink()
    with pytest.raises(RunError, match=r"trigger-heuristic.*; delete it to make it anew"):
        run(settings(data), copy, CPU)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        *((CRAFT, how) for how in ("flat", "missing")),
        *((CHECKPOINT, how) for how in ("flat", "missing", "more", "nan")),
        *(("model-heuristic-seed0.safetensors", how) for how in ("flat", "missing", "more", "nan")),
    ],
)
def test_weights_of_another_network(
    finished: Path, begun: Path, crafting: Path, data: Path, tmp_path: Path, name: str, how: str
) -> None:
    source, config = {
        CHECKPOINT: (begun, long(data, "none")),
        CRAFT: (crafting, long(data, "bilevel")),
    }.get(name, (finished, settings(data)))
    out = Path(shutil.copytree(source, tmp_path / "run"))
    (out / "results.json").unlink(missing_ok=True)
    folder = sealed_by_itself(out)
    arrays, meta = folder.read_tensors(out / name)
    # A tensor of several axes; of an attack one of its surrogate's.
    heads = ("arrays.theta",) if name == CRAFT else ("",)
    member = next(k for k, value in arrays.items() if value.ndim > 1 and k.startswith(heads))
    if how == "flat":
        arrays[member] = arrays[member].reshape(-1)
    elif how == "missing":
        del arrays[member]
    elif how == "more":
        arrays["more"] = arrays[member]
    else:
        arrays[member] = np.full_like(arrays[member], np.nan)
    folder.write_tensors(out / name, arrays, meta)
    refuses(config, out, ".*delete (it|the folder's checkpoints) to ")
