"""A stranger's weights of every network: settings are read off names and shapes, or asked for."""

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recondoor import models, operators
from recondoor.audit import read_network
from recondoor.audit._networks._makes import make_of
from recondoor.config import (
    Cae,
    Fbpconvnet,
    Model,
    Modl,
    Operator,
    PlugInSettings,
    Unet,
    Varnet,
    recorded_section,
)
from recondoor.core import registry
from recondoor.core.errors import RecondoorError
from recondoor.rundir import write_tensors

SHAPE = (1, 12, 13)
NAMES = registry.names("models")
OWN: dict[str, PlugInSettings] = {
    "cae": Cae(width=6, code=5, kernel=3),
    "unet": Unet(channels=3, pools=2),
    "fbpconvnet": Fbpconvnet(channels=3, pools=2),
    "modl": Modl(width=5, iterations=2, steps=4),
    "varnet": Varnet(channels=3, pools=1, cascades=5),
}
every = pytest.mark.parametrize("name", NAMES)


def settings(name: str) -> Model:
    return Model.model_validate({"name": name, name: OWN[name]})


def operator() -> operators.LinearOperator:
    return operators.build(SHAPE, Operator(name="fourier"), 0, torch.float64)


def network(name: str) -> torch.nn.Module:
    return models.build(SHAPE, settings(name), 3, operator=operator()).eval()


def write(path: Path, name: str, prefix: str = "") -> Path:
    state = network(name).state_dict()
    save_file({prefix + key: value.contiguous() for key, value in state.items()}, path)
    return path


def asked(name: str) -> tuple[str, ...]:
    """What no weight tells has to be given."""
    if name != "modl":
        return ()
    return (
        "model.name=modl",
        "model.modl.width=5",
        "model.modl.iterations=2",
        "model.modl.steps=4",
    )


def test_every_network_is_here() -> None:
    assert set(OWN) == set(NAMES)


@every
@pytest.mark.parametrize("prefix", ["", "module.", "model.net."])
def test_settings_are_told_by_the_weights(name: str, prefix: str, tmp_path: Path) -> None:
    path = write(tmp_path / "own.safetensors", name, prefix)
    found = read_network(str(path), SHAPE, (), asked(name), operator=operator())
    assert found.settings == settings(name)
    z = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.model(z), network(name)(z), rtol=1e-5, atol=1e-5)
    assert any(f"say that it is {name} with" in note for note in found.notes) == (not asked(name))


@every
def test_settings_are_told_by_metadata(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    arrays = {key: value.numpy() for key, value in network(name).state_dict().items()}
    write_tensors(path, arrays, {"model": recorded_section(settings(name))})
    found = read_network(str(path), SHAPE, operator=operator())
    assert found.settings == settings(name)
    z = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.model(z), network(name)(z), rtol=1e-5, atol=1e-5)


def fault(path: Path, overrides: tuple[str, ...] = (), known: bool = True) -> str:
    with pytest.raises(RecondoorError) as caught:
        read_network(str(path), SHAPE, (), overrides, operator=operator() if known else None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("overrides", [(), ("model.name=modl", "model.modl.width=5")], ids=len)
def test_what_no_weight_tells_is_not_guessed(overrides: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "own.safetensors", "modl")
    assert "no weight tells model.modl.iterations and model.modl.steps" in fault(path, overrides)


@pytest.mark.parametrize("name", ["modl", "varnet"])
def test_without_its_operator_a_network_is_not_read(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "own.safetensors", name)
    assert "works with the measurement operator: give it too" in fault(path, asked(name), False)


def test_other_sizes_than_said_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "own.safetensors", "unet")
    said = fault(path, ("model.name=unet", "model.unet.pools=2", "model.unet.channels=4"))
    assert "'unet' of channels 4, pools 2 and drop 0.0 for images of (1, 12, 13)" in said
    assert "--set model.unet.channels=32" in said


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"down_sample_layers.0.layers.0.weight": ()},
        {"down_sample_layers.0.layers.0.weight": (2**40, 1, 3, 3)},
        {"cascades.0.unet.down_sample_layers.0.layers.0.weight": (3, 1, 3, 3)},
        {"denoiser.layers.0.weight": (0,)},
        {"down.2.weight": (4, 4, 3, 3)},
        {"a.down.2.weight": (4, 4, 3, 3), "b.down.2.weight": (4, 4, 3, 3)},
    ],
    ids=str,
)
def test_strange_names_and_shapes_are_refused_in_a_line(
    shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    make_of(shapes)
    path = tmp_path / "own.safetensors"
    small = {name: tuple(min(n, 4) for n in shape) for name, shape in shapes.items()}
    save_file({name: torch.zeros(shape) for name, shape in small.items()}, path)
    fault(path)
    header = ",".join(
        f'"{k}":{{"dtype":"F32","shape":{list(v)},"data_offsets":[0,0]}}' for k, v in shapes.items()
    )
    text = f"{{{header}}}".encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    fault(path)
