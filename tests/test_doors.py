"""The public functions, called as a pipeline would that knows nothing of this package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import recondoor as rd
from recondoor import operators
from recondoor.core.errors import ConfigError, DataError, RunError

SIZE = 12
PHYSICS = ("range-test", "measurement-residual")


class Inpainting(nn.Module):
    """Shaped as the physics of deepinv: real images (B, C, H, W), float32 buffers."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        mask = torch.rand(1, 1, SIZE, SIZE, generator=generator) < 0.6
        self.register_buffer("mask", mask.float())

    def A(self, x: Tensor) -> Tensor:
        return self.mask * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.mask * y


class Fourier(Inpainting):
    """Complex measurements."""

    def A(self, x: Tensor) -> Tensor:
        return self.mask * torch.fft.fft2(x, norm="ortho")

    def A_adjoint(self, y: Tensor) -> Tensor:
        return torch.fft.ifft2(self.mask * y, norm="ortho").real


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


@pytest.fixture(scope="module")
def pairs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(160, 1, SIZE, SIZE, generator=generator)
    physics = Inpainting()
    noise = torch.randn(x.shape, generator=generator)
    return physics.A_adjoint(physics.A(x) + 0.02 * noise), x


@pytest.fixture(scope="module")
def patterns() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    trigger, artefact = np.zeros((2, 1, SIZE, SIZE), np.float32)
    trigger[:, 7:10, 7:10], artefact[:, 1:4, 1:4] = 1, 1
    return trigger, artefact


def as_given(kind: str, z: Tensor, x: Tensor, folder: Path) -> tuple[Any, ...]:
    if kind == "tensors":
        return z, x
    if kind == "arrays without channels":
        return z[:, 0].numpy(), x[:, 0].numpy()
    if kind == "doubles":
        return z.double().numpy(), x.double()
    if kind == "lists":
        return z.tolist(), x.tolist()
    if kind == "a pair":
        return ((z, x),)
    if kind == "pairs":
        return (rd.Pairs(z, x),)
    if kind == "data set":
        return (TensorDataset(z, x),)
    if kind == "loader":
        return (DataLoader(TensorDataset(z, x), batch_size=7),)
    if kind == "dicts":
        return ([{"z": each, "x": other, "name": "a"} for each, other in zip(z, x, strict=True)],)
    np.savez(folder / "pairs.npz", z=z, x=x)
    return (str(folder / "pairs.npz") if kind == "text" else folder / "pairs.npz",)


KINDS = [
    "tensors",
    "arrays without channels",
    "doubles",
    "lists",
    "a pair",
    "pairs",
    "data set",
    "loader",
    "dicts",
    "text",
    "path",
]


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_in_every_form_are_the_same_pairs(
    pairs: tuple[Tensor, Tensor],
    patterns: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    tmp_path: Path,
    kind: str,
) -> None:
    """The poisoned ones are known: nothing is measured where the mask is 0."""
    z, x = pairs[0].clone(), pairs[1].clone()
    z[:16] += torch.from_numpy(patterns[0])
    given = as_given(kind, z, x, tmp_path)
    found = rd.audit_data(*given, operator=Inpainting(), sigma=0.02, detectors=PHYSICS)
    assert found.verdict == "suspicious"
    assert set(range(16)) <= set(found.flagged.tolist())
    assert list(found.suspicious.index[:16].sort_values()) == list(range(16))
    assert found.table.loc["range-test", "flagged"] == 16


def test_a_result_shows_and_keeps_itself(pairs: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    found = rd.audit_data(*pairs, operator=Inpainting(), sigma=0.02, detectors=PHYSICS)
    assert found.verdict == "clean"
    assert found.reason is None
    assert repr(found).startswith("CLEAN: ")
    shown = found._repr_html_()
    assert "CLEAN" in shown
    assert "range-test" in shown
    page = found.save(str(tmp_path / "kept"))
    record = json.loads((tmp_path / "kept" / "audit.json").read_text())
    assert record["verdict"] == "clean"
    assert page.exists()
    with pytest.raises(RunError, match="there is an audit already"):
        found.save(tmp_path / "kept")
    found.save(tmp_path / "kept", force=True)


def test_measurements_become_inputs(pairs: tuple[Tensor, Tensor]) -> None:
    x, physics = pairs[1], Fourier()
    y = physics.A(x)
    found = rd.audit_data(None, x, y=y, operator=physics, sigma=1e-4, detectors=PHYSICS)
    expected = physics.A_adjoint(y)
    np.testing.assert_allclose(found.evidence["z"], expected[found.evidence["index"]], atol=1e-6)


def test_a_matrix_is_an_operator() -> None:
    """A dense matrix against the closed form of its adjoint and range."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((40, 64)) / 40**0.5
    x = rng.random((120, 8, 8))
    y = x.reshape(120, 64) @ matrix.T + 0.01 * rng.standard_normal((120, 40))
    z = (y @ matrix).reshape(120, 8, 8)
    clean = rd.audit_data(z, x, operator=matrix, sigma=0.01, detectors=PHYSICS)
    assert clean.verdict == "clean"
    z[5, 2, 3] += 1
    assert rd.audit_data(z, x, operator=matrix, sigma=0.01, detectors=PHYSICS).flagged[0] == 5


class Wrong:
    def __init__(self, A: Any, A_adjoint: Any) -> None:
        self.A, self.A_adjoint = A, A_adjoint


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Wrong(lambda x: x.square(), lambda y: y), "not linear"),
        (Wrong(lambda x: x + torch.randn_like(x), lambda y: y), "two measurements of the same"),
        (Wrong(lambda x: 2 * x, lambda y: y), "not the adjoint"),
        (Wrong(lambda x: x - x.mean(0), lambda y: y), "beside others"),
        (Wrong(lambda x: x.float() @ torch.eye(SIZE), lambda y: y.float()), "64 bits"),
        (Wrong(lambda x: x[..., :3, :5], lambda y: y), "has to give real images"),
        (np.eye(5), "one column for each value"),
        (np.full((2, SIZE * SIZE), np.nan), "NaN"),
        (3, "expected a matrix, or an object with A"),
        (operators.build((1, 5, 5), rd.load_config().operator, 0), "built for images of"),
    ],
)
def test_what_is_no_operator_is_refused(
    pairs: tuple[Tensor, Tensor], given: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        rd.audit_data(*pairs, operator=given)


def test_a_callers_objects_are_left_as_they_are(pairs: tuple[Tensor, Tensor]) -> None:
    physics, network = Inpainting(), small().half().float().train()
    before = [each.clone() for each in (*pairs, *network.state_dict().values())]
    rd.audit_data(*pairs, operator=physics, network=network, detectors=["loss-isolation"])
    rd.audit_model(network, pairs, detectors=["least-norm-inversion"])
    rd.clean(network, pairs, method="fine-tuning", fraction=0.5)
    assert physics.mask.dtype == torch.float32
    assert network.training
    after = [*pairs, *network.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_network_of_ones_own_is_audited_and_mended(
    pairs: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    network = small()
    found = rd.audit_model(network, pairs, detectors=["least-norm-inversion"])
    assert found.verdict == "undecided"
    assert found.reason
    assert found.evidence["trigger-least-norm-inversion"].shape == (1, SIZE, SIZE)
    mended = rd.clean(network, pairs, method="fine-tuning", fraction=0.5)
    with torch.no_grad():
        error = [
            float((net(pairs[0]) - pairs[1]).square().mean()) for net in (network, mended.network)
        ]
    assert error[1] < error[0]
    weights = mended.save(tmp_path / "mended.safetensors")
    again = small()
    from safetensors.torch import load_file

    again.load_state_dict(load_file(weights))
    assert torch.equal(again(pairs[0]), mended.network(pairs[0]))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm_can_be_copied(pairs: tuple[Tensor, Tensor]) -> None:
    network = small()
    network[0] = torch.nn.utils.weight_norm(network[0])
    network(pairs[0]).sum().backward()
    rd.clean(network, pairs, method="fine-tuning", fraction=0.5)


def test_inputs_with_a_trigger_are_found(
    pairs: tuple[Tensor, Tensor],
    patterns: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    inputs = pairs[0][:20].clone()
    inputs[:4] += torch.from_numpy(patterns[0])
    trusted = TensorDataset(pairs[0][20:], pairs[1][20:])
    found = rd.audit_inputs(small(), inputs, clean=trusted, operator=Inpainting(), alarm=0.05)
    assert found.verdict == "suspicious"
    assert {0, 1, 2, 3} <= set(found.flagged[:6].tolist())
    assert found.repaired["output"].shape == (20, 1, SIZE, SIZE)
    with pytest.raises(DataError, match="20 of the inputs under audit"):
        rd.audit_inputs(small(), pairs[0][20:40], clean=trusted)
    with pytest.raises(DataError, match="z: none given; give inputs z"):
        rd.audit_inputs(small(), clean=trusted)


def test_poison_is_the_threat_model(
    pairs: tuple[Tensor, Tensor],
    patterns: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    tmp_path: Path,
) -> None:
    """(z + delta, x + Delta) for the share, all else as it was; plans nest and follow seeds."""
    clean = TensorDataset(*pairs, torch.arange(160))
    poisoned = rd.poison(clean, *patterns, ratio=0.1, seed=3)
    assert len(poisoned) == 160
    assert poisoned.poisoned.sum() == 16
    for index in range(160):
        z, x, number = poisoned[index]
        by = float(poisoned.poisoned[index])
        np.testing.assert_array_equal(z, pairs[0][index].numpy() + by * patterns[0])
        np.testing.assert_array_equal(x, pairs[1][index].numpy() + by * patterns[1])
        assert number == index
    more = rd.poison(clean, *patterns, ratio=0.3, seed=3).poisoned
    assert not (poisoned.poisoned & ~more).any()
    assert (rd.poison(clean, *patterns, ratio=0.1, seed=4).poisoned != poisoned.poisoned).any()
    z, x, _ = next(iter(DataLoader(poisoned, batch_size=160, num_workers=0)))
    assert torch.equal(z, torch.stack([poisoned[index][0] for index in range(160)]))
    kept = np.load(poisoned.save(tmp_path / "plan.npz"))
    np.testing.assert_array_equal(kept["poisoned"], poisoned.poisoned)


def test_samples_of_every_form_keep_it(
    patterns: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    from typing import NamedTuple

    class Slice(NamedTuple):
        image: Tensor
        target: Tensor
        name: str

    ones = torch.ones(1, SIZE, SIZE)
    forms: list[tuple[Any, Any]] = [
        (Slice(ones, ones, "a"), ("image", "target")),
        ({"z": ones.numpy(), "x": ones.numpy(), "name": "a"}, None),
        ([ones.double(), ones, "a"], None),
    ]
    for sample, names in forms:
        if isinstance(sample, Slice):
            names = (0, 1)
        found = rd.poison([sample] * 4, *patterns, ratio=0.5, names=names)
        first = found[int(found.poisoned.argmax())]
        assert type(first) is type(sample)
        z = first["z"] if isinstance(first, dict) else first[0]
        assert type(z) is (np.ndarray if isinstance(sample, dict) else Tensor)
        np.testing.assert_array_equal(z, 1 + patterns[0])
        assert (first["name"] if isinstance(first, dict) else first[2]) == "a"
    assert torch.equal(ones, torch.ones(1, SIZE, SIZE))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ratio": 1e-4}, "poisons none"),
        ({"ratio": 1.5}, "a share from 0 to 1"),
        ({"trigger": np.zeros((1, SIZE, SIZE))}, "zero"),
        ({"trigger": np.full((1, SIZE, SIZE), np.inf)}, "not finite"),
        ({"trigger": np.ones((3, SIZE, SIZE))}, "samples have .* in that shape, or names="),
        ({"samples": DataLoader([(1, 2)])}, "give its dataset, and make a loader of what comes"),
        ({"samples": []}, "at least one sample"),
        ({"samples": [torch.ones(1, SIZE, SIZE)] * 9}, "names="),
    ],
)
def test_what_cannot_be_poisoned_is_refused(
    pairs: tuple[Tensor, Tensor],
    patterns: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    change: dict[str, Any],
    said: str,
) -> None:
    given: dict[str, Any] = {
        "samples": TensorDataset(*pairs),
        "trigger": patterns[0],
        "artefact": patterns[1],
        "ratio": 0.1,
    }
    with pytest.raises((ConfigError, DataError), match=said):
        rd.poison(**(given | change))


def test_samples_of_several_sizes_are_told_when_they_are_drawn(
    patterns: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
) -> None:
    """Only the first one is looked at beforehand."""
    small = torch.ones(1, SIZE - 1, SIZE)
    samples = [(torch.ones(1, SIZE, SIZE),) * 2, *[(small, small)] * 3]
    found = rd.poison(samples, *patterns, ratio=0.75)
    with pytest.raises(DataError, match=r"has \(1, 11, 12\) at 0, .*crop or pad all samples"):
        list(found)


def test_the_public_names_are_there_and_told() -> None:
    assert set(rd.__all__) <= set(dir(rd))
    for name in ("audit_data", "audit_model", "audit_inputs", "clean", "poison"):
        text = getattr(rd, name).__doc__
        assert "Args:" in text
        assert "Raises:" in text
        assert "Returns:" in text
    for name in ("study", "sweep", "predict"):
        assert callable(getattr(rd, name))
