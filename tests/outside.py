"""Plug-ins that lie outside the package, as their authors would write them, and where they lie."""

import os
import subprocess
import sys
from pathlib import Path

BLUR = '''"""A file of a user's own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from recondoor.operators import LinearOperator, Operator


@dataclass(frozen=True, eq=False)
class Convolution(LinearOperator):
    kernel: Tensor

    def A(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return torch.nn.functional.conv2d(x, self.kernel.expand(c, 1, 3, 3), padding=1, groups=c)

    A_adjoint = A


class Blur(Operator):
    """Blur: each pixel is the mean of the nine around it."""

    draws = False
    has_ratio = False

    def build(self, shape, settings, generator, dtype=torch.float32):
        return Convolution(shape, settings.sigma, torch.full((1, 1, 3, 3), 1 / 9, dtype=dtype))
'''

SINE = '''import torch

from recondoor.attacks import Attack, Crafted
from recondoor.poisoning import Trigger


class Sinusoid(Attack):
    """Sinusoid: a wave along the rows of the mask, as large as the budget allows."""

    draws = False
    trains = False

    def craft(self, problem, tools):
        mask = problem.mask.cpu()
        wave = torch.sin(0.8 * torch.arange(mask.shape[2]) + 0.3)
        return Crafted(Trigger(problem.budget.maximise(mask * wave), mask))
'''

LOOK = '''from recondoor.defences import Finding, InputDetector, NetworkDetector


class Energy(InputDetector):
    """Input energy: is an input stronger or weaker than clean ones are?"""

    needs = ("clean",)

    def scores(self, z, defender):
        usual = defender.clean.z.flatten(1).norm(dim=1).log().median()
        return (z.flatten(1).norm(dim=1).log() - usual).abs()

    def explain(self, score):
        return f"its norm is off by a factor of e^{score:.2g}"


class Weights(NetworkDetector):
    """Largest weight: is a weight of the network larger than usual?"""

    needs = ("model",)
    law_from = "from a guess of its author"

    def inspect(self, defender):
        weights = [each.detach().abs().max() for each in defender.model.parameters()]
        return Finding(float(max(weights)))

    def law(self, defender, alarm):
        return 1e-3

    def explain(self, finding):
        return f"the network has a weight of {finding.score:.3g}"
'''

FILES = {"blur.py": BLUR, "sine.py": SINE, "look.py": LOOK}

PROJECT = """[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "optics"
version = "2.1"

[project.entry-points."recondoor.plugins"]
"operators.blur" = "optics.blur:Blur"
"attacks.sine" = "optics.sine:Sinusoid"
"defences.energy" = "optics.look:Energy"

[tool.hatch.build.targets.wheel]
packages = ["optics"]
"""


def write(folder: Path) -> Path:
    """Write the files into `folder`, and return it."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def install(folder: Path, entries: str = PROJECT) -> Path:
    """Install a package with the files into a folder of its own, without a network; return it."""
    source, target = folder / "source", folder / "site"
    (source / "optics").mkdir(parents=True)
    (source / "optics" / "__init__.py").write_text('"""Plug-ins of a package."""\n')
    write(source / "optics")
    (source / "pyproject.toml").write_text(entries)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target)]
    subprocess.run([*command, str(source)], check=True, capture_output=True, text=True)
    return target


def recondoor(
    *arguments: str, cwd: Path, site: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, where it finds modules in `site` too."""
    paths = [str(site)] if site else []
    paths += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    command = [sys.executable, "-m", "recondoor", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    if not paths:
        del environment["PYTHONPATH"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
