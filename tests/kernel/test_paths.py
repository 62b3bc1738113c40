"""Paths inside a root that nobody trusts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel import paths


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    directory = tmp_path / "root"
    directory.mkdir()
    (tmp_path / "secret").write_text("theirs")
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    yield fd, directory
    os.close(fd)


def where(fd: int) -> str:
    found = os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    return found


@pytest.mark.parametrize("link", ["../secret", "/../secret", "../../../../../../etc/passwd", "/etc/passwd"])
def test_links_do_not_lead_out(root: tuple[int, Path], link: str) -> None:
    fd, directory = root
    (directory / "link").symlink_to(link)
    assert paths.read_regular(fd, "link") is None
    assert where(paths.make_in_root(fd, "/link", directory=False)).startswith(str(directory))
    assert paths.read_regular(fd, "link") == b""


def test_missing_parts_are_made_along_dangling_links(root: tuple[int, Path]) -> None:
    fd, directory = root
    (directory / "var").mkdir()
    (directory / "var/run").symlink_to("/run")
    (directory / "a").symlink_to("b/c")
    assert where(paths.make_in_root(fd, "/var/run/docker.sock", directory=False)) == f"{directory}/run/docker.sock"
    assert where(paths.make_in_root(fd, "a/d", directory=True)) == f"{directory}/b/c/d"
    assert (directory / "run/docker.sock").is_file()


def test_a_circle_of_links_ends(root: tuple[int, Path]) -> None:
    fd, directory = root
    (directory / "a").symlink_to("b")
    (directory / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        paths.make_in_root(fd, "a/x", directory=True)


def test_a_file_in_the_way(root: tuple[int, Path]) -> None:
    fd, directory = root
    (directory / "f").write_text("")
    with pytest.raises(NotADirectoryError):
        paths.make_in_root(fd, "f/x", directory=True)


def test_the_root_itself_and_dots(root: tuple[int, Path]) -> None:
    fd, directory = root
    assert where(paths.make_in_root(fd, "/", directory=True)) == str(directory)
    assert where(paths.make_in_root(fd, "/x/./y/", directory=True)) == f"{directory}/x/y"
    assert where(paths.open_in_root(fd, "x/../../..")) == str(directory)
    parent, name = paths.split_in_root(fd, "/p/q/name")
    assert (where(parent), name) == (f"{directory}/p/q", "name")


def test_magic_links_are_refused(root: tuple[int, Path]) -> None:
    proc = os.open("/proc", os.O_PATH)
    outside = os.open("/", os.O_PATH)
    with pytest.raises(OSError, match="openat2"):
        paths.open_in_root(proc, f"self/fd/{outside}/etc")
    os.close(proc)
    os.close(outside)


def test_only_regular_files_are_read(root: tuple[int, Path]) -> None:
    fd, directory = root
    os.mkfifo(directory / "fifo")
    (directory / "dir").mkdir()
    (directory / "file").write_bytes(b"x" * 100)
    assert paths.read_regular(fd, "fifo") is None
    assert paths.read_regular(fd, "dir") is None
    assert paths.read_regular(fd, "dir/none") is None
    assert paths.read_regular(fd, "file") == b"x" * 100
