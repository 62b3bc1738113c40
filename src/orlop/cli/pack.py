"""A local file or tree as a tar stream (PAX), for `orlop cp` into a container."""

import posix
from stat import S_IMODE, S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
READ_BYTES = 1 << 18
CAPABILITY = "security.capability"
LARGEST_OCTAL = 0o7777777  # of the seven-digit fields
LARGEST_SIZE = 0o77777777777


def pack(path: str, name: str) -> "Iterator[bytes]":
    """The tree at `path` under `name`. Raises OSError for what cannot be read; a file that shrinks is filled up with zeros."""
    yield from _entry(path, name, {})
    yield bytes(2 * BLOCK)


def _entry(path: str, name: str, links: "dict[tuple[int, int], str]") -> "Iterator[bytes]":
    status = posix.lstat(path)
    identity = (status.st_dev, status.st_ino)
    if S_ISDIR(status.st_mode):
        yield header(f"{name}/", status, b"5", attributes=_attributes(path))
        for child in sorted(posix.listdir(path)):
            yield from _entry(f"{path}/{child}", f"{name}/{child}", links)
    elif S_ISLNK(status.st_mode):
        yield header(name, status, b"2", target=posix.readlink(path))
    elif identity in links:
        yield header(name, status, b"1", target=links[identity])
    elif S_ISREG(status.st_mode):
        if status.st_nlink > 1:
            links[identity] = name
        yield header(name, status, b"0", size=status.st_size, attributes=_attributes(path))
        yield from _body(path, status.st_size)
    else:
        for is_kind, kind in ((S_ISCHR, b"3"), (S_ISBLK, b"4"), (S_ISFIFO, b"6")):  # sockets are left out, as everywhere
            if is_kind(status.st_mode):
                yield header(name, status, kind)


def _attributes(path: str) -> dict[str, bytes]:
    try:
        return {f"SCHILY.xattr.{CAPABILITY}": posix.getxattr(path, CAPABILITY, follow_symlinks=False)}
    except OSError:
        return {}


def _body(path: str, size: int) -> "Iterator[bytes]":
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW)
    try:
        left = size
        while left:
            piece = posix.read(descriptor, min(left, READ_BYTES)) or bytes(min(left, READ_BYTES))
            left -= len(piece)
            yield piece
    finally:
        posix.close(descriptor)
    yield bytes(-size % BLOCK)


def header(
    name: str,
    status: "posix.stat_result",
    kind: bytes,
    *,
    size: int = 0,
    target: str = "",
    attributes: "dict[str, bytes] | None" = None,
) -> bytes:
    """The blocks that introduce an entry; what does not fit the old header goes into a PAX one before it."""
    records = dict(attributes or {})
    raw_name, raw_target = name.encode(errors="surrogateescape"), target.encode(errors="surrogateescape")
    for key, value, limit in (("path", raw_name, 100), ("linkpath", raw_target, 100)):
        if len(value) > limit or not value.isascii():
            records[key] = value
    for key, number, largest in (
        ("size", size, LARGEST_SIZE),
        ("uid", status.st_uid, LARGEST_OCTAL),
        ("gid", status.st_gid, LARGEST_OCTAL),
    ):
        if number > largest:
            records[key] = str(number).encode()
    device = status.st_rdev if kind in (b"3", b"4") else 0
    blocks = b""
    if records:
        body = b"".join(_record(key, value) for key, value in records.items())
        blocks = _block(b"PaxHeaders.0/x", 0o644, 0, 0, len(body), 0, b"x", b"", 0) + body + bytes(-len(body) % BLOCK)
    return blocks + _block(
        raw_name, S_IMODE(status.st_mode), status.st_uid, status.st_gid, size, int(status.st_mtime), kind, raw_target, device
    )


def _record(key: str, value: bytes) -> bytes:
    """`length key=value\\n`, where the length counts its own digits."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes, target: bytes, device: int) -> bytes:
    fields = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%bustar\x0000%b%07o\0%07o\0" % (
        name[:100].ljust(100, b"\0"),
        mode,
        uid & LARGEST_OCTAL,
        gid & LARGEST_OCTAL,
        size & LARGEST_SIZE,
        max(mtime, 0),
        kind,
        target[:100].ljust(100, b"\0"),
        bytes(64),
        posix.major(device),
        posix.minor(device),
    )
    block = fields.ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
