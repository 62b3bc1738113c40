"""Paths inside a container's root: what is there, an archive out, an archive in. Nothing outside of the root is reached."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from orlop.kernel.paths import open_in_root
from orlop.spec.errors import InvalidArgument, NoSuchPath
from orlop.spec.streams import PathStat
from orlop.storage.compression import Source, inflate, sniff
from orlop.storage.tar.extract import Extractor, Parent
from orlop.storage.tar.headers import DIRECTORY, Entry
from orlop.storage.tar.reader import TarReader
from orlop.storage.tar.writer import TreeWriter
from orlop.storage.trees import copy_metadata, copy_tree, copy_xattrs, opened

_DIRECTORY = os.O_PATH | os.O_DIRECTORY

# Mode bits of stat(2) -> Go's os.FileMode, which the API speaks.
_GO_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_GO_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def stat_path(root: int, path: str, container: str) -> PathStat:
    """What is at a path; a link itself, not what it leads to, unless the path ends in a slash. Raises NoSuchPath."""
    with _located(root, path, container) as (directory, base):
        status = _status(directory, base, path, container)
        link = _link_target(root, path, directory, base) if stat.S_ISLNK(status.st_mode) else ""
    return PathStat(
        name=_base_name(path), size=status.st_size, mode=go_mode(status.st_mode), mtime_ns=status.st_mtime_ns, link_target=link
    )


def archive_path(root: int, path: str, container: str, *, without: frozenset[int] = frozenset()) -> Iterator[bytes]:
    """A tar of what is at a path; its names begin with the path's last part. Of the file systems `without` (by st_dev) only
    the mount points are in it. Raises NoSuchPath."""
    writer = TreeWriter(without=without)
    name = os.fsencode(_base_name(path))
    with _located(root, path, container) as (directory, base):
        status = _status(directory, base, path, container)
        if stat.S_ISDIR(status.st_mode):
            fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                prefix = b"/" if name == b"/" else name + b"/"
                writer.directory(fd, prefix)
                yield from writer.tree(fd, prefix)
            finally:
                os.close(fd)
        else:
            yield from writer.file(directory, os.fsencode(base), name)
        yield from writer.end()


def extract_into(
    root: int, path: str, container: str, source: Source, *, no_overwrite: bool = False, owner: tuple[int, int] | None = None
) -> None:
    """Extract a tar (compressed or not) into a directory; links lead where they lead in the container.

    With `no_overwrite`, a directory does not replace something else, nor the other way round. Raises NoSuchPath,
    InvalidArgument, Corrupt, OSError.
    """
    try:
        fd = open_in_root(root, path, _DIRECTORY)
    except FileNotFoundError:
        raise NoSuchPath(path, container) from None
    except NotADirectoryError:
        raise InvalidArgument("extraction point is not a directory") from None
    try:
        base = os.fsencode(_path_inside(root, fd)).strip(b"/")
    finally:
        os.close(fd)
    blocks = inflate(*sniff(source))
    with _Into(root, base, owner, no_overwrite) as extractor:
        reader = TarReader(lambda: next(blocks, b""))
        extractor.run(reader)
        reader.drain()


def copy_up(root: int, path: str, destination: str) -> bool:
    """Fill an empty directory (a volume) with what is at a path: contents, owner, mode. False where either is not so."""
    try:
        source = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        with opened(destination) as target:
            if os.listdir(target):
                return False
            copy_tree(source, target)
            copy_xattrs(source, target)
            copy_metadata(os.fstat(source), ".", dir_fd=target)
    finally:
        os.close(source)
    return True


class _Into(Extractor):
    """Extraction over what a container has."""

    def __init__(self, root: int, base: bytes, owner: tuple[int, int] | None, no_overwrite: bool) -> None:
        super().__init__(root, base=base, owner=owner)
        self._no_overwrite = no_overwrite

    def _displace(self, parent: Parent, base: bytes, entry: Entry) -> None:
        status = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
        was, becomes = stat.S_ISDIR(status.st_mode), entry.kind == DIRECTORY
        if self._no_overwrite and was != becomes:
            words = ("directory", "non-directory") if was else ("non-directory", "directory")
            raise InvalidArgument(f'cannot overwrite {words[0]} "{os.fsdecode(entry.name)}" with {words[1]}')
        super()._displace(parent, base, entry)

    def _root_entry(self, entry: Entry) -> None:
        """The directory itself stays as it is."""


def go_mode(mode: int) -> int:
    """A mode of stat(2) as Go's os.FileMode."""
    bits = sum(bit for number, bit in _GO_BITS.items() if mode & number)
    return mode & 0o777 | _GO_TYPES.get(stat.S_IFMT(mode), 0) | bits


@contextmanager
def _located(root: int, path: str, container: str) -> Iterator[tuple[int, str]]:
    """The directory that a path's last part is in, links followed, and that part ("." where the path says to go into it)."""
    directory, _, base = path.rpartition("/")
    if base in ("", ".", ".."):
        directory, base = path, "."
    try:
        fd = open_in_root(root, directory, _DIRECTORY)
    except FileNotFoundError:
        raise NoSuchPath(path, container) from None
    except NotADirectoryError:
        raise InvalidArgument(f"{path}: not a directory") from None
    try:
        yield fd, base
    finally:
        os.close(fd)


def _status(directory: int, base: str, path: str, container: str) -> os.stat_result:
    try:
        return os.stat(base, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        raise NoSuchPath(path, container) from None


def _base_name(path: str) -> str:
    """Go's filepath.Base of the path made absolute."""
    stripped = path.rstrip("/")
    return stripped.rpartition("/")[2] or "/"


def _link_target(root: int, path: str, directory: int, base: str) -> str:
    """Where a link leads at last, from the container's root; what is missing counts as if it were there."""
    try:
        fd = open_in_root(root, path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return os.path.normpath(os.path.join("/", _path_inside(root, directory), os.readlink(base, dir_fd=directory)))
    try:
        return _path_inside(root, fd)
    finally:
        os.close(fd)


def _path_inside(root: int, fd: int) -> str:
    """The path of an open file as a process with this root sees it."""
    above, path = (os.readlink(f"/proc/self/fd/{number}") for number in (root, fd))
    return path.removeprefix(above.rstrip("/")) or "/"
