"""Snapshots: each case over every driver."""

import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.engine.storage_jobs import commit_layer, list_changes, measure_snapshots
from orlop.kernel import mounts, syscalls
from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.mounts import Mount
from orlop.storage.snapshots import SNAPSHOTTERS
from orlop.storage.store import Store
from support.tars import directory, file, link, listing, symlink, tar

pytestmark = pytest.mark.root

BASE = tar(
    directory("./", 0o711, uid=3, gid=4),
    directory("etc", mtime_ns=10**18),
    file("etc/passwd", b"root", mtime_ns=10**18),
    file("etc/group", b"group", mtime_ns=10**18),
    directory("gone", mtime_ns=10**18),
    file("gone/file", b"x", mtime_ns=10**18),
    directory("replaced", mtime_ns=10**18),
    file("replaced/old", b"x", mtime_ns=10**18),
    symlink("link", "etc"),
    file("a", b"linked", mode=0o640, uid=5, mtime_ns=10**18),
    link("b", "a"),
)
TOP = tar(
    file(".wh.gone"), file("etc/.wh.group"), directory("replaced"), file("replaced/.wh..wh..opq"), file("replaced/new", b"n")
)


@pytest.fixture(params=list(SNAPSHOTTERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(tmp_path / "data", request.param)


@pytest.fixture
def image(store: Store) -> str:
    base = store.layers.extract(io.BytesIO(BASE))
    return store.layers.extract(io.BytesIO(TOP), parent=base.chain_id).chain_id


@contextmanager
def mounted(what: tuple[Mount, ...], tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "mounted"
    place.mkdir()
    mounts.mount_all(what, os.fspath(place))
    try:
        yield place
    finally:
        syscalls.umount2(place, 0)
        place.rmdir()


def job(function: Callable[..., object], store: Store, **args: object) -> object:
    return function({"data_root": os.fspath(store.root), "driver": store.snapshots.name, **args}, lambda _: None, ())


def test_a_snapshot_shows_its_layers(store: Store, image: str, tmp_path: Path) -> None:
    with mounted(store.snapshots.prepare("c" * 64, image), tmp_path) as root:
        assert sorted(os.listdir(root / "etc")) == ["hostname", "hosts", "mtab", "passwd", "resolv.conf"]
        assert sorted(os.listdir(root / "replaced")) == ["new"]
        assert not (root / "gone").exists()
        assert {"dev", "proc", "sys", ".dockerenv"} <= set(os.listdir(root))
        status = os.stat(root)
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o711, 3, 4)
        assert (root / "b").read_bytes() == b"linked"
        assert os.stat(root / "a").st_ino == os.stat(root / "b").st_ino
        assert (os.stat(root / "a").st_uid, stat.S_IMODE(os.stat(root / "a").st_mode)) == (5, 0o640)
        assert os.stat(root / "etc/passwd").st_mtime_ns == 10**18


def change(root: Path) -> None:
    (root / "new").mkdir()
    (root / "new/file").write_bytes(b"12345")
    (root / "etc/passwd").write_bytes(b"changed")
    os.unlink(root / "link")
    os.unlink(root / "replaced/new")
    os.rmdir(root / "replaced")
    (root / "replaced").mkdir()
    (root / "replaced/newer").write_bytes(b"n")
    (root / "etc/hosts").write_bytes(b"127.0.0.1")


def test_changes_are_told_and_committed(store: Store, image: str, tmp_path: Path) -> None:
    key = "d" * 64
    with mounted(store.snapshots.prepare(key, image), tmp_path) as root:
        change(root)
        expected = listing(root)
    assert job(list_changes, store, key=key) == [
        ["C", "/etc"],
        ["C", "/etc/hosts"],
        ["C", "/etc/passwd"],
        ["D", "/link"],
        ["A", "/new"],
        ["A", "/new/file"],
        ["C", "/replaced"],
        ["D", "/replaced/new"],
        ["A", "/replaced/newer"],
    ]
    record = job(commit_layer, store, key=key, parent=image)
    assert isinstance(record, dict)
    assert record["parent"] == image
    assert record["size"] == len("12345") + len("changed") + len("n") + len("127.0.0.1")
    with mounted(store.snapshots.prepare("e" * 64, record["chain_id"]), tmp_path) as root:
        again = listing(root)
    assert {path: (facts[:4], facts[5]) for path, facts in again.items()} == {
        path: (facts[:4], facts[5]) for path, facts in expected.items()
    }


def test_nothing_changed_is_an_empty_diff(store: Store, image: str, tmp_path: Path) -> None:
    with mounted(store.snapshots.prepare("k", image), tmp_path) as root:
        (root / "etc/passwd").read_bytes()
    assert job(list_changes, store, key="k") == []


def test_usage_counts_what_the_snapshot_has_itself(store: Store, image: str, tmp_path: Path) -> None:
    with mounted(store.snapshots.prepare("k", image), tmp_path):
        before = job(measure_snapshots, store, keys=["k"])
    with mounted(store.snapshots.mounts("k"), tmp_path) as root:
        (root / "file").write_bytes(bytes(10_000))
    after = job(measure_snapshots, store, keys=["k", "unknown"])
    assert isinstance(before, dict)
    assert after == {"k": before["k"] + 10_000}


def test_a_view_cannot_be_written(store: Store, image: str, tmp_path: Path) -> None:
    with mounted(store.snapshots.prepare("k", image), tmp_path) as root:
        (root / "file").write_bytes(b"x")
        (tmp_path / "second").mkdir()
        with mounted(store.snapshots.view("k"), tmp_path / "second") as view:
            assert (view / "file").read_bytes() == b"x"
            with pytest.raises(OSError, match="Read-only"):
                (view / "other").write_bytes(b"y")


def test_an_image_without_layers_has_the_places_for_mounts(store: Store, tmp_path: Path) -> None:
    with mounted(store.snapshots.prepare("k", ""), tmp_path) as root:
        assert sorted(os.listdir(root)) == [".dockerenv", "dev", "etc", "proc", "sys"]
        (root / "program").write_bytes(b"x")
    assert job(list_changes, store, key="k") == [["A", "/program"]]


def test_a_key_is_taken_once_and_free_again(store: Store, image: str) -> None:
    store.snapshots.prepare("k", image)
    with pytest.raises(Conflict, match="exists already"):
        store.snapshots.prepare("k", image)
    store.snapshots.remove("k")
    store.snapshots.remove("k")
    assert not store.snapshots.exists("k")
    with pytest.raises(NotFound):
        store.snapshots.mounts("k")
    store.snapshots.prepare("k", image)
    store.snapshots.purge()
    assert store.snapshots.exists("k")


def test_an_unknown_parent_is_refused_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(NotFound):
        store.snapshots.prepare("k", f"sha256:{'1' * 64}")
    assert [path.name for path in (store.root / "snapshots").iterdir()] == ["init"]


def test_a_sweep_keeps_what_is_known(store: Store, image: str) -> None:
    store.snapshots.prepare("known" * 10, image)
    store.snapshots.prepare("unknown" * 8, image)
    (store.root / "snapshots/new-half").mkdir()
    store.sweep(["known" * 10])
    store.snapshots.purge()
    assert store.snapshots.exists("known" * 10)
    assert not store.snapshots.exists("unknown" * 8)
    assert store.layers.has(image)
    assert len(list((store.root / "snapshots").iterdir())) == 4  # init, two layers, one snapshot


def test_as_many_layers_as_docker_allows_can_be_mounted(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    chain = ""
    for number in range(127):
        chain = store.layers.extract(io.BytesIO(tar(file(f"f{number}", b"x"))), parent=chain).chain_id
    with mounted(store.snapshots.prepare("k", chain), tmp_path) as root:
        assert len([name for name in os.listdir(root) if name.startswith("f")]) == 127


def test_where_overlayfs_cannot_be_stacked_copies_are_made(tmp_path: Path) -> None:
    """A data root inside a container lies on an overlay itself."""
    outer = Store(tmp_path / "outer", "overlay2")
    assert Store(tmp_path / "plain").snapshots.name == "overlay2"
    with mounted(outer.snapshots.prepare("k", ""), tmp_path) as root:
        inner = Store(root / "data")
        assert inner.snapshots.name == "native"
        layer = inner.layers.extract(io.BytesIO(tar(file("f", b"x"))))
        (mount,) = inner.snapshots.prepare("k", layer.chain_id)
        assert (Path(mount.source) / "f").read_bytes() == b"x"


def test_an_unknown_driver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no storage driver zfs"):
        Store(tmp_path / "data", "zfs")


def test_snapshots_are_made_ready_for_the_parent_that_was_asked_for_last(store: Store, image: str) -> None:
    snapshots = store.snapshots
    ready = store.root / "ready"
    snapshots.stock()
    assert not ready.exists()  # nobody has asked yet
    snapshots.prepare("first", image)
    snapshots.stock()
    inodes = {place.stat().st_ino for place in ready.iterdir()}
    snapshots.prepare("second", image)
    assert snapshots.upper("second").parent.stat().st_ino in inodes
    assert snapshots.parent("second") == image
    snapshots.prepare("third", "")  # of another parent: what is ready does not fit
    assert snapshots.parent("third") == ""
    assert not list(ready.iterdir())
    snapshots.stock()
    store.sweep(["first", "second", "third"])
    assert not list(ready.iterdir())
    snapshots.prepare("fourth", "")
