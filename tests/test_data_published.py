"""Published IDX sets: look-up order, identity, cache, mirrors; a local server, no network."""

import gzip
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from recondoor import data
from recondoor.core.errors import DataError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.data import _published, mnist
from recondoor.data._download import PublishedFile, fetch
from recondoor.data._published import PublishedSet

TRAIN = np.arange(20 * 4 * 4, dtype=np.uint32).astype(np.uint8).reshape(20, 4, 4)
TEST = TRAIN[:5] ^ 255
DEAD = "http://127.0.0.1:9/"  # the discard port: nothing listens


def idx(images: np.ndarray) -> bytes:
    return struct.pack(">4i", 2051, *images.shape) + images.tobytes()


def published(name: str, images: np.ndarray) -> PublishedFile:
    content = idx(images)
    return PublishedFile(name, hashlib.sha256(content).hexdigest(), len(content))


SOURCE = replace(
    mnist.SOURCE,
    train=published("train-images-idx3-ubyte", TRAIN),
    test=published("t10k-images-idx3-ubyte", TEST),
)
FILES = {"train-images-idx3-ubyte": idx(TRAIN), "t10k-images-idx3-ubyte": idx(TEST)}


class Notes(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class Mirror:
    """A server on 127.0.0.1 that answers GET from `files` and counts."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, int] = {}
        self.requests: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                content = mirror.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                length = mirror.announced.get(self.path, len(content))
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def offer(self, folder: str, files: dict[str, bytes]) -> str:
        self.files |= {f"/{folder}/{name}.gz": gzip.compress(c) for name, c in files.items()}
        return f"{self.url}/{folder}/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    mirror = Mirror()
    yield mirror
    mirror.close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: no variable, no system folder, no mirror that could be reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("RECONDOOR_DATA", raising=False)
    monkeypatch.setattr(_published, "SYSTEM_FOLDER", tmp_path / "system")
    use(monkeypatch, replace(SOURCE, mirrors=(DEAD,)))
    return tmp_path / "cache" / "recondoor" / "mnist"


def use(monkeypatch: pytest.MonkeyPatch, source: PublishedSet) -> None:
    monkeypatch.setattr(mnist, "SOURCE", source)


def put(folder: Path, files: dict[str, bytes] = FILES, suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / f"{name}{suffix}"
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    return folder


def refused(data_dir: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        data.load("mnist", data_dir)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_whole(images: data.Images) -> None:
    assert images.name == "mnist"
    np.testing.assert_allclose(images.train[:, 0], TRAIN / 255.0, rtol=1e-6)
    assert images.test is not None
    np.testing.assert_allclose(images.test[:, 0], TEST / 255.0, rtol=1e-6)


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("sub", ["", "mnist", "MNIST/raw"])
def test_data_dir_directly_or_in_a_subfolder(tmp_path: Path, sub: str, suffix: str) -> None:
    folder = put(tmp_path / "d" / sub, suffix=suffix)
    assert_whole(data.load("mnist", tmp_path / "d"))
    assert data.find("mnist", tmp_path / "d") == folder


def test_names_with_a_dot(tmp_path: Path) -> None:
    put(tmp_path / "d", {name.replace("-idx", ".idx"): c for name, c in FILES.items()})
    assert_whole(data.load("mnist", tmp_path / "d"))


def test_gzip_is_told_from_the_content(tmp_path: Path) -> None:
    put(tmp_path / "d", {name: gzip.compress(content) for name, content in FILES.items()})
    assert_whole(data.load("mnist", tmp_path / "d"))


def test_order_of_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, mirror: Mirror
) -> None:
    use(monkeypatch, replace(SOURCE, mirrors=(mirror.offer("m", FILES),)))
    assert data.find("mnist") is None
    assert_whole(data.load("mnist"))
    assert data.find("mnist") == cache
    system = put(tmp_path / "system" / "mnist")
    assert data.find("mnist") == system
    named = put(tmp_path / "named" / "mnist")
    monkeypatch.setenv("RECONDOOR_DATA", str(tmp_path / "named"))
    assert data.find("mnist") == named
    given = put(tmp_path / "given")
    assert data.find("mnist", given) == given


def test_variable_without_this_set_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("RECONDOOR_DATA", str(tmp_path / "named"))
    assert data.find("mnist") is None
    monkeypatch.setenv("RECONDOOR_DATA", "")
    assert data.find("mnist") is None
    monkeypatch.setenv("RECONDOOR_DATA", str(tmp_path / "missing"))
    with pytest.raises(DataError, match=r"RECONDOOR_DATA: '.*missing' is not a folder"):
        data.load("mnist")


def test_system_files_lie_in_a_subfolder_only(tmp_path: Path) -> None:
    put(tmp_path / "system")
    assert data.find("mnist") is None


def test_data_dir_without_the_files(tmp_path: Path) -> None:
    assert "not a folder" in refused(tmp_path / "none")
    (tmp_path / "d").mkdir()
    assert "has no train-images-idx3-ubyte" in refused(tmp_path / "d")
    put(tmp_path / "d", {"train-images-idx3-ubyte": FILES["train-images-idx3-ubyte"]})
    assert "no t10k-images-idx3-ubyte" in refused(tmp_path / "d")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = put(tmp_path / "d", suffix=".gz")
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    message = refused(folder)
    assert str(path) in message
    assert "cut short" in message


def test_another_set_under_the_same_file_names(tmp_path: Path) -> None:
    other = {name: content[:-1] + b"\x01" for name, content in FILES.items()}
    put(tmp_path / "d", other)
    assert "damaged or another data set's" in refused(tmp_path / "d")


def test_a_subfolder_with_the_name_goes_first(tmp_path: Path) -> None:
    put(tmp_path / "d", {name: content[:-1] + b"\x01" for name, content in FILES.items()})
    put(tmp_path / "d" / "mnist")
    assert_whole(data.load("mnist", tmp_path / "d"))


def test_own_smaller_files_are_used_and_said(tmp_path: Path) -> None:
    small = {name: idx(TRAIN[:3]) for name in FILES}
    notes = Notes()
    images = data.load("mnist", put(tmp_path / "d", small), notes)
    assert images.train.shape == (3, 1, 4, 4)
    assert len(notes.lines) == 2
    assert "not the published file" in notes.lines[0]


def test_download_once_then_offline(
    monkeypatch: pytest.MonkeyPatch, cache: Path, mirror: Mirror
) -> None:
    use(monkeypatch, replace(SOURCE, mirrors=(mirror.offer("m", FILES),)))
    assert_whole(data.load("mnist"))
    assert sorted(path.name for path in left(cache)) == sorted(FILES)
    use(monkeypatch, replace(SOURCE, mirrors=(DEAD,)))
    assert_whole(data.load("mnist"))
    assert len(mirror.requests) == 2


def test_download_tells_its_progress(tmp_path: Path, mirror: Mirror) -> None:
    seen: list[int] = []

    class Count(Progress):
        def task(self, description: str, total: int, done: int = 0):  # type: ignore[no-untyped-def]
            seen.append(-total)
            inner = super().task(description, total, done)

            class Task:
                def advance(self, n: int = 1, note: str = "") -> None:
                    seen.append(n)

                def __enter__(self) -> "Task":
                    inner.__enter__()
                    return self

                def __exit__(self, *error: object) -> None:
                    inner.__exit__(None, None, None)

            return Task()

    fetch(SOURCE.train, (mirror.offer("m", FILES),), tmp_path / "c", Count())
    assert seen[0] == -SOURCE.train.size
    assert sum(seen[1:]) == SOURCE.train.size


def test_mirrors_are_tried_in_order(
    monkeypatch: pytest.MonkeyPatch, cache: Path, mirror: Mirror
) -> None:
    wrong = mirror.offer("wrong", {name: content[:-1] + b"\x01" for name, content in FILES.items()})
    cut = mirror.offer("cut", FILES)
    html = f"{mirror.url}/html/"
    for name in FILES:
        mirror.files[f"/cut/{name}.gz"] = mirror.files[f"/cut/{name}.gz"][:-12]
        mirror.files[f"/html/{name}.gz"] = b"<html>please log in</html>"
    bad = (DEAD, f"{mirror.url}/missing/", html, cut, wrong, "nonsense")
    use(monkeypatch, replace(SOURCE, mirrors=(*bad, mirror.offer("good", FILES))))
    assert_whole(data.load("mnist"))
    assert sorted(path.name for path in left(cache)) == sorted(FILES)
    assert [path.split("/")[1] for path in mirror.requests[:5]] == [
        "missing", "html", "cut", "wrong", "good"
    ]  # fmt: skip


@pytest.mark.parametrize("fault", ["dead", "missing", "html", "cut", "short", "wrong", "bomb"])
def test_failed_download_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, cache: Path, mirror: Mirror, fault: str
) -> None:
    url = mirror.offer("m", FILES)
    path = "/m/train-images-idx3-ubyte.gz"
    whole = mirror.files[path]
    if fault == "dead":
        url = DEAD
    elif fault == "missing":
        mirror.files.clear()
    elif fault == "html":
        mirror.files[path] = b"<html>please log in</html>"
    elif fault == "cut":
        mirror.files[path] = whole[: len(whole) // 2]
    elif fault == "short":
        mirror.files[path], mirror.announced[path] = whole[:-4], len(whole)
    elif fault == "wrong":
        mirror.files[path] = gzip.compress(idx(TRAIN ^ 1))
    else:
        mirror.files[path] = gzip.compress(bytes(10_000_000))
    use(monkeypatch, replace(SOURCE, mirrors=(url,)))
    message = refused()
    assert message.startswith("mnist: train-images-idx3-ubyte could not be downloaded (127.0.0.1:")
    assert "--data-dir or RECONDOOR_DATA" in message
    assert {"missing": "404", "wrong": "SHA-256", "bomb": "more than"}.get(fault, "") in message
    assert left(cache.parents[1]) == []


def test_interrupted_download_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(SOURCE.train, (mirror.offer("m", FILES),), tmp_path / "c", NO_PROGRESS)
    assert left(tmp_path / "c") == []


def test_full_disk_is_not_blamed_on_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Mirror
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot keep .*: No space left on device"):
        fetch(SOURCE.train, (mirror.offer("m", FILES),), tmp_path / "c", NO_PROGRESS)
    assert left(tmp_path / "c") == []


def test_cache_folder_that_cannot_be_made(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "c").write_text("a file in the way")
    with pytest.raises(DataError, match="cannot keep"):
        fetch(SOURCE.train, (mirror.offer("m", FILES),), tmp_path / "c", NO_PROGRESS)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_damaged_cache_is_never_used(
    monkeypatch: pytest.MonkeyPatch, cache: Path, mirror: Mirror, damage: str
) -> None:
    put(cache)
    path = cache / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(
        {"flip": bytes(content), "cut": bytes(content[:-1]), "empty": b"", "other": idx(TRAIN[:7])}[
            damage
        ]
    )
    assert "could not be downloaded" in refused()
    use(monkeypatch, replace(SOURCE, mirrors=(mirror.offer("m", FILES),)))
    notes = Notes()
    assert_whole(data.load("mnist", progress=notes))
    assert len(mirror.requests) == 1
    assert "is damaged and is downloaded again" in notes.lines[0]
