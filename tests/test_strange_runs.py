"""A run folder is data: links, pipes, wrong JSON, and files of another run are told, not obeyed."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recondoor import cli, rundir, seal, training
from recondoor.config import Config
from recondoor.errors import ConfigError, DataError, RunError
from recondoor.rundir import RunDir, sealed_by_itself
from recondoor.studies import Runtime, run
from small_study import (
    CPU,
    Listener,
    Stopped,
    assert_same,
    stop,
    stop_at,
    tiny,
    validate,
    write_images,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk", "in_time")

NAMES = ("none", "heuristic")
FILES = (
    "config.toml",
    "provenance.json",
    "results.json",
    "history.jsonl",
    "plan-seed0.npz",
    "place-seed0.npz",
    "trigger-heuristic-seed0.npz",
    "model-heuristic-seed0.safetensors",
    "examples-heuristic-seed0.npz",
)
CHECKPOINT = "checkpoints/train-original-seed0.000002.safetensors"
CRAFT = "checkpoints/attack-bilevel-seed0.000005.safetensors"


@pytest.fixture
def in_time() -> Iterator[None]:
    """Whoever waits for a pipe's other end, or reads a device, is stopped."""

    def late(*_: object) -> None:
        raise TimeoutError("waited for a pipe or a device")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def settings(data: Path, *more: str, **sections: dict[str, Any] | int) -> Config:
    attack = {"names": [*NAMES, *more], "mask": "search", "surrogates": 1, "iterations": 7}
    train = {"max_epochs": 2, "epoch_pairs": 20}
    return tiny(data, **{"attack": attack, "train": train, **sections})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(settings(data), tmp_path_factory.mktemp("finished") / "run", CPU)


@pytest.fixture(scope="module")
def other(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that differs in its noise alone."""
    config = settings(data, operator={"sigma": 0.02})
    return run(config, tmp_path_factory.mktemp("other") / "run", CPU)


def stopped(config: Config, out: Path, stages: tuple[str, ...]) -> Path:
    """A run that was stopped in its third epoch, or after its last outer step."""
    moment = (training, "adam_step", 6) if "train" in stages else (RunDir, "write_npz", 3)
    module, name, count = moment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, stop_at(count, getattr(module, name), stop))
        with pytest.raises(Stopped):
            run(config, out, CPU, stages)
    return out


def long(data: Path, *names: str, **sections: Any) -> Config:
    attack = {"names": names, "mask": "search", "surrogates": 1, "iterations": 5}
    train = {"max_epochs": 4, "epoch_pairs": 20}
    return tiny(data, **{"attack": attack, "train": train, **sections})


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the checkpoints of two epochs."""
    out = tmp_path_factory.mktemp("begun") / "run"
    return stopped(long(data, "none"), out, ("train",))


@pytest.fixture(scope="module")
def crafting(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the checkpoint of an attack."""
    out = tmp_path_factory.mktemp("crafting") / "run"
    return stopped(long(data, "bilevel"), out, ("attack",))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "private"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def put(path: Path, kind: str, private: Path) -> None:
    """Something else in a file's place."""
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, 5 << 30)
    else:
        path.symlink_to({"link": private, "device": Path("/dev/zero")}[kind])


def refuses(config: Config, out: Path, said: str) -> None:
    before = {path: path.read_bytes() for path in out.iterdir() if path.name == "results.json"}
    with pytest.raises((RunError, ConfigError), match=said) as caught:
        run(config, out, CPU)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in before}


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


# Files of another run


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_run(copy: Path, data: Path, other: Path, name: str) -> None:
    shutil.copy(other / name, copy / name)
    more = ("random",) if name == "history.jsonl" else ()
    refuses(settings(data, *more), copy, r"(; choose another|; restore|restore the run's own)")


def test_checkpoints_of_another_run(begun: Path, data: Path, tmp_path: Path) -> None:
    config = long(data, "none", operator={"sigma": 0.02})
    strange = stopped(config, tmp_path / "other", ("train",))
    out = Path(shutil.copytree(begun, tmp_path / "run"))
    shutil.copy(strange / CHECKPOINT, out / CHECKPOINT)
    refuses(long(data, "none"), out, "belongs to a run of other settings or data")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("model-original-seed0.safetensors", "model-heuristic-seed0.safetensors"),
        ("trigger-heuristic-seed0.npz", "trigger-random-seed0.npz"),
        ("plan-seed0.npz", "plan-seed1.npz"),
        ("examples-original-seed0.npz", "examples-heuristic-seed0.npz"),
    ],
)
def test_a_file_of_another_model_or_seed(copy: Path, data: Path, source: str, target: str) -> None:
    shutil.copy(copy / source, copy / target)
    refuses(settings(data, "random"), copy, f"{target}: was written as {source}; restore")


def test_a_checkpoint_under_another_step(begun: Path, data: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(begun, tmp_path / "run"))
    (out / CHECKPOINT).rename(out / CHECKPOINT.replace("000002", "000003"))
    refuses(long(data, "none"), out, "was written as train-original-seed0.000002.safetensors")


def test_files_made_from_other_images_of_the_same_name(data: Path, tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    images.write_bytes(data.read_bytes())
    first = run(settings(images), tmp_path / "first", CPU)
    np.save(images, np.flip(np.load(images), 0))
    second = run(settings(images), tmp_path / "second", CPU)
    shutil.copy(RunDir(first).model("heuristic", 0), second)
    refuses(settings(images), second, "belongs to a run of other data, trigger or artefact")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("results.json", '"epochs": 2', '"epochs": 3'),
        ("results.json", '"poison_ratio": 0.3', '"poison_ratio": 0.2'),
        ("provenance.json", '"train": 49', '"train": 48'),
        ("provenance.json", '"threads": 1', '"threads": 2'),
        ("config.toml", "sigma = 0.01", "sigma = 0.02"),
        ("history.jsonl", '"samples": 20', '"samples": 21'),
    ],
)
def test_a_changed_digit(copy: Path, data: Path, name: str, old: str, new: str) -> None:
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    refuses(
        settings(data, "random"),
        copy,
        f"{name}.*(was changed|not match).*; restore it, or choose another",
    )


def test_a_finished_run_is_looked_at_before_it_is_called_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("model.width=2", "model.code=2", "model.kernel=3", "data.limit=100")
    out = tmp_path / "run"
    command = ["study", "--preset=smoke", "--attack=none", f"--out={out}", "--threads=1"]
    command += [f"--set={size}" for size in sizes]
    cli.main(command)
    cli.main(command)
    assert "is finished; nothing to do" in capsys.readouterr().err
    text = (out / "results.json").read_text()
    (out / "results.json").write_text(text.replace('"poison_ratio": 0.3', '"poison_ratio": 0.2'))
    with pytest.raises(SystemExit) as caught:
        cli.main(command)
    assert caught.value.code == 2
    assert "results.json: its digest does not match" in capsys.readouterr().err


# Folders of versions that sealed nothing


def unseal(out: Path) -> None:
    """Make of a folder what a version without seals would have left."""
    plain = RunDir(out)
    for path in out.rglob("*-seed*"):
        if path.suffix == ".npz":
            arrays = plain.read_npz(path)
            np.savez(path, **arrays)  # type: ignore[arg-type]
        else:
            rundir.write_tensors(path, *rundir.read_tensors(path))
    for path in (plain.provenance, plain.results):
        if path.exists():
            record = json.loads(path.read_text())
            for part in (record, record.get("provenance", {})):
                part.pop("digest", None)
            path.write_text(json.dumps(record))
    path = out / "history.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [json.dumps({k: v for k, v in row.items() if k != "digest"}) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def test_an_unsealed_folder_carries_on_with_a_note(begun: Path, data: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(begun, tmp_path / "run"))
    unseal(out)
    listener = Listener()
    run(long(data, "none"), out, Runtime(device="cpu", progress=listener))
    (line,) = listener.said
    assert "was begun by a version whose files do not say which run they belong to" in line
    assert_same(out, run(long(data, "none"), tmp_path / "straight", CPU))
    validate(out)


def test_what_contradicts_an_unsealed_folder_is_refused(
    begun: Path, data: Path, other: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(begun, tmp_path / "run"))
    unseal(out)
    config = out / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("sigma = 0.01", "sigma = 0.02"))
    refuses(long(data, "none"), out, "was changed since it was written")
    config.write_text(text)
    shutil.copy(other / "model-original-seed0.safetensors", out)
    refuses(long(data, "none"), out, "belongs to a run of other settings or data")


def test_an_unsealed_file_in_a_sealed_run_is_refused(copy: Path, data: Path) -> None:
    path = RunDir(copy).trigger("heuristic", 0)
    np.savez(path, **RunDir(copy).read_npz(path))  # type: ignore[arg-type]
    refuses(settings(data), copy, "does not say which run it belongs to")


# Settings of a stranger


def test_settings_with_a_mark_and_windows_lines(copy: Path, data: Path) -> None:
    text = (copy / "config.toml").read_text().replace("\n", "\r\n")
    (copy / "config.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert rundir.read_settings(copy) == settings(data)
    run(settings(data, "random"), copy, CPU)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("data.name", '[data]\nname = "{path}"\n'),
        ("data.dir", '[data]\nname = "mnist"\ndir = "{path}"\n'),
        ("trigger.file", '[trigger]\nfile = "{path}"\n'),
        ("artefact.file", '[artefact]\nfile = "{path}"\n'),
        ("operator.file", '[operator]\nname = "matrix"\nfile = "{path}"\n'),
    ],
)
def test_a_path_that_a_folder_names_is_opened_only_if_the_user_says_so(
    tmp_path: Path, private: Path, key: str, line: str
) -> None:
    (tmp_path / "config.toml").write_text(line.format(path=private))
    with pytest.raises(ConfigError) as caught:
        rundir.settings(tmp_path, trusted_paths=False)
    assert f"names the path {key}='{private}'" in str(caught.value)
    assert "--trust-paths" in str(caught.value)
    assert "\n" not in str(caught.value)
    rundir.settings(tmp_path, trusted_paths=True)
    if key == "data.dir":
        found = rundir.settings(tmp_path, trusted_paths=False, data_dir=tmp_path)
        assert found.data.dir == tmp_path


def test_settings_that_name_no_path_need_no_word(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[data]\nname = "mnist5k"\n')
    assert rundir.settings(tmp_path, trusted_paths=False).data.name == "mnist5k"
    with pytest.raises(DataError, match="is no folder of a run"):
        rundir.settings(tmp_path / "nowhere", trusted_paths=True)


def test_edited_settings_are_refused_for_an_audit_too(copy: Path) -> None:
    path = copy / "config.toml"
    path.write_text(path.read_text().replace("sigma = 0.01", "sigma = 0.02"))
    with pytest.raises(RunError, match="was changed since it was written"):
        rundir.settings(copy, trusted_paths=True)


@pytest.mark.parametrize("kind", ["link", "pipe", "device", "large"])
def test_strange_settings(copy: Path, private: Path, kind: str) -> None:
    put(copy / "config.toml", kind, private)
    with pytest.raises(RunError, match="regular file|is a link|has 5 GiB"):
        rundir.settings(copy, trusted_paths=True)
