"""Reach and prediction for networks that normalise, subtract or work with the operator."""

import math

import pytest
import torch

from recondoor import config, data, models, theory
from recondoor.core import registry
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Artefact
from recondoor.studies._forecast import plan_of
from recondoor.studies._scene import Scene, build_scene
from recondoor.testing import NetworkContract

OTHERS = tuple(name for name in registry.names("models") if name != "cae")
every = pytest.mark.parametrize("name", OTHERS)


def digits() -> data.Images:
    return data.load("mnist5k")


def scene_with(name: str, *more: str) -> tuple[config.Config, Scene]:
    own = NetworkContract().settings(name, 3)
    settings = config.load_config("smoke", (), more).model_copy(update={"model": own})
    return settings, build_scene(settings, digits(), 0, torch.device("cpu"))


@every
def test_reach_sees_every_pixel_that_a_network_answers_to(name: str) -> None:
    """Against the network's own changes of the artefact's pixels, one pixel at a time."""
    shape = (1, 9, 10)
    model = NetworkContract().build(shape, NetworkContract().settings(name, 3)).double()
    pattern = torch.zeros(shape, dtype=torch.float64)
    pattern[:, 2, 2] = 1
    found = theory.structural_field(model, Artefact(pattern))
    z = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for pixel in torch.ones(shape).nonzero():
        changed = z.clone()
        changed[0][tuple(pixel)] += 0.5
        with torch.no_grad():
            answers = bool(((model(changed) - model(z))[0] * pattern).abs().max() > 1e-9)
        assert not answers or bool(found[tuple(pixel)]), tuple(pixel)


@every
def test_a_prediction_says_that_it_is_not_calibrated(name: str) -> None:
    settings, scene = scene_with(name)
    found = theory.predict(plan_of(settings, scene), scene.trigger)
    assert found.doubt is not None
    said = theory.in_words(found)
    assert f"not calibrated for model.name={name}: the constants were fitted on cae" in said
    assert said.startswith("cannot say whether it is learnt")
    assert not any(each in said for each in ("cannot be learnt", "probability of", "limited by"))
    assert found.reach > 0.9
    assert math.isfinite(found.samples)
    told = theory.record(found)
    assert told["doubt"] == found.doubt
    assert [told[key] for key in ("probability", "samples", "cause")] == [None] * 3


def test_of_the_calibrated_network_nothing_is_said_and_of_another_loss_it_is() -> None:
    for loss, doubt in (("mse", None), ("l1", "not calibrated for train.loss=l1")):
        settings, scene = scene_with("cae", f"train.loss={loss}")
        found = theory.predict(plan_of(settings, scene), scene.trigger).doubt
        assert found is None if doubt is None else doubt in str(found)


def test_predictions_and_surrogates_drop_no_channels() -> None:
    settings, scene = scene_with("unet")
    own = settings.model.unet.model_copy(update={"drop": 0.5})
    settings = settings.model_copy(
        update={"model": settings.model.model_copy(update={"unet": own})}
    )
    scene = build_scene(settings, digits(), 0, torch.device("cpu"))
    z = scene.train.z[:2]
    for network in (scene.problem.build_model("s"), plan_of(settings, scene).build("s")):
        assert network.training
        assert torch.equal(network(z), network(z))
    victim = models.build(scene.shape, settings.model, 0)
    assert not torch.equal(victim(z), victim(z))


def test_sizes_of_the_paper_network_are_refused_for_surrogates_of_another() -> None:
    with pytest.raises(ConfigError, match="attack.surrogate_width: given, which is a size of the"):
        config.load_config("quick", (), ["model.name=unet", "attack.surrogate_width=8"])
