"""The U-Net: fastMRI's layout and names, written down here without looking at ours."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recondoor import models
from recondoor.config import Model, Unet, load_config
from recondoor.core.errors import ConfigError
from recondoor.core.seeding import torch_generator
from recondoor.models._unet import InstanceNorm, UNet, most_pools

# `sorted(fastmri.models.Unet(1, 1, chans=2, num_pool_layers=2).state_dict())` and its shapes, as
# fastMRI's source has them: convolutions without bias but the last, no weights of normalisation.
OF_FASTMRI = {
    "down_sample_layers.0.layers.0.weight": (2, 1, 3, 3),
    "down_sample_layers.0.layers.4.weight": (2, 2, 3, 3),
    "down_sample_layers.1.layers.0.weight": (4, 2, 3, 3),
    "down_sample_layers.1.layers.4.weight": (4, 4, 3, 3),
    "conv.layers.0.weight": (8, 4, 3, 3),
    "conv.layers.4.weight": (8, 8, 3, 3),
    "up_conv.0.layers.0.weight": (4, 8, 3, 3),
    "up_conv.0.layers.4.weight": (4, 4, 3, 3),
    "up_conv.1.0.layers.0.weight": (2, 4, 3, 3),
    "up_conv.1.0.layers.4.weight": (2, 2, 3, 3),
    "up_conv.1.1.weight": (1, 2, 1, 1),
    "up_conv.1.1.bias": (1,),
    "up_transpose_conv.0.layers.0.weight": (8, 4, 2, 2),
    "up_transpose_conv.1.layers.0.weight": (4, 2, 2, 2),
}


def unet(**own: float) -> Model:
    return Model(name="unet", unet=Unet.model_validate(own))


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def random_weights() -> dict[str, Tensor]:
    generator = torch_generator(0, "weights")
    return {
        name: 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in OF_FASTMRI.items()
    }


def by_hand(weights: dict[str, Tensor], z: Tensor) -> Tensor:
    """What fastMRI's network makes of z, from the weights by name and NumPy's mean and spread."""

    def norm(h: Tensor) -> Tensor:
        values = h.numpy()
        mean = values.mean((2, 3), keepdims=True)
        spread = np.sqrt(values.var((2, 3), keepdims=True) + 1e-5)
        found = torch.from_numpy((values - mean) / spread)
        return torch.where(found > 0, found, 0.2 * found)

    def block(h: Tensor, name: str) -> Tensor:
        for layer in (0, 4):
            h = norm(F.conv2d(h, weights[f"{name}.layers.{layer}.weight"], padding=1))
        return h

    def up(h: Tensor, name: str, like: Tensor) -> Tensor:
        h = norm(F.conv_transpose2d(h, weights[f"{name}.layers.0.weight"], stride=2))
        rows, columns = like.shape[2] - h.shape[2], like.shape[3] - h.shape[3]
        padded = np.pad(h.numpy(), ((0, 0), (0, 0), (0, rows), (0, columns)), "reflect")
        return torch.cat([torch.from_numpy(padded), like], 1)

    first = block(z, "down_sample_layers.0")
    second = block(F.avg_pool2d(first, 2), "down_sample_layers.1")
    lowest = block(F.avg_pool2d(second, 2), "conv")
    h = block(up(lowest, "up_transpose_conv.0", second), "up_conv.0")
    h = block(up(h, "up_transpose_conv.1", first), "up_conv.1.0")
    return F.conv2d(h, weights["up_conv.1.1.weight"], weights["up_conv.1.1.bias"])


@pytest.mark.parametrize("size", [(8, 8), (9, 11), (7, 14)], ids=str)
def test_it_computes_what_fastmri_does(size: tuple[int, int]) -> None:
    model = models.build((1, *size), unet(channels=2, pools=2), 0).double().eval()
    assert shapes(model) == OF_FASTMRI
    model.load_state_dict(random_weights())
    generator = torch_generator(0, "z")
    z = torch.randn(3, 1, *size, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(model(z), by_hand(random_weights(), z), rtol=1e-10, atol=1e-10)


def test_fastmris_usual_size() -> None:
    with torch.device("meta"):
        model = models.build((1, 320, 320), unet(channels=32), 0)
    assert models.parameter_count(model) == 7_756_097
    found = shapes(model)
    assert len(found) == 24
    assert found["down_sample_layers.3.layers.4.weight"] == (256, 256, 3, 3)
    assert found["conv.layers.0.weight"] == (512, 256, 3, 3)
    assert found["up_transpose_conv.0.layers.0.weight"] == (512, 256, 2, 2)
    assert found["up_conv.0.layers.0.weight"] == (256, 512, 3, 3)
    assert found["up_conv.3.0.layers.4.weight"] == (32, 32, 3, 3)
    assert found["up_conv.3.1.weight"] == (1, 32, 1, 1)


@pytest.mark.parametrize(
    ("size", "most"),
    [((28, 28), 3), ((32, 32), 4), ((16, 16), 3), ((16, 32), 4), ((2, 2), 0), ((5, 5), 1)],
    ids=str,
)
def test_most_pools_is_what_the_network_can_do(size: tuple[int, int], most: int) -> None:
    """The largest number whose lowest level has two pixels, which PyTorch wants to normalise."""
    assert most_pools(*size) == most
    z = torch.rand(2, 1, *size)
    if most:
        assert UNet(1, 1, 2, most, 0.0)(z).shape == z.shape
    with pytest.raises((ValueError, RuntimeError)):
        UNet(1, 1, 2, most + 1, 0.0)(z)


def test_too_small_images_are_refused_with_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"model\.unet\.pools: 4 given.*28x28 allow at most 3"):
        models.build((1, 28, 28), unet(), 0)
    with pytest.raises(ConfigError, match="2x2 are too small for it"):
        models.build((1, 2, 2), unet(), 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_normalisation_is_pytorchs_in_every_layout(layout: torch.memory_format) -> None:
    """And so are its first and second derivatives."""
    generator = torch_generator(0, "h")
    h, w = torch.randn(2, 3, 4, 5, 6, generator=generator, dtype=torch.float64)
    h = h.to(memory_format=layout).requires_grad_()
    found = []
    for norm in (InstanceNorm(), nn.InstanceNorm2d(4)):
        out = norm(h)
        (slope,) = torch.autograd.grad((out * w).sin().sum(), h, create_graph=True)
        (again,) = torch.autograd.grad((slope * w).sum(), h)
        found.append((out, slope, again))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_dropout_is_seeded_and_keeps_the_mean() -> None:
    model = UNet(1, 1, 2, 1, 0.5)
    h = torch.ones(400, 50, 2, 2)
    drop = model.conv.layers[3]
    torch.manual_seed(3)
    first = drop(h)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(first.amin((2, 3)), first.amax((2, 3)))
    assert abs(float(first.mean()) - 1) < 5 / 20_000**0.5
    torch.manual_seed(3)
    assert torch.equal(drop(h), first)
    assert torch.equal(drop.eval()(h), h)


def test_its_settings_rename_no_run() -> None:
    from recondoor.config import identity

    plain = load_config("quick")
    assert identity(plain) == identity(load_config("quick", (), ["model.unet.channels=16"]))
    other = [load_config("quick", (), ["model.name=unet", f"model.unet.pools={n}"]) for n in (2, 3)]
    assert len({identity(each) for each in (plain, *other)}) == 3
