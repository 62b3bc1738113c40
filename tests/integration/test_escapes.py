"""Evil tars: whatever they say, nothing is written, linked, changed or removed outside of the place they are extracted to."""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orlop.spec.errors import Corrupt, InvalidArgument, OrlopError
from orlop.storage.inside import archive_path, copy_up, extract_into, stat_path
from orlop.storage.store import Store
from orlop.storage.trees import opened
from support.tars import device, directory, file, link, listing, symlink, tar

pytestmark = pytest.mark.root

# Each tries to write `evil`, to reach the file `outside/secret`, or to change or remove `outside`.
# {up} climbs to the directory that holds `outside`; {abs} is its absolute path.
EVIL = {
    "parent": lambda up, abs: tar(file(f"{up}/outside/evil", b"evil")),
    "parent in the middle": lambda up, abs: tar(file(f"a/../{up}/outside/evil", b"evil")),
    "parent directory": lambda up, abs: tar(directory(f"{up}/outside", 0o000)),
    "absolute": lambda up, abs: tar(file(f"{abs}/outside/evil", b"evil")),
    "absolute with parent": lambda up, abs: tar(file(f"/{up}/outside/evil", b"evil")),
    "through an absolute link": lambda up, abs: tar(symlink("way", f"{abs}/outside"), file("way/evil", b"evil")),
    "through a relative link": lambda up, abs: tar(symlink("way", f"{up}/outside"), file("way/evil", b"evil")),
    "through two links": lambda up, abs: tar(symlink("a", ".."), symlink("b", f"a/{up}"), file("b/outside/evil", b"evil")),
    "through a link to root": lambda up, abs: tar(symlink("way", "/"), file(f"way/{abs}/outside/evil", b"evil")),
    "through /proc": lambda up, abs: tar(symlink("way", "/proc/self/root"), file(f"way/{abs}/outside/evil", b"evil")),
    "over a link": lambda up, abs: tar(symlink("secret", f"{abs}/outside/secret"), file("secret", b"evil")),
    "directory over a link": lambda up, abs: tar(symlink("way", f"{abs}/outside"), directory("way", 0o000)),
    "link instead of a directory": lambda up, abs: tar(
        directory("d"), file("d/f"), symlink("d", f"{abs}/outside"), file("d/evil", b"evil")
    ),
    "hard link out": lambda up, abs: tar(link("mine", f"{up}/outside/secret"), file("mine", b"evil")),
    "absolute hard link": lambda up, abs: tar(link("mine", f"{abs}/outside/secret")),
    "hard link through a link": lambda up, abs: tar(symlink("way", f"{abs}/outside"), link("mine", "way/secret")),
    "hard link to a link": lambda up, abs: tar(
        symlink("way", f"{abs}/outside/secret"), link("mine", "way"), file("mine", b"evil")
    ),
    "whiteout out": lambda up, abs: tar(file(f"{up}/outside/.wh.secret")),
    "whiteout through a link": lambda up, abs: tar(symlink("way", f"{abs}/outside"), file("way/.wh.secret")),
    "opaque through a link": lambda up, abs: tar(symlink("way", f"{abs}/outside"), file("way/.wh..wh..opq")),
    "whiteout of a parent": lambda up, abs: tar(file(".wh...")),
    "device through a link": lambda up, abs: tar(symlink("way", f"{abs}/outside"), device("way/evil")),
    "dangling link as parent": lambda up, abs: tar(symlink("way", f"{abs}/outside/new"), file("way/evil", b"evil")),
    "times of a link": lambda up, abs: tar(directory("d"), symlink("d", f"{abs}/outside"), directory("d/x")),
    "loop of links": lambda up, abs: tar(symlink("a", "b"), symlink("b", "a"), file("a/evil", b"evil")),
    "dot": lambda up, abs: tar(file(".", b"evil"), file("a/.", b"evil"), file("..", b"evil")),
    "empty name": lambda up, abs: tar(file("", b"evil"), file("/", b"evil")),
    "nul in the name": lambda up, abs: tar(file("a\0/../../outside/evil", b"evil")),
}

Make = Callable[[str, str], bytes]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """What must not change, and the place where it is looked for afterwards."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_bytes(b"secret")
    before, around = listing(place), os.stat(place)
    yield place
    assert listing(place) == before
    after = os.stat(place)
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (around.st_mode, around.st_mtime_ns, around.st_ino)
    assert os.stat(place / "secret").st_nlink == 1
    for parent in tmp_path.parents:
        assert not (parent / "evil").exists()


@pytest.mark.parametrize("make", EVIL.values(), ids=list(EVIL))
def test_a_layer_stays_in_its_directory(make: Make, tmp_path: Path, outside: Path) -> None:
    store = Store(tmp_path / "data")
    base = store.layers.extract(io.BytesIO(tar(directory("way"), file("secret", b"s"), directory("d"))))
    for depth in range(1, 8):
        up = "/".join([".."] * depth)
        try:
            record = store.layers.extract(io.BytesIO(make(up, os.fspath(tmp_path))), parent=base.chain_id)
        except (Corrupt, InvalidArgument, OrlopError):
            assert len(list((store.root / "snapshots").iterdir())) == 2  # init and the base
        else:
            inside = store.layers.stack(record.chain_id)[0]
            for path in listing(inside):
                assert b"secret" not in _content(inside / path)
            store.layers.remove(record.chain_id)
            store.snapshots.purge()


@pytest.mark.parametrize("make", EVIL.values(), ids=list(EVIL))
def test_an_archive_put_into_a_container_stays_there(make: Make, tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "root"
    for depth in range(1, 8):
        (root / "srv/data").mkdir(parents=True, exist_ok=True)
        up = "/".join([".."] * depth)
        with opened(root) as fd, suppress(OrlopError, OSError):
            extract_into(fd, "/srv/data", "box", io.BytesIO(make(up, os.fspath(tmp_path))))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/../x"])
def test_a_name_that_climbs_out_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="outside of the archive's root"):
        Store(tmp_path / "data").layers.extract(io.BytesIO(tar(file(name, b"evil"))))


def test_paths_inside_a_container_are_resolved_inside_it(tmp_path: Path, outside: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "etc").mkdir()
    (root / "etc/passwd").write_bytes(b"inner")
    (root / "way").symlink_to("/etc")
    (root / "up").symlink_to("../../../../../../etc")
    (root / "leak").symlink_to(outside / "secret")
    (root / "proc").symlink_to("/proc/self/root")
    with opened(root) as fd:
        for path in ("/way/passwd", "/up/passwd", "/../../etc/passwd", "etc/../../etc/passwd"):
            assert stat_path(fd, path, "box").size == 5
            assert b"inner" in b"".join(archive_path(fd, path, "box"))
        assert stat_path(fd, "/leak", "box").link_target == f"{outside}/secret"
        assert b"".join(archive_path(fd, "/leak", "box")).count(b"secret") == 1  # the link's own text
        with pytest.raises(OrlopError):
            stat_path(fd, "/leak/", "box")
        with pytest.raises((OrlopError, OSError)):
            stat_path(fd, f"/proc/{outside}/secret", "box")
        destination = tmp_path / "volume"
        destination.mkdir()
        assert not copy_up(fd, f"{outside}", os.fspath(destination))


def _content(path: Path) -> bytes:
    return path.read_bytes() if stat.S_ISREG(os.lstat(path).st_mode) else b""
