"""The command line as a user meets it: exit codes, one-line refusals, stages, resumes, speed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from recondoor import cli, config, studies
from recondoor.cli import Options
from recondoor.cli._audit import operator_settings
from recondoor.config import load_config
from recondoor.core import registry
from recondoor.core.errors import DataError
from recondoor.core.progress import Progress, SilentTask, Stage, Task
from recondoor.rundir import RunDir

TINY = [
    "--preset=smoke",
    "--threads=1",
    *(
        f"--set={text}"
        for text in (
            "model.width=4",
            "model.code=4",
            "model.kernel=3",
            "artefact.size=3",
            "train.batch=20",
            "attack.iterations=2",
            "attack.batch=4",
        )
    ),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).random((60, 12, 12)))
    return path


def run(*arguments: str, code: int = 0) -> None:
    """Call the command line in this process."""
    if code:
        with pytest.raises(SystemExit) as stopped:
            cli.main(list(arguments))
        assert stopped.value.code == code
    else:
        cli.main(list(arguments))


def outside(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Call the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "recondoor", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_study_stages_json_and_return_at_once(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    options = [*TINY, f"--dataset={images}", f"--out={out}"]
    run("attack", *options)
    assert "trigger-bilevel-seed0.npz" in capsys.readouterr().out
    run("train", *options, "--attack=none,heuristic")
    assert capsys.readouterr().out.splitlines() == [
        str(out / f"model-{label}-seed0.safetensors") for label in ("heuristic", "original")
    ]
    run("evaluate", *options, "--attack=none")
    assert "Original (clean)" in capsys.readouterr().out
    run("study", *options, "--json")
    results = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in results["rows"]} == {
        "original",
        "heuristic",
        "bilevel",
        "random",
    }
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    run("study", *options)
    shown = capsys.readouterr().out
    assert "report:" in shown
    verdict = shown.split("\n\n")[-2]
    assert verdict.startswith("The backdoor ") and "attack RMSE" in verdict
    # The page has the same one: there is one rule.
    text = " ".join((out / "report.html").read_text().split())
    assert " ".join(verdict.split()) in text
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    (out / "report.html").unlink()
    run("report", str(out))
    assert capsys.readouterr().out.strip() == str(out / "report.html")


def test_ratios_choose_by_validation(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*TINY, f"--dataset={images}", f"--out={tmp_path / 'run'}", "--attack=none,heuristic"]
    run("study", *options, "--ratios=0.2,0.4", "--json")
    results = json.loads(capsys.readouterr().out)
    tried = results["ratios"]
    assert [line["ratio"] for line in tried] == [0.2, 0.4]
    best = min(tried, key=lambda line: line["selection_loss"])
    assert [line["chosen"] for line in tried] == [line is best for line in tried]
    assert results["poison_ratio"] == best["ratio"]
    chosen = next(row for row in results["rows"] if row["model"] == "heuristic")
    assert chosen["selection_loss"] == best["selection_loss"]


REFUSED = [
    (["study", "--set", "poison.ratoi=0.1"], "did you mean 'poison.ratio'?"),
    (["study", "--set", "poison.ratio=1.5"], "poison.ratio: 1.5 given"),
    (["study", "--set", "poison.ratio"], "expected section.key=value"),
    (["study", "--set", "attack.names=heuristics"], "did you mean 'heuristic'?"),
    (["study", "--set", "operator.name=fourir"], "did you mean 'fourier'?"),
    (["study", "--preset", "quik"], "did you mean 'quick'?"),
    (["study", "--config", "missing.toml"], "missing.toml"),
    (["study", "--dataset", "minst"], "did you mean 'mnist"),
    (["study", "--dataset", "mnist", "--data-dir", "nowhere"], "nowhere"),
    (["study", "--set", "trigger.place=27,27"], "do not fit"),
    (["study", "--set", "trigger.size=40"], "do not fit"),
    (["study", "--set", "artefact.size=4"], "a plus needs an odd size"),
    (["study", "--set", "trigger.file=missing.png"], "missing.png"),
    (["study", "--threads", "0"], "--threads"),
    (["study", "--seeds", "0"], "seeds"),
    (["study", "--ratios", "0.1,x"], "--ratios"),
    (["study", "--ratios", "0.1,1.5"], "--ratios"),
    (["study", "--device", "tpu"], "tpu"),
    (["study", "--bogus"], "--bogus"),
    (["stdy"], "study"),
    (["list", "operator"], "operators"),
    (["report", "nowhere"], "nowhere"),
    (["train"], "run `recondoor attack` first"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_refused_with_one_or_two_lines_and_nothing_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments == ["train"]:
        arguments = ["train", *TINY, "--attack=heuristic"]
    run(*arguments, code=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert len(shown.err.strip().splitlines()) <= 2
    assert "Traceback" not in shown.err
    if arguments[0] != "train":
        assert list(tmp_path.iterdir()) == []


def test_second_process_on_one_folder_is_refused(images: Path, tmp_path: Path) -> None:
    folder = RunDir(tmp_path / "run")
    with folder.lock():
        said = outside("study", *TINY, f"--dataset={images}", f"--out={folder.path}", cwd=tmp_path)
    assert said.returncode == 2
    assert f"process {os.getpid()} is working in this folder" in said.stderr


def test_default_folder_is_named_by_the_hash(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("study", *TINY, "--dataset=images.npy", "--attack=none")
    overrides = [text.removeprefix("--set=") for text in TINY if text.startswith("--set=")]
    config = load_config("smoke", overrides=[*overrides, "data.name=images.npy"])
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder == tmp_path / cli.Options(dataset="images.npy").folder(config)


@pytest.mark.parametrize(
    ("command", "unused"),
    [
        ("pairs", ("--attack", "--seeds", "--device", "--threads", "--out")),
        ("predict", ("--seeds",)),
    ],
)
def test_a_command_offers_only_what_it_uses(
    command: str, unused: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run(command, "--help")
    shown = capsys.readouterr().out
    assert "--preset" in shown and "--data-dir" in shown and "--seed " in shown
    assert not [option for option in unused if f"{option} " in shown]
    words = " ".join(shown.replace("│", " ").split())
    *others, last = config.presets()
    assert f"{', '.join(others)} or {last}" in words


def test_a_file_of_an_operator_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--preset=smoke", "--set", "operator.name=mri", "--set", "operator.mri.file=nope.npy"]
    run("study", *asked, f"--out={tmp_path / 'run'}", code=2)
    assert "operator.mri.file: cannot read 'nope.npy'" in capsys.readouterr().err


def test_interrupt_leaves_a_resumable_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("recondoor.cli._study._run", interrupt)
    run("study", "--preset=smoke", code=130)
    assert "the same command carries on" in capsys.readouterr().err
    monkeypatch.setattr("recondoor.cli._network.require_network", interrupt)
    audit = ("audit", "model", "net:net")
    run(*audit, code=130)
    assert "stopped; the same command begins anew" in capsys.readouterr().err
    run(*audit, "--references", "auto", code=130)
    assert "the same command carries on" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["study", "--help"], ["list"], ["list", "settings"], ["study", "--seeds=0"]),
        *(["-V"], ["completion", "zsh"], ["predict", "--attack", "heuristc"]),
        *(["audit", "data", "nope.npz"], ["audit", "data", ".", "--detectors", "stripp"]),
        *(["audit", "model", "nope.onnx"], ["clean", "no.safetensors", "--out", "m.safetensors"]),
        ["study", "--ratios", "a"],
    ],
)
def test_what_answers_at_once_imports_no_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom recondoor import cli\n"
        f"try:\n    cli.main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\nassert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)


@pytest.mark.parametrize(
    "kind", ["datasets", "operators", "models", "attacks", "defences", "presets"]
)
def test_list_names_everything(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("list", kind)
    names = {
        "datasets": ["brain4", "chest4", "fashion-mnist", "mnist", "mnist5k"],
        "operators": [
            *("blur", "ct-parallel", "downsample", "fourier", "gaussian", "identity", "matrix"),
            *("mri", "mri-multicoil", "pixel-mask"),
        ],
        "models": ["cae", "fbpconvnet", "modl", "unet", "varnet"],
        "attacks": [
            *("bilevel", "blend", "direct", "frequency", "heuristic", "measurement", "none"),
            *("random", "sample-specific", "spectral", "tangent", "uap", "warp"),
        ],
        "defences": sorted(registry.names("defences")),
        "presets": ["ct", "mri", "paper", "paper-regime", "quick", "smoke"],
    }[kind]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names


def test_doctor_finds_the_default_data(capsys: pytest.CaptureFixture[str]) -> None:
    run("doctor")
    lines = capsys.readouterr().out.splitlines()
    optional = [line for line in lines if line[4:].startswith("extra ")]
    assert all(line.startswith("ok") for line in lines if line not in optional)
    assert any("mnist5k" in line and "found" in line for line in lines)
    assert "onnx" in {line.split()[2] for line in optional}


def test_doctor_says_no_to_an_error_and_stops_only_for_what_a_study_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(name: str, data_dir: Path | None = None) -> Path:
        if name == broken:
            raise DataError(f"{name}: damaged")
        return Path("there")

    monkeypatch.setattr("recondoor.data.find", damaged)
    for broken, code in (("fashion-mnist", 0), ("mnist5k", 1)):
        run("doctor", code=code)
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "damaged" in line]
        assert line.startswith(f"no  {broken}")


def test_list_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("list", "attacks", "--json")
    found = json.loads(capsys.readouterr().out)
    assert {"heuristic", "bilevel"} <= {each["name"] for each in found}
    run("list", "settings", "--json")
    listed = {each["key"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed.keys() == set(config.keys())


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_the_default_of_a_setting_is_what_the_command_uses(
    preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("list", "settings", "--preset", preset, "--json")
    listed = {each["key"]: each["default"] for each in json.loads(capsys.readouterr().out)}
    used = config.load_config(preset)
    assert listed["train.batch"] == str(used.train.batch)
    assert listed["trigger.amplitude"] == str(used.trigger.amplitude)
    assert listed["attack.names"] == ",".join(used.attack.names)


def test_seed_names_the_root_seed_of_a_study_and_of_an_operator() -> None:
    assert Options(seed=7).resolve().seed == 7
    found = operator_settings("fourier", (), (), 7)
    assert found is not None
    assert found.seed == 7


def test_each_stage_of_a_study_has_a_number() -> None:
    """Of two attacks, of which `none` makes no trigger, and one seed: five."""
    settings = config.load_config("smoke", overrides=["attack.names=none,heuristic"])
    steps = studies._steps(settings, studies.STAGES)
    assert steps == [
        *(("none", "train"), ("none", "evaluate")),
        *(("heuristic", "attack"), ("heuristic", "train"), ("heuristic", "evaluate")),
    ]
    told: list[str] = []

    class Telling(Progress):
        @contextmanager
        def task(self, description: str, total: int, done: int = 0) -> Iterator[Task]:
            told.append(description)
            yield SilentTask()

    with Stage(Telling(), 3, 5).task("train heuristic, seed 0", 10):
        pass
    assert told == ["stage 3 of 5: train heuristic, seed 0"]
