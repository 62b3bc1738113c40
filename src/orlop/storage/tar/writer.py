"""A directory tree as a tar, in blocks: a layer of an overlay's upper directory, or a plain archive. Same tree, same bytes."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from orlop.storage.compression import READ_BYTES
from orlop.storage.tar.extract import OPAQUE_XATTR, WHITEOUT, WHITEOUT_OPAQUE
from orlop.storage.tar.headers import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SECOND,
    SYMLINK,
    ZEROS,
    Entry,
    encode_header,
    encode_sparse,
    padding,
)
from orlop.storage.tar.layer import is_whiteout
from orlop.storage.trees import data_segments

_KINDS = {stat.S_IFCHR: CHARACTER, stat.S_IFBLK: BLOCK_DEVICE, stat.S_IFIFO: FIFO, stat.S_IFLNK: SYMLINK, stat.S_IFREG: FILE}
_SKIPPED_XATTRS = ("trusted.overlay.", "user.overlay.", "security.selinux")  # the first two describe overlays, not files
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SPARSE_BYTES = 1 << 16  # smaller files are written whole


class TreeWriter:
    """Makes one archive. With `layer`, whiteouts and opaque directories of overlayfs become those of the OCI layer format.
    Directories on the devices `without` are taken as empty."""

    def __init__(self, *, layer: bool = False, without: frozenset[int] = frozenset()) -> None:
        self._layer = layer
        self._without = without
        self._links: dict[tuple[int, int], bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def tree(self, fd: int, prefix: bytes = b"") -> Iterator[bytes]:
        """What is in a directory, its names behind `prefix` (which ends in "/" or is empty)."""
        levels = [(os.dup(fd), prefix, iter(_sorted(fd)))]
        try:
            while levels:
                fd, prefix, names = levels[-1]
                name = next(names, None)
                if name is None:
                    os.close(levels.pop()[0])
                    continue
                with suppress(FileNotFoundError):  # a running container may remove it meanwhile
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        inner = os.open(name, _DIRECTORY, dir_fd=fd)
                        inside = [] if status.st_dev in self._without else _sorted(inner)
                        levels.append((inner, prefix + name + b"/", iter(inside)))
                        self._directory(inner, prefix + name + b"/", status)
                    else:
                        yield from self._other(fd, name, prefix + name, status)
                if self._size >= READ_BYTES:
                    yield self._flush()
        finally:
            for fd, _, _ in levels:
                os.close(fd)

    def directory(self, fd: int, name: bytes) -> None:
        """Add the entry of a directory itself; `name` ends in "/"."""
        self._directory(fd, name, os.fstat(fd))

    def file(self, dir_fd: int, base: bytes, name: bytes) -> Iterator[bytes]:
        """Add one file that is no directory, under a name."""
        yield from self._other(dir_fd, base, name, os.stat(base, dir_fd=dir_fd, follow_symlinks=False))

    def end(self) -> Iterator[bytes]:
        """What is left, and the end of the archive."""
        self.add(ZEROS)
        yield self._flush()

    def _directory(self, fd: int, name: bytes, status: os.stat_result) -> None:
        self.add(encode_header(_entry(name, DIRECTORY, status, fd)))
        if self._layer:
            with suppress(OSError):
                if os.getxattr(fd, OPAQUE_XATTR) == b"y":
                    self.add(encode_header(Entry(name + WHITEOUT_OPAQUE, mode=0o600)))

    def _other(self, fd: int, base: bytes, name: bytes, status: os.stat_result) -> Iterator[bytes]:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:  # a socket: no tar can keep it
            return
        if self._layer and is_whiteout(status):
            directory, slash, _ = name.rpartition(b"/")
            self.add(encode_header(Entry(directory + slash + WHITEOUT + base, mode=0o600)))
            return
        if status.st_nlink > 1 and kind == FILE:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                entry = _entry(name, LINK, status)
                entry.link = first
                self.add(encode_header(entry))
                return
        if kind == FILE:
            yield from self._regular(fd, base, name, status)
            return
        entry = _entry(name, kind, status)
        if kind == SYMLINK:
            entry.link = os.readlink(base, dir_fd=fd)
        elif kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        self.add(encode_header(entry))

    def _regular(self, dir_fd: int, base: bytes, name: bytes, status: os.stat_result) -> Iterator[bytes]:
        fd = os.open(base, _READ, dir_fd=dir_fd)
        try:
            entry = _entry(name, FILE, status, fd)
            segments = [(0, status.st_size)]
            if status.st_size >= _SPARSE_BYTES and status.st_blocks * 512 < status.st_size:
                data = data_segments(fd, status.st_size)
                if sum(length for _, length in data) <= status.st_size // 2:
                    segments = data
                    entry.segments = [*data, (status.st_size, 0)]  # GNU tar takes the file's end from the map
            self.add(encode_header(entry) if entry.segments is None else encode_sparse(entry))
            total = 0
            for offset, length in segments:
                total += length
                yield from self._content(fd, offset, length)
            self.add(bytes(padding(total)))
        finally:
            os.close(fd)

    def _content(self, fd: int, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            block = os.pread(fd, min(end - offset, READ_BYTES), offset)
            if not block:  # cut off since the header was written, which cannot be taken back
                block = bytes(min(end - offset, READ_BYTES))
            offset += len(block)
            self.add(block)
            if self._size >= READ_BYTES:
                yield self._flush()

    def add(self, content: bytes) -> None:
        """Add bytes that are ready."""
        self._parts.append(content)
        self._size += len(content)

    def _flush(self) -> bytes:
        block = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return block


def layer_of(fd: int) -> Iterator[bytes]:
    """The layer that an overlay's upper directory comes to."""
    writer = TreeWriter(layer=True)
    yield from writer.tree(fd)
    yield from writer.end()


def archive_of(fd: int) -> Iterator[bytes]:
    """A plain archive of what is in a directory."""
    writer = TreeWriter()
    yield from writer.tree(fd)
    yield from writer.end()


def _sorted(fd: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(fd))


def _entry(name: bytes, kind: bytes, status: os.stat_result, fd: int = -1) -> Entry:
    return Entry(
        name,
        kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == FILE else 0,
        mtime_ns=status.st_mtime_ns // SECOND * SECOND,  # whole seconds, as Docker's layers have
        xattrs=_xattrs(fd) if fd >= 0 else None,
    )


def _xattrs(fd: int) -> dict[str, bytes] | None:
    try:
        names = os.listxattr(fd)
    except OSError:  # not on this file system
        return None
    return {name: os.getxattr(fd, name) for name in names if not name.startswith(_SKIPPED_XATTRS)} or None
