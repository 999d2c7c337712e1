"""A pattern of each input's own (ISSBA, Li et al., ICCV 2021).

There an encoder, trained together with a decoder, hides a text of bits in an image, and the text
that the attacker chose is the trigger: what is added differs from image to image. Changed for
reconstruction: three convolutions are the encoder, which answers with what is added to z and not
with an image. No loss keeps it invisible: for each input its pattern is scaled to the budget's L2.
The encoder is trained on the attacker's clean inputs, and its weights are all that is kept: the
patterns are made as batches are drawn.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from recondoor.attacks._base import Attack
from recondoor.attacks._each import trigger_of
from recondoor.attacks._encoder import Decoder, Encoder
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.config import triggers
from recondoor.core import seeding
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Law, Pairs

RATE = 1e-3


class SampleSpecific(Attack):
    """What an encoder hides in each input."""

    Settings = triggers.SampleSpecific
    settings: triggers.SampleSpecific
    draws = True
    trains = True
    budgets = ("l2", "free")
    differs = True

    def require(self, problem: Problem) -> None:
        """Patterns of any shape have to be possible."""
        if problem.reachable is not None:
            raise ConfigError(
                "attack.names: sample-specific given, whose patterns the operator does not leave "
                "as they are; set trigger.inject=z or input"
            )

    def law_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        """Weights of the encoder, the text and the L2."""
        encoder = self._networks(problem)[0]
        shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
        return shapes | {"text": (self.settings.bits,), "radius": ()}

    def law(self, arrays: Mapping[str, Tensor], mask: Tensor, problem: Problem) -> Law:
        """The encoder's patterns of the text, in inputs where triggers enter."""
        encoder, _ = self._networks(problem)
        device = problem.pairs.z.device
        weights = {name: arrays[name].to(device) for name in encoder.state_dict()}
        text, radius = arrays["text"].to(device), arrays["radius"].to(device)
        where = mask.to(device)

        @torch.no_grad()
        def added(pairs: Pairs) -> Tensor:
            z = pairs.carriers
            made: Tensor = functional_call(encoder, weights, (z, text.expand(len(z), -1), where))
            return radius * made

        return added

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Train encoder and decoder on random texts; return the patterns of one of them."""
        encoder, decoder = self._networks(problem)
        device, radius = problem.pairs.z.device, problem.budget.radius
        mask = problem.mask.to(device)
        parameters = [*encoder.to(device).parameters(), *decoder.to(device).parameters()]
        optimiser = torch.optim.Adam(parameters, lr=RATE)
        for step in range(self.settings.steps):
            z = problem.pairs.carriers[problem.draw("inner", "sample-specific", step)]
            bits = self._texts(problem, len(z), step).to(z)
            read = decoder(z + radius * encoder(z, bits, mask))
            loss = F.binary_cross_entropy_with_logits(read, bits)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            tools.task.advance(0, f"encoder, step {step + 1} of {self.settings.steps}")
        arrays = {name: value.detach().cpu() for name, value in encoder.state_dict().items()}
        arrays |= {"text": self._texts(problem, 1, "text")[0], "radius": torch.tensor(radius)}
        law = self.law(arrays, problem.mask.cpu(), problem)
        return Crafted(trigger_of(law, problem), arrays=arrays)

    def _networks(self, problem: Problem) -> tuple[Encoder, Decoder]:
        """Encoder and decoder with the initial weights that the seed gives."""
        channels, own = problem.pairs.carriers.shape[1], self.settings
        with seeding.torch_global(problem.seed, "attack", "encoder"):
            encoder = Encoder(channels, own.bits, own.width)
            decoder = Decoder(channels, own.bits, own.width)
        return encoder, decoder

    def _texts(self, problem: Problem, n: int, *stream: str | int) -> Tensor:
        """Random bits (n, bits), 0 or 1."""
        generator = seeding.torch_generator(problem.seed, "attack", "text", *stream)
        return torch.randint(2, (n, self.settings.bits), generator=generator).float()
