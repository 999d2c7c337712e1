"""Settings of plug-ins lie under their names; spellings of release 0.1.0 are taken."""

import json
import sys
from pathlib import Path

import pytest
from pydantic import Field

from outside import recondoor
from recondoor import config, rundir
from recondoor.config import Attack, Bilevel, Config, Model, Operator, from_dict, load_config
from recondoor.core.errors import ConfigError

OLD = {
    "operator.ratio": (0.4, lambda c: c.operator.gaussian.ratio),
    "operator.file": ("a.npy", lambda c: str(c.operator.matrix.file)),
    "model.width": (7, lambda c: c.model.cae.width),
    "attack.inner_steps": (3, lambda c: c.attack.bilevel.inner_steps),
    "attack.tangent_steps": (5, lambda c: c.attack.tangent.steps),
}
KEPT = Path(__file__).with_name("release-0.1.0")


@pytest.mark.parametrize("key", OLD)
def test_a_spelling_of_0_1_0_is_taken_everywhere(key: str, tmp_path: Path) -> None:
    value, read = OLD[key]
    section, leaf = key.split(".")
    (tmp_path / "old.toml").write_text(f"[{section}]\n{leaf} = {json.dumps(value)}\n")
    given = load_config("smoke", (), [f"{key}={value}"])
    assert read(given) == value
    assert load_config("smoke", [tmp_path / "old.toml"]) == given
    assert from_dict({section: {leaf: value}}) == from_dict({section: {leaf: value}})
    kind = {"operator": Operator, "model": Model, "attack": Attack}[section]
    made = kind.model_validate({leaf: value})
    assert str(getattr(made, leaf)) == str(value)
    assert made == kind().model_copy(update={leaf: getattr(made, leaf)})
    (line,) = config.older_spellings((), [f"{key}={value}"])
    assert line.startswith(f"{key}: is now called {config.OLDER[key][0]}")
    assert config.older_spellings([tmp_path / "old.toml"]) == [line]
    assert config.older_spellings((), [f"{config.OLDER[key][0]}={value}"]) == []


def test_of_two_spellings_the_last_layer_counts(tmp_path: Path) -> None:
    old, new = "attack.iterations=5", "attack.bilevel.iterations=6"
    assert load_config("smoke", (), [old, new]).attack.bilevel.iterations == 6
    assert load_config("smoke", (), [new, old]).attack.bilevel.iterations == 5
    (tmp_path / "a.toml").write_text("[attack.bilevel]\niterations = 9\n")
    assert load_config("smoke", [tmp_path / "a.toml"], [old]).attack.bilevel.iterations == 5


def test_the_ratio_of_0_1_0_was_that_of_each_operator() -> None:
    for name in ("gaussian", "fourier", "pixel-mask", "identity"):
        old = load_config("smoke", (), [f"operator.name={name}", "operator.ratio=0.3"])
        assert old.operator.ratio == 0.3
        key = name.replace("-", "_")
        if name != "identity":
            new = load_config("smoke", (), [f"operator.name={name}", f"operator.{key}.ratio=0.3"])
            assert config.identity(new) == config.identity(old)
            noted = config.older_spellings((), [f"operator.name={name}", "operator.ratio=0.3"])
            assert noted[0].startswith(f"operator.ratio: is now called operator.{key}.ratio")
    assert (
        load_config("smoke", (), ["operator.pixel-mask.ratio=0.2"]).operator.pixel_mask.ratio == 0.2
    )


def test_a_kept_run_is_read_as_before() -> None:
    """The settings that lie there, and those in its record, are one run (see test_identity)."""
    results = json.loads((KEPT / "results.json").read_text())
    found = rundir.settings(KEPT, trusted_paths=True)
    again = from_dict(results["config"])
    assert config.identity(again) == config.identity(found)
    recorded = config.to_dict(found)
    for section in ("operator", "model", "attack"):
        assert recorded[section].items() >= results["config"][section].items()


def test_settings_come_back_from_a_file_and_a_record(tmp_path: Path) -> None:
    given = load_config("smoke", (), ["attack.bilevel.solver=implicit-cg", "model.cae.width=9"])
    (tmp_path / "config.toml").write_text(config.to_toml(given))
    assert load_config("quick", [tmp_path / "config.toml"]) == given
    assert from_dict(config.to_dict(given)) == given
    assert config.to_dict(given)["attack"]["solver"] == "implicit-cg"


class Later(Bilevel):
    """As a later release might have it."""

    fresh: int = Field(3, description="a setting that is added")


class LaterAttack(Attack):
    bilevel: Later = Later()


class LaterConfig(Config):
    attack: LaterAttack = LaterAttack()


def test_a_setting_that_is_added_renames_no_run() -> None:
    plain = LaterConfig.model_validate({"attack": {"bilevel": {"fresh": 3}}})
    other = LaterConfig.model_validate({"attack": {"bilevel": {"fresh": 4}}})
    assert config.identity(plain) == config.identity(Config())
    assert config.identity(other) != config.identity(Config())
    assert config.to_dict(other)["attack"]["bilevel"] == {"fresh": 4}


def test_a_ratio_that_is_refused_is_told_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("smoke", (), ["operator.name=fourier", "operator.ratio=0"])
    assert str(caught.value).startswith("operator.fourier.ratio: 0 given; ")
    assert "\n" not in str(caught.value)


PLUG_IN = """from pydantic import Field

from recondoor import config
from recondoor.operators import Operator


class Blur(Operator):
    '''Blur: nothing that is built here.'''

    class Settings(config.PlugInSettings):
        side: int = Field(3, ge=1, le=9, description="side of the kernel")
{more}
    settings: Settings
    draws = has_ratio = False
{version}
    def build(self, shape, settings, generator, dtype=None):
        raise ValueError(f"side {{self.settings.side}}")
"""
NAME = "operator.name=blurs:Blur"


@pytest.fixture
def blurs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write(tmp_path)


def write(folder: Path, more: str = "", version: str = "") -> Path:
    (folder / "blurs.py").write_text(PLUG_IN.format(more=more, version=version))
    sys.modules.pop("blurs", None)
    return folder


def settings(*overrides: str) -> Config:
    return load_config("smoke", (), [NAME, *overrides])


def test_a_plug_in_from_outside_has_settings_of_its_own(blurs: Path) -> None:
    plain, wide = settings(), settings("operator.Blur.side=5")
    assert plain.operator.outside == {}
    assert wide.operator.outside == {"Blur": {"side": 5}}
    assert len({config.identity(each) for each in (plain, wide, load_config("smoke"))}) == 3
    assert settings("operator.Blur.side=3") == plain
    (blurs / "a.toml").write_text('[operator]\nname = "blurs:Blur"\n[operator.Blur]\nside = 5\n')
    assert load_config("smoke", [blurs / "a.toml"]) == wide
    (blurs / "b.toml").write_text(config.to_toml(wide))
    assert load_config("smoke", [blurs / "b.toml"]) == wide
    assert from_dict(config.to_dict(wide)) == wide
    assert config.checked(wide) == wide
    table = {line.key: line for line in config.settings_table(wide)}
    assert table["operator.Blur.side"].allowed == "integer >= 1 and <= 9"
    refused = recondoor(
        "predict", "--preset", "smoke", "--set", NAME, "--set", "operator.Blur.side=5", cwd=blurs
    )
    assert "side 5" in refused.stderr


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("operator.Blur.sidde=5", "operator.Blur.sidde: there is no such setting; did you mean "),
        ("operator.Blur.side=10", "operator.Blur.side: 10 given; .*<= 9"),
        ("operator.Blur.side=x", "operator.Blur.side: 'x' given; .*allowed: integer"),
        ("operator.Blurr.side=5", "operator.Blurr: there is no such setting"),
    ],
)
@pytest.mark.usefixtures("blurs")
def test_its_settings_are_checked(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(override)


def test_a_setting_that_its_author_adds_renames_no_run_and_a_version_does(blurs: Path) -> None:
    before = config.identity(settings())
    write(blurs, more='        tint: float = Field(0.0, description="added")\n')
    assert config.identity(settings()) == before
    assert config.identity(settings("operator.Blur.tint=1.5")) != before
    write(blurs, version="    version = 2")
    assert config.identity(settings()) != before


def test_of_a_stranger_nothing_is_imported_to_read_settings(blurs: Path) -> None:
    wide = settings("operator.Blur.side=5")
    sys.modules.pop("blurs")
    (blurs / "blurs.py").write_text("raise SystemExit('run')\n")
    (blurs / "run").mkdir()
    (blurs / "run" / "config.toml").write_text(config.to_toml(wide))
    found = rundir.read_settings(blurs / "run")
    assert found.operator.outside == {"Blur": {"side": 5}}
    assert config.identity(found) == config.identity(wide)
    with pytest.raises(ConfigError, match="names code of somebody's own"):
        rundir.settings(blurs / "run", trusted_paths=False)
    assert "blurs" not in sys.modules


def test_a_setting_of_the_chosen_plug_in_needs_no_name_of_it() -> None:
    """Whichever layer chooses; a name in full is the same setting, and the last one counts."""
    given = load_config("smoke", overrides=["attack.names=none,bilevel", "attack.inner_steps=3"])
    assert given.attack.bilevel.inner_steps == 3
    both = ["operator.gaussian.ratio=0.2", "operator.ratio=0.3"]
    assert load_config("smoke", overrides=both).operator.gaussian.ratio == 0.3
    assert load_config("smoke", overrides=both[::-1]).operator.gaussian.ratio == 0.2


def test_two_spellings_in_one_tree_have_to_agree() -> None:
    tree = {"operator": {"ratio": 0.3, "gaussian": {"ratio": 0.2}}}
    with pytest.raises(
        ConfigError, match=r"^operator\.ratio: 0\.3 given, and 0\.2 as operator\.ga"
    ):
        from_dict(tree)
    tree["operator"]["ratio"] = 0.2
    assert from_dict(tree).operator.gaussian.ratio == 0.2


def test_an_older_spelling_with_no_number_is_refused_in_a_line() -> None:
    with pytest.raises(ConfigError, match="finite|integer"):
        from_dict({"attack": {"patience": float("nan")}})
