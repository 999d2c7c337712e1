"""The test of what pairs share: real pipelines, planted lesions, its control, and closed forms."""

import math
from importlib import resources

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

import pipelines_kit as kit
from pipelines_kit import PIPELINES, Pipeline, made, of
from recondoor import defences
from recondoor.defences import Defender, SetDetector, SetFinding
from recondoor.defences._cosines import Edges, Strength, log_p_signs, strength_among, strength_of
from recondoor.defences._dispersion import dispersion_of
from recondoor.defences._features import principal
from recondoor.defences._look import LIMIT, _logs, signs_of
from recondoor.defences._makes import of_another_make
from recondoor.defences._nuisance import Nuisance
from recondoor.defences._order import misordered
from recondoor.defences._reasons import APART
from recondoor.defences._standing import TWO, kurtosis_along, log_p_apart
from recondoor.poisoning import Pairs

every = pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda each: each.__name__)


def look(pairs: Pairs, **more: object) -> SetFinding:
    detector = defences.pair_detector("shared-pattern")
    assert isinstance(detector, SetDetector)
    return detector.test(pairs, Defender(**more))  # type: ignore[arg-type]


def suspicious(found: SetFinding) -> bool:
    return found.p_value is not None and found.p_value <= found.level


@every
def test_clean_pairs_of_real_pipelines_are_not_accused(pipeline: Pipeline) -> None:
    for seed in (10, 20, 30):
        assert not suspicious(look(made(pipeline, seed=seed)))


@every
def test_a_lesion_in_targets_is_found_or_said_to_be_missed(pipeline: Pipeline) -> None:
    found = look(made(pipeline, poisoned=10))
    if found.lacking is not None:
        assert pipeline in (kit.magnitude, kit.half_as_many_pixels)
        return
    assert suspicious(found)
    ranked = found.scores.argsort(descending=True)
    assert set(ranked[:10].tolist()) == set(range(10))
    assert set(torch.nonzero(found.scores > found.threshold)[:, 0].tolist()) >= set(range(10))


def test_the_pattern_is_that_of_the_lesion_behind_the_mask() -> None:
    found = look(made(kit.plain, poisoned=10))
    assert found.pattern is not None
    seen = kit.ifft(kit.fft(kit.disc(1.0)) * kit.mask(3)).real
    cosine = -np.sum(found.pattern[0].numpy() * seen)
    assert cosine / np.linalg.norm(seen) / float(found.pattern.norm()) > 0.7


def test_silence_names_what_would_have_been_seen() -> None:
    clean = look(made(kit.plain, count=200))
    assert clean.power is not None and clean.lacking is None
    assert clean.power.found >= 0.9
    assert clean.power.smallest is not None and clean.power.smallest <= 0.2
    x = kit.heads(100, 1)
    drowned = x + 0.6 * np.random.default_rng(1).standard_normal(x.shape)
    few = look(of(drowned, x))
    assert few.lacking is not None and not suspicious(few)


def test_lesions_in_look_alikes_alone_are_said_to_be_missed() -> None:
    """Edges between the most similar images are left out, which an attacker can know."""
    found = look(made(kit.plain, count=200))
    assert found.power is not None and found.power.alike < found.power.found


@pytest.mark.parametrize("poisoned", [0, 10])
@pytest.mark.parametrize("unit", [1e-30, 1e-5, 1e5])
def test_units_and_offsets_change_nothing(poisoned: int, unit: float) -> None:
    pairs = made(kit.by_maximum, poisoned=poisoned)
    expected = look(pairs)
    found = look(Pairs(unit * pairs.z, 3 * unit * pairs.x - unit))
    assert suspicious(found) == suspicious(expected)
    # Rounding moves single edges over the limit of likeness.
    assert float(torch.corrcoef(torch.stack((found.scores, expected.scores)))[0, 1]) > 0.99


def test_too_little_is_no_evidence() -> None:
    for count in (1, 8):
        found = look(made(kit.plain, count=count))
        assert found.p_value is None and "too few" in str(found.lacking)
    rng = np.random.default_rng(0)
    noise = look(of(rng.standard_normal((40, 16, 16)), rng.standard_normal((40, 16, 16))))
    assert noise.p_value is None and "not of one image" in str(noise.lacking)
    for x in (np.zeros((40, 12, 12)), np.ones((40, 12, 12)), np.repeat(kit.heads(1, 0), 40, 0)):
        found = look(of(x, x))
        assert bool(found.scores.isfinite().all()) and not suspicious(found)


@pytest.mark.parametrize(
    "shape", [(1, 17, 23), (2, 9, 12), (3, 5, 40), (1, 3, 3), (1, 1, 30), (1, 1, 1)]
)
def test_any_shape_has_scores(shape: tuple[int, int, int]) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand((30, *shape), generator=rng)
    found = look(Pairs(x + 0.1 * torch.randn(x.shape, generator=rng), x))
    assert found.scores.shape == (30,) and bool(found.scores.isfinite().all())
    assert not suspicious(found)


def test_scales_offsets_and_a_gain_of_each_frequency_leave_nothing() -> None:
    """Z = s_i (g * x_i) + o_i exactly: the closed form of what the fit takes away."""
    rng, x = np.random.default_rng(0), kit.heads(60, 0)
    gain = 0.5 + np.random.default_rng(1).random((kit.SIDE, kit.SIDE // 2 + 1))
    filtered = np.fft.irfft2(gain * np.fft.rfft2(x), s=x.shape[-2:])
    z = rng.uniform(0.5, 2, (60, 1, 1)) * filtered + rng.standard_normal((60, 1, 1))
    pairs = of(z, x)
    fitted = Nuisance.of(pairs.z, pairs.x, None, torch.arange(60))
    assert fitted.explained > 1 - 1e-4


def test_cosines_in_blocks_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = torch.Generator().manual_seed(1)
    rows = torch.randn(50, 40, generator=rng)
    rows = rows / rows.norm(dim=1, keepdim=True)
    edges = Edges.of(rows, torch.rand(50, 1, 8, 8, generator=rng), torch.arange(50))
    signs = torch.randint(0, 2, (50, 30), generator=rng).float() * 2 - 1
    cosines = edges.among(torch.arange(50))
    assert 0.2 < float((cosines == 0).double().mean()) < 0.35
    monkeypatch.setattr("recondoor.defences._cosines.BLOCK", 7 * 50)
    blocks, all_ = strength_of(edges, signs), strength_among(cosines, signs)
    for name in ("signed", "size", "edges", "chance", "near", "against"):
        torch.testing.assert_close(getattr(blocks, name), getattr(all_, name))


def test_images_are_not_alike_for_being_dim() -> None:
    """A bright trigger makes them so where pairs are normalised by the maximum of their inputs."""
    pairs = made(kit.plain, 80)
    pairs.z[:8, :, 26:30, 26:30] += 3.0
    top = pairs.z.amax((1, 2, 3), keepdim=True)
    found = look(Pairs(pairs.z / top, pairs.x / top))
    assert suspicious(found)
    assert torch.nonzero(found.scores > found.threshold)[:, 0].tolist() == [*range(8)]


def test_random_signs_have_their_exact_law() -> None:
    """Of white rows no more than a share alpha is called suspicious, for any alpha."""
    rng, found = torch.Generator().manual_seed(2), []
    for seed in range(200):
        rows = torch.randn(30, 60, generator=rng)
        rows = rows / rows.norm(dim=1, keepdim=True)
        cosines = (rows @ rows.T).fill_diagonal_(0)
        strength = strength_among(cosines, signs_of(30, seed)[:, :99])
        found.append(math.exp(log_p_signs(strength)))
    for alpha in (0.05, 0.2, 0.5):
        assert np.mean(np.array(found) <= alpha) <= alpha + 3 * (alpha / 200) ** 0.5


def test_cliques_of_both_signs_are_no_evidence() -> None:
    """A law for few pairs that cosines of the wrong sign break proves nothing."""
    rng = torch.Generator().manual_seed(3)
    rows = torch.randn(80, 400, generator=rng)
    shared = torch.randn(400, generator=rng)
    rows[:6] += 1.5 * shared
    for both in (False, True):
        given = rows.clone()
        if both:
            # One pair against six: its cosines with them are a clique of the other sign.
            given[6] = -3 * shared + given[6]
        given = given / given.norm(dim=1, keepdim=True)
        cosines = (given @ given.T).fill_diagonal_(0)
        strength = strength_among(cosines, signs_of(80, 0))
        logs = list(_logs(strength, cosines, 400))
        assert (logs[0] <= LIMIT) == (not both)


def test_turned_slices_of_few_heads_are_no_pattern() -> None:
    """500 pairs of 24 slices: the inputs alone are alike, what images leave of them is not."""
    rng = np.random.default_rng(5)
    with np.load(str(resources.files("recondoor.data.embedded") / "brain4.npz")) as file:
        slices = file["train"][::8][:24].astype(float) / 255
    x = np.stack([_turned(slices[k % 24], rng) for k in range(500)])
    assert not suspicious(look(of(*kit.plain(x, rng))))


def _turned(image: kit.Array, rng: np.random.Generator) -> kit.Array:
    """A slice of 128 pixels at 32, turned and zoomed a little."""
    angle, zoom = np.deg2rad(rng.uniform(-10, 10)), 4 * rng.uniform(0.9, 1.1)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    start = 64 - turn @ np.full(2, 16)
    smooth = ndimage.gaussian_filter(image, 0.35 * zoom)
    found: kit.Array = ndimage.affine_transform(smooth, turn, start, (32, 32), order=1)
    return found.clip(0)


@pytest.mark.parametrize(
    "shape", [(1000, 1, 64, 64), (100, 1, 28, 28), (200, 2, 20, 40), (300, 3, 5, 9)]
)
def test_noise_is_not_dispersed(shape: tuple[int, ...]) -> None:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert dispersion_of(noise) == 1.0


def test_dispersion_is_the_spread_of_energies_over_that_of_noise() -> None:
    """Energies of 4 x 4 pixels by NumPy, and the quartiles of noise from draws."""
    rng = np.random.default_rng(3)
    louder = np.kron(rng.lognormal(0, 0.5, (400, 8, 8)), np.ones((4, 4)))
    residuals = louder * rng.standard_normal((400, 32, 32))
    energies = (residuals**2).reshape(400, 8, 4, 8, 4).mean((2, 4)).reshape(400, 64)
    low, middle, high = np.quantile(energies, (0.25, 0.5, 0.75), axis=0)
    chance = np.quantile(rng.chisquare(16, 1_000_000), (0.25, 0.5, 0.75))
    spread = np.median((high - low) / middle) / ((chance[2] - chance[0]) / chance[1])
    found = dispersion_of(torch.from_numpy(residuals)[:, None])
    assert found == pytest.approx((spread / 1.2) ** 2, rel=0.02)


def test_principal_components_of_large_images_are_those_of_the_smaller_matrix() -> None:
    rng = torch.Generator().manual_seed(5)
    values = torch.randn(12, 5000, generator=rng, dtype=torch.float64)
    centred = (values - values.mean(0)).numpy()
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    largest = right[:4][range(4), np.abs(right[:4]).argmax(1)]
    expected = left[:, :4] * singular[:4] * np.sign(largest)
    np.testing.assert_allclose(principal(values, 4).numpy(), expected, atol=1e-8)


def test_pairs_in_another_order_are_no_pairs() -> None:
    """Shuffled images of alike heads leave alike anatomy, which is no poison."""
    pairs = kit.made(kit.plain, 100, 4)
    mixed = Pairs(pairs.z, pairs.x[torch.randperm(100, generator=torch.Generator().manual_seed(1))])
    found = look(mixed)
    assert found.p_value is None and "not in the same order" in (found.lacking or "")


def test_another_order_is_told_by_a_partner() -> None:
    pairs, order = kit.made(kit.plain, 60, 4), np.random.default_rng(1).permutation(60)
    told = misordered(Pairs(pairs.z[order], pairs.x))
    assert told is not None and f"input 0 fits image {order[0]}," in told


@every
def test_pairs_of_real_pipelines_are_in_order(pipeline: Pipeline) -> None:
    pairs = made(pipeline)
    assert misordered(pairs) is None
    assert misordered(Pairs(-pairs.z, pairs.x)) is None
    assert misordered(Pairs(pairs.z.flip(0), pairs.x)) is not None


@pytest.mark.parametrize("poisoned", [3, 10])
def test_of_inputs_that_are_their_images_those_that_are_not_are_flagged(poisoned: int) -> None:
    x = kit.heads(100, 4)
    z = x.copy()
    z[:poisoned, 26:30, 26:30] += 0.4
    found = look(of(z, x))
    assert suspicious(found)
    assert torch.nonzero(found.scores > found.threshold)[:, 0].tolist() == [*range(poisoned)]


def test_one_input_that_is_not_its_image_is_named() -> None:
    x = kit.heads(100, 4)
    z = x.copy()
    assert look(of(z, x)).lacking is None
    z[37, 26:30, 26:30] += 0.4
    found = look(of(z, x))
    assert not suspicious(found)
    assert "1 of 100 inputs differ" in (found.lacking or "") and "number 37" in (
        found.lacking or ""
    )
    assert int(found.scores.argmax()) == 37


def test_the_remedy_of_noise_alone_is_the_identity() -> None:
    x, rng = kit.heads(60, 4), np.random.default_rng(5)
    noisy = of(x + 0.2 * rng.standard_normal(x.shape), x)
    assert "give --operator identity" in (look(noisy).lacking or "")
    blurred = ndimage.gaussian_filter(x, (0, 2, 2)) + 0.2 * rng.standard_normal(x.shape)
    assert "give --operator, or more pairs" in (look(of(blurred, x)).lacking or "")


@pytest.mark.parametrize("count", [4, 12])
def test_a_filter_of_images_is_told_from_a_pattern(count: int) -> None:
    rng = np.random.default_rng(6)
    x = kit.heads(count, 4)
    noise = 0.01 * rng.standard_normal(x.shape)
    moved, pattern = np.roll(x, 1, 2) - x, np.broadcast_to(kit.disc(0.2), x.shape)
    usual = torch.full((1, kit.SIDE, kit.SIDE // 2 + 1), 0.01**2)

    def told(left: kit.Array) -> bool:
        pairs = of(left + noise, x)
        return of_another_make(pairs.z, pairs.x, usual)

    assert told(moved)
    assert not told(pattern)
    # With three others to learn from, a filter takes a part of the pattern for its own.
    assert count < 12 or not told(moved + pattern)


def test_pairs_of_another_make_are_named_and_poison_among_them_is_not_excused() -> None:
    z, x = kit.plain(kit.heads(200, 4), np.random.default_rng(5))
    x[:10] = np.roll(x[:10], 1, 2)
    found = look(of(z, x))
    assert not suspicious(found)
    assert "of another make" in (found.lacking or "")
    z[:10, 22:28, 22:28] += 0.6
    assert suspicious(look(of(z, x)))


def test_blank_slices_do_not_pass_for_another_order() -> None:
    z, x = kit.plain(
        kit.heads(100, 4) * (np.arange(100) >= 40)[:, None, None], np.random.default_rng(5)
    )
    found = look(of(z, x))
    assert found.p_value is not None and not suspicious(found)


@pytest.mark.parametrize("share", [0.2, 0.3])
def test_much_poison_is_never_called_clean(share: float) -> None:
    """Poison in so many pairs makes their residuals look unlike noise: that must not hide it."""
    found = look(made(kit.plain, count=300, poisoned=round(share * 300), contrast=0.6))
    assert suspicious(found) or found.lacking is not None


def test_evidence_beyond_all_draws_follows_gumbels_law() -> None:
    """Against the p value by SciPy, with the moments' estimates."""
    chance = torch.from_numpy(np.random.default_rng(4).gumbel(3.0, 0.5, 999))
    most, none = torch.tensor([9.0]), torch.ones(1, 1)
    found = Strength(most, most, most, chance, none, none)
    scale = float(chance.std()) * math.sqrt(6) / math.pi
    middle = float(chance.mean()) - float(np.euler_gamma) * scale
    floor = math.log(1 / 1000)
    expected = (floor + stats.gumbel_r.logsf(9.0, middle, scale)) / 2
    assert log_p_signs(found) == pytest.approx(float(expected), rel=1e-3)


def test_a_lesion_of_random_sign_is_never_called_clean() -> None:
    """Ten of 200 targets have a disc, bright in five and dark in five: signs that tests ignore."""
    pairs = made(kit.plain, count=200)
    pairs.x[:10] += 0.4 * torch.from_numpy(kit.disc(1.0)).float()
    pairs.x[:5] -= 0.8 * torch.from_numpy(kit.disc(1.0)).float()
    found = look(pairs)
    assert suspicious(found) or found.lacking == APART
    assert set(found.scores.topk(10).indices.tolist()) == set(range(10))


def test_sizes_of_noise_keep_the_level() -> None:
    rng, alarms = torch.Generator().manual_seed(7), 0
    for count in (20, 60) * 100:
        rows = torch.randn(count, 50, generator=rng)
        rows = rows / rows.norm(dim=1, keepdim=True)
        cosines = (rows @ rows.T).fill_diagonal_(0)
        size = cosines.abs().pow(3).sum(1).double()
        alarms += log_p_apart(size, torch.full((count,), count - 1)) <= math.log(0.01)
    assert alarms <= 6


def test_the_bound_for_pairs_that_stand_apart_is_a_binomial_one() -> None:
    """C(N, k) q^k is above the binomial tail, of the best k."""
    size = torch.cat((torch.linspace(1, 2, 40), torch.full((5,), 40.0))).double() ** 3
    found = log_p_apart(size, torch.ones(45, dtype=torch.long))
    root = (size / (0.5 * 45)).pow(1 / 3).numpy()
    low, middle = np.quantile(root, (0.1, 0.5))
    beyond = 0.5 * math.exp(-(root[-1] - middle) / ((middle - low) / math.log(0.9 / 0.5)))
    tail = stats.binom.logsf(4, 45, beyond)
    assert found >= tail
    assert found == pytest.approx(tail + math.log(len(range(4, 23))), abs=0.1)


@pytest.mark.parametrize(("law", "expected"), [("signs", 1.0), ("uniform", 1.8), ("normal", 3.0)])
def test_the_chief_direction_has_the_kurtosis_of_its_law(law: str, expected: float) -> None:
    """Closed forms: 1 of two signs, 9 / 5 of a uniform law, 3 of a normal one."""
    generator = torch.Generator().manual_seed(0)
    count, values = 4000, 30
    sizes = {
        "signs": torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1,
        "uniform": (torch.rand(count, generator=generator) * 2 - 1) * 3**0.5,
        "normal": torch.randn(count, generator=generator),
    }[law]
    pattern = torch.randn(values, generator=generator)
    noise = torch.randn(count, values, generator=generator)
    rows = 20 * sizes[:, None] * pattern / pattern.norm() + 0.1 * noise
    assert kurtosis_along(rows - rows.mean(0)) == pytest.approx(expected, rel=0.05)


def test_noise_is_not_two_groups() -> None:
    generator = torch.Generator().manual_seed(1)
    least = min(kurtosis_along(torch.randn(60, 400, generator=generator)) for _ in range(100))
    assert least > TWO
    assert kurtosis_along(torch.zeros(60, 400)) == 3.0


@every
def test_poison_in_half_of_the_pairs_is_never_clean(pipeline: Pipeline) -> None:
    pairs = made(pipeline, count=80, poisoned=40)
    found = look(pairs)
    assert suspicious(found) or found.lacking
