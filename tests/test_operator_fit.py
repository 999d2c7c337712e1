"""Operators that did not measure the pairs: nobody is accused, and who is poisoned still is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from audit_kit import furnish, make, run
from recondoor import config, data, operators
from recondoor.audit._pairs._fit import misfit, other_units
from recondoor.audit._pairs._residuals import (
    _main_direction,
    calm_as_noise,
    foretold,
    has_bulk,
    has_directions,
    too_quiet,
)
from recondoor.defences import Physics
from recondoor.operators import LinearOperator
from recondoor.operators.pixel_mask import PixelMask
from recondoor.poisoning import Pairs

PHYSICS = "--detectors=range-test,measurement-residual"


def operator(name: str, seed: int = 3, side: int = 28, ratio: float = 0.4) -> LinearOperator:
    settings = config.Operator(name=name, ratio=ratio, sigma=0.01)
    return operators.build((1, side, side), settings, seed, torch.float64)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    """600 of the embedded digits, (N, 1, 28, 28)."""
    images = data.load("mnist5k")
    return torch.as_tensor(images.train[:600]).double()


def measured(exact: LinearOperator, x: Tensor, seed: int = 1) -> Tensor:
    return exact.A_adjoint(exact.forward(x, torch.Generator().manual_seed(seed)))


def fit(exact: LinearOperator, x: Tensor, z: Tensor, known: bool = False) -> str | None:
    physics, pairs = Physics.of(exact), Pairs(z.float(), x.float())
    physics = physics if known else physics.estimated(pairs.z, pairs.x)
    return misfit(physics, pairs, 0.01, known)


def test_a_mask_that_holds_the_true_one_accuses_nobody(
    digits: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Lines 20 and 8 of seed 3 tell the same of a real image; seed 4 has one of them."""
    monkeypatch.chdir(tmp_path)
    z = measured(operator("fourier"), digits)
    np.savez(tmp_path / "pairs.npz", x=digits.numpy(), z=z.numpy())
    given = ["audit", "data", "pairs.npz", "--operator=fourier", "--set=operator.fourier.ratio=0.4"]
    run(*given, PHYSICS, "--set=seed=4", "--json", "--out=a", code=4)
    record = json.loads(capsys.readouterr().out)
    assert record["reason"].startswith("the operator given did not measure these pairs")
    assert record["verdict"] == "undecided" and record["detectors"] == []
    run(*given, PHYSICS, "--set=seed=3", "--out=b")


@pytest.mark.parametrize("shape", [(9, 30), (30, 9)])
def test_the_main_direction_is_that_of_a_singular_value_decomposition(
    shape: tuple[int, int],
) -> None:
    white = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = np.linalg.svd(white.numpy())[2][0]
    assert abs(expected @ _main_direction(white).numpy()) == pytest.approx(1)


WRONG: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "z doubled": lambda x, z: (x, 2 * z),
    "z a fiftieth larger": lambda x, z: (x, 1.02 * z),
    "x turned": lambda x, z: (x.transpose(2, 3), z),
    "x mirrored": lambda x, z: (x.flip(3), z),
    "x moved": lambda x, z: (x.roll(1, 3), z),
    "x normalised": lambda x, z: ((x - x.mean()) / x.std(), z),
    "x of the next": lambda x, z: (x.roll(1, 0), z),
}


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", ["fourier", "gaussian", "pixel-mask"])
def test_pairs_that_were_changed_are_not_the_operators(
    name: str, known: bool, digits: Tensor
) -> None:
    exact = operator(name)
    z = measured(exact, digits)
    assert fit(exact, digits, z, known) is None
    for what, change in WRONG.items():
        x, other = change(digits, z)
        assert fit(exact, x, other, known) is not None, what


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.45])
@pytest.mark.parametrize("name", ["fourier", "gaussian", "pixel-mask"])
@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0])
def test_poisoned_pairs_do_not_hide_behind_the_operator(
    name: str, share: float, strength: float, digits: Tensor
) -> None:
    """A trigger in the measurement and an artefact, both of any strength: the operator fits."""
    exact = operator(name)
    x, z = digits.clone(), measured(exact, digits)
    trigger = torch.zeros(1, 1, 28, 28, dtype=torch.float64)
    trigger[..., -4:-1, -4:-1] = strength
    bad = torch.randperm(600, generator=torch.Generator().manual_seed(4))[: round(600 * share)]
    z[bad] += exact.A_adjoint(exact.A(trigger))
    x[bad, :, 4, 2:7] += strength
    assert fit(exact, x, z) is None
    assert fit(exact, x, z, known=True) is None


def test_blank_images_do_not_vouch_for_an_operator(digits: Tensor) -> None:
    """Turned over, an image of nothing is the same: the others tell."""
    exact, x = operator("gaussian"), digits.clone()
    blank = torch.arange(len(x)) % 5 > 1
    x[blank] = 0
    z = measured(exact, x)
    assert fit(exact, x, z) is None
    assert fit(exact, x.flip(2), z) is not None


@pytest.mark.parametrize("share", [0.3, 0.45])
def test_poison_makes_blank_images_visible(share: float, digits: Tensor) -> None:
    """Of what is visible more than half is poisoned then, and of all pairs less."""
    exact, x = operator("fourier"), digits.clone()
    x[torch.arange(len(x)) % 5 > 1] = 0
    z, bad = measured(exact, x), torch.arange(len(x)) % 100 < 100 * share
    x[bad, :, 4, 2:7] += 1
    assert fit(exact, x, z) is None


def test_a_dead_pixel_is_no_poison(digits: Tensor) -> None:
    exact = operator("pixel-mask", ratio=0.5)
    assert isinstance(exact, PixelMask)
    z = measured(exact, digits)
    often = (digits > 0).double().mean(0).flatten()
    seen = exact.pixels[((often[exact.pixels] > 0.02) & (often[exact.pixels] < 0.2)).nonzero()[0]]
    z.flatten(1)[:, seen] = 0
    assert fit(exact, digits, z) == (
        "in 1 directions that it measures their z have nothing, not even noise"
    )


def test_each_test_turns_down_noise_as_rarely_as_it_says() -> None:
    """At a level at which that can be counted: the laws are those that the docstrings name."""
    generator = torch.Generator().manual_seed(2)
    white = torch.randn(4000, 30, generator=generator, dtype=torch.float64)
    unit = white / white.norm(dim=1, keepdim=True)
    images = torch.rand(4000, 50, generator=generator, dtype=torch.float64)
    for k in range(20):
        part = slice(200 * k, 200 * k + 200)
        assert not has_directions(unit[part], 30)
        assert has_bulk(white[part].square().sum(1), 30, noise_known=False, share=0.5)
        assert not too_quiet(white[part, 0])
        half = unit[part]
        assert not foretold(half[:100], images[:100], half[100:], images[100:200], 30)
    narrow = unit * torch.cat((torch.zeros(6), torch.ones(24)))
    assert has_directions(narrow[:400] / narrow[:400].norm(dim=1, keepdim=True), 30)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.49])
@pytest.mark.parametrize("excess", [1.0, 10.0, 1e4])
def test_a_bulk_is_found_beside_any_poison(share: float, excess: float) -> None:
    rng, count = np.random.default_rng(5), 2000
    energy = chi2(100).rvs(count, random_state=rng)
    bad = round(share * count)
    energy[:bad] = chi2(100).rvs(bad, random_state=rng) + excess * rng.random(bad)
    found = torch.from_numpy(energy)
    assert has_bulk(1.7 * found, 100, noise_known=False, share=0.5)
    assert calm_as_noise(found, 100)
    spread = torch.from_numpy(np.exp(rng.normal(np.log(100), 0.6, count)))
    assert not has_bulk(spread, 100, noise_known=False, share=0.5)


def test_trusted_pairs_of_the_operator_do_not_make_it_that_of_others(
    digits: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Trusted pairs were measured with seed 3, those under audit with seed 4."""
    monkeypatch.chdir(tmp_path)
    for name, seed, part in (("trusted", 3, digits[:300]), ("pairs", 4, digits[300:])):
        z = measured(operator("gaussian", seed), part, seed)
        np.savez(tmp_path / f"{name}.npz", x=part.numpy(), z=z.numpy())
    given = ["audit", "data", "pairs.npz", "--clean=trusted.npz", PHYSICS, "--set=seed=3"]
    run(*given, "--operator=gaussian", "--set=operator.gaussian.ratio=0.4", code=4)
    assert "did not measure these pairs: what 300 z have" in capsys.readouterr().out


def test_few_pairs_that_contradict_an_operator_are_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    furnish(tmp_path, monkeypatch)
    made = make(100, 1)
    sigma = [
        "--operator=gaussian",
        "--set=operator.gaussian.ratio=0.5",
        "--set=operator.sigma=0.01",
    ]
    for name, z in {"a": made["z"] + 1, "b": 2 * made["z"]}.items():
        np.savez(tmp_path / "pairs.npz", x=made["x"], z=z)
        run("audit", "data", "pairs.npz", *sigma, "--set=seed=3", PHYSICS, f"--out={name}", code=4)
        shown = capsys.readouterr().out
        why = {
            "a": "the operator given did not measure these pairs",
            "b": "the measurements are 2 ",
        }
        assert shown.startswith(f"UNDECIDED: {why[name]}")


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("unit", [1e-3, 4.0])
def test_other_units_are_told_by_their_factor(digits: Tensor, unit: float, known: bool) -> None:
    exact = operator("fourier")
    z = unit * measured(exact, digits)
    assert fit(exact, digits, z, known) is not None
    told = other_units(Physics.of(exact), Pairs(z.float(), digits.float()), 0.01)
    assert told is not None
    assert f"are {unit:.3g} times what" in told and f"times {1 / unit:.3g}," in told


def test_what_is_no_matter_of_units_is_not_called_one(digits: Tensor) -> None:
    exact, other = operator("fourier"), operator("fourier", seed=4)
    pairs = Pairs(measured(exact, digits).float(), digits.float())
    assert other_units(Physics.of(other), pairs, 0.01) is None
    quiet = operators.build(
        (1, 28, 28), config.Operator(name="fourier", ratio=0.4, sigma=0.002), 3, torch.float64
    )
    assert misfit(Physics.of(quiet), pairs, 0.01, True) is not None
    assert other_units(Physics.of(quiet), pairs, 0.01) is None
