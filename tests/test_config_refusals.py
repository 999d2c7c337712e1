"""Settings that are refused: by value, by name, by file, and what the message says."""

from pathlib import Path
from typing import Any

import pytest

from config_kit import TABLE, tree
from recondoor import config
from recondoor.config import Config, from_dict, load_config
from recondoor.core.errors import ConfigError

# key, a value that is refused, what the message must say
REFUSED = [
    ("data.validation", 0.0, "> 0"),
    ("data.validation", 1.0, "< 1"),
    ("data.test", 0, "> 0"),
    ("data.test", 1, "< 1"),
    ("data.limit", 9, ">= 10"),
    ("data.window", "wide", "LOW,HIGH"),
    ("data.foreground", 1.5, "<= 1"),
    ("data.size", 1, ">= 2"),
    ("data.phase", "smoth", "did you mean 'smooth'?"),
    ("data.name", 3, "text"),
    ("data.dir", 3, "path"),
    ("operator.name", "gausian", "did you mean 'gaussian'?"),
    ("operator.gaussian.ratio", 0, "> 0"),
    ("operator.fourier.ratio", 0, "> 0"),
    ("operator.pixel_mask.ratio", 0, "> 0"),
    ("operator.gaussian.ratio", 1.01, "<= 1"),
    ("operator.sigma", -0.1, ">= 0"),
    ("operator.sigma", float("nan"), "finite"),
    ("operator.noise", "poison", "did you mean 'poisson'?"),
    ("operator.photons", 0, "> 0"),
    ("operator.attenuation", 0, "> 0"),
    ("operator.attenuation", 21, "<= 20"),
    ("operator.matrix.file", 5, "path"),
    ("operator.mri.acceleration", 0.5, ">= 1"),
    ("operator.mri.centre", 1.5, "<= 1"),
    ("operator.mri.pattern", "equispace", "did you mean 'equispaced'?"),
    ("operator.mri.mask_per", "slices", "did you mean 'slice'?"),
    ("operator.mri.file", 5, "path"),
    ("operator.mri_multicoil.acceleration", 0, ">= 1"),
    ("operator.mri_multicoil.centre", -0.1, ">= 0"),
    ("operator.mri_multicoil.pattern", "poisson", "random | equispaced"),
    ("operator.mri_multicoil.mask_per", "image", "set | slice"),
    ("operator.mri_multicoil.file", 5, "path"),
    ("operator.mri_multicoil.coils", 0, ">= 1"),
    ("operator.mri_multicoil.maps", "birdcages", "did you mean 'birdcage'?"),
    ("operator.mri_multicoil.maps", "maps.mat", "a path that ends with .npy"),
    ("operator.ct_parallel.views", 0, ">= 1"),
    ("operator.blur.width", 0, "> 0"),
    ("operator.downsample.factor", 0, ">= 1"),
    ("input.map", "magnitud", "did you mean 'magnitude'?"),
    ("input.normalise", "mean", "none | max | mean-std"),
    ("input.clamp", 0, "> 0"),
    ("input.crop", 0, ">= 1"),
    ("operator.sigma", float("inf"), "finite"),
    ("trigger.shape", "sqare", "did you mean 'square'?"),
    ("trigger.size", 0, ">= 1"),
    ("trigger.size", 2.5, "integer"),
    ("trigger.place", "botom-right", "did you mean 'bottom-right'?"),
    ("trigger.place", "3", "ROW,COLUMN"),
    ("trigger.place", "-3,4", "ROW,COLUMN"),
    ("trigger.place", "3,4,5", "ROW,COLUMN"),
    ("trigger.place", "²,1", "ROW,COLUMN"),
    ("trigger.margin", -1, ">= 0"),
    ("trigger.file", 5, "path"),
    ("trigger.inject", "w", "z | input | y | x"),
    ("artefact.space", "range", "image | kernel | consistent"),
    ("artefact.contrast", "locl", "did you mean 'local'?"),
    ("artefact.shape", "cross", "square | plus | blob"),
    ("artefact.size", 0, ">= 1"),
    ("artefact.place", "middle", "centre"),
    ("artefact.margin", "wide", "integer"),
    ("trigger.amplitude", "bright", "number"),
    ("artefact.amplitude", "bright", "number"),
    ("poison.ratio", 1.5, "<= 1"),
    ("poison.ratio", -0.1, ">= 0"),
    ("poison.ratio", "much", "number"),
    ("poison.ratio", True, "number"),
    ("poison.ratio", [0.1], "number"),
    ("poison.ratio", {"a": 1}, "number"),
    ("model.name", "cea", "did you mean 'cae'?"),
    ("model.cae.width", 0, ">= 1"),
    ("model.cae.width", 10**9, "<= 4096"),
    ("model.cae.code", 10**9, "<= 4096"),
    ("model.cae.kernel", 4, "odd"),
    ("model.cae.kernel", 1, ">= 3"),
    ("model.cae.kernel", 10_001, "<= 101"),
    ("model.unet.channels", 0, ">= 1"),
    ("model.unet.pools", 0, ">= 1"),
    ("model.unet.drop", 1, "< 1"),
    ("model.fbpconvnet.channels", 0, ">= 1"),
    ("model.fbpconvnet.pools", 0, ">= 1"),
    ("model.fbpconvnet.drop", 1, "< 1"),
    ("model.modl.width", 0, ">= 1"),
    ("model.modl.iterations", 0, ">= 1"),
    ("model.modl.steps", 0, ">= 1"),
    ("model.varnet.channels", 0, ">= 1"),
    ("model.varnet.pools", 0, ">= 1"),
    ("model.varnet.cascades", 0, ">= 1"),
    ("train.lr", 0, "> 0"),
    ("train.lr_final", -1, "> 0"),
    ("train.batch", 0, ">= 1"),
    ("train.batch", False, "integer"),
    ("train.epoch_pairs", 0, ">= 1"),
    ("train.max_epochs", 0, ">= 1"),
    ("train.patience", 0, ">= 1"),
    ("train.loss", "l2", "mse | l1 | ssim"),
    ("train.stop", "transitoin", "did you mean 'transition'?"),
    ("attack.names", [], "at least one"),
    ("attack.names", "none,heuristc", "did you mean 'heuristic'?"),
    ("attack.names", ["none", "none"], "twice"),
    ("attack.names", 3, "list of names"),
    ("attack.mask", "serach", "did you mean 'search'?"),
    ("attack.distance", -1, ">= 0"),
    ("attack.budget", "linff", "did you mean 'linf'?"),
    ("attack.l2", 0, "> 0"),
    ("attack.linf", 0, "> 0"),
    ("attack.bilevel.variant", "wram", "did you mean 'warm'?"),
    ("attack.bilevel.start", "tangnet", "did you mean 'tangent'?"),
    ("attack.bilevel.iterations", 0, ">= 1"),
    ("attack.bilevel.patience", 0, ">= 1"),
    ("attack.bilevel.solver", "implicit-gc", "did you mean 'implicit-cg'?"),
    ("attack.bilevel.inner_steps", 0, ">= 1"),
    ("attack.bilevel.inner_lr", 0, "> 0"),
    ("attack.bilevel.inner_optimiser", "sdg", "did you mean 'sgd'?"),
    ("attack.bilevel.truncation", 0, ">= 1"),
    ("attack.bilevel.terms", 0, ">= 1"),
    ("attack.bilevel.damping", 0, "> 0"),
    ("attack.bilevel.outer_optimiser", "normalized", "did you mean 'normalised'?"),
    ("attack.bilevel.outer_optimiser", "momentum", "| none"),
    ("attack.bilevel.outer_lr", 0, "> 0"),
    ("attack.bilevel.step", 0, "> 0"),
    ("attack.bilevel.step", 1.1, "<= 1"),
    ("attack.bilevel.objective", "recover", "did you mean 'recovery'?"),
    ("attack.bilevel.benign_weight", -0.1, ">= 0"),
    ("attack.bilevel.direct_weight", -0.1, ">= 0"),
    ("attack.batch", 1, ">= 2"),
    ("attack.holdout", 0, "> 0"),
    ("attack.holdout", 1, "< 1"),
    ("attack.bilevel.loss_scale", "rowsum", "did you mean 'row-sum'?"),
    ("attack.warm_steps", -1, ">= 0"),
    ("attack.surrogates", 0, ">= 1"),
    ("attack.surrogate_width", 0, ">= 1"),
    ("attack.surrogate_code", 10**9, "<= 4096"),
    ("attack.surrogate_kernel", 4, "odd"),
    ("attack.surrogate_kernel", 1, ">= 3"),
    ("attack.tangent.steps", 0, ">= 1"),
    ("attack.blend.key", "cat", "noise | image"),
    ("attack.frequency.count", 0, ">= 1"),
    ("attack.frequency.low", 1, "< 1"),
    ("attack.frequency.high", 0, "> 0"),
    ("attack.measurement.steps", 0, ">= 1"),
    ("attack.measurement.fidelity", 0, "> 0"),
    ("attack.sample_specific.width", 0, ">= 1"),
    ("attack.sample_specific.bits", 0, ">= 1"),
    ("attack.sample_specific.steps", -1, ">= 0"),
    ("attack.warp.grid", 1, ">= 2"),
    ("attack.uap.aim", "far", "change | artefact"),
    ("attack.uap.steps", 0, ">= 1"),
    ("artefact.target", "cat", "pattern | image"),
    ("artefact.width", 0, "> 0"),
    ("artefact.limit", 0, "> 0"),
    ("poison.changes", "none", "both | input"),
    ("poison.choice", "best", "random | gradient-alignment"),
    ("train.precision", "half", "float32 | tf32"),
    ("evaluate.examples", 0, ">= 1"),
    ("evaluate.tau", 0, "> 0"),
    ("evaluate.tau_unit", "pixels", "rms | absolute"),
    ("evaluate.transition", 0, "> 0"),
    ("evaluate.transition", 1, "< 1"),
    ("evaluate.success_asr", 0, "> 0"),
    ("evaluate.success_asr", 1.1, "<= 1"),
    ("evaluate.success_benign", -0.1, ">= 0"),
    ("seed", -1, ">= 0"),
    ("seed", 1.5, "integer"),
    ("seeds", 0, ">= 1"),
    ("seeds", 10**30, "<= 10000"),
]


def complaint(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(**arguments)
    text = str(caught.value)
    assert text.count("\n") <= 1
    assert "pydantic" not in text
    return text


@pytest.mark.parametrize(
    ("key", "value", "said"), REFUSED, ids=[f"{key}={value}" for key, value, _ in REFUSED]
)
def test_refused_value(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(tree(key, value))
    text = str(caught.value)
    assert text.startswith(f"{key}: ")
    assert said in text
    assert "\n" not in text
    given = value if isinstance(value, str) else repr(value)
    assert str(given).split(",")[-1] in text


@pytest.mark.parametrize("name", ["mri", "mri_multicoil"])
def test_one_mask_of_a_file_is_no_mask_for_each_slice(name: str) -> None:
    own = [f"operator.{name}.file=mask.npy", f"operator.{name}.mask_per=slice"]
    with pytest.raises(ConfigError) as caught:
        load_config("quick", (), own)
    assert str(caught.value).startswith(f"operator.{name}.file: given, which is one mask for all")
    assert "\n" not in str(caught.value)


def test_every_setting_has_a_refused_value_or_takes_any_text() -> None:
    assert set(TABLE) - {key for key, _, _ in REFUSED} == {"artefact.file"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "poison.ratoi=0.1",
            "poison.ratoi: there is no such setting; did you mean 'poison.ratio'?",
        ),
        ("posion.ratio=0.1", "did you mean 'poison.ratio'?"),
        ("ratio=0.1", "did you mean 'poison.ratio'?"),
        ("operator.name.deep=1", "operator.name: {'deep': 1} given"),
        ("poison=0.3", "poison: 0.3 given; it is a section with the settings poison.ratio"),
        ("data=mnist", "data.name, data.dir"),
        ("poison.ratio", "expected section.key=value"),
        ("=0.3", "expected section.key=value"),
        ("poison..ratio=1", "expected section.key=value"),
        ("poison.ratio=", "poison.ratio: '' given"),
        ("poison.ratio=" + "9" * 5000, "poison.ratio: '999"),
    ],
)
def test_refused_override(text: str, said: str) -> None:
    assert said in complaint(overrides=[text])


def test_many_faults_take_two_lines() -> None:
    text = complaint(overrides=["poison.ratio=2", "train.lr=0", "seed=-1", "seeds=0"])
    assert text.startswith("poison.ratio: 2 given")
    assert "\ntrain.lr: 0 given" in text
    assert text.endswith("(and 2 more)")


def test_unknown_preset() -> None:
    assert "did you mean 'quick'?" in complaint(preset="qick")


@pytest.mark.parametrize("name", config.presets())
def test_presets_are_valid(name: str) -> None:
    assert isinstance(load_config(name), Config)


def test_the_three_presets_ship() -> None:
    assert set(config.presets()) >= {"smoke", "quick", "paper"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"poison = [", "is not valid TOML"),
        (b"\xff\xfe", "is not valid TOML"),
        (b"x = " + b"9" * 5000, "is not valid TOML"),
        (b"[poison]\nratoi = 0.1", "did you mean 'poison.ratio'?"),
        (b"[poison]\nratio = 1.5", "poison.ratio: 1.5 given"),
        (b"[[data]]\nlimit = 20", "data: [{'limit': 20}] given; it is a section"),
    ],
)
def test_refused_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    assert said in complaint(files=[path])


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "no.toml"
    assert complaint(files=[missing]) == f"config file {missing}: No such file or directory"
    assert complaint(files=[tmp_path]).endswith("is a folder, no regular file; give a TOML file")
