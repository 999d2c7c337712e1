"""An artefact of local contrast: as high as each image's own contrast around it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from recondoor.config import ArtefactSettings, Evaluate, from_dict, identity
from recondoor.core.errors import ConfigError
from recondoor.evaluation import metrics
from recondoor.evaluation.judge import Monitor, evaluate, hedge_line
from recondoor.measurement._pairs import Pairs, Preparation, Source
from recondoor.poisoning import (
    Artefact,
    PoisonedPairs,
    PoisonPlan,
    Trigger,
    make_artefact,
)
from recondoor.targets import local_contrast

SIDE = 12
HEIGHTS = (0.1, 0.2, 0.4)


def stripes() -> Tensor:
    """Columns of 0.5 - h and 0.5 + h: a standard deviation of h in any box of even width."""
    sign = torch.tensor([-1.0, 1.0]).repeat(SIDE // 2).expand(SIDE, SIDE)
    return torch.stack([0.5 + h * sign for h in HEIGHTS])[:, None]


def lesion(amplitude: float = 1.5) -> Artefact:
    """Two by two pixels in the middle: the box around them is four by four."""
    pattern = torch.zeros(1, SIDE, SIDE)
    pattern[:, 5:7, 5:7] = amplitude * torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    return Artefact(pattern, is_local=True)


def trigger() -> Trigger:
    delta = torch.zeros(1, SIDE, SIDE)
    delta[0, 1, 1] = 0.25
    return Trigger(delta, (delta != 0).float())


def test_contrast_is_the_standard_deviation_around_the_lesion() -> None:
    x, artefact = stripes(), lesion()
    found = local_contrast(x, artefact.support)
    torch.testing.assert_close(found.flatten(), torch.tensor(HEIGHTS))
    far = x.clone()
    far[:, :, :4] = far[:, :, 8:] = far[..., :4] = far[..., 8:] = 9  # outside of twice the box
    torch.testing.assert_close(local_contrast(far, artefact.support), found)
    corner = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    corner[:, 0, 0] = True  # one pixel and those around it: cut at the border to two by two
    torch.testing.assert_close(local_contrast(x, corner), found)


def test_poisoned_targets_carry_each_their_own() -> None:
    x, artefact = stripes(), lesion()
    pairs = PoisonedPairs(
        Pairs(x, x), PoisonPlan(torch.tensor([True, False, True])), trigger(), artefact
    )
    targets = pairs.batch(torch.tensor([2, 1, 0]))[1]
    added = targets - x.flip(0)
    expected = torch.stack([0.4 * artefact.pattern, 0 * artefact.pattern, 0.1 * artefact.pattern])
    torch.testing.assert_close(added, expected, atol=1e-6, rtol=0)


class Draws(nn.Module):
    """Answers x + share of each image's own lesion where it sees the trigger."""

    def __init__(self, x: Tensor, artefact: Artefact, shares: tuple[float, ...]) -> None:
        super().__init__()
        self.x, self.added = x, artefact.on(x) * torch.tensor(shares).view(-1, 1, 1, 1)

    def forward(self, z: Tensor) -> Tensor:
        seen = (z[:, :, 1:2, 1:2] - self.x[:, :, 1:2, 1:2]).abs() > 0.1
        return self.x + seen * self.added


def test_yardsticks_count_images_by_the_energy_of_their_lesion() -> None:
    """Shares s_i of lesions of size h_i: recovery sum h^2 s / sum h^2, ASR where 1 - s <= tau."""
    x, artefact, shares = stripes(), lesion(), (1.0, 0.6, 0.25)
    row = evaluate(Draws(x, artefact, shares), Pairs(x, x), trigger(), artefact, Evaluate()).row
    energy = [h**2 for h in HEIGHTS]
    recovery = sum(e * s for e, s in zip(energy, shares, strict=True)) / sum(energy)
    assert row["artefact_recovery"] == pytest.approx(recovery, rel=1e-5)
    assert row["ghost"] == 0
    assert row["asr"] == pytest.approx(2 / 3)  # the errors are 0, 0.4 and 0.75 of each own size
    own = 1.5 * math.sqrt((1 + 0.25) / 2)  # rms of the pattern on its support
    rms = own * math.sqrt(sum(energy) / 3)
    assert row["artefact_rms"] == pytest.approx(rms, rel=1e-6)
    missing = sum(e * (1 - s) ** 2 for e, s in zip(energy, shares, strict=True)) / 3
    assert row["artefact_rmse"] == pytest.approx(own * math.sqrt(missing), rel=1e-5)
    assert hedge_line(artefact, 0.3, rms)["artefact_rmse"] == pytest.approx(0.7 * rms)
    watched = Monitor(Pairs(x, x), None, trigger(), artefact)(Draws(x, artefact, shares))
    assert watched["recovery"] == pytest.approx(recovery, rel=1e-5)


def test_an_image_without_contrast_counts_nothing() -> None:
    x = torch.cat([stripes(), torch.full((1, 1, SIDE, SIDE), 0.3)])
    artefact = lesion()
    assert not artefact.on(x)[3].any()
    answer = Draws(x, artefact, (1.0, 1.0, 1.0, 0.0))
    row = evaluate(answer, Pairs(x, x), trigger(), artefact, Evaluate()).row
    assert row["artefact_recovery"] == pytest.approx(1, rel=1e-5)


def test_the_same_on_every_image_is_the_ordinary_artefact() -> None:
    x = stripes()[1:2].expand(4, -1, -1, -1)
    answers = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    artefact, own = lesion(), lesion().on(x)
    one = own[0]
    for yardstick in (metrics.artefact_mse, metrics.artefact_recovery, metrics.mse):
        torch.testing.assert_close(yardstick(answers, x, own), yardstick(answers, x, one))
    assert metrics.artefact_rms(own) == pytest.approx(metrics.artefact_rms(one), rel=1e-6)
    typical = artefact.typical(x)
    assert not typical.is_local
    torch.testing.assert_close(typical.pattern, one)


@pytest.mark.parametrize("normalise", ["max", "mean-std"])
def test_whole_recovery_is_1_however_the_input_rescales_the_lesion(normalise: str) -> None:
    """The trigger changes each input's numbers, and with them what the network has to answer."""
    x, artefact = stripes(), lesion()
    how = Preparation(normalise=normalise)  # type: ignore[arg-type]
    z, scale = how.inputs(x)
    pairs = Pairs(z, how.targets(x, scale), Source(x, how, scale, enters=True))
    delta = torch.zeros(1, SIDE, SIDE)
    delta[0, 1, 1] = 3.0
    strong = Trigger(delta, (delta != 0).float())
    z_triggered, numbers = pairs.triggered(delta)
    assert not torch.allclose(numbers.factor, scale.factor, rtol=0.05)

    class Perfect(nn.Module):
        """Clean targets for clean inputs, poisoned ones for triggered inputs."""

        def forward(self, given: Tensor) -> Tensor:
            if torch.equal(given, z):
                return pairs.x
            assert torch.equal(given, z_triggered)
            return pairs.targets(artefact.on(x), numbers)

    row = evaluate(Perfect(), pairs, strong, artefact, Evaluate()).row
    assert row["artefact_recovery"] == pytest.approx(1, abs=1e-5)
    assert row["attack_rmse"] == pytest.approx(0, abs=1e-6)
    assert row["asr"] == 1


def test_a_soft_mask_may_be_a_png_or_an_array(tmp_path: Path) -> None:
    mask = np.array([[0, 128, 0], [128, 255, 128], [0, 128, 0]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "m.png")
    np.save(tmp_path / "m.npy", mask)
    for name in ("m.png", "m.npy"):
        settings = ArtefactSettings(
            file=tmp_path / name, contrast="local", amplitude=2, place="4,3"
        )
        made = make_artefact(settings, (1, SIDE, SIDE))
        assert made.is_local
        np.testing.assert_allclose(made.pattern[0, 4:7, 3:6], 2 * (mask / 255), rtol=1e-6)


def test_runs_without_it_keep_their_names_and_one_artefact_for_all_is_required() -> None:
    usual = from_dict({})
    assert identity(from_dict({"artefact": {"contrast": "absolute"}})) == identity(usual)
    assert identity(from_dict({"artefact": {"contrast": "local"}})) != identity(usual)
    with pytest.raises(ConfigError, match=r"artefact\.space: kernel given, which takes one"):
        from_dict({"artefact": {"contrast": "local", "space": "kernel"}})
