"""Sensitivities estimated from the centre of k-space, against the true ones.

Beside `estimate_maps` stands ESPIRiT (`bart ecalib`), where BART is installed; the object and its
coils are then also BART's own. What counts is the cosine between the estimated and the true
sensitivities of a pixel, over the pixels of the object.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from _bench import Report, parser
from recondoor import operators
from recondoor.config import from_dict
from recondoor.operators.mri_multicoil import Multicoil

Complex = NDArray[np.complex64]
COILS = 8
CENTRES = (10, 24)


def main() -> None:
    options = parser(__doc__, rounds=1)
    options.add_argument("--side", type=int, default=128, help="pixels along a side")
    arguments = options.parse_args()
    if arguments.tiny:
        arguments.side = 48
    torch.set_num_threads(arguments.threads)
    report = Report("coil_maps", arguments)
    measure(report, arguments, "birdcage", *simulated(arguments.side))
    if shutil.which("bart"):
        measure(report, arguments, "BART's phantom", *of_bart(arguments.side))
    report.close()


def measure(
    report: Report, arguments: argparse.Namespace, told: str, k: Tensor, truth: Tensor, body: Tensor
) -> None:
    """Compare maps of a few sizes of the centre; k and truth (coils, H, W), body (H, W)."""
    for centre in CENTRES:
        found = {"low-pass": operators.estimate_maps(k[None], centre)[0]}
        if shutil.which("bart"):
            found["ESPIRiT"] = ecalib(k, centre)
        for name, maps in found.items():
            cosines = agreement(maps, truth)[body]
            what = f"{told}, {centre} columns: {name}"
            report.add(f"{what}, mean of 1 - cosine", [1 - float(cosines.mean())])
            report.add(f"{what}, 99 % have at least", [float(cosines.quantile(0.01))])


def agreement(maps: Tensor, truth: Tensor) -> Tensor:
    """Cosine of each pixel, whatever the common phase of the coils; 0 where there are no maps."""
    product = (maps.conj() * truth).sum(0).abs()
    sizes = maps.abs().square().sum(0).sqrt() * truth.abs().square().sum(0).sqrt()
    return torch.where(sizes > 0, product / sizes.clamp_min(1e-12), 0.0)


def simulated(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Discs of several intensities, seen by the simulated ring of coils: k-space, maps, body."""
    own = {"coils": COILS, "acceleration": 1}
    tree = {"operator": {"name": "mri-multicoil", "sigma": 0.0, "mri_multicoil": own}}
    operator = operators.build((2, side, side), from_dict(tree).operator, 0)
    assert isinstance(operator, Multicoil)
    line = torch.linspace(-1, 1, side)
    x, y = line[None], line[:, None]
    body = (x / 0.7) ** 2 + (y / 0.9) ** 2 < 1
    image = body.float()
    for row, column, radius, value in ((0.3, 0.2, 0.2, 0.8), (-0.4, -0.1, 0.3, -0.5)):
        image += value * ((x - column).square() + (y - row).square() < radius**2)
    k = operator.zero_filled(operator.A(torch.stack((image, torch.zeros_like(image)))[None]))
    return k[0], operator.maps, body


def of_bart(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Shepp and Logan's head with BART's own coils, in its own k-space."""
    size = ["-x", str(side)]
    k = run_bart(["phantom", *size, "-s", str(COILS), "-k"])
    maps = run_bart(["phantom", *size, "-S", str(COILS)])
    image = run_bart(["phantom", *size])
    return k, maps, image[0].abs() > 0.05


def ecalib(k: Tensor, centre: int) -> Tensor:
    """Sensitivities by ESPIRiT, of a centre of so many columns and rows."""
    return run_bart(["ecalib", "-m", "1", "-c", "0", "-r", str(centre)], k)


def run_bart(command: list[str], given: Tensor | None = None) -> Tensor:
    """What BART makes of an array (coils, H, W), of the same shape."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "given"), Path(folder, "made")
        if given is not None:
            write(source, given.numpy())
        names = [str(target)] if given is None else [str(source), str(target)]
        subprocess.run(["bart", *command, *names], check=True, capture_output=True)
        return torch.from_numpy(read(target))


def write(path: Path, array: NDArray[Any]) -> None:
    """An array (coils, H, W) as BART has it: (H, W, 1, coils), the first axis the fastest."""
    sides = array.shape[1], array.shape[2], 1, array.shape[0]
    head = "# Dimensions\n" + " ".join(map(str, sides)) + "\n"
    path.with_suffix(".hdr").write_text(head)
    ordered = np.moveaxis(array, 0, -1)[:, :, None].astype(np.complex64)
    path.with_suffix(".cfl").write_bytes(ordered.tobytes(order="F"))


def read(path: Path) -> Complex:
    """The same, read."""
    sides = [int(each) for each in path.with_suffix(".hdr").read_text().splitlines()[1].split()]
    numbers = np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(sides, order="F")
    flat = numbers.reshape(sides[0], sides[1], -1)
    return np.ascontiguousarray(np.moveaxis(flat, -1, 0))


if __name__ == "__main__":
    main()
