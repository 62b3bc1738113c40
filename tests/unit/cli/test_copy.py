"""Where copies land (the rules of cp), and the tar streams that carry them."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.cli.copy import renamer, resolve, split_entry, split_operand
from orlop.cli.pack import pack
from orlop.cli.session import Failure
from orlop.cli.unpack import unpack


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("c:/p", ("c", "/p")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("a", ("", "a")),
        ("c:", ("c", "")),
        ("-", ("", "-")),
    ],
)
def test_operands(text: str, expected: tuple[str, str]) -> None:
    assert split_operand(text) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/b", ("/a", "b")), ("/a/b/.", ("/a/b", ".")), ("/a/b/", ("/a", "b")), ("/a", ("/", "a")), ("/", ("/", "/"))],
)
def test_last_names(path: str, expected: tuple[str, str]) -> None:
    assert split_entry(path) == expected


@pytest.mark.parametrize(
    ("directory", "destination", "status", "expected"),
    [
        (False, "/to", True, ("/to", "src")),
        (True, "/to", True, ("/to", "src")),
        (False, "/to/file", False, ("/to", "file")),
        (False, "/to/new", None, ("/to", "new")),
        (True, "/to/new", None, ("/to", "new")),
        (True, "/to/new/", None, ("/to", "new")),
    ],
)
def test_where_it_lands(directory: bool, destination: str, status: bool | None, expected: tuple[str, str]) -> None:
    assert resolve("src", directory, destination, status) == expected


@pytest.mark.parametrize(
    ("directory", "destination", "status", "message"),
    [
        (True, "/to/file", False, "cannot copy directory"),
        (False, "/to/new/", None, "no such directory"),
        (False, "/to/file/", False, "not a directory"),
    ],
)
def test_where_it_cannot(directory: bool, destination: str, status: bool | None, message: str) -> None:
    with pytest.raises(Failure, match=message):
        resolve("src", directory, destination, status)


def test_renaming() -> None:
    assert [renamer("a", "b")(name) for name in ("a", "a/x", "ab", "c/a")] == ["b", "b/x", "ab", "c/a"]
    assert renamer(".", "new")("./x") == "new/x"
    assert renamer("/", "new")("etc/x") == "new/etc/x"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True, mode=0o750)
    (root / "file").write_bytes(b"x" * 1000)
    (root / "file").chmod(0o4711)
    (root / "sub/é").write_text("y")
    (root / ("long-" * 40)).write_text("z")
    (root / "link").symlink_to("../" + "far/" * 40)
    os.link(root / "file", root / "hard")
    os.mkfifo(root / "fifo")
    os.utime(root / "sub", (1, 1_000_000_000))
    return root


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(root))] = (
            status.st_mode,
            content,
            int(status.st_mtime),
            status.st_nlink if path.is_file() else 0,
        )
    return found


def test_what_is_packed_the_standard_library_reads(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pack(str(tree), "new")))) as archive:
        members = {member.name: member for member in archive}
        assert members["new/sub"].isdir()
        assert members["new/hard"].islnk() or members["new/file"].islnk()
        assert members["new/link"].linkname == "../" + "far/" * 40
        assert archive.extractfile("new/" + "long-" * 40).read() == b"z"  # type: ignore[union-attr]


def test_what_is_packed_is_unpacked_alike(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    whole = b"".join(pack(str(tree), "tree"))
    unpack((whole[at : at + 777] for at in range(0, len(whole), 777)), str(tmp_path / "to"), renamer("tree", "other"))
    assert facts(tmp_path / "to/other") == facts(tree)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info, data


def archive(*members: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> Iterator[bytes]:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w", format=format) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    yield whole.getvalue()


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_what_the_standard_library_packs_is_read(tmp_path: Path, format: int) -> None:
    long = "d" * 60 + "/" + "n" * 90
    assert unpack(archive(member(long, data=b"abc"), member("l", tarfile.SYMTYPE, "t"), format=format), str(tmp_path), str) == 3
    assert (tmp_path / long).read_bytes() == b"abc"
    assert os.readlink(tmp_path / "l") == "t"


@pytest.mark.parametrize(
    "members",
    [
        [member("../out", data=b"x")],
        [member("a/../../out", data=b"x")],
        [member("l", tarfile.SYMTYPE, ".."), member("l/out", data=b"x")],
        [member("l", tarfile.SYMTYPE, "/"), member("l/tmp-orlop-out", data=b"x")],
        [member("h", tarfile.LNKTYPE, "../secret")],
        [member("l", tarfile.SYMTYPE, ".."), member("h", tarfile.LNKTYPE, "l/secret")],
    ],
)
def test_nothing_is_written_outside(tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "to").mkdir()
    with pytest.raises((Failure, OSError)):
        unpack(archive(*members), str(tmp_path / "to"), str)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "to"]
    assert not (tmp_path / "to/h").exists()


def test_a_file_through_a_link_replaces_the_link(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "secret").write_text("s")
    unpack(archive(member("l", tarfile.SYMTYPE, "../secret"), member("l", data=b"new")), str(tmp_path / "to"), str)
    assert (tmp_path / "secret").read_text() == "s"
    assert (tmp_path / "to/l").read_text() == "new"


def test_kinds_do_not_replace_one_another(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("x")
    with pytest.raises(Failure, match='cannot overwrite directory "d" with non-directory'):
        unpack(archive(member("d", data=b"x")), str(tmp_path), str)
    with pytest.raises(Failure, match='cannot overwrite non-directory "f" with directory'):
        unpack(archive(member("f", tarfile.DIRTYPE)), str(tmp_path), str)


def test_a_broken_archive_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="unexpected EOF"):
        unpack(iter([b"".join(archive(member("a", data=b"x" * 2000)))[:1500]]), str(tmp_path), str)
