"""Layers in the store: what a tar comes to on the disk, as GNU tar would have it, and the exact tar again from it."""

import gzip
import hashlib
import io
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from orlop.spec.errors import Corrupt, InvalidArgument, NotFound, OrlopError
from orlop.spec.image import LayerRecord
from orlop.storage.store import Store
from orlop.storage.tar.extract import Limits
from orlop.storage.tar.headers import ZEROS, Entry, encode_sparse, padding
from orlop.storage.tar.writer import layer_of
from orlop.storage.trees import opened
from support.tars import device, directory, fifo, file, link, listing, symlink, tar

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def add(store: Store, content: bytes, parent: str = "") -> LayerRecord:
    return store.layers.extract(io.BytesIO(content), parent=parent)


def tree(store: Store, record: LayerRecord) -> Path:
    return store.layers.stack(record.chain_id)[0]


def again(store: Store, record: LayerRecord) -> bytes:
    return b"".join(store.layers.replay(record.diff_id, record.chain_id))


def leftovers(store: Store) -> list[str]:
    return sorted(path.name for path in (store.root / "snapshots").iterdir() if path.name != "init")


def sparse(name: str) -> bytes:
    entry = Entry(
        name.encode(), real_size=1 << 20, size=1024, segments=[(4096, 512), (512_000, 512), (1 << 20, 0)], mtime_ns=10**18
    )
    return encode_sparse(entry) + b"12345678" * 128 + bytes(padding(1024))


EVERYTHING = tar(
    directory("./", 0o755, mtime_ns=10**18),
    directory("bin", 0o755, mtime_ns=1_600_000_000 * 10**9),
    file("bin/su", b"x" * 5000, mode=0o4755, mtime_ns=1_600_000_000_000_000_000),
    file("bin/ping", b"ping", mode=0o755, xattrs={"security.capability": CAPABILITY}, mtime_ns=10**18),
    link("bin/ping6", "bin/ping"),
    symlink("bin/sh", "/bin/dash"),
    directory("var/mail", 0o2775, gid=8, mtime_ns=10**18),
    file("var/mail/root", b"mail", uid=0, gid=0, mode=0o600, mtime_ns=10**18),
    directory("var/mail/sub", 0o755, mtime_ns=10**18),
    directory("tmp", 0o1777, mtime_ns=10**18),
    directory("dev", mtime_ns=10**18),
    device("dev/null"),
    fifo("dev/pipe"),
    file("home/user/file", b"y" * 300_000, uid=1000, gid=1000, mode=0o640, mtime_ns=1_500_000_000_123_456_789),
    file("n" * 200 + "/" + "m" * 200, b"long", mtime_ns=10**18),
    file("xattrs", b"", xattrs={"user.one": b"1", "user.two": b"\0\n="}, mtime_ns=10**18),
    file("größe-\udcff", b"odd name", mtime_ns=10**18),
    sparse("sparse"),
    file("empty", mtime_ns=10**18),
)


def test_a_layer_is_what_gnu_tar_makes_of_it(store: Store, tmp_path: Path) -> None:
    there = tmp_path / "gnu"
    there.mkdir(mode=0o755)
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", "-"]
    subprocess.run(["tar", "-C", there, *options], input=EVERYTHING, check=True)
    ours, theirs = listing(tree(store, add(store, EVERYTHING))), listing(there)
    for implied in ("var", "home", "home/user", "n" * 200):  # without an entry: their times are of now
        ours[implied], theirs[implied] = (fields[:4] + fields[5:] for fields in (ours[implied], theirs[implied]))
    assert ours == theirs


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_the_exact_tar_comes_out_again(store: Store, compress: Callable[[bytes], bytes]) -> None:
    content = compress(EVERYTHING)
    unpacked = store.layers.unpack(io.BytesIO(content))
    assert unpacked.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
    (record,) = store.layers.commit_all([unpacked])
    assert record.diff_id == f"sha256:{hashlib.sha256(EVERYTHING).hexdigest()}"
    assert record.tar_size == len(EVERYTHING)
    assert again(store, record) == EVERYTHING


@pytest.mark.parametrize(
    "entries",
    [
        (file("a", b"first"), file("a", b"second")),
        (file("a", b"first"), link("b", "a"), file("a", b"second"), file("a", b"third")),
        (directory("d"), file("d/f", b"inside"), symlink("d", "elsewhere")),
        (directory("d"), file("d/f", b"1"), file("d", b"now a file"), directory("d"), file("d/f", b"2"), file("d", b"again")),
        (directory("real"), symlink("way", "real"), file("way/f", b"through a link"), file("real/f", b"directly")),
        (directory("real"), symlink("way", "/real"), file("way/f", b"x"), directory("way"), file("way/g", b"y")),
        (directory("d"), file("d/f", b"1"), file(".wh.d"), file("e", b"2")),
        (file(".wh.d"), directory("d"), file("d/f", b"1")),
        (file("a", b"x" * 700) + b"", file("b", b"y")),
        (file("link-with-body", b""), encode_sparse(Entry(b"s", real_size=5000, size=0, segments=[])), file("z", b"z")),
    ],
)
def test_the_exact_tar_comes_out_also_when_its_entries_replace_each_other(store: Store, entries: tuple[bytes, ...]) -> None:
    content = tar(*entries) + b"garbage behind the end"
    assert again(store, add(store, content)) == content


def test_an_empty_layer_is_a_layer(store: Store) -> None:
    record = add(store, ZEROS)
    assert again(store, record) == ZEROS
    assert record.size == 0


def test_whiteouts_become_those_of_overlayfs(store: Store) -> None:
    content = tar(file("etc/.wh.passwd"), file("etc/.wh..wh..opq"), file("etc/.wh..wh.plnk"), file(".wh.gone"))
    root = tree(store, add(store, content))
    assert os.lstat(root / "gone").st_rdev == 0
    assert stat.S_ISCHR(os.lstat(root / "gone").st_mode)
    assert stat.S_ISCHR(os.lstat(root / "etc/passwd").st_mode)
    assert os.getxattr(root / "etc", "trusted.overlay.opaque") == b"y"
    assert sorted(os.listdir(root / "etc")) == ["passwd"]


def test_a_whiteout_does_not_touch_what_its_own_layer_has(store: Store) -> None:
    root = tree(store, add(store, tar(file("f", b"mine"), file(".wh.f"), directory("d"), file("d/g", b"g"), file(".wh.d"))))
    assert (root / "f").read_bytes() == b"mine"
    assert (root / "d/g").read_bytes() == b"g"
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"


def test_directories_without_an_entry_look_like_those_below(store: Store) -> None:
    below = add(
        store, tar(directory("srv", 0o750, uid=7, gid=9, mtime_ns=10**18), directory("srv/www", 0o711, mtime_ns=10**18))
    )
    root = tree(store, add(store, tar(file("srv/www/page", b"x"), file("other/file", b"y")), below.chain_id))
    status = os.stat(root / "srv")
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns) == (0o750, 7, 9, 10**18)
    assert stat.S_IMODE(os.stat(root / "srv/www").st_mode) == 0o711
    assert stat.S_IMODE(os.stat(root / "other").st_mode) == 0o755


def test_a_hard_link_to_a_file_below_becomes_a_copy(store: Store) -> None:
    below = add(store, tar(file("lib/a", b"content", mode=0o751, uid=5)))
    record = add(store, tar(link("lib/b", "lib/a")), below.chain_id)
    assert (tree(store, record) / "lib/b").read_bytes() == b"content"
    assert os.stat(tree(store, record) / "lib/b").st_uid == 5
    with pytest.raises(Corrupt, match="invalid hardlink"):
        add(store, tar(link("b", "nothing")), below.chain_id)


def test_an_opaque_root_hides_all_below(store: Store) -> None:
    below = add(store, tar(file("old", b""), directory("both"), file("both/old", b"")))
    record = add(store, tar(file(".wh..wh..opq"), directory("both"), file("both/new", b"")), below.chain_id)
    assert stat.S_ISCHR(os.lstat(tree(store, record) / "old").st_mode)
    assert os.getxattr(tree(store, record) / "both", "trusted.overlay.opaque") == b"y"


def test_a_layer_may_not_set_overlayfs_own_attributes(store: Store) -> None:
    root = tree(store, add(store, tar(directory("d", xattrs={"trusted.overlay.redirect": b"/etc", "trusted.mine": b"1"}))))
    assert os.listxattr(root / "d") == ["trusted.mine"]


def test_the_size_of_a_layer_is_that_of_its_files(store: Store) -> None:
    content = tar(file("a", b"x" * 1000), link("b", "a"), symlink("l", "12345"), directory("d"), file("a", b"y" * 10))
    assert add(store, content).size == 15


def test_the_same_layer_twice_is_one(store: Store) -> None:
    first = add(store, EVERYTHING)
    assert add(store, EVERYTHING) == first
    assert len(leftovers(store)) == 1


def test_a_wrong_diff_id_leaves_nothing(store: Store) -> None:
    with pytest.raises(Corrupt, match="wrong diff id"):
        store.layers.extract(io.BytesIO(EVERYTHING), diff_id=f"sha256:{'0' * 64}")
    assert leftovers(store) == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_cut_layer_is_corrupt_and_leaves_nothing(store: Store, compress: Callable[[bytes], bytes]) -> None:
    content = compress(EVERYTHING)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(Corrupt):
            add(store, content[: int(len(content) * part)])
    assert leftovers(store) == []


@pytest.mark.parametrize("change", ["content", "length", "removal"])
def test_a_file_changed_in_the_store_is_found_when_the_tar_is_made_again(store: Store, change: str) -> None:
    record = add(store, tar(file("a", b"first"), file("b", b"second")))
    path = tree(store, record) / "b"
    {"content": lambda: path.write_bytes(b"SECOND"), "length": lambda: path.write_bytes(b""), "removal": path.unlink}[change]()
    with pytest.raises(Corrupt, match="layer"):
        again(store, record)


def test_a_changed_recipe_is_corrupt(store: Store) -> None:
    record = add(store, EVERYTHING)
    path = store.root / "layers" / record.diff_id.removeprefix("sha256:")
    content = path.read_bytes()
    for changed in (content[:40], content[:-20], b"x" + content[1:], content[:100] + b"\0\0\0\0" + content[104:]):
        path.write_bytes(changed)
        with pytest.raises(Corrupt):
            again(store, record)
    path.unlink()
    with pytest.raises(Corrupt, match="recipe"):
        again(store, record)


def test_a_removed_layer_is_gone_after_the_purge(store: Store) -> None:
    record = add(store, EVERYTHING)
    store.layers.remove(record.chain_id)
    assert not store.layers.has(record.chain_id)
    with pytest.raises(NotFound):
        store.layers.get(record.chain_id)
    store.snapshots.purge()
    assert leftovers(store) == []
    assert os.listdir(store.root / "layers") == []


def test_a_parent_must_exist(store: Store) -> None:
    with pytest.raises(NotFound):
        add(store, EVERYTHING, f"sha256:{'1' * 64}")
    assert leftovers(store) == []


@pytest.mark.parametrize(
    ("entries", "limits"),
    [
        ([device(f"d{number}") for number in range(20)], Limits(devices=10)),
        ([file(f"f{number}") for number in range(20)], Limits(entries=10)),
        ([file("large", bytes(100_000))], Limits(bytes=50_000)),
    ],
    ids=["devices", "entries", "bytes"],
)
def test_a_flood_or_bomb_is_refused(tmp_path: Path, entries: list[bytes], limits: Limits) -> None:
    store = Store(tmp_path / "data", limits=limits)
    for content in (tar(*entries), gzip.compress(tar(*entries))):
        with pytest.raises(InvalidArgument, match="too large"):
            add(store, content)
    assert leftovers(store) == []


def test_zeros_without_end_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", limits=Limits(bytes=1 << 20, entries=100))
    with pytest.raises(InvalidArgument, match="too large"):
        add(store, gzip.compress(bytes(64 << 20)))
    assert leftovers(store) == []


def test_a_full_disk_fails_cleanly(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", small], check=True)
    try:
        store = Store(small)
        kept = add(store, tar(file("kept", b"kept")))
        before = leftovers(store)
        with pytest.raises((OrlopError, OSError), match=r"(?i)no space left on device"):
            add(store, tar(file("large", os.urandom(8 << 20))))
        assert leftovers(store) == before
        assert again(store, kept) == tar(file("kept", b"kept"))
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_a_crash_left_is_swept(store: Store) -> None:
    unpacked = store.layers.unpack(io.BytesIO(EVERYTHING))
    assert leftovers(store) == [unpacked.place]
    os.rename(store.root / "snapshots" / unpacked.place / "recipe", store.root / "layers" / unpacked.diff_id[7:])
    store.sweep(())
    assert os.listdir(store.root / "layers") == []
    store.snapshots.purge()
    assert leftovers(store) == []


def test_what_a_killed_worker_left_is_swept_and_nobody_elses(store: Store) -> None:
    mine = store.layers.unpack(io.BytesIO(EVERYTHING))
    store.sweep_of(1)
    assert leftovers(store) == [mine.place]
    store.sweep_of(os.getpid())
    store.snapshots.purge()
    assert leftovers(store) == []


def test_the_writer_gives_the_layer_that_the_reader_took(store: Store) -> None:
    """Tree -> layer -> tree -> layer: the same tree, the same layer."""
    first = add(
        store, tar(EVERYTHING[: -len(ZEROS)], file("etc/.wh.passwd"), file("opaque/.wh..wh..opq"), file("opaque/new", b"n"))
    )
    with opened(tree(store, first)) as fd:
        content = b"".join(layer_of(fd))
    second = add(store, content)
    ours, theirs = listing(tree(store, first)), listing(tree(store, second))
    assert {path: fields[:4] + fields[5:] for path, fields in ours.items()} == {
        path: fields[:4] + fields[5:] for path, fields in theirs.items()
    }
    with opened(tree(store, second)) as fd:
        assert b"".join(layer_of(fd)) == content
    assert len(content) < 800_000  # the hole of the sparse file is not in it
