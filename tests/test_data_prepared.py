"""Settings of images: size, foreground, synthetic phase; defaults leave everything as it was."""

import numpy as np
import pytest

from recondoor import config, data
from recondoor.config import Data
from recondoor.core.errors import ConfigError, DataError
from recondoor.data import Images, prepared
from recondoor.data._resample import area_means

rng = np.random.default_rng(0)
PIXELS = rng.random((6, 1, 12, 8)).astype(np.float32)
MINE = Images.of("mine", PIXELS, PIXELS[:2] / 2, train_subjects=[0, 0, 1, 1, 2, 2])


def test_nothing_set_is_the_same_object() -> None:
    assert prepared(MINE, Data()) is MINE
    assert prepared(MINE, Data(foreground=0)) is MINE


@pytest.mark.parametrize("key", ["data.window", "data.foreground", "data.size", "data.phase"])
def test_settings_count_in_the_identity_where_they_change_something(key: str) -> None:
    value = {"data.window": "0,9", "data.phase": "smooth"}.get(key, "1" if key[5] == "f" else "16")
    plain = config.load_config("quick")
    assert config.identity(config.load_config("quick", (), [f"{key}={value}"])) != config.identity(
        plain
    )
    assert config.original_identity(
        config.load_config("quick", (), [f"{key}={value}"])
    ) != config.original_identity(plain)


@pytest.mark.parametrize("given", ["a", "2,1", "a,b", "0,nan", "1,1", "1,2,3"])
def test_a_window_is_two_numbers(given: str) -> None:
    with pytest.raises(ConfigError, match="expected 'LOW,HIGH'"):
        config.load_config("quick", (), [f"data.window={given}"])


def test_half_the_size_is_the_mean_of_blocks() -> None:
    found = prepared(MINE, Data(size=6))
    square = np.pad(PIXELS, ((0, 0), (0, 0), (0, 0), (2, 2))).astype(np.float64)
    blocks = square.reshape(6, 1, 6, 2, 6, 2).mean((3, 5))
    np.testing.assert_allclose(found.train, blocks, atol=1e-6)
    assert found.train_subjects is not None
    assert found.train_subjects.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.fingerprint != MINE.fingerprint
    assert prepared(MINE, Data(size=12)).train[:, :, :, 2:10].tolist() == PIXELS.tolist()


@pytest.mark.parametrize("side", [2, 5, 7, 11])
def test_any_size_keeps_the_mean_and_makes_no_new_values(side: int) -> None:
    image = rng.random((3, 12, 12))
    found = area_means(image, (1, 1), side, 12 / side)
    np.testing.assert_allclose(found.mean((1, 2)), image.mean((1, 2)), rtol=1e-6)
    assert image.min() <= found.min() <= found.max() <= image.max()


def test_area_means_are_those_of_a_fine_grid() -> None:
    """Against repeating every pixel so often that new pixels are whole blocks of the fine grid."""
    image = rng.random((1, 6, 9))
    fine = np.repeat(np.repeat(image, 20, 1), 20, 2)  # 120 x 180 for 6 x 9 of 1 mm
    padded = np.pad(fine, ((0, 0), (40, 40), (10, 10)), constant_values=-3)  # 200 x 200, 10 x 10 mm
    expected = padded.reshape(1, 8, 25, 8, 25).mean((2, 4))
    np.testing.assert_allclose(area_means(image, (1, 1), 8, 1.25, -3.0), expected, atol=1e-6)


def test_more_pixels_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.size: 13 given.* set data\.size=12 or less"):
        prepared(MINE, Data(size=13))


def test_only_slices_with_enough_in_them_are_kept() -> None:
    filled = np.zeros((4, 10, 10), np.float32)
    for row, count in enumerate((0, 10, 30, 60)):
        filled[row].ravel()[:count] = 0.5
    images = Images.of("a", filled, train_subjects=[4, 5, 6, 7])
    found = prepared(images, Data(foreground=0.3))
    assert found.train_subjects is not None
    assert found.train_subjects.tolist() == [6, 7]
    np.testing.assert_array_equal(found.train[:, 0], filled[2:])
    with pytest.raises(DataError, match=r"at most 0\.6; lower data\.foreground"):
        prepared(images, Data(foreground=0.7))


def test_a_smooth_phase_changes_no_magnitude() -> None:
    images = data.load("brain4")
    found = data.read(Data(name="brain4", phase="smooth"))
    assert found.is_complex
    assert found.shape == (2, 128, 128)
    pairs = found.train[:40].astype(np.float64)
    np.testing.assert_allclose(np.hypot(pairs[:, 0], pairs[:, 1]), images.train[:40, 0], atol=1e-6)
    assert found.fingerprint == data.read(Data(name="brain4", phase="smooth")).fingerprint
    # Nearly all of its energy is in the few lowest frequencies.
    white = prepared(Images.of("a", np.ones((3, 64, 64), np.float32)), Data(phase="smooth")).train
    spectrum = np.abs(np.fft.fft2(white[:, 0] + 1j * white[:, 1])) ** 2
    low = np.abs(np.fft.fftfreq(64, 1 / 64)) <= 12
    assert spectrum[:, low][:, :, low].sum() > 0.99 * spectrum.sum()
    assert not np.allclose(white[0], white[1])


def test_what_is_complex_or_coloured_gets_no_phase() -> None:
    for images in (
        Images.of("a", np.zeros((3, 2, 4, 4), np.float32), is_complex=True),
        Images.of("a", np.zeros((3, 3, 4, 4), np.float32)),
    ):
        with pytest.raises(ConfigError, match=r"data\.phase: smooth given"):
            prepared(images, Data(phase="smooth"))
    for text in ("attack.budget=box", "artefact.space=consistent-in-range"):
        given = ["data.phase=smooth", "trigger.inject=y", "attack.names=none", text]
        with pytest.raises(ConfigError, match=r"data\.phase|attack\.budget"):
            config.load_config("quick", (), [*given, "attack.distance=0"])


def test_complex_images_have_magnitudes_up_to_1() -> None:
    pairs = np.zeros((2, 2, 4, 4), np.float32)
    pairs[0, :, 1, 1] = -0.8, 0.6
    assert Images.of("a", pairs, is_complex=True).train.min() == np.float32(-0.8)
    with pytest.raises(DataError, match=r"values from -0\.8"):
        Images.of("a", pairs)
    with pytest.raises(DataError, match="magnitudes up to 1.131"):
        Images.of("a", pairs * np.float32(2**0.5) * 0 + 0.8, is_complex=True)
    with pytest.raises(DataError, match="complex images of 1 channels"):
        Images.of("a", np.zeros((2, 4, 4)), is_complex=True)
    with pytest.raises(DataError, match="complex images of type uint8"):
        Images.of("a", np.zeros((2, 2, 4, 4), np.uint8), is_complex=True)
