"""Entries of an archive as files below a directory, whatever the archive says: nothing is ever made outside of it.

Parents are opened by openat2(2) with RESOLVE_IN_ROOT, so links lead where they would lead a process chrooted there; names that
climb out by ".." are refused, as Docker refuses them.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

from orlop.kernel import paths, syscalls
from orlop.spec.errors import Corrupt, InvalidArgument
from orlop.storage.tar.headers import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    PAX_GLOBAL,
    SYMLINK,
    Entry,
)
from orlop.storage.tar.reader import TarReader
from orlop.storage.tar.recipe import Recorder
from orlop.storage.trees import remove_tree

OPAQUE_XATTR = "trusted.overlay.opaque"
WHITEOUT = b".wh."
WHITEOUT_META = b".wh..wh."
WHITEOUT_OPAQUE = b".wh..wh..opq"

_PRIVATE_XATTRS = ("trusted.overlay.", "user.overlay.")  # the overlay's own: no layer may set them
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARENT = os.O_PATH | os.O_DIRECTORY
_PLAIN = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_MOST_PARENTS = 512  # kept open


@dataclass(frozen=True)
class Limits:
    """What one archive may make; more is a bomb. `bytes` counts contents, not holes."""

    entries: int = 2_000_000
    bytes: int = 256 << 30
    devices: int = 4096


DEFAULT_LIMITS = Limits()


class Parent(NamedTuple):
    """An open directory, its path below the root with links resolved, and whether it hands its group down (setgid)."""

    fd: int
    path: bytes
    inherits: bool


class Extractor:
    """Extracts below the directory `root`. Use as a context manager: at its end directories get their times."""

    def __init__(
        self, root: int, *, base: bytes = b"", limits: Limits = DEFAULT_LIMITS, owner: tuple[int, int] | None = None
    ) -> None:
        """`root`: a descriptor that stays the caller's. `base`: the directory below it that the archive's names start from.

        `owner` overrules the archive's owners.
        """
        self._root = root
        self._base = base
        self._limits = limits
        self._owner = owner
        self._descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._parents: dict[bytes, Parent] = {}
        self._stale = False  # what the parents' paths mean may have changed
        self._times: dict[bytes, int] = {}  # of directories: set last, for what is made inside changes them
        self._entries = self._devices = self._bytes = 0
        self.size = 0  # of all files made: what Docker calls a layer's size
        self.implied: set[bytes] = set()  # directories made because something lies in them, that had no entry so far

    def run(self, reader: TarReader) -> None:
        """Extract every entry."""
        with _no_umask():
            while entry := reader.next():
                self.extract(entry, reader)
            self.set_times()

    def extract(self, entry: Entry, reader: TarReader) -> None:
        """Make one entry. Raises InvalidArgument when it would escape or exceeds the limits, OSError."""
        self._count(entry)
        if self._stale or len(self._parents) > _MOST_PARENTS:
            self._forget_parents()
        name = clean_name(entry.name)
        if not name:
            if entry.kind == DIRECTORY:
                self._root_entry(entry)
            return
        directory, _, base = join(self._base, name).rpartition(b"/")
        try:
            parent = self._parents.get(directory) or self._parent(directory)
            if not self._special(parent, base):
                self._make(parent, base, entry, reader)
        except OSError as error:
            raise _named(error, entry) from error

    def set_times(self) -> None:
        """Give directories their times, innermost first."""
        for path in reversed(self._times):
            directory, _, base = path.rpartition(b"/")
            times = (self._times[path], self._times[path])
            if path:
                fd = syscalls.openat2(self._root, directory or b".", _PARENT, resolve=_PLAIN)
                try:
                    os.utime(base, ns=times, dir_fd=fd, follow_symlinks=False)
                finally:
                    os.close(fd)
            else:
                os.utime(self._root, ns=times)

    def close(self) -> None:
        """Close what is open."""
        self._forget_parents()
        os.close(self._descriptors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What a layer does differently.

    def _special(self, parent: Parent, base: bytes) -> bool:
        """Whether a name was no file but an order, which is done then."""
        return False

    def _recorder(self) -> Recorder | None:
        return None

    def _displace(self, parent: Parent, base: bytes, entry: Entry) -> None:
        """Make room at a name that something other than a directory is to have, or that something else than a directory has."""
        remove_tree(base, dir_fd=parent.fd)

    def _missing_target(self, parent: Parent, base: bytes, entry: Entry) -> None:
        """A hard link's target is not below the root."""
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), entry.link)

    # One entry.

    def _count(self, entry: Entry) -> None:
        self._entries += 1
        self._bytes += entry.size
        if entry.kind in (CHARACTER, BLOCK_DEVICE, FIFO):
            self._devices += 1
        limits = self._limits
        if self._entries > limits.entries or self._bytes > limits.bytes or self._devices > limits.devices:
            raise InvalidArgument(
                f"the archive is too large: over {limits.entries} entries, {limits.bytes} bytes or {limits.devices} devices"
            )

    def _root_entry(self, entry: Entry) -> None:
        os.fchown(self._root, *(self._owner or (entry.uid, entry.gid)))
        os.fchmod(self._root, entry.mode)
        for name, value in (entry.xattrs or {}).items():
            self._set_xattr(b".", self._root, name, value)
        self._times[b""] = entry.mtime_ns
        self.implied.discard(b"")

    def _make(self, parent: Parent, base: bytes, entry: Entry, reader: TarReader) -> None:
        maker = _MAKERS.get(entry.kind)
        if maker is None:
            if entry.kind == PAX_GLOBAL:
                return
            raise Corrupt(f"unhandled tar header type {entry.kind!r} of {os.fsdecode(entry.name)}")
        try:
            fd = maker(self, parent, base, entry)
        except FileExistsError:
            self._stale = True
            self._displace(parent, base, entry)
            fd = maker(self, parent, base, entry)
        if entry.kind == LINK:
            return
        try:
            self._own(parent, base, entry)
            if fd >= 0:
                self._write(fd, parent, base, entry, reader)
            elif entry.kind == DIRECTORY:
                path = join(parent.path, base)
                self._times[path] = entry.mtime_ns
                self.implied.discard(path)
            else:
                os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent.fd, follow_symlinks=False)
            for name, value in (entry.xattrs or {}).items():
                self._set_xattr(base, parent.fd, name, value)
        finally:
            if fd >= 0:
                os.close(fd)

    def _own(self, parent: Parent, base: bytes, entry: Entry) -> None:
        """Owner, then the mode bits that a chown clears. (Capabilities go with a chown and a write: attributes come last.)"""
        uid, gid = self._owner or (entry.uid, entry.gid)
        if uid or gid or parent.inherits:
            os.chown(base, uid, gid, dir_fd=parent.fd, follow_symlinks=False)
            if entry.kind != SYMLINK and (entry.mode & 0o6000 or parent.inherits):
                os.chmod(base, entry.mode, dir_fd=parent.fd)

    def _set_xattr(self, base: bytes, dir_fd: int, name: str, value: bytes) -> None:
        if name.startswith(_PRIVATE_XATTRS):
            return
        os.fchdir(dir_fd)  # lsetxattr(2) has no *at form before Linux 6.13
        try:
            os.setxattr(base, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (
                errno.EOPNOTSUPP,
                errno.EPERM,
            ):  # what this file system cannot keep is left out, as in Docker
                raise

    def _write(self, fd: int, parent: Parent, base: bytes, entry: Entry, reader: TarReader) -> None:
        recorder = self._recorder()
        if entry.segments is not None:
            os.ftruncate(fd, entry.real_size)
            if recorder and entry.size:
                recorder.segments(join(parent.path, base), entry.segments)
            self._write_segments(fd, entry, reader)
        elif entry.size:
            if recorder:
                recorder.file(join(parent.path, base), entry.size)
            whole = reader.whole()
            for piece in reader.pieces() if whole is None else (whole,):
                while piece:
                    piece = piece[os.write(fd, piece) :]
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _write_segments(self, fd: int, entry: Entry, reader: TarReader) -> None:
        segments = iter(entry.segments or ())
        offset, left = next(segments, (0, 0))
        for piece in reader.pieces():
            while piece:
                while not left:
                    offset, left = next(segments)
                written = os.pwrite(fd, piece[:left], offset)
                offset, left, piece = offset + written, left - written, piece[written:]

    def _make_file(self, parent: Parent, base: bytes, entry: Entry) -> int:
        fd = os.open(base, _NEW_FILE, entry.mode, dir_fd=parent.fd)
        self.size += entry.real_size
        return fd

    def _make_directory(self, parent: Parent, base: bytes, entry: Entry) -> int:
        try:
            os.mkdir(base, entry.mode, dir_fd=parent.fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(base, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                raise
            self._stale = True  # its setgid bit may change
            os.chown(base, *(self._owner or (entry.uid, entry.gid)), dir_fd=parent.fd, follow_symlinks=False)
            os.chmod(base, entry.mode, dir_fd=parent.fd)
        else:
            if entry.mode & 0o6000:  # mkdir(2) ignores these bits
                os.chmod(base, entry.mode, dir_fd=parent.fd)
        return -1

    def _make_symlink(self, parent: Parent, base: bytes, entry: Entry) -> int:
        os.symlink(entry.link, base, dir_fd=parent.fd)
        self.size += len(entry.link)
        return -1

    def _make_link(self, parent: Parent, base: bytes, entry: Entry) -> int:
        directory, _, target = join(self._base, clean_name(entry.link)).rpartition(b"/")
        if not target:
            raise InvalidArgument(f'invalid hardlink "{os.fsdecode(entry.name)}" -> "{os.fsdecode(entry.link)}"')
        try:
            source = self._parents.get(directory) or self._open_parent(directory)
            os.link(target, base, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError:
            self._missing_target(parent, base, entry)
        return -1

    def _make_device(self, parent: Parent, base: bytes, entry: Entry) -> int:
        kind = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK, FIFO: stat.S_IFIFO}[entry.kind]
        try:
            device = os.makedev(*entry.device)
        except OverflowError as error:
            raise Corrupt(f"invalid device number of {os.fsdecode(entry.name)}") from error
        os.mknod(base, kind | entry.mode, device, dir_fd=parent.fd)
        return -1

    # Parents.

    def _parent(self, directory: bytes) -> Parent:
        """The directory that an entry goes into, made with its own parents where it is missing."""
        try:
            return self._open_parent(directory)
        except FileNotFoundError:
            above, _, base = directory.rpartition(b"/")
            parent = self._parents.get(above) or self._parent(above)
            try:
                os.mkdir(base, 0o755, dir_fd=parent.fd)
                self.implied.add(join(parent.path, base))
            except FileExistsError:  # a link to something missing
                os.close(paths.make_in_root(self._root, os.fsdecode(directory), directory=True))
            return self._open_parent(directory)

    def _open_parent(self, directory: bytes) -> Parent:
        try:
            fd, path = syscalls.openat2(self._root, directory or b".", _PARENT, resolve=_PLAIN), directory
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            fd = syscalls.openat2(self._root, directory, _PARENT, resolve=_IN_ROOT)
            path = self._path_of(fd)[len(self._path_of(self._root)) :].strip(b"/")
        self._parents[directory] = parent = Parent(fd, path, _inherits(fd))
        return parent

    def _path_of(self, fd: int) -> bytes:
        path: bytes = os.readlink(b"%d" % fd, dir_fd=self._descriptors)
        return path.rstrip(b"/")

    def _forget_parents(self) -> None:
        """Close the kept directories; only between entries."""
        for parent in self._parents.values():
            os.close(parent.fd)
        self._parents.clear()
        self._stale = False


def clean_name(name: bytes) -> bytes:
    """A path without ".", "..", doubled, leading and closing slashes; "" is the root itself.

    Raises InvalidArgument for one that climbs out.
    """
    if b"//" not in name and b"/." not in name and not name.startswith((b"/", b"./", b"..")) and name != b".":
        return name.rstrip(b"/")
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise InvalidArgument(f'"{os.fsdecode(name)}" is outside of the archive\'s root')
            parts.pop()
        elif part and part != b".":
            parts.append(part)
    return b"/".join(parts)


_MAKERS: dict[bytes, Callable[[Extractor, Parent, bytes, Entry], int]] = {
    FILE: Extractor._make_file,
    DIRECTORY: Extractor._make_directory,
    SYMLINK: Extractor._make_symlink,
    LINK: Extractor._make_link,
    CHARACTER: Extractor._make_device,
    BLOCK_DEVICE: Extractor._make_device,
    FIFO: Extractor._make_device,
}


def join(directory: bytes, base: bytes) -> bytes:
    return directory + b"/" + base if directory else base


def _inherits(fd: int) -> bool:
    return bool(os.fstat(fd).st_mode & stat.S_ISGID)


def _named(error: OSError, entry: Entry) -> OSError:
    """The same error, naming the entry."""
    reason = os.strerror(error.errno or 0)
    return OSError(error.errno, f'cannot extract "{os.fsdecode(entry.name)}": {reason}')


@contextmanager
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
