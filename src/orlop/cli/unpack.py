"""A tar stream unpacked to local files, for `orlop cp` out of a container. Nothing is ever written outside the target."""

import posix
from stat import S_ISDIR

from orlop.cli.files import ensure_directory
from orlop.cli.pack import BLOCK
from orlop.cli.session import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLLOWED = posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC


class Source:
    """Reads exact amounts from pieces."""

    def __init__(self, pieces: "Iterator[bytes]") -> None:
        self._pieces = pieces
        self._rest = b""

    def exactly(self, count: int) -> bytes:
        """`count` bytes. Raises Failure when the stream ends before."""
        return b"".join(self.up_to(count))

    def up_to(self, count: int) -> "Iterator[bytes]":
        """The next `count` bytes as they come."""
        while count:
            data = self._rest or next(self._pieces, b"")
            if not data:
                raise Failure("unexpected EOF in the archive")
            self._rest = data[count:]
            count -= len(data) - len(self._rest)
            yield data[: len(data) - len(self._rest)]


class Entry:
    """What a header says, PAX and GNU extensions included."""

    def __init__(self, block: bytes, records: dict[str, str]) -> None:
        prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
        name = _text(block[:100])
        self.name = records.get("path", f"{prefix}/{name}" if prefix else name)
        self.target = records.get("linkpath", _text(block[157:257]))
        self.kind = block[156:157]
        self.mode = _number(block[100:108])
        self.size = int(records["size"]) if "size" in records else _number(block[124:136])
        self.mtime = float(records.get("mtime", _number(block[136:148])))
        self.device = posix.makedev(_number(block[329:337]), _number(block[337:345]))


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits else 0


def entries(source: Source) -> "Iterator[Entry]":
    """The entries in turn; the caller reads each one's body (entry.size bytes and the fill to a whole block)."""
    records: dict[str, str] = {}
    while True:
        block = source.exactly(BLOCK)
        if not any(block):
            return
        entry = Entry(block, records)
        if entry.kind in b"xLKg":
            body = source.exactly(entry.size + -entry.size % BLOCK)[: entry.size]
            if entry.kind == b"x":
                records = _records(body)
            elif entry.kind in b"LK":
                records["path" if entry.kind == b"L" else "linkpath"] = _text(body)
            continue
        records = {}
        yield entry


def _records(body: bytes) -> dict[str, str]:
    found = {}
    while body:
        length = int(body.partition(b" ")[0])
        key, _, value = body[:length].partition(b" ")[2].partition(b"=")
        found[key.decode()] = value.removesuffix(b"\n").decode(errors="surrogateescape")
        body = body[length:]
    return found


def unpack(pieces: "Iterator[bytes]", directory: str, rename: "Callable[[str], str]") -> int:
    """Unpack below a directory, each entry under its new name; the bytes of file content. Raises Failure, OSError."""
    source, total = Source(pieces), 0
    root = posix.open(directory or "/", posix.O_DIRECTORY | posix.O_CLOEXEC)
    times: list[tuple[str, float]] = []
    try:
        for entry in entries(source):
            name = _inside(rename(entry.name))
            parent = _parent(root, name)
            try:
                _write(root, parent, name, entry, source, rename)
            finally:
                posix.close(parent)
            total += entry.size
            if entry.kind == b"5":
                times.append((name, entry.mtime))
        for name, mtime in reversed(times):  # children have changed their parents' times
            _set_time(root, name, mtime)
    finally:
        posix.close(root)
    return total


def _inside(name: str) -> str:
    """The name relative to the target, without `.`; Failure for one that would leave it."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Failure(f"cannot unpack {name}: it lies outside the target")
    return "/".join(parts)


def _parent(root: int, name: str) -> int:
    """The directory that holds `name`, made when missing, reached without following a link."""
    here = posix.dup(root)
    for part in name.split("/")[:-1]:
        ensure_directory(part, 0o755, here)
        try:
            below = posix.open(part, posix.O_RDONLY | FOLLOWED, dir_fd=here)
        finally:
            posix.close(here)
        here = below
    return here


def _write(root: int, parent: int, name: str, entry: Entry, source: Source, rename: "Callable[[str], str]") -> None:
    base = name.rpartition("/")[2]
    if not base:
        return  # the target itself
    if entry.kind == b"5":
        _make_directory(parent, base, entry.mode)
        return
    _clear(parent, base)
    if entry.kind == b"2":
        posix.symlink(entry.target, base, dir_fd=parent)
        posix.utime(base, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)
    elif entry.kind == b"1":
        target = _inside(rename(entry.target))
        holder = _parent(root, target)
        try:
            posix.link(target.rpartition("/")[2], base, src_dir_fd=holder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            posix.close(holder)
    elif entry.kind in (b"0", b"\0", b"7"):
        _make_file(parent, base, entry, source)
    elif entry.kind in b"346":
        kinds = {b"3": 0o020000, b"4": 0o060000, b"6": 0o010000}
        posix.mknod(base, kinds[entry.kind] | 0o600, entry.device, dir_fd=parent)
        posix.chmod(base, entry.mode & 0o7777, dir_fd=parent)  # whatever the umask


def _make_directory(parent: int, base: str, mode: int) -> None:
    try:
        posix.mkdir(base, mode & 0o7777, dir_fd=parent)
    except FileExistsError:
        if not S_ISDIR(posix.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
            raise Failure(f'cannot overwrite non-directory "{base}" with directory') from None
    descriptor = posix.open(base, posix.O_RDONLY | FOLLOWED, dir_fd=parent)
    try:
        posix.fchmod(descriptor, mode & 0o7777)
    finally:
        posix.close(descriptor)


def _clear(parent: int, base: str) -> None:
    """Make way for an entry; a directory is never overwritten by something else."""
    try:
        status = posix.stat(base, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if S_ISDIR(status.st_mode):
        raise Failure(f'cannot overwrite directory "{base}" with non-directory "{base}"')
    posix.unlink(base, dir_fd=parent)


def _make_file(parent: int, base: str, entry: Entry, source: Source) -> None:
    descriptor = posix.open(base, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        for piece in source.up_to(entry.size):
            while piece:
                piece = piece[posix.write(descriptor, piece) :]
        source.exactly(-entry.size % BLOCK)
        posix.fchmod(descriptor, entry.mode & 0o7777)
        posix.utime(descriptor, (entry.mtime, entry.mtime))
    finally:
        posix.close(descriptor)


def _set_time(root: int, name: str, mtime: float) -> None:
    parent = _parent(root, name)
    try:
        if name:
            posix.utime(name.rpartition("/")[2], (mtime, mtime), dir_fd=parent, follow_symlinks=False)
    finally:
        posix.close(parent)
