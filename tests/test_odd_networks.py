"""Networks as people have them: a line for what cannot be looked at, no exit code of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import recondoor as rd
from audit_kit import furnish, refusal, run
from recondoor import defences
from recondoor.core.errors import ConfigError, DataError
from recondoor.defences import SideBySide

EXITS = """
import sys
from torch import nn


class Ends(nn.Conv2d):
    def forward(self, z):
        if len(z) > 4:
            sys.exit(0)
        return super().forward(z)


def late():
    return Ends(1, 1, 3, padding=1)


def early():
    sys.exit(0)
"""


class Few(nn.Conv2d):
    """Fails on more images than the probe gives it."""

    def __init__(self) -> None:
        super().__init__(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        if len(z) > 3:
            raise ValueError("at most 3 images")
        return super().forward(z)


class Masked(nn.Conv2d):
    """Takes more than z."""

    def forward(self, z: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(z * mask)


def conv(seed: int = 0) -> nn.Conv2d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Conv2d(1, 1, 3, padding=1)


def given(count: int) -> tuple[Tensor, Tensor]:
    x = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(count))
    return 0.9 * x, x


@pytest.mark.parametrize("name", ["late", "early"])
def test_a_network_that_ends_the_program_gets_no_verdict(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 means clean, and `sys.exit(0)` in its code is no such verdict."""
    here = furnish(tmp_path, monkeypatch)
    (here / "exits.py").write_text(EXITS)
    audit = ["audit", "model", f"exits:{name}", "--data=trusted.npz"]
    if name == "early":
        assert "SystemExit: 0" in refusal(capsys, *audit)
    else:
        run(*audit, "--detectors=erased-trigger", "--out=a", code=4)
        assert "failed, SystemExit: 0" in capsys.readouterr().out


def test_a_network_that_fails_on_more_images_is_told_in_a_line() -> None:
    told = "'Few' fails on more images.*line .*: ValueError: at most 3 images; it has to take any"
    with pytest.raises(DataError, match=told):
        rd.audit_inputs(Few(), given(30)[0], clean=given(140), detectors=["input-peaks"])
    looks = {"references": "auto", "epochs": 1, "alarm": 0.5, "detectors": ["erased-trigger"]}
    for how in (looks, looks | {"references": conv()}):
        with pytest.raises(DataError, match=told):
            rd.audit_model(Few(), given(100), **how)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=told):
        rd.audit_model(conv(), given(100), references=[Few()], alarm=0.5)
    with pytest.raises(DataError, match=told):
        rd.clean(Few(), given(100), method="fine-tuning")


def test_what_is_no_network_is_refused() -> None:
    cases: list[tuple[object, str]] = [
        (nn.Conv2d, "network: the class Conv2d given; expected a network of it"),
        (conv().state_dict(), "expected the network that has loaded these weights"),
        (lambda z: z, "network: a function given; expected an nn.Module: what it returns if it"),
        (3, "network: a int given; expected an nn.Module"),
    ]
    for what, told in cases:
        with pytest.raises(ConfigError, match=told):
            rd.audit_model(what, given(60))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="references: the class Conv2d given"):
        rd.audit_model(conv(), given(60), references=[nn.Conv2d])  # type: ignore[list-item]
    with pytest.raises(DataError, match="argument: 'mask'; wrap it in a module that holds"):
        rd.audit_model(Masked(1, 1, 3, padding=1), given(60))


def test_two_networks_side_by_side_are_not_trained_as_references() -> None:
    both = SideBySide(conv(), conv(1), 1.0, 0.5)
    for fresh in (None, conv):
        with pytest.raises(ConfigError, match="auto: the suspect is two networks side by side"):
            rd.audit_model(both, given(100), references="auto", fresh=fresh, alarm=0.5)


def test_wrapped_networks_are_those_that_they_wrap(tmp_path: Path) -> None:
    """Of the same class and weights as a reference that is not wrapped, and so a copy of it."""
    network, path = conv(), tmp_path / "wrapped.safetensors"
    wrapped = nn.DataParallel(network)
    found = rd.audit_model(wrapped, given(60), detectors=["least-norm-inversion"])
    assert found.record["network"]["kind"] == "Conv2d"
    save_file(wrapped.state_dict(), path)
    assert next(iter(wrapped.state_dict())) == "module.weight"
    for make in (conv(1), nn.DataParallel(conv(1))):
        opened = rd.load_network(path, make)
        assert torch.equal(opened(given(3)[0]), network(given(3)[0]))


def test_inputs_in_other_units_are_refused_and_not_called_suspicious() -> None:
    z = given(30)[0]
    for scaled, told in ((255 * z, "13[23]"), (z / 255, "0.0020.")):
        with pytest.raises(DataError, match=f"the usual input is {told} and .* z 0.5.*: give both"):
            rd.audit_inputs(conv(), scaled, clean=given(140), detectors=["input-peaks"])
    # A trigger as strong as the input itself is no other unit.
    strong = z.clone()
    strong[:, :, :3, :3] += 2 * float(z.square().mean().sqrt()) * 4
    rd.audit_inputs(conv(), strong, clean=given(140), detectors=["input-peaks"])


def test_too_few_pairs_are_told_with_what_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"--data: 20 trusted pairs, of which 4 .* and 16 make "):
        rd.audit_inputs(conv(), given(30)[0], clean=given(20))
    # 16 scores support 1 / 17 = 0.059, so that the rate that is named is enough.
    rd.audit_inputs(conv(), given(30)[0], clean=given(20), alarm=0.06, detectors=["input-peaks"])
    with pytest.raises(
        DataError, match="--data: 20 trusted clean pairs; a repair needs 40 or more"
    ):
        rd.clean(conv(), given(20), method="fine-tuning")
    assert np.isfinite(rd.clean(conv(), given(41), method="fine-tuning").table.to_numpy()).all()


def test_an_audit_in_which_no_detector_could_look_shows_itself() -> None:
    """Images of 8 pixels leave nothing far from a trigger."""
    x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = rd.audit_model(conv(), (x, x), detectors=["trigger-inversion"])
    assert found.verdict == "undecided" and len(found.table) == 0
    assert "UNDECIDED" in found._repr_html_()
    mended = rd.clean(conv(), (x, x), method="trigger-unlearning")
    assert np.isfinite(mended.table.to_numpy()).all()


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("audit", "model", "--detectors=nope"), "model"),
        (("audit", "input", "--detectors=nope"), "input"),
        (("audit", "data", "--detectors=nope"), "pairs"),
        (("clean", "--method=nope", "--out=a.safetensors"), "repair"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_can_be_given_there(
    command: tuple[str, ...],
    kind: defences.Kind,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = furnish(tmp_path, monkeypatch)
    (here / "exits.py").write_text(EXITS)
    what = ["trusted.npz"] if kind == "pairs" else ["exits:late", "--data=trusted.npz"]
    words = [word for word in command if not word.startswith("--")]
    inputs = ["trusted.npz"] if kind == "input" else []
    options = [word for word in command if word.startswith("--")]
    told = refusal(capsys, *words, *what[:1], *inputs, *what[1:], *options)
    listed = told.partition("there are ")[2].partition(", or give MODULE:NAME")[0].split(", ")
    others = defences.names("scans") if kind == "pairs" else ()  # which `audit data` takes too
    assert sorted(listed) == sorted((*defences.names(kind), *others))


@pytest.mark.parametrize(
    ("begins", "more", "said"),
    [
        (["net."], {"loss.window": 3}, "and 1 other tensor, such as 'loss.window'"),
        (["ema.", "net."], {}, "2 times, under 'ema.' and 'net.'"),
        ([""], {"window": 3, "step": 1}, "and 2 other tensors, such as 'step'"),
    ],
)
def test_weights_among_others_are_refused_with_a_remedy_that_works(
    begins: list[str], more: dict[str, int], said: str, tmp_path: Path
) -> None:
    """As of a module of Lightning, or of one that keeps a running mean of itself."""
    network, path = conv(), tmp_path / "all.safetensors"
    held = {f"{begin}{k}": v.clone() for begin in begins for k, v in network.state_dict().items()}
    save_file(held | {name: torch.ones(size) for name, size in more.items()}, path)
    with pytest.raises(DataError, match=f"holds the weights of Conv2d {said}") as told:
        rd.load_network(path, conv(1))
    condition = str(told.value).partition("items() if ")[2].partition("}, new)")[0]
    names = {"network": network}
    kept = {k: v for k, v in load_file(path).items() if eval(condition, names, {"k": k})}
    save_file(kept, tmp_path / "alone.safetensors")
    opened = rd.load_network(tmp_path / "alone.safetensors", conv(1))
    assert torch.equal(opened(given(3)[0]), network(given(3)[0]))
