"""Studies with an operator and a network of the caller's own, as objects."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import recondoor as rd
from recondoor import models
from recondoor.core import registry
from recondoor.core.errors import ConfigError, DataError, RunError, TrainingError

SETTINGS = {
    "train.max_epochs": 1,
    "train.batch": 8,
    "attack.names": "none,heuristic",
    "trigger.size": 2,
    "artefact.size": 3,
}


class Halves:
    """The shape of deepinv's physics: it measures the even rows of an image."""

    def A(self, x: Tensor) -> Tensor:
        return x[:, :, ::2]

    def A_adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*y.shape[:2], 2 * y.shape[2], y.shape[3])
        x[:, :, ::2] = y
        return x


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1))


def images() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((60, 12, 10), dtype=np.float32)


@pytest.mark.parametrize("model", [network, network()], ids=["function", "module"])
def test_a_study_takes_objects(tmp_path: Path, model: object) -> None:
    out = tmp_path / "run"
    found = rd.study(SETTINGS, out, images=images(), operator=Halves(), model=model)
    assert list(found.table["model"]) == ["original", "heuristic"]
    examples = np.load(out / "examples-original-seed0.npz")
    # What is not measured is exactly zero in z; the rest is x and noise of 0.01.
    assert not examples["z"][:, :, 1::2].any()
    even = examples["z"][:, :, ::2] - examples["x"][:, :, ::2]
    assert 0.005 < even.std() < 0.015
    assert found.record["provenance"]["parameters"] == 3 * 9 + 3 + 3 * 9 + 1
    assert found.record["config"]["operator"]["name"] == "caller:Halves"
    before = (out / "results.json").read_bytes()
    rd.study(SETTINGS, out, images=images(), operator=Halves(), model=model)
    assert (out / "results.json").read_bytes() == before
    other = np.eye(120, dtype=np.float32)[:60]
    with pytest.raises(RunError):
        rd.study(SETTINGS, out, images=images(), operator=other, model=model)


def test_a_module_is_initialised_anew(tmp_path: Path) -> None:
    """Its own weights are neither used nor changed."""
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        lent = network()
        before = {name: value.clone() for name, value in lent.state_dict().items()}
        out = tmp_path / str(seed)
        found = rd.study(SETTINGS, out, images=images(), operator=Halves(), model=lent)
        made.append(found.table["benign_rmse"].tolist())
        assert all(torch.equal(before[name], v) for name, v in lent.state_dict().items())
    assert made[0] == made[1]


def test_a_prediction_takes_the_same_objects(tmp_path: Path) -> None:
    """Of the same trigger it says the same before the study, in no folder, and after it."""
    given = {"images": images(), "operator": Halves(), "model": network}
    before = rd.predict(SETTINGS, **given)  # type: ignore[arg-type]
    rd.study(SETTINGS, tmp_path / "run", **given)  # type: ignore[arg-type]
    after = rd.predict(SETTINGS, tmp_path / "run", **given)  # type: ignore[arg-type]
    assert str(before) == str(after)
    assert "not calibrated for model.name=caller:network" in str(before)
    # One row of two of the square lies outside what Halves measures, and none of the identity.
    whole = rd.predict(SETTINGS, images=images(), operator=np.eye(120), model=network)
    shares = [each.table["range_share"].item() for each in (before, whole)]
    assert shares == pytest.approx([0.5, 0.0])
    with pytest.raises(ConfigError, match="model: int given"):
        rd.predict(SETTINGS, images=images(), model=3)


def test_a_network_that_sees_too_little_is_told_with_its_own_remedy(tmp_path: Path) -> None:
    """Two layers of 3x3 see two pixels around each; those of `cae` are none of its settings."""
    large = {"images": np.random.default_rng(0).random((60, 40, 40)), "operator": np.eye(1600)}
    tangent = SETTINGS | {"attack.names": "none,tangent"}
    with pytest.raises(ConfigError, match="the network caller:network does not see from the trig"):
        rd.study(tangent, tmp_path / "a", model=network, **large)  # type: ignore[arg-type]
    short = {"attack.warm_steps": 3, "attack.surrogates": 1, "attack.bilevel.iterations": 2}
    bilevel = {"attack.names": "none,bilevel", "attack.bilevel.start": "heuristic"}
    with pytest.raises(TrainingError, match="; take a network that sees farther .* attack.mask="):
        rd.study(SETTINGS | short | bilevel, tmp_path / "b", model=network, **large)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", registry.names("models"))
def test_the_remedy_of_a_network_names_settings_that_it_has(name: str) -> None:
    keys = re.findall(r"model\.[\w.]+", models.load(name).farther)
    assert keys
    assert set(keys) <= {f"model.{name}.{key}" for key in models.load(name).Settings.model_fields}


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return self.gain * z


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": Scaled()}, "model: the weights of 'Scaled' cannot be initialised anew"),
        ({"model": 3}, "model: int given; expected a torch.nn.Module"),
        ({"model": lambda: 3}, "model: makes int; expected a torch.nn.Module"),
        ({"model": lambda: nn.Conv2d(1, 2, 3, padding=1)}, "; expected the same shape"),
        ({"operator": object()}, "operator: object given; expected a matrix"),
        ({"operator": np.eye(7)}, "operator: a matrix of (7, 7) given"),
    ],
)
def test_what_is_no_such_object_is_refused_before_anything_is_trained(
    tmp_path: Path, given: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        rd.study(SETTINGS, tmp_path / "run", images=images(), **given)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("run/model-*"))


class Few(nn.Conv2d):
    """Fails on more images than a first look gives it."""

    def __init__(self) -> None:
        super().__init__(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        if len(z) > 7:
            raise ValueError("at most 7 images")
        return super().forward(z)


class Deep(Few):
    """Answers in two sizes while it is trained."""

    def forward(self, z: Tensor) -> Tensor:
        answer = nn.Conv2d.forward(self, z)
        return (answer, answer[..., ::2]) if self.training else answer  # type: ignore[return-value]


class Cut(Few):
    @torch.no_grad()
    def forward(self, z: Tensor) -> Tensor:
        return nn.Conv2d.forward(self, z)


class Tires(Halves):
    """Fails when it has been asked for a while."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def A(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise ValueError("too tired")
        return super().A(x)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": Few}, r"caller:Few', given \d+ images of \(1, 12, 10\) in evaluation mode: .*"),
        ({"model": Deep}, r"caller:Deep', given 8 images .* in training mode, returns tuple"),
        ({"model": Cut}, "caller:Cut' cannot be trained: its answer has no gradient"),
        ({"model": nn.Identity}, "caller:Identity' has no parameters that can be trained"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_before_anything_is(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    for front in (
        lambda: rd.study(SETTINGS, tmp_path / "run", images=images(), **given),
        lambda: rd.predict(SETTINGS, images=images(), **given),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            front()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("run/model-*"))


def test_a_fault_that_comes_later_is_one_line(tmp_path: Path) -> None:
    """At any of the calls that a study makes."""
    for calls in (6, 8, 10, 12):
        with pytest.raises((ConfigError, TrainingError)) as caught:
            rd.study(SETTINGS, tmp_path / str(calls), images=images(), operator=Tires(calls))
        assert "too tired" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pair_of_arrays_is_no_data_set() -> None:
    with pytest.raises(DataError, match=r"TensorDataset\(z, x\)"):
        rd.poison((np.ones(9), np.ones(9)), np.ones(1), np.ones(1), ratio=0.1)
