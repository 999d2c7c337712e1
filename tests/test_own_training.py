"""The fit loop with pairs, a loss and an optimiser of somebody's own."""

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from recondoor.config import Train
from recondoor.training.loop import FitState, OfDataset, fit, order_of_epoch
from test_training import Recorder, network, some_pairs, through_numpy

SETTINGS = Train(batch=8, max_epochs=4, lr=0.05, lr_final=0.05)


def momentum(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def absolute(answer: Tensor, x: Tensor) -> Tensor:
    return (answer - x).abs().mean()


class Falling:
    """A validation loss that is halved in every epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, model: nn.Module) -> dict[str, float]:
        self.epoch += 1
        return {"val_loss": 0.5**self.epoch}


def trained(settings: Train, state: FitState | None = None) -> FitState:
    pairs = some_pairs()
    return fit(
        network(),
        OfDataset(TensorDataset(pairs.z, pairs.x)),
        settings,
        seed=3,
        validate=Falling(state.epoch if state else 0),
        task=Recorder(),
        state=state,
        loss=absolute,
        optimiser_of=momentum,
    )


def test_it_is_a_plain_loop_over_the_data_set() -> None:
    model, pairs = network(), some_pairs()
    optimiser = momentum(model, 0.05)
    for epoch in range(1, 5):
        for index in order_of_epoch(len(pairs), len(pairs), 3, epoch).split(8):
            optimiser.zero_grad()
            absolute(model(pairs.z[index]), pairs.x[index]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    found = trained(SETTINGS).weights
    for name, value in model.state_dict().items():
        assert torch.equal(found[name], value)


def test_it_resumes_to_the_same_bits() -> None:
    whole = trained(SETTINGS)
    half = trained(SETTINGS.model_copy(update={"max_epochs": 2}))
    for key in ("weights", "best", "optimiser"):
        setattr(half, key, through_numpy(getattr(half, key)))
    carried = trained(SETTINGS, half)
    for name, value in whole.weights.items():
        assert torch.equal(carried.weights[name], value)
