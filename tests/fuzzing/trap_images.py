"""Data sets, triggers and artefacts: what is read is what NumPy alone says of the numbers."""

from pathlib import Path

import numpy as np

from fuzzing import forms
from fuzzing.case import Case, by_command
from fuzzing.forge import npy_bytes
from fuzzing.forms import Array
from fuzzing.mutate import Random, pick

CHANNELS_LAST = tuple(size for size in forms.SIZES if size[0] not in (1, 3))
FAULTS = ("nan", "inf", "-inf", "bright", "negative", "empty", "flat", "deep", "channels")
CLEAR = ("|u1", "|b1", *forms.FLOATS, *forms.HALVES)
UNCLEAR = (*forms.INTEGERS, *forms.COMPLEX)
"""Types of which nobody says which number is 1, and complex ones."""
_ODD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "bright": 1.01, "negative": -1e-3}


def numbers(random: Random, shape: tuple[int, ...]) -> Array:
    """Values in [0, 1], of which some images are constant, as float64."""
    values = random.random(shape)
    if random.random() < 0.3:
        values[: int(random.integers(1, len(values) + 1))] = pick(random, (0.0, 0.5, 1.0))
    return values


def stored(values: Array, kind: str) -> tuple[Array, Array]:
    """Values as a file of this type holds them, and as float64 what they mean."""
    if kind == "|u1":
        levels = np.rint(255 * values).astype(np.uint8)
        return levels, levels.astype(np.float64) / 255
    if kind == "|b1":
        bits = values > 0.5
        return bits, bits.astype(np.float64)
    if kind in forms.INTEGERS:
        whole = np.rint(100 * values).astype(kind)
        return whole, whole.astype(np.float64)
    kept = values.astype(kind)
    return kept, kept.real.astype(np.float64)


def same(found: Array, meant: Array, what: str) -> None:
    """Fail unless float32 values are what was meant, to half a unit in the last place or so."""
    assert found.shape == meant.shape, f"{what}: shape {found.shape}, expected {meant.shape}"
    assert found.dtype == np.float32, f"{what}: {found.dtype}"
    near = np.abs(found - meant) <= 2.0**-23 * np.abs(meant) + 1e-45
    assert near.all(), f"{what}: {found[~near][:1]} instead of {meant[~near][:1]}"


def draw(random: Random) -> Case:
    """A data set: an .npy, an .npz with or without test images, or a folder of PNGs."""
    return _pictures(random) if random.random() < 0.35 else _arrays(random)


def _kind(random: Random) -> str:
    return str(pick(random, CLEAR if random.random() < 0.75 else UNCLEAR))


def _arrays(random: Random) -> Case:
    kind = _kind(random)
    if kind in forms.COMPLEX:  # two channels in a data set: tests/test_numbers_in_files.py
        kind = forms.INTEGERS[0]
    count = int(pick(random, (1, 2, 6)))
    order = str(pick(random, ("none", "first", "first", "last")))
    height, width = pick(random, CHANNELS_LAST if order == "last" else forms.SIZES)
    channels = 1 if order == "none" else int(pick(random, (1, 3)))
    plain = numbers(random, (count, channels, height, width))
    if kind in (*forms.FLOATS, *forms.HALVES):
        plain = plain * pick(random, (1.0, 1.0, 1e-3, 1e-5))
    kept, meant = stored(plain, kind)
    fault = str(pick(random, FAULTS)) if random.random() < 0.3 else ""
    kept, bad = _with_fault(kept, fault, random)
    if kept.ndim == 4 and not bad:
        kept = {"none": kept[:, 0], "first": kept, "last": np.moveaxis(kept, 1, 3)}[order]
    refused = bad or kind in UNCLEAR
    kept = forms.laid_out(kept, random) if kept.size and kept.ndim > 1 else kept
    if random.random() < 0.5:
        name = f"a{pick(random, ('.npy', '.NPY', '.Npy'))}"
        return _case({name: npy_bytes(kept)}, name, meant, None, refused)
    name = f"a{pick(random, ('.npz', '.NPZ'))}"
    held, test = {str(pick(random, ("x", "images", "x_train", "train", "own"))): kept}, None
    if random.random() < 0.5 and not refused:
        shown, test = stored(numbers(random, meant.shape), "|u1")
        held[str(pick(random, ("test", "x_test")))] = shown
    return _case({name: forms.npz(held)}, name, meant, test, refused)


def _with_fault(values: Array, fault: str, random: Random) -> tuple[Array, bool]:
    """The values with a fault, if their type can have it, and whether they have one."""
    changed = values.copy()
    if fault in _ODD and values.dtype.kind == "f":
        changed.flat[int(random.integers(values.size))] = _ODD[fault]
        return changed, True
    if fault == "empty":
        return values[:0], True
    if fault == "flat":
        return values.reshape(-1, values.shape[-1]), True
    if fault == "deep":
        return values[None], True
    if fault == "channels":
        return np.zeros((2, 9, 4, 5), values.dtype), True
    return changed, False


def _case(
    files: dict[str, bytes], name: str, meant: Array, test: Array | None, refused: bool
) -> Case:
    def read(folder: Path) -> None:
        from recondoor import load_images

        if refused:
            by_command("study", "--preset", "smoke", "--dataset", str(folder / name))
        images = load_images(str(folder / name))
        same(images.train, meant, "images")
        assert (images.test is None) == (test is None), "test images"
        if images.test is not None and test is not None:
            same(images.test, test, "test images")

    return Case(files, read, refused)


def _pictures(random: Random) -> Case:
    """PNGs of all depths and colours; what would lose something is refused."""
    colour, depth = pick(random, ((0, 8), (0, 8), (2, 8), (0, 1), (0, 2), (0, 4), (0, 16), (2, 16),
                                  (3, 8), (4, 8), (6, 8)))  # fmt: skip
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    count, (height, width) = int(pick(random, (1, 2, 4))), pick(random, forms.SIZES)
    samples = random.integers(0, 2**depth, (count, height, width, channels))
    if random.random() < 0.3:
        samples[:] = pick(random, (0, 2**depth - 1))
    odd = count > 1 and random.random() < 0.1
    endings = [pick(random, (".png", ".PNG", ".Png")) for _ in range(count)]
    files = {
        f"set/{number:02}{end}": forms.png(each[: height - 1 if odd and not number and height > 1
                                                else height], depth, colour)
        for number, (each, end) in enumerate(zip(samples, endings, strict=True))
    }  # fmt: skip
    refused = depth == 16 or colour > 2 or (odd and height > 1)
    # Samples of few bits are scaled to 8 bits, which is exact: 255 is divisible by 1, 3 and 15.
    meant = np.moveaxis(samples, 3, 1) / (2.0**depth - 1)
    return _case(files, "set", meant, None, bool(refused))


def draw_patch(random: Random) -> Case:
    """A trigger and an artefact of a file each, of the whole image or a patch in its middle."""
    height, width = pick(random, ((8, 9), (27, 31), (12, 7)))
    whole = random.random() < 0.5
    rows, columns = (height, width) if whole else (3, 5)
    kind = _kind(random)
    plain = 0.01 + random.random((rows, columns)) * pick(random, (1, 1, 1e-5, 1e3))
    kept, meant = stored(np.minimum(plain, 1) if kind in ("|u1", "|b1") else plain, kind)
    kept[0, 0], meant[0, 0] = 1, 1 / 255 if kind == "|u1" else 1  # not zero everywhere
    refused = kind in UNCLEAR
    if not refused and random.random() < 0.2 and kind not in ("|u1", "|b1"):
        kept[1, 1], refused = pick(random, (np.nan, np.inf)), True
    name = f"patch{pick(random, ('.npy', '.NPY'))}"
    top, left = (0, 0) if whole else ((height - rows) // 2, (width - columns) // 2)
    expected = np.zeros((1, height, width))
    expected[0, top : top + rows, left : left + columns] = meant

    def read(folder: Path) -> None:
        from recondoor import config, poisoning

        file, shape = folder / name, (1, height, width)
        trigger = config.TriggerSettings(file=file, place="centre")
        same(poisoning.make_trigger(trigger, shape).delta.numpy(), expected, "delta")
        artefact = config.ArtefactSettings(file=file, place="centre")
        same(poisoning.make_artefact(artefact, shape).pattern.numpy(), expected, "artefact")

    return Case({name: npy_bytes(forms.laid_out(kept, random))}, read, refused)
