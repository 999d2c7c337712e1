"""What was typed, or handed over, is what is run: nothing dropped, rounded, cut or let through."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recondoor
from audit_kit import refusal
from config_kit import tree
from recondoor import cli, config, rundir
from recondoor.config import Config, canonical, checked, from_dict, identity, load_config
from recondoor.core.errors import ConfigError, RecondoorError, TrainingError
from recondoor.doors import audit_data
from recondoor.rundir import bare_name
from recondoor.studies import predict, run, run_ratios
from recondoor.sweeps import Execution, Point, Sweep, drive
from small_study import CPU, tiny, write_images

BASE = load_config("smoke")
FAULTY = {
    "unknown": ({"sed": 3}, "sed: there is no such setting; did you mean 'seed'?"),
    "below": ({"seed": -1}, "seed: -1 given"),
    "none of them": ({"seeds": 0}, "seeds: 0 given"),
    "a flag": ({"seed": np.True_}, "seed: np.True_ given"),
    "a dict": ({"train": {"lr": 0.1}}, "train: a dict given; it is a section"),
    "another section": ({"train": BASE.data}, "train: Data("),
    "in a section": (
        {"train": BASE.train.model_copy(update={"patience": 0})},
        "train.patience: 0 given",
    ),
    "unknown in a section": (
        {"train": BASE.train.model_copy(update={"rate": 1})},
        "train.rate: there is no such setting",
    ),
    "even": ({"model": BASE.model.model_copy(update={"kernel": 4})}, "model.cae.kernel: 4 given"),
    "tau": ({"evaluate": BASE.evaluate.model_copy(update={"tau": -1})}, "evaluate.tau: -1 given"),
    "in conflict": (
        {"artefact": BASE.artefact.model_copy(update={"space": "consistent"})},
        "artefact.space: consistent given",
    ),
}


@pytest.fixture(params=FAULTY)
def faulty(request: pytest.FixtureRequest) -> tuple[Config, str]:
    update, said = FAULTY[request.param]
    return BASE.model_copy(update=update), said


def doors(settings: Config, out: Path) -> dict[str, Any]:
    pairs = out.parent / "none.npz"
    return {
        "run": lambda: recondoor.run_study(settings, out),
        "ratios": lambda: run_ratios(settings, out, [0.1, 0.3]),
        "predict": lambda: predict(settings, out),
        "drive": lambda: drive(Sweep({}, (Point("a", settings),)), out, Execution()),
        "audit": lambda: audit_data(pairs, operator=settings),
    }


@pytest.mark.parametrize("door", doors(BASE, Path("out")))
def test_settings_are_checked_at_every_door(
    faulty: tuple[Config, str], door: str, tmp_path: Path
) -> None:
    settings, said = faulty
    with pytest.raises(ConfigError) as caught:
        doors(settings, tmp_path / "out")[door]()
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_sound_stays_as_it_is() -> None:
    settings = BASE.model_copy(update={"seed": np.int64(3)})
    assert type(checked(settings).seed) is int
    assert checked(settings) == load_config("smoke", (), ["seed=3"])
    # Audits ask whether a noise level was given.
    assert "sigma" not in checked(BASE).operator.model_fields_set
    given = load_config("smoke", (), ["operator.sigma=0.01"])
    assert "sigma" in checked(given).operator.model_fields_set
    with pytest.raises(ConfigError, match="dict given; expected Config"):
        checked({"seed": 3})  # type: ignore[arg-type]


# One text, one setting


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("poison.ratio=0.1\nseed=5", "holds a line break"),
        ("poison.ratio=0.1\r\nseed=5", "holds a line break"),
        ("poison.ratio=0.1\n[train]\nlr=1", "holds a line break"),
        ("poison.ratio=0.1 # x", "would be read as 0.1 and a comment"),
        ("data.name=7#x.npz", "would be read as 7 and a comment"),
        ("poison.ratio=1=2", "poison.ratio: '1=2' given"),
        ("data.name=", "data.name: '' given"),
        ("data.name=''", "data.name: '' given"),
        ('operator.file="  "', "operator.matrix.file: '  ' given"),
        ("poison.ratio=0.1,", "poison.ratio: '0.1,' given"),
        ("poison.ratio=[0.1]", "poison.ratio: [0.1] given"),
        ("attack.names=none,,heuristic", "attack.names: '' is not registered"),
        ("trigger.file=caf\udce9.npy", "not in UTF-8"),
        ("trigger.place=" + "9" * 5000 + ",1", "trigger.place: "),
    ],
)
def test_a_text_that_is_no_single_setting(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("smoke", (), [text])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a#1.npz", "a#1.npz"), ('"7 # x"', "7 # x"), ("a=b.npz", "a=b.npz"), ("😀.npz", "😀.npz")],
)
def test_signs_that_are_part_of_a_value(text: str, value: str) -> None:
    assert load_config("smoke", (), [f"data.name={text}"]).data.name == value


def test_the_last_of_several_values_counts_and_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--set", "poison.ratio=0.1", "--set", "poison.ratio=0.2", "--seeds=1", "--set"]
    refusal_of_all = [*arguments, "seeds=1", "--set", "poison.ratio=7", "--out", tmp_path / "o"]
    with pytest.raises(SystemExit):
        cli.main(["study", *map(str, refusal_of_all)])
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "recondoor: poison.ratio: given more than once; 7, the last, counts"
    assert len(told) == 2
    assert told[1].startswith("recondoor: poison.ratio: 7 given")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "--out", ""], "--out: '' given"),
        (["study", "--out="], "--out: '' given"),
        (["study", "--seeds", "2.7"], "--seeds: 2.7 given; expected a whole number"),
        (["study", "--seeds", "0x10"], "--seeds: 0x10 given"),
        (["study", "--seeds", "1_0"], "--seeds: 1_0 given"),
        (["study", "--threads", "10000000000"], "--threads: 10000000000 given"),
        (["study", "--attack", ""], "--attack: '' given"),
        (["study", "--attack", "none,"], "attack.names: '' is not registered"),
        (["study", "--ratios", "0.1,,0.3"], "--ratios: '0.1,,0.3' given"),
        (["audit", "data", ""], "an argument: '' given"),
        (["audit", "data", "p.npz", "--seed", "0.9"], "--seed: 0.9 given"),
        (["sweep", "a.toml", "--workers", "1.5"], "--workers: 1.5 given"),
    ],
)
def test_refused_on_the_command_line(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refusal(capsys, *arguments)
    assert not list(tmp_path.iterdir())


# Numbers without a bound


@pytest.mark.parametrize("power", [19, 20, 400])
def test_every_whole_number_has_a_largest(power: int) -> None:
    begun = time.monotonic()
    for line in config.settings_table():
        if not line.allowed.startswith("integer"):
            continue
        with pytest.raises(ConfigError, match=rf"^{line.key}: ") as caught:
            from_dict(tree(line.key, 10**power))
        assert "<= " in str(caught.value)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"operator": {"sigma": 1e30}}, "operator.sigma: 1e+30 given, and z reaches "),
        ({"operator": {"sigma": 1e300}}, "operator.sigma: 1e+300 given, and z is not finite"),
        ({"trigger": {"amplitude": 1e38}}, "trigger.amplitude: 1e+38 given, and the trigger reach"),
        (
            {"artefact": {"amplitude": -1e20}},
            "artefact.amplitude: -1e+20 given, and x reaches 1e+20",
        ),
    ],
)
def test_values_beyond_32_bits_are_told_before_training(
    section: dict[str, Any], said: str, tmp_path: Path
) -> None:
    settings = tiny(write_images(tmp_path), **section)
    with pytest.raises(RecondoorError) as caught:
        run(settings, tmp_path / "out", CPU)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_divergence_says_what_z_was(tmp_path: Path) -> None:
    given = {"operator": {"sigma": 1e4}, "train": {"lr": 1e9, "lr_final": 1e9}}
    settings = tiny(write_images(tmp_path), attack={"names": ["none"]}, **given)
    with pytest.raises(TrainingError, match=r"z reaches \d.*lower operator.sigma"):
        run(settings, tmp_path / "out", CPU)


# Names


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("ratio-0.1", "ratio-0.1"),
        ("pairs.npz", "pairs"),
        ("ratio-0.1.npz", "ratio-0.1"),
        ("a.b.H5", "a.b"),
        (".hidden", ".hidden"),
    ],
)
def test_only_known_suffixes_are_cut(name: str, bare: str) -> None:
    assert bare_name(Path(name)) == bare


def test_two_spellings_are_one_run() -> None:
    plain = load_config("smoke", (), ["trigger.place=3,4", "trigger.amplitude=0.5"])
    spelled = load_config("smoke", (), ["trigger.place=03, 4", "trigger.amplitude=0.5"])
    assert identity(plain) == identity(spelled)
    zero = [load_config("smoke", (), [f"operator.sigma={text}"]) for text in ("0", "-0.0", "0.0")]
    assert len({identity(each) for each in zero}) == 1
    # As identities were before: by what is written.
    raw = from_dict(config.to_dict(plain) | {"operator": {"sigma": -0.0}})
    assert identity(canonical(raw)) != identity(raw)


def test_a_run_of_another_spelling_is_found_and_carried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"attack": {"names": ["none"]}}
    old = tiny(write_images(tmp_path), trigger={"place": "3, 4"}, **names)
    new = canonical(old)
    assert identity(old) != identity(new)
    monkeypatch.setattr("recondoor.studies.checked", lambda settings: settings)
    folder = Path("runs") / f"images-{identity(old)}"
    run(old, folder, CPU)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert cli.Options().folder(new) == folder
    before = (folder / "config.toml").read_text()
    more = new.model_copy(
        update={"attack": new.attack.model_copy(update={"names": ("none", "random")})}
    )
    run(more, folder, CPU)
    assert (folder / "config.toml").read_text() == before.replace(
        '    "none",\n', '    "none",\n    "random",\n'
    )
    rows = json.loads((folder / "results.json").read_text())
    assert rows["identity"] == identity(old)
    assert {row["model"] for row in rows["rows"]} == {"original", "random"}
    other = canonical(replace_place(new, "4,4"))
    assert rundir.as_spelled(folder, other) == other


def replace_place(settings: Config, place: str) -> Config:
    trigger = settings.trigger.model_copy(update={"place": place})
    return settings.model_copy(update={"trigger": trigger})


def test_a_detector_without_a_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.npz").touch()
    told = refusal(capsys, "audit", "data", tmp_path / "p.npz", "--detectors", "spectre,,")
    assert "--detectors: ''" in told


def test_places_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    pairs = tmp_path / "p.npz"
    pairs.touch()
    cases = {
        tmp_path / "link": f"link: leads to nowhere ({tmp_path / 'gone'} is not there)",
        tmp_path / "link" / "deeper": "link: leads to nowhere",
        tmp_path / "file": "file: is a file",
        tmp_path / "file" / "deeper": "file: is a file",
        tmp_path / ("n" * 256): "the name has 256 bytes, and a name may have 255",
    }
    for out, said in cases.items():
        for command in (["study", "--preset", "smoke"], ["audit", "data", pairs]):
            told = refusal(capsys, *command, "--out", out)
            assert said in told
            assert "choose another --out" in told
    assert {path.name for path in tmp_path.iterdir()} == {"link", "file", "p.npz"}
