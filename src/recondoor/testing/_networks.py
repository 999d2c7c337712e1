"""The contract of networks."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from recondoor import models, operators
from recondoor.config import Cae, Fbpconvnet, Model, Modl, Operator, Unet, Varnet
from recondoor.core.seeding import torch_generator
from recondoor.testing._contract import Contract

Shape = tuple[int, int, int]
SIZES = [(5, 5), (5, 40), (9, 11), (16, 16), (17, 20), (28, 28), (40, 33)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, float64."""
    return torch.randn(shape, generator=torch_generator(seed, "test"), dtype=torch.float64)


class NetworkContract(Contract):
    """Images of any size to images, each alone, twice differentiable, repeatable from a stream."""

    kind: ClassVar[str] = "models"

    def settings(self, name: str, width: int = 2, kernel: int = 3) -> Model:
        """Settings of a small network."""
        return Model(
            name=name,
            cae=Cae(width=width, code=width, kernel=kernel),
            unet=Unet(channels=width, pools=1),
            fbpconvnet=Fbpconvnet(channels=width, pools=1),
            modl=Modl(width=width, iterations=2, steps=3),
            varnet=Varnet(channels=width, pools=1, cascades=2),
        )

    def build(self, shape: Shape, settings: Model, *stream: int | str) -> nn.Module:
        """The network; with an operator, if it needs one."""
        plug_in = models.load(settings.name)
        with torch.device("cpu"):  # also where the network is built on `meta`
            operator = operators.build(shape, Operator(name="fourier"), 0)
        given = operator if plug_in.needs_operator else None
        return models.build(shape, settings, *stream or (0,), operator=given)

    @pytest.mark.parametrize("size", SIZES, ids=str)
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("kernel", [3, 5, 7])
    def test_any_image_size(
        self, name: str, size: tuple[int, int], channels: int, kernel: int
    ) -> None:
        """The answer has the shape of the input and is finite."""
        shape = (channels, *size)
        model = self.build(shape, self.settings(name, kernel=kernel))
        z = torch.rand(2, *shape, generator=torch_generator(0, "z"))
        answer = model(z)
        assert answer.shape == z.shape
        assert bool(answer.isfinite().all())

    def test_images_are_reconstructed_one_by_one(self, name: str) -> None:
        """In evaluation mode the others in a batch do not count."""
        model = self.build((1, 9, 11), self.settings(name), 0).double().eval()
        z = normal(5, 1, 9, 11)
        alone = torch.cat([model(one[None]) for one in z])
        torch.testing.assert_close(model(z), alone, rtol=1e-12, atol=1e-12)

    def test_a_network_is_built_without_memory(self, name: str) -> None:
        """So that what a file claims is compared with it before memory is taken."""
        settings = self.settings(name)
        with torch.device("meta"):
            claimed = self.build((1, 9, 11), settings, 0).state_dict()
        built = self.build((1, 9, 11), settings, 0).state_dict()
        assert {k: v.shape for k, v in claimed.items()} == {k: v.shape for k, v in built.items()}
        assert all(value.is_meta for value in claimed.values())

    def test_weights_follow_from_the_stream(self, name: str) -> None:
        """Another stream gives other weights; torch's global generator stays as it was."""
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        first = self.build((1, 8, 8), self.settings(name), 3, "victim").state_dict()
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(2)
        again = self.build((1, 8, 8), self.settings(name), 3, "victim").state_dict()
        assert first.keys() == again.keys()
        assert all(torch.equal(first[key], again[key]) for key in first)
        for stream in [(4, "victim"), (3, "surrogate")]:
            other = self.build((1, 8, 8), self.settings(name), *stream).state_dict()
            # A bias may begin at 0 in each.
            assert not all(torch.equal(first[key], other[key]) for key in first)

    def test_kernels_are_in_the_layout_that_it_names(self, name: str) -> None:
        """The one that it is fastest in: its fact `channels_last`."""
        model = self.build((1, 8, 8), self.settings(name, 4), 0)
        last = models.load(name).channels_last
        layout = torch.channels_last if last else torch.contiguous_format
        kernels = [p for p in model.parameters() if p.dim() == 4]
        assert all(p.is_contiguous(memory_format=layout) for p in kernels)

    def test_a_network_is_differentiable_twice(self, name: str) -> None:
        """As hypergradients need."""
        # Wide enough that not all of its units are off.
        model = self.build((1, 8, 8), self.settings(name, 8), 0).double()
        z = normal(2, 1, 8, 8).requires_grad_()
        parameters = list(model.parameters())
        slope = torch.autograd.grad(model(z).square().sum(), parameters, create_graph=True)
        along = torch.stack([g.square().sum() for g in slope]).sum()
        used = torch.autograd.grad(
            along, [z, *parameters], allow_unused=True, materialize_grads=True
        )
        assert all(bool(g.isfinite().all()) for g in used)
        assert bool((used[0] != 0).any())
