"""Files of images, patches and matrices: what writes and what reads them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fuzzing.drawn import generator, images


def write_idx(folder: Path) -> None:
    import gzip
    import struct

    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"):
        pixels = images()
        content = struct.pack(">IIII", 0x803, *pixels.shape) + pixels.tobytes()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)


def read_idx(folder: Path) -> None:
    from recondoor import data

    data.load("mnist", folder)


def write_npy(folder: Path) -> None:
    np.save(folder / "images.npy", images())


def write_npz(folder: Path) -> None:
    np.savez_compressed(folder / "images.npz", x=images() / np.float32(255), test=images(3))


def reader_of(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        from recondoor import data

        images = data.load(str(folder / name))
        _ = images.train, images.test

    return read


def write_pngs(folder: Path) -> None:
    from PIL import Image

    for index, pixels in enumerate(images(3)):
        Image.fromarray(pixels).save(folder / f"{index}.png")


def write_patches(folder: Path) -> None:
    from PIL import Image

    pixels = images(2)
    Image.fromarray(pixels[0]).save(folder / "trigger.png")
    np.save(folder / "artefact.npy", pixels[1] / np.float32(255))


def read_patches(folder: Path) -> None:
    from recondoor import config, poisoning

    trigger = config.TriggerSettings(file=folder / "trigger.png")
    poisoning.make_trigger(trigger, (3, 28, 28))
    poisoning.make_artefact(config.ArtefactSettings(file=folder / "artefact.npy"), (3, 28, 28))


def write_matrix(folder: Path) -> None:
    np.save(folder / "matrix.npy", generator().normal(size=(32, 64)))


def read_matrix(folder: Path) -> None:
    from recondoor import config, operators

    settings = config.Operator(name="matrix", file=folder / "matrix.npy")
    operators.build((1, 8, 8), settings, 0)
