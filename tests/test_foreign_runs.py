"""Files of other runs, folders without seals and a stranger's settings are told, not obeyed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recondoor import cli, rundir
from recondoor.core.errors import ConfigError, DataError, RunError
from recondoor.rundir import RunDir
from recondoor.studies import Runtime, run
from small_study import (
    CPU,
    Listener,
    assert_same,
    validate,
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


@pytest.fixture(scope="module")
def other(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that differs in its noise alone."""
    config = settings(data, operator={"sigma": 0.02})
    return run(config, tmp_path_factory.mktemp("other") / "run", CPU)


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
        ("operator.matrix.file", '[operator]\nname = "matrix"\nfile = "{path}"\n'),
        ("operator.mri.file", '[operator.mri]\nfile = "{path}"\n'),
        ("operator.mri_multicoil.file", '[operator.mri_multicoil]\nfile = "{path}"\n'),
        ("operator.mri_multicoil.maps", '[operator.mri_multicoil]\nmaps = "{path}.npy"\n'),
    ],
)
def test_a_path_that_a_folder_names_is_opened_only_if_the_user_says_so(
    tmp_path: Path, private: Path, key: str, line: str
) -> None:
    (tmp_path / "config.toml").write_text(line.format(path=private))
    with pytest.raises(ConfigError) as caught:
        rundir.settings(tmp_path, trusted_paths=False)
    assert f"names the path {key}='{private}" in str(caught.value)
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
