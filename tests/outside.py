"""Plug-ins that lie outside the package, as their authors would write them, and where they lie."""

import contextlib
import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from recondoor import cli, defences

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
"operators.smear" = "optics.blur:Blur"
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


@dataclass(frozen=True)
class Done:
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def recondoor(*arguments: str, cwd: Path, site: Path | None = None) -> Done:
    """Run a command line in `cwd`, where modules in `site` are found too, and forget them again."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    known, path = set(sys.modules), list(sys.path)
    sys.path[:] = [str(site), *path] if site else path
    defences.load.cache_clear()
    try:
        with contextlib.chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            cli.main(list(arguments))
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - known:
            if not name.startswith("recondoor"):
                module = sys.modules[name]
                if str(getattr(module, "__file__", "")).startswith((str(cwd), str(site))):
                    del sys.modules[name]
        defences.load.cache_clear()
    return Done(code, out.getvalue(), err.getvalue())
