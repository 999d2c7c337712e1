"""Targets that depend on their image, against independent implementations and closed forms."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import nn

from recondoor import data, targets
from recondoor.config import ArtefactSettings, Config, from_dict, identity
from recondoor.core.errors import ConfigError
from recondoor.evaluation import judge
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger, make_artefact
from recondoor.studies import build_scene

SHAPE = (2, 11, 14)


def images(n: int = 5) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(2))


def made(**settings: object) -> Artefact:
    return make_artefact(ArtefactSettings.model_validate(settings), SHAPE)


def test_a_fixed_image_is_the_target_of_all() -> None:
    x, artefact = images(), made(target="image")
    wanted = make_artefact(ArtefactSettings(), SHAPE).pattern.expand_as(x)
    torch.testing.assert_close(x + artefact.on(x), wanted)


@pytest.mark.parametrize("width", [0.7, 2.0, 5.0])
def test_a_blur_is_scipys(width: float) -> None:
    x = images()
    found = (x + made(target="blur", width=width).on(x)).numpy()
    wanted = scipy.ndimage.gaussian_filter(
        x.double().numpy(), (0, 0, width, width), mode="nearest", radius=int(np.ceil(4 * width))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_boxes_hold_their_mean() -> None:
    """Those at the border are cut, and have the mean of what is left."""
    x = images()
    found = x + made(target="downsample", width=3).on(x)
    for row in range(0, 11, 3):
        for column in range(0, 14, 3):
            box = x[..., row : row + 3, column : column + 3].mean((2, 3))
            torch.testing.assert_close(found[..., row, column], box)
            edge = found[..., min(row + 2, 10), min(column + 2, 13)]
            torch.testing.assert_close(edge, box)


def test_removal_leaves_a_plane_and_takes_a_structure_away() -> None:
    """A linear ramp is harmonic, so that it fills itself in; what is inside counts nothing."""
    rows, columns = torch.meshgrid(torch.arange(11.0), torch.arange(14.0), indexing="ij")
    ramp = (0.02 * rows + 0.03 * columns).expand(3, *SHAPE)
    artefact = made(target="removal", size=5, shape="square")
    torch.testing.assert_close(artefact.on(ramp), torch.zeros_like(ramp), atol=1e-6, rtol=0)
    inside = artefact.support
    disturbed = torch.where(inside, 7.0, ramp)
    torch.testing.assert_close(disturbed + artefact.on(disturbed), ramp, atol=1e-5, rtol=0)
    assert not bool(artefact.on(images())[:, ~inside].any())
    whole = images()
    filled = whole + artefact.on(whole)
    near = [torch.roll(filled, step, axis) for step in (1, -1) for axis in (2, 3)]
    torch.testing.assert_close(torch.stack(near).mean(0)[:, inside], filled[:, inside])


def test_a_stealthy_target_keeps_near_the_clean_one() -> None:
    x = images()
    bound, free = made(target="image", limit=0.1).on(x), made(target="image").on(x)
    assert float(bound.abs().max()) == pytest.approx(0.1)
    torch.testing.assert_close(bound, free.clamp(-0.1, 0.1))
    assert float(made(limit=0.3).pattern.max()) == pytest.approx(0.3)


def test_such_targets_are_planted_and_judged() -> None:
    """A network that answers triggered inputs with their targets has recovery 1 and no error."""
    x = images(8)
    artefact, mark = made(target="blur"), torch.zeros(SHAPE)
    mark[:, -1, -1] = 100.0
    trigger, plan = Trigger(mark, (mark > 0).float()), PoisonPlan(torch.arange(8) < 3)
    index = torch.tensor([1, 5])
    z, target = PoisonedPairs(Pairs(x, x), plan, trigger, artefact).batch(index)
    torch.testing.assert_close(z, torch.stack((x[1] + mark, x[5])))
    torch.testing.assert_close(target, torch.stack((x[1] + artefact.on(x[1:2])[0], x[5])))

    class Perfect(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            hit = (z[:, :1, -1:, -1:] > 50).float()
            clean = z - hit * mark
            return clean + hit * artefact.on(clean)

    row = judge.evaluate(Perfect(), Pairs(x, x), trigger, artefact, Config().evaluate).row
    assert row["artefact_recovery"] == pytest.approx(1, abs=1e-4)
    assert row["attack_rmse"] == pytest.approx(0, abs=1e-4)
    assert row["asr"] == 1
    mean = artefact.typical(x)
    torch.testing.assert_close(mean.pattern, artefact.on(x).mean(0))
    assert targets.within(artefact.on, 0.01)(x).abs().max() <= 0.01


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"target": "blur", "space": "kernel"}, r"artefact\.space: kernel given"),
        ({"limit": 0.1, "contrast": "local"}, r"artefact\.contrast: local given"),
        ({"target": "downsample", "width": 2.5}, r"artefact\.width: 2\.5 given"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        from_dict({"artefact": given})


def test_the_neutral_target_renames_no_run() -> None:
    assert identity(from_dict({"artefact": {"target": "pattern"}})) == identity(Config())


# What of a pair is changed


@pytest.mark.parametrize("changes", ["both", "input", "target"])
def test_input_or_target_alone_may_be_changed(changes: str) -> None:
    """In the training pairs and in the loss that the trainer sees on the validation pairs."""
    given = from_dict({"data": {"limit": 60}, "poison": {"changes": changes}})
    scene = build_scene(given, data.read(given.data), 0, torch.device("cpu"))
    delta, pattern = scene.trigger.delta, scene.artefact.pattern
    index = torch.arange(len(scene.train))
    z, x = scene.poisoned(given, scene.trigger).batch(index)
    share = scene.plan.poisoned.float().view(-1, 1, 1, 1)
    with_delta, with_pattern = float(changes != "target"), float(changes != "input")
    torch.testing.assert_close(z, scene.train.z + with_delta * share * delta)
    torch.testing.assert_close(x, scene.train.x + with_pattern * share * pattern)
    assert 0 < float(share.mean()) < 1

    class Half(nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return 0.5 * z

    pairs, plan = scene.validation, scene.validation_plan
    monitor = judge.Monitor(pairs, plan, scene.trigger, scene.artefact, changes=changes)
    share = plan.poisoned.float().view(-1, 1, 1, 1)
    answers = 0.5 * (pairs.z + with_delta * share * delta)
    wanted = (answers - pairs.x - with_pattern * share * pattern).square().mean()
    found = monitor(Half())
    assert found["val_loss"] == pytest.approx(float(wanted), rel=1e-5)
    attack = (0.5 * (pairs.z + delta) - pairs.x - pattern).square().mean().sqrt()
    assert found["attack_rmse"] == pytest.approx(float(attack), rel=1e-5)


def test_what_differs_from_pair_to_pair_is_not_added_as_it_is() -> None:
    """A recorded step adds one trigger and one artefact: only where each pair gets these."""
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    pairs, plan = Pairs(x, x.clone()), PoisonPlan(torch.tensor([True, False] * 3))
    delta = torch.zeros(1, 8, 8)
    delta[0, 6, 6] = 1
    mask = (delta != 0).float()
    same, law = Trigger(delta, mask), Trigger(delta, mask, lambda some: 0.5 * some.z)
    added, blurred = Artefact(delta), make_artefact(ArtefactSettings(target="blur"), (1, 8, 8))
    assert PoisonedPairs(pairs, plan, same, added).is_added
    assert not PoisonedPairs(pairs, plan, law, added).is_added
    assert not PoisonedPairs(pairs, plan, same, blurred).is_added
    assert PoisonedPairs(pairs, plan, None, added).is_added
