"""A network of the user's own: every way to give one, and what is not opened."""

import re
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from audit_kit import (
    SHAPE,
    SMALL,
    Bomb,
    furnish,
    refusal,
    run,
    saved,
    script,
    small_network,
)
from recondoor import config, models, rundir
from recondoor.audit import Network, read_network

INVERSION = ["--detectors", "trigger-inversion"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return furnish(tmp_path, monkeypatch)


def test_every_way_to_give_a_network_gives_the_same(here: Path) -> None:
    network = small_network().eval()
    z = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = models.reconstruct(network, z)
    saved(here / "own.safetensors")
    own = config.Model(width=4, code=2, kernel=3).model_dump(mode="json")
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    rundir.write_tensors(here / "ours.safetensors", arrays, {"model": own})
    (here / "maker.py").write_text(
        "from recondoor import config, models\n"
        "def f():\n"
        "    return models.build((1, 12, 12), config.Model(width=4, code=2, kernel=3), 0, 'victim')"
    )
    overrides = tuple(text for text in SMALL if text != "--set")
    found: list[Network] = [
        read_network("own.safetensors", SHAPE, (), overrides),
        read_network("ours.safetensors", SHAPE),
        read_network("maker:f", SHAPE),
    ]
    for each in found:
        torch.testing.assert_close(models.reconstruct(each.model, z), expected)
    assert [each.settings is None for each in found] == [False, False, True]


def test_torchscript_is_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)).eval()
    script(network, here / "traced.pt", z[:2])
    found = read_network("traced.pt", SHAPE)
    torch.testing.assert_close(models.reconstruct(found.model, z), models.reconstruct(network, z))
    run("audit", "model", "traced.pt", "--data=trusted.npz", *INVERSION)
    capsys.readouterr()
    script(small_network(), here / "frozen.pt", z[:3])  # its views keep the batch size
    assert "script it" in refusal(capsys, "audit", "model", "frozen.pt", "--data=trusted.npz")


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_is_refused_and_not_executed(
    name: str, archive: bool, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = here / "planted"
    torch.save({"bomb": Bomb(planted)}, here / name, _use_new_zipfile_serialization=archive)
    said = refusal(capsys, "audit", "model", name, "--data=trusted.npz")
    assert "pickle" in said and "save_file(model.state_dict(), 'model.safetensors')" in said
    assert not planted.exists()
    torch.load(here / name, weights_only=False)
    assert planted.exists()  # so the bomb was a real one


def repack(path: Path, changes: dict[str, bytes], added: dict[str, bytes] | None = None) -> None:
    """Change members of an archive by the end of their names, and add some."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    stem = members[0][0].partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            new = next((v for k, v in changes.items() if name.endswith(k)), content)
            archive.writestr(name, new)
        for name, content in (added or {}).items():
            archive.writestr(f"{stem}/{name}", content)


@pytest.mark.parametrize("member", ["/data.pkl", "/constants.pkl"])
def test_a_pickle_inside_torchscript_is_not_executed(
    member: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    script(small_network(), here / "model.pt", torch.rand(2, *SHAPE))
    repack(here / "model.pt", {member: pickle.dumps(Bomb(here / "planted"), protocol=2)})
    assert "no readable TorchScript" in refusal(
        capsys, "audit", "model", "model.pt", "--data=trusted.npz"
    )
    assert not (here / "planted").exists()


def test_an_exported_program_is_refused_unopened(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = torch.export.export(nn.Conv2d(1, 1, 3, padding=1), (torch.rand(2, *SHAPE),))
    torch.export.save(program, here / "model.pt2")
    said = refusal(capsys, "audit", "model", "model.pt2", "--data=trusted.npz")
    assert "torch.export" in said and "unpickling" in said


class Writes(nn.Module):
    """A program that writes a file while it reconstructs."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layer(z)
        return out


PROGRAMS = {
    "torch.save": b'torch.save(input, "planted")',
    "ops.aten.save": b'ops.aten.save(input, "planted")',
    "from_file": b'y = torch.from_file("planted", True, 4)',
    "another name": b't = torch\n    t.save(input, "planted")',
    "rpc": b'ops.prim.rpc_sync("a", "b")',
    "a library": b"ops.evil.run(input)",
    "a class": b"x = __torch__.torch.classes.evil.Run()",
    "by its name": b'getattr(torch, "s\\x61ve")(input, "planted")',
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that_reaches_files_is_not_run(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(Writes(""), here / "model.pt", torch.rand(2, *SHAPE))
    with zipfile.ZipFile(here / "model.pt") as archive:
        name = next(
            n for n in archive.namelist() if n.endswith(".py") and b"forward" in archive.read(n)
        )
        program = archive.read(name)
    line = re.search(rb"\n( +)return ", program)
    assert line is not None
    changed = program[: line.start()] + b"\n    " + PROGRAMS[what] + program[line.start() :]
    repack(here / "model.pt", {name: changed})
    said = refusal(capsys, "audit", "model", "model.pt", "--data=trusted.npz")
    assert "is not run" in said
    assert not (here / "planted").exists()


def test_an_archive_with_two_files_of_one_name_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(small_network(), here / "model.pt", torch.rand(2, *SHAPE))
    repack(here / "model.pt", {}, {"DATA.pkl": b""})
    said = refusal(capsys, "audit", "model", "model.pt", "--data=trusted.npz")
    assert "two files of one name" in said
