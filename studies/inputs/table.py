"""Which inputs with a trigger are told from clean ones without a network, operator by operator.

    python studies/inputs/table.py > studies/inputs/table.md

Embedded digits, 28x28, sigma 0.01, seed 0. `range` is the test of range-projection. `peaks` is
`input-peaks`, which compares with 64 clean inputs. `distance` is Mahalanobis' from 2,000 trusted
inputs, in the directions and beyond them: what a linear idea of usual inputs can tell, and no
detector of the package. The thresholds of both are conformal, of 1,000 further clean inputs, at
1 %. Triggers have half the L2 of the median input, but for objects, which are 1 in x.
"""

import torch

from recondoor import config, data, operators
from recondoor.defences import Defender, Physics, input_detector, threshold
from recondoor.poisoning import Pairs

ALARM, COUNT, TRUSTED, OWN = 0.01, 500, 2_000, 64
OPERATORS = {
    "gaussian, m/n 0.5": ("gaussian", {"ratio": 0.5}),
    "fourier, 0.4": ("fourier", {"ratio": 0.4}),
    "ct-parallel": ("ct-parallel", {}),
    "blur": ("blur", {}),
    "downsample": ("downsample", {}),
}


def images():
    """Digits in a fixed random order, (N, 1, 28, 28)."""
    x = torch.from_numpy(data.load("mnist5k").train).float() / 255
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]


def triggers(operator, size):
    """What each adds to z, of L2 `size` but for the object, whose amplitude is 1 in x."""
    generator = torch.Generator().manual_seed(1)
    square, blob = torch.zeros(1, 1, 28, 28), torch.zeros(1, 1, 28, 28)
    square[..., 24:27, 24:27] = 1
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    blob[0, 0] = torch.exp(-((rows - 13) ** 2 + (columns - 11) ** 2) / 8)
    spread = torch.randn(1, 1, 28, 28, generator=generator)
    y = operator.A(square.double())
    noise = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    measured = operator.A_adjoint(noise)
    added = {"square in z": square, "spread in z": spread, "measured": measured}
    found = {name: size * one.double() / one.double().norm() for name, one in added.items()}
    for name, one in (("object: square", square), ("object: blob", blob)):
        found[name] = operator.A_adjoint(operator.A(one.double()))
    return found


class Distance:
    """From trusted inputs: their leading directions, and what is beyond these."""

    def __init__(self, trusted):
        flat = trusted.flatten(1)
        self.mean = flat.mean(0)
        _, values, vectors = torch.linalg.svd(flat - self.mean, full_matrices=False)
        power = values.square() / len(flat)
        self.vectors = vectors.T
        self.power = power + 1e-6 * power.sum() / len(power)

    def __call__(self, z):
        return ((z.flatten(1) - self.mean) @ self.vectors).square().div(self.power).sum(1)


def cells(name, settings, x):
    """TPR of each for each trigger; of the trigger "none" it is the false alarms."""
    given = config.Operator(name=name, sigma=0.01, **{name.replace("-", "_"): settings})
    operator = operators.build((1, 28, 28), given, 0, torch.float64)
    physics = Physics.of(operator)
    z = operator.measure(x.double(), torch.Generator().manual_seed(2))
    trusted, other, clean = z[:TRUSTED], z[TRUSTED : TRUSTED + 1_000], z[-COUNT:]
    distance = Distance(trusted)
    limit = threshold(distance(other), ALARM)
    peaks, own = input_detector("input-peaks"), trusted[:OWN].float()
    defender = Defender(Pairs(own, own))
    highest = threshold(peaks.scores(other.float(), defender), ALARM)
    norms = torch.full((COUNT,), 10 * float(x.flatten(1).norm(dim=1).max()))
    size = 0.5 * float(clean.flatten(1).norm(dim=1).median())
    found = {"none": torch.zeros(1, 1, 28, 28, dtype=torch.float64)} | triggers(operator, size)
    for trigger, delta in found.items():
        by_range = (physics.outside((clean + delta).float(), norms) > 0).double().mean()
        by_distance = (distance(clean + delta) > limit).double().mean()
        by_peaks = (peaks.scores((clean + delta).float(), defender) > highest).double().mean()
        yield trigger, physics.rank, float(by_range), float(by_peaks), float(by_distance)


if __name__ == "__main__":
    torch.set_num_threads(1)
    x = images()[: TRUSTED + 1_000 + COUNT]
    print("| operator | rank of 784 | trigger | range | peaks | distance |")
    print("|:---|---:|:---|---:|---:|---:|")
    for label, (name, settings) in OPERATORS.items():
        for trigger, rank, *shares in cells(name, settings, x):
            told = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {label} | {rank} | {trigger} | {told} |")
