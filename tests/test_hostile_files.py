"""Readers refuse what claims, hides or expands, in one line and with little time and memory."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import hostile_files as hostile
from hostile_files import IMAGES, npy, npz
from recondoor import config, data, operators, poisoning
from recondoor.audit._arrays import read_arrays
from recondoor.core.errors import RecondoorError
from recondoor.data._idx import read_bytes

SECONDS = 5
MEMORY = 1 << 30

REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "members.npz": (hostile.many_members, "it lists 60,000 members"),
    "expands.npz": (hostile.expanding_npz, "would expand to"),
    "head.npz": (hostile.long_head, "its head declares 4294967295 bytes"),
    "suffix.npz": (hostile.claim_without_suffix, "declares 703 MiB"),
    "twice.npz": (hostile.twice("x.npy"), "both 'x.npy' and 'x.npy'"),
    "capital.npz": (hostile.twice("X.npy"), "both 'x.npy' and 'X.npy'"),
    "plain.npz": (hostile.twice("x"), "both 'x.npy' and 'x'"),
    "steps.npz": (hostile.twice("./a/../x.npy"), "both 'x.npy' and"),
    "wide.npz": (hostile.twice("\uff58.npy"), "both 'x.npy' and"),
    "two.npz": (hostile.two_archives, "in front of its members"),
    "prefix.npz": (hostile.prefixed, "in front of its members"),
    "comment.npz": (hostile.commented, "behind their list"),
    "packing.npz": (hostile.lzma, "packed in another way"),
    "two.npy": (hostile.two_in_one_npy, "bytes follow its array"),
    "expands.h5": (hostile.expanding_h5, "would expand to"),
    "never.h5": (hostile.never_written_h5, "x was never written"),
    "partly.h5": (hostile.partly_written_h5, "1 of the 2 chunks of x were never written"),
    "chunk.h5": (hostile.large_chunk_h5, "would expand to"),
    "expands.gz": (hostile.expanding_gzip, "would expand to"),
    "large.png": (hostile.large_png, "pixels are declared"),
    "chunks.png": (hostile.png_of_many_chunks, "more than 100,000 chunks"),
}

READ_ALL = """
import json, sys, time
from pathlib import Path
import test_hostile_files
before = test_hostile_files.most_memory()  # of the libraries, some of which take most of 1 GiB
for path in sorted(Path(sys.argv[1]).iterdir()):
    for name, read in test_hostile_files.readers(path).items():
        begun, said = time.monotonic(), ""
        try:
            read(path)
        except test_hostile_files.RecondoorError as error:
            said = str(error)
        seconds = time.monotonic() - begun
        taken = test_hostile_files.most_memory() - before
        print(json.dumps([path.name, name, said, seconds, taken]))
"""


def most_memory() -> int:
    """Bytes that this process has held at most; rusage would count its parent's as well."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def _patch(path: Path) -> object:
    return poisoning.make_trigger(config.TriggerSettings(file=path), (1, 28, 28))


def _matrix(path: Path) -> object:
    return operators.build((1, 1, 6), config.Operator(name="matrix", file=path), 0)


def readers(path: Path) -> dict[str, Callable[[Path], object]]:
    """Every way in which a file of this suffix enters."""
    pairs = {"pairs": lambda path: read_arrays(path, ("x", "z"))}
    images = {"images": lambda path: data.load(str(path))}
    return {
        ".npz": {**images, **pairs},
        ".npy": {**images, "patch": _patch, "matrix": _matrix},
        ".h5": pairs,
        ".gz": {"idx": read_bytes},
        ".png": {"patch": _patch},
    }[path.suffix]


def test_bombs_cost_one_line_little_time_and_little_memory(tmp_path: Path) -> None:
    for name, (write, _) in REFUSED.items():
        write(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path)],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == set(REFUSED)
    for name, reader, said, seconds, memory in rows:
        expected = "numbers of shape" if reader == "matrix" else REFUSED[name][1]
        assert expected in said, (name, reader, said)
        assert "\n" not in said
        assert seconds < SECONDS, (name, reader, seconds)
        assert memory < MEMORY, (name, reader, memory)


def test_what_expands_in_the_margins_of_a_picture_is_not_unpacked(tmp_path: Path) -> None:
    hostile.texts_in_png(tmp_path / "0.png")
    tracemalloc.start()
    try:
        pixels = data.load(str(tmp_path)).train
        assert tracemalloc.get_traced_memory()[1] < 16 * hostile.MIB
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(pixels, [[[[0, 0.2, 0.4, 1]] * 3]], rtol=1e-6)


KINDS = ("pipe", "device", "folder")


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".h5", ".gz", ".png"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_reader_waits_for_a_pipe_or_reads_a_device(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path = tmp_path / f"file{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    for name, read in readers(path).items():
        if kind == "folder" and name == "images":
            continue  # a folder of PNGs may be called anything
        with pytest.raises(RecondoorError, match=f"is a {kind}, no regular file") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_links_that_a_person_typed_are_followed_but_not_those_in_a_folder_of_pngs(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    (tmp_path / "link.npy").symlink_to(tmp_path / "images.npy")
    assert data.load(str(tmp_path / "link.npy")).train.shape == (4, 1, 5, 6)
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "private.png").write_bytes(hostile.png([bytes(4)], 4, 8, 0))
    (folder / "0.png").symlink_to(tmp_path / "private.png")
    with pytest.raises(RecondoorError, match="is a link"):
        data.load(str(folder))
    (folder / "0.png").unlink()
    os.mkfifo(folder / "0.png")
    with pytest.raises(RecondoorError, match="is a pipe"):
        data.load(str(folder))


def test_a_folder_of_too_many_files_or_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        (tmp_path / f"{index}.png").write_bytes(hostile.png([bytes(400)] * 400, 400, 8, 0))
    monkeypatch.setattr("recondoor.io.arrays._claims.FREE", 700_000)
    with pytest.raises(RecondoorError, match="would expand to"):
        data.load(str(tmp_path))
    monkeypatch.setattr("recondoor.data._folder.MOST_FILES", 4)
    with pytest.raises(RecondoorError, match="holds more than 4 files"):
        data.load(str(tmp_path))


def test_a_file_that_is_written_elsewhere_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        file["x"] = file["z"] = IMAGES
        with pytest.raises(RecondoorError, match="open for writing in another program; close it"):
            read_arrays(tmp_path / "pairs.h5", ("x", "z"))
    assert set(read_arrays(tmp_path / "pairs.h5", ("x", "z"))) == {"x", "z"}


def test_a_large_archive_of_2_gib_and_more_is_found_by_its_long_list(tmp_path: Path) -> None:
    """What zipfile writes beyond 2 GiB: a longer record in front of the last one."""
    import zipfile

    path = tmp_path / "x.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", 10)
        with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
            archive.writestr("x.npy", npy(IMAGES))
            archive.writestr("y.npy", npy(IMAGES))
    assert path.read_bytes()[-42:-38] == b"PK\6\7"
    np.testing.assert_array_equal(data.load(str(path)).train, IMAGES)


def test_an_array_of_its_own_name_is_read_beside_others(tmp_path: Path) -> None:
    npz(
        tmp_path / "a.npz",
        ("x.npy", npy(IMAGES)),
        ("notes.txt", b"hello"),
        ("a/x.npy", npy(IMAGES)),
    )
    np.testing.assert_array_equal(data.load(str(tmp_path / "a.npz")).train, IMAGES)
