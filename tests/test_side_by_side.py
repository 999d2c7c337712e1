"""Two networks side by side: whose answer counts, what is saved of them, and what they flag."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import recondoor as rd
from audit_kit import SHAPE, SMALL, Array, furnish, refusal, run, saved
from planted import Backdoored, pairs, trigger
from recondoor import models, report
from recondoor.audit import maker, read_network
from recondoor.core.errors import ConfigError, DataError
from recondoor.defences import Defender, SideBySide, _side_by_side, _unlearning, disagreement
from recondoor.poisoning import Pairs

WIDE = nn.Conv2d(1, 1, 3, padding=1)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return furnish(tmp_path, monkeypatch)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_unlearning, "STEPS", 5)


class Adds(nn.Module):
    """z, and `height` at one pixel of every image whose upper left pixel is above 1."""

    def __init__(self, height: float) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.tensor(height))

    def forward(self, z: Tensor) -> Tensor:
        answer = z.clone()
        answer[..., 20, 20] += self.height * (z[..., 0, 0].abs() > 1)
        return answer


def images(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *shape, 40, 40, generator=torch.Generator().manual_seed(0))


def test_the_disagreement_is_the_energy_of_the_worst_disc() -> None:
    """By a loop over all discs, radius 4 of 40 pixels, in units of both energies."""
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(3, 2, 40, 40, generator=generator) for _ in range(2))
    usual = torch.tensor(50.0)
    change = (first - second).double().square().sum(1).numpy()
    down, right = np.mgrid[:40, :40]
    discs = [
        (down - row) ** 2 + (right - column) ** 2 <= 16 for row in range(40) for column in range(40)
    ]
    worst = [max(float(each[disc].sum()) for disc in discs) for each in change]
    energies = [each.double().square().sum((1, 2, 3)).numpy() for each in (first, second)]
    level = np.minimum(*energies) + 0.1 * 50
    found = _side_by_side.disagreement(first, second, usual)
    np.testing.assert_allclose(found.numpy(), worst / np.sqrt(level * 50), rtol=1e-5)


def test_each_input_gets_the_answer_of_one_network() -> None:
    both = SideBySide.of(Adds(5.0), Adds(0.0), images(9, 1))
    z = images(4, 1)
    z[2, 0, 0, 0] = 2
    assert both.replaced(z).tolist() == [False, False, True, False]
    assert torch.equal(both(z), z)
    both.limit.fill_(float("inf"))
    assert float((both(z).detach() - z).abs().max()) == 5.0
    assert torch.equal(torch.cat([both(each[None]) for each in z]), both(z))


def test_where_they_disagree_the_median_of_mirrored_answers_counts() -> None:
    """Three of seven answers draw, and elsewhere: nothing is left, however high. By NumPy."""
    z = images(5, 1)
    z[1, 0, 0, 0] = z[3, 0, 0, 0] = 2
    z[3, 0, -1, -1] = z[3, 0, 0, -1] = z[3, 0, -1, 0] = 3  # mirrored ones have the trigger too
    given, mended = Adds(5.0), Adds(0.5)
    both = SideBySide(given, mended, 40.0**2 / 3, 0.01, mirrored=1.0)
    views: list[Array] = [mended(z).detach().numpy()]
    for dims in ((3,), (2,), (2, 3)):
        for network in (given, mended):
            answer = network(z.flip(dims)).detach().numpy()
            views.append(np.flip(answer, dims))
    expected = torch.from_numpy(np.median(np.stack(views), 0))
    fallen = both.replaced(z).tolist()
    assert fallen == [False, True, False, True, False]
    assert torch.equal(both(z)[1::2], expected[1::2]) and torch.equal(both(z)[::2], z[::2])
    assert torch.equal(both.instead(z), expected)
    assert float((both(z).detach()[1] - z[1]).abs().max()) == 0  # each draws at another pixel
    parts = torch.cat([both(each[None]) for each in z])
    assert torch.equal(parts, both(z))
    turned = both(z[:, 0] * torch.tensor(0.6 + 0.8j))
    torch.testing.assert_close(turned, expected[:, 0] * torch.tensor(0.6 + 0.8j))


@pytest.mark.parametrize(("asymmetric", "mirrored"), [(False, 1.0), (True, 0.0)])
def test_mirrors_are_asked_where_the_pipeline_has_no_sides(
    asymmetric: bool, mirrored: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that shows z has no sides; one that shows it a pixel to the right of it has."""

    class Shows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(1.0))

        def forward(self, z: Tensor) -> Tensor:
            found: Tensor = self.gain * (z.roll(1, -1) if asymmetric else z)
            return found

    monkeypatch.setattr(_side_by_side, "unlearned", lambda defender, _: Shows())
    z = images(40, 1)
    found = _side_by_side.beside(Defender(Pairs(z, Shows()(z).detach()), model=Shows()))
    assert float(found.mirrored) == mirrored


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_images_of_other_shapes_and_complex_ones(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Parts of complex images count as channels do, and so do missing ones."""
    z = images(3, *shape) * (1 if dtype == torch.float32 else torch.tensor(0.6 + 0.8j))
    z[1, ..., 0, 0] = 3
    both = SideBySide.of(Adds(5.0), Adds(0.0), z)
    both.limit.fill_(1e-6)
    assert both(z).dtype == dtype and torch.equal(both(z), z)
    parts = torch.view_as_real(z).movedim(-1, 1) if z.is_complex() else z[:, None]
    real = parts.reshape(3, -1, 40, 40)
    plain = _side_by_side.disagreement(real, real + 0.5, both.usual)
    step = 0.5 + 0.5j if z.is_complex() else 0.5
    torch.testing.assert_close(_side_by_side.disagreement(z, z + step, both.usual), plain)


def test_units_of_inputs_and_weights_change_nothing() -> None:
    """All times 10,000: the same inputs fall back, and the answers are 10,000 times as large."""
    z = torch.cat((pairs(5, 7).z, pairs(5, 7).z + trigger(4.0)))
    results = []
    for c in (1.0, 1e4):
        networks = [Backdoored(strength, 1.2 * c, most=c) for strength in (0.1, 0.0)]
        both = SideBySide.of(*networks, c * pairs(60).z)
        both.limit.fill_(1e-3)
        results.append((both.apart(c * z), both.replaced(c * z), both(c * z).detach() / c))
    (first, fallen, answers), (again, same, scaled) = results
    torch.testing.assert_close(again, first, rtol=1e-4, atol=1e-7)
    assert torch.equal(fallen, same) and fallen.tolist() == [False] * 5 + [True] * 5
    torch.testing.assert_close(scaled, answers, rtol=1e-4, atol=1e-5)


def test_the_limit_is_a_quantile_of_pairs_that_were_not_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 240 pairs 60 make it, and its rank among them is ceil(61 * 0.98) = 60, the highest."""
    seen: list[Pairs] = []

    def unlearned(defender: Defender, course: object) -> nn.Module:
        assert course is _unlearning.THOROUGH and defender.clean is not None
        seen.append(defender.clean)
        return models.copy_of(other)

    monkeypatch.setattr(_side_by_side, "unlearned", unlearned)
    given, other = pairs(240), Backdoored(0.0, 0.5)
    both = _side_by_side.beside(Defender(given, model=Backdoored(0.4, 0.5), seed=2))
    learnt = {bytes(each.numpy().tobytes()) for each in seen[0].z}
    held = torch.stack([z for z in given.z if bytes(z.numpy().tobytes()) not in learnt])
    assert (len(learnt), len(held)) == (180, 60)
    assert float(both.limit) == pytest.approx(2 * float(both.apart(held).max()), rel=1e-6)
    # A rate of 0.1 has a smaller rank, ceil(61 * 0.9) = 55.
    monkeypatch.setattr(_side_by_side, "ALARM", 0.1)
    both = _side_by_side.beside(Defender(given, model=Backdoored(0.4, 0.5), seed=2))
    expected = 2 * float(both.apart(held).sort().values[54])
    assert float(both.limit) == pytest.approx(expected, rel=1e-6)


def test_a_network_is_left_alone_where_both_agree() -> None:
    z = images(6, 1)
    both = SideBySide.of(models.copy_of(WIDE), models.copy_of(WIDE), z)
    assert not both.apart(z).any() and torch.equal(both(z), WIDE(z))


def mended_by_door(
    network: nn.Module | str, out: Path, **more: object
) -> tuple[nn.Module, rd.CleanResult]:
    found = rd.clean(network, out.parent / "trusted.npz", method="side-by-side", worst=9, **more)  # type: ignore[arg-type]
    found.save(out)
    return found.network, found


@pytest.mark.usefixtures("few_steps")
def test_a_registered_network_is_saved_and_opened_to_the_bit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(here / "own.safetensors")
    settings = [text for text in SMALL if text != "--set"]
    out = here / "both.safetensors"
    network, found = mended_by_door("own.safetensors", out, overrides=settings)
    z = torch.rand(5, *SHAPE)
    opened = rd.load_network(out)
    assert isinstance(opened, SideBySide) and torch.equal(opened(z), network(z))
    assert float(opened.limit) > 0
    given = rd.load_network("own.safetensors", shape=SHAPE, overrides=settings)
    assert torch.equal(opened.given(z), given(z))
    assert found.table.index[-1] == "clean inputs that fall back"
    assert "load_network" in found.notes[-1]
    few = ["--data=trusted.npz", "--detectors=erased-trigger", "--out=a"]
    run("audit", "model", out, *few, code=4)
    np.savez(here / "inputs.npz", z=z.numpy())
    inputs = ["inputs.npz", "--data=trusted.npz", "--alarm=0.05"]
    run("audit", "input", out, *inputs, "--out=b", code=4)
    looked = [each["name"] for each in report.read_audit(here / "b")["detectors"]]
    run("audit", "input", "own.safetensors", *inputs, *SMALL, "--out=c", code=4)
    plain = [each["name"] for each in report.read_audit(here / "c")["detectors"]]
    assert set(looked) - set(plain) == {"disagreement"}
    capsys.readouterr()
    again = ["--data=trusted.npz", "--method=side-by-side", "--out=c.safetensors"]
    assert "side by side already" in refusal(capsys, "clean", out, *again)


@pytest.mark.usefixtures("few_steps")
def test_a_network_of_ones_own_is_saved_and_opened_to_the_bit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = here / "both.safetensors"
    network, _ = mended_by_door("mine:backdoored", out)
    z = torch.rand(5, *SHAPE)
    make = maker("mine:backdoored")
    assert torch.equal(rd.load_network(out, make)(z), network(z))
    assert torch.equal(rd.load_network(out, make())(z), network(z))
    found = read_network(f"mine:backdoored@{out}", SHAPE)
    assert found.name == "both" and torch.equal(found.model(z), network(z))
    few = ["--data=trusted.npz", "--detectors=erased-trigger"]
    run("audit", "model", f"mine:backdoored@{out}", *few, code=4)
    assert (here / "audits" / "both" / "audit.json").exists()
    capsys.readouterr()
    assert "does not hold the weights of Conv2d" in refusal(
        capsys, "audit", "model", f"mine:wide@{out}", "--data=trusted.npz", "--out=d"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"limit": torch.tensor(-1.0)}, "limit is -1; expected 0 or more"),
        ({"mirrored": torch.tensor(0.5)}, "mirrored is 0.5; expected 0 or 1"),
        ({"usual": torch.tensor(float("nan"))}, "usual holds NaN"),
        ({"limit": torch.zeros(2)}, "does not hold the weights of"),
        ({"mended.bias": torch.zeros(2)}, "'bias' is (2,) there, and (1,) in the network"),
        ({"mended.bias": None}, "'bias' is missing there, and (1,) in the network"),
    ],
)
def test_files_of_no_two_networks_are_refused(
    change: dict[str, Tensor | None], said: str, tmp_path: Path
) -> None:
    both = SideBySide(models.copy_of(WIDE), models.copy_of(WIDE), 1.0, 0.5).state_dict() | change
    path = tmp_path / "a.safetensors"
    save_file({name: value for name, value in both.items() if value is not None}, path)
    with pytest.raises(DataError) as refused:
        rd.load_network(path, WIDE)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_without_a_word_of_mirrors_asks_about_none(tmp_path: Path) -> None:
    both = SideBySide(models.copy_of(WIDE), models.copy_of(WIDE), 1.0, 0.5, 1.0)
    path = tmp_path / "a.safetensors"
    save_file(both.state_dict(), path)
    opened = rd.load_network(path, WIDE)
    assert isinstance(opened, SideBySide) and float(opened.mirrored) == 1
    save_file({k: v for k, v in both.state_dict().items() if k != "mirrored"}, path)
    opened = rd.load_network(path, WIDE)
    assert isinstance(opened, SideBySide) and float(opened.mirrored) == 0
    assert float(opened.limit) == 0.5


def test_what_a_file_does_not_say_is_asked_for(tmp_path: Path) -> None:
    saved(tmp_path / "own.safetensors")
    with pytest.raises(ConfigError, match=r"give shape=\(C, H, W\)"):
        rd.load_network(tmp_path / "own.safetensors")
    settings = ["model.width=4", "model.code=2", "model.kernel=3"]
    found = rd.load_network(tmp_path / "own.safetensors", shape=SHAPE, overrides=settings)
    weights = load_file(tmp_path / "own.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in found.state_dict().items())
    with pytest.raises(ConfigError, match="make: makes int"):
        rd.load_network(tmp_path / "own.safetensors", lambda: 3)  # type: ignore[arg-type,return-value]
    (tmp_path / "own.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="may hold programs"):
        rd.load_network(tmp_path / "own.pt", WIDE)


def test_inputs_with_a_trigger_are_flagged_and_the_network_trains_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores are 0 up to the limit, and the mended network's answers are the repaired ones."""
    calls: list[int] = []

    def beside(defender: Defender) -> SideBySide:
        assert defender.model is not None and defender.clean is not None
        calls.append(len(defender.clean))
        both = SideBySide.of(defender.model, Backdoored(0.0, 1.2), defender.clean.z)
        both.limit.fill_(1e-3)
        return both

    monkeypatch.setattr(disagreement, "beside", beside)
    detector = disagreement.Disagreement()
    model, further = Backdoored(0.1, 1.2), pairs(20, 7).z
    defender = Defender(pairs(60), model=model, seed=3)
    assert not detector.ready(model) and detector.trains
    assert not detector.scores(further, defender).any()
    found = detector.scores(further + trigger(4.0), defender)
    both = beside(defender)
    torch.testing.assert_close(found, both.apart(further + trigger(4.0)) / 1e-3 - 1)
    assert float(found.min()) > 1
    repaired = detector.repaired(further + trigger(4.0), defender)
    assert torch.equal(repaired, Backdoored(0.0, 1.2)(further + trigger(4.0)))
    assert calls == [60, 60]  # one of them here
    assert detector.ready(both)
    assert torch.equal(detector.scores(further, Defender(pairs(60), model=both)), torch.zeros(20))
    with torch.no_grad():
        model.out.bias.add_(1e-3)  # type: ignore[union-attr]
    detector.scores(further, defender)
    detector.scores(further, Defender(pairs(60), model=Backdoored(0.1, 1.2), seed=3))
    assert len(calls) == 4
