"""The tar reader against archives made by Python's tarfile, by GNU tar and by hand."""

import io
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.spec.errors import Corrupt
from orlop.storage.tar.headers import BLOCK, ZEROS, Entry, encode_header, encode_sparse, padding, parse_number
from orlop.storage.tar.pax import parse_records
from orlop.storage.tar.reader import TarReader


def blocks_of(content: bytes, size: int) -> Callable[[], bytes]:
    stream = io.BytesIO(content)
    return lambda: stream.read(size)


def read_all(content: bytes, size: int = 1000) -> list[tuple[Entry, bytes]]:
    reader = TarReader(blocks_of(content, size))
    found = []
    while entry := reader.next():
        found.append((entry, reader.read(1 << 30)))
    return found


def made_by_tarfile(format: int, *members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=format) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize("block", [1, 511, 512, 1000, 1 << 20])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_entry_comes_back_as_it_was_written(format: int, block: int) -> None:
    info = tarfile.TarInfo("dir/file")
    info.mode, info.uid, info.gid, info.mtime = 0o4755, 1000, 2000, 1_700_000_000
    ((entry, body),) = read_all(made_by_tarfile(format, (info, b"content" * 200)), block)
    assert (entry.name, entry.mode, entry.uid, entry.gid) == (b"dir/file", 0o4755, 1000, 2000)
    assert entry.mtime_ns == 1_700_000_000 * 10**9
    assert body == b"content" * 200


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_link_targets_are_read(format: int) -> None:
    link = tarfile.TarInfo("d/" * 80 + "link")
    link.type, link.linkname = tarfile.SYMTYPE, "t/" * 150 + "target"
    ((entry, _),) = read_all(made_by_tarfile(format, (link, b"")))
    assert (entry.name, entry.link) == (link.name.encode(), link.linkname.encode())


def test_pax_records_overrule_the_header() -> None:
    info = tarfile.TarInfo("short")
    info.pax_headers = {
        "mtime": "1700000000.123456789",
        "uid": "3000000",
        "SCHILY.xattr.user.note": "hello",
        "comment": "ignored",
    }
    ((entry, _),) = read_all(made_by_tarfile(tarfile.PAX_FORMAT, (info, b"")))
    assert entry.mtime_ns == 1_700_000_000_123_456_789
    assert entry.uid == 3_000_000
    assert entry.xattrs == {"user.note": b"hello"}


def test_records_of_global_headers_are_ignored_as_docker_ignores_them() -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"uname": "x", "comment": "c"}) as tar:
        tar.addfile(tarfile.TarInfo("file"))
    assert [entry.name for entry, _ in read_all(target.getvalue())] == [b"file"]


@pytest.mark.parametrize(
    "options",
    [("--format=gnu",), *(("--format=posix", f"--sparse-version={version}") for version in ("0.0", "0.1", "1.0"))],
    ids=["old", "0.0", "0.1", "1.0"],
)
def test_sparse_files_of_gnu_tar_have_their_segments(options: tuple[str, ...], tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        for number in range(40):  # more segments than the old format's header holds
            file.seek(number * 131_072)
            file.write(b"%04d" % number * 1024)
        file.truncate(6_000_000)
    content = subprocess.run(
        ["tar", "-C", tmp_path, "--sparse", "--hole-detection=seek", *options, "-cf", "-", "sparse"],
        check=True,
        capture_output=True,
    ).stdout
    ((entry, body),) = read_all(content)
    rebuilt = bytearray(entry.real_size)
    position = 0
    for offset, length in entry.segments or ():
        rebuilt[offset : offset + length] = body[position : position + length]
        position += length
    assert entry.name == b"sparse"
    assert bytes(rebuilt) == (tmp_path / "sparse").read_bytes()
    assert len(body) < 1_000_000


def test_our_own_sparse_header_is_understood_by_python_and_by_us() -> None:
    entry = Entry(b"dir/sparse", real_size=1_000_000, size=6, segments=[(1000, 2), (500_000, 4)], mtime_ns=5 * 10**9)
    content = encode_sparse(entry) + b"abcdef" + bytes(padding(6)) + ZEROS
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        (member,) = tar
        file = tar.extractfile(member)
        assert file is not None
        whole = file.read()
    assert (member.name, len(whole), whole[1000:1002], whole[500_000:500_004]) == ("dir/sparse", 1_000_000, b"ab", b"cdef")
    ((again, body),) = read_all(content)
    assert (again.name, again.real_size, again.segments, body) == (
        b"dir/sparse",
        1_000_000,
        [(1000, 2), (500_000, 4)],
        b"abcdef",
    )


@given(
    st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name and not name.endswith(b"/")),
    st.integers(0, 0o7777),
    st.integers(0, 2**32 - 2),
    st.integers(0, 2**33 - 1),
    st.dictionaries(st.from_regex(r"user\.[a-z]{1,20}", fullmatch=True), st.binary(max_size=100), max_size=3),
)
def test_what_we_write_we_read(name: bytes, mode: int, uid: int, seconds: int, xattrs: dict[str, bytes]) -> None:
    entry = Entry(name, mode=mode, uid=uid, gid=uid, mtime_ns=seconds * 10**9, xattrs=xattrs or None)
    ((again, _),) = read_all(encode_header(entry) + ZEROS)
    assert (again.name, again.mode, again.uid, again.gid) == (name, mode, uid, uid)
    assert (again.mtime_ns, again.xattrs) == (seconds * 10**9, xattrs or None)


def test_what_we_write_python_reads() -> None:
    name = "d/" * 100 + "größe"
    content = encode_header(Entry(name.encode(), size=9 * 2**33, uid=5_000_000, mtime_ns=7 * 10**9))
    member = tarfile.open(fileobj=io.BytesIO(content + ZEROS)).firstmember
    assert member is not None
    assert (member.name, member.size, member.uid, member.mtime) == (name, 9 * 2**33, 5_000_000, 7)


def test_everything_but_the_bodies_handed_out_is_kept() -> None:
    content = made_by_tarfile(
        tarfile.PAX_FORMAT,
        (tarfile.TarInfo("x" * 200), b"one" * 500),
        (tarfile.TarInfo("b"), b"two"),
        (tarfile.TarInfo("c"), b""),
    )
    kept: list[bytes] = []
    again = b""
    reader = TarReader(blocks_of(content, 700), kept.append)
    while entry := reader.next():
        again += b"".join(kept)
        kept.clear()
        if entry.name != b"b":  # whose body nobody takes
            again += b"".join(bytes(piece) for piece in reader.pieces())
    reader.drain()
    assert again + b"".join(kept) == content


def header_with(**fields: bytes) -> bytes:
    """A header with some fields replaced (by offset name), its checksum right."""
    places = {"name": 0, "mode": 100, "uid": 108, "size": 124, "mtime": 136, "kind": 156, "magic": 257}
    header = bytearray(encode_header(Entry(b"file")))
    for name, value in fields.items():
        header[places[name] : places[name] + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x" * BLOCK, "not an octal number"),
        (encode_header(Entry(b"file"))[:300], "unexpected end"),
        (encode_header(Entry(b"file", size=1000)) + b"x" * 999, "unexpected end"),
        (bytes(BLOCK) + encode_header(Entry(b"late")), "after the end"),
        (header_with(mode=b"0009\0"), "not an octal number"),
        (header_with(size=b"\xff" + b"\xff" * 11), "negative size"),
        (header_with(uid=b"\x80\0\0\1\0\0\0\0"), "no such user"),
        (header_with(kind=b"x", size=b"00000000012\0") + b"9 path\n".ljust(BLOCK, b"\0"), "malformed PAX record"),
        (header_with(kind=b"x", size=b"00000000013\0") + b"11 path=a\0\n".ljust(BLOCK, b"\0"), "NUL byte"),
        (header_with(kind=b"x", size=b"77777777777\0"), "bytes of metadata"),
        (header_with(kind=b"L", size=b"77777777777\0"), "bytes of metadata"),
    ],
)
def test_a_malformed_archive_is_corrupt(content: bytes, reason: str) -> None:
    with pytest.raises(Corrupt, match=reason):
        read_all(content)


@pytest.mark.parametrize(
    ("segments", "real_size", "size"),
    [([(0, 4), (2, 4)], 100, 8), ([(98, 4)], 100, 4), ([(50, 4), (10, 4)], 100, 8)],
    ids=["overlapping", "behind the end", "out of order"],
)
def test_an_impossible_sparse_map_is_corrupt(segments: list[tuple[int, int]], real_size: int, size: int) -> None:
    entry = Entry(b"sparse", real_size=real_size, size=size, segments=segments)
    with pytest.raises(Corrupt, match="map of a sparse file"):
        read_all(encode_sparse(entry) + b"x" * 512 + ZEROS)


@given(st.binary(max_size=3000))
def test_nonsense_is_corrupt_or_nothing_but_never_another_error(content: bytes) -> None:
    with suppress(Corrupt):
        read_all(content)
    with suppress(Corrupt):
        parse_records(content)


@given(st.integers(0, 12 * 512 - 1), st.integers(1, 255))
def test_one_changed_byte_is_corrupt_or_harmless(position: int, change: int) -> None:
    info = tarfile.TarInfo("n" * 150)
    info.pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
    content = bytearray(made_by_tarfile(tarfile.PAX_FORMAT, (info, b"body" * 100)))
    content[position % len(content)] ^= change
    with suppress(Corrupt):
        read_all(bytes(content))


def test_numbers_are_octal_or_base_256() -> None:
    assert parse_number(b"0000644\0") == 0o644
    assert parse_number(b" 644 \0\0\0") == 0o644
    assert parse_number(b"\0" * 8) == 0
    assert parse_number(b"\x80" + (2**40).to_bytes(11, "big")) == 2**40
    assert parse_number(b"\xff" * 12) == -1
