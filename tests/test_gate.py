import os
import socket
import stat
import tracemalloc
from pathlib import Path

import pytest

from recondoor.io import gate

MOST = 1000


def make(path: Path, kind: str, elsewhere: Path) -> Path:
    if kind == "link":
        path.symlink_to(elsewhere)
    elif kind == "dangling link":
        path.symlink_to(elsewhere / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device link":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        path.write_bytes(b"x" * (MOST + 1))
    return path


KINDS = ("link", "dangling link", "pipe", "device link", "folder", "large")


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_of_bounded_size_is_read_in_a_strangers_folder(
    tmp_path: Path, kind: str
) -> None:
    private = tmp_path / "private"
    private.write_text("secret")
    run = tmp_path / "run"
    run.mkdir()
    path = make(run / "file", kind, private)
    with pytest.raises(gate.Refused) as caught:
        gate.read_bytes(path, most=MOST, inside=run)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "device link", "folder", "large"])
def test_what_the_user_names_is_no_pipe_or_device_either(tmp_path: Path, kind: str) -> None:
    with pytest.raises(gate.Refused):
        gate.read_bytes(make(tmp_path / "file", kind, tmp_path), most=MOST)


def test_links_that_the_user_names_are_followed(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("\ufeffdigits", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert gate.read_text(tmp_path / "link", most=MOST) == "digits"


def test_a_linked_run_folder_is_read_but_links_below_it_are_not(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "checkpoints").mkdir(parents=True)
    (real / "checkpoints" / "a").write_text("a")
    (tmp_path / "run").symlink_to(real)
    run = tmp_path / "run"
    assert gate.read_bytes(run / "checkpoints" / "a", most=MOST, inside=run) == b"a"
    (real / "checkpoints").rename(tmp_path / "home")
    (real / "checkpoints").symlink_to(tmp_path / "home")
    with pytest.raises(gate.Refused, match="link"):
        gate.read_bytes(run / "checkpoints" / "a", most=MOST, inside=run)
    with pytest.raises(gate.Refused, match="link"):
        gate.write_bytes(run / "checkpoints" / "b", b"b", inside=run)
    with pytest.raises(gate.Refused, match="link"):
        gate.append(run / "checkpoints" / "a", b"b", inside=run)
    with pytest.raises(gate.Refused, match="link"):
        gate.delete(run / "checkpoints", ["a"], inside=run)
    with pytest.raises(gate.Refused, match="link"):
        gate.names(run / "checkpoints", "*", inside=run)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["a"]
    assert (tmp_path / "home" / "a").read_text() == "a"


@pytest.mark.parametrize("path", ["../private", "/etc/hostname", "a/../../private"])
def test_nothing_outside_the_folder_is_reached(tmp_path: Path, path: str) -> None:
    (tmp_path / "run" / "a").mkdir(parents=True)
    (tmp_path / "private").write_text("secret")
    run = tmp_path / "run"
    with pytest.raises(gate.Refused, match="outside"):
        gate.read_bytes(run / path, most=MOST, inside=run)
    with pytest.raises(gate.Refused, match="outside"):
        gate.write_bytes(run / path, b"", inside=run)


def test_a_write_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").symlink_to(private)
    gate.write_bytes(tmp_path / "run" / "results.json", b"new", inside=tmp_path / "run")
    assert private.read_text() == "mine"
    assert not (tmp_path / "run" / "results.json").is_symlink()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_is_obeyed(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        gate.write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    gate.write_bytes(path, b"old")
    with pytest.raises(TypeError):
        gate.write_bytes(path, "text")  # type: ignore[arg-type]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_a_lock_is_a_file_of_its_own(tmp_path: Path, kind: str) -> None:
    private = tmp_path / "private"
    private.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    if kind == "hard link":
        (run / "lock").hardlink_to(private)
    else:
        make(run / "lock", kind, private)
    with pytest.raises((gate.Refused, IsADirectoryError)):
        gate.lock_file(run / "lock", inside=run)
    assert private.read_text() == "mine"


def test_appending_adds_to_the_end(tmp_path: Path) -> None:
    gate.append(tmp_path / "a" / "history", b"1\n", inside=tmp_path)
    gate.append(tmp_path / "a" / "history", b"2\n", inside=tmp_path)
    assert (tmp_path / "a" / "history").read_bytes() == b"1\n2\n"


def test_names_and_delete_are_of_one_folder(tmp_path: Path) -> None:
    assert gate.names(tmp_path / "none", "*", inside=tmp_path) == []
    for name in ("b.1", "a.2", "c"):
        (tmp_path / name).touch()
    (tmp_path / "d.1").symlink_to(tmp_path / "c")
    assert gate.names(tmp_path, "*.[0-9]") == ["a.2", "b.1", "d.1"]
    gate.delete(tmp_path, ["b.1", "d.1", "missing"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.2", "c"]


def test_no_more_memory_is_taken_than_a_file_needs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    tracemalloc.start()
    try:
        assert gate.read_bytes(tmp_path / "file", most=gate.ARRAYS) == bytes(1000)
        assert tracemalloc.get_traced_memory()[1] < 4 * gate.MIB
    finally:
        tracemalloc.stop()
