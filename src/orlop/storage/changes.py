"""What a snapshot has changed in the layers below it: A(dded), C(hanged), D(eleted), as `docker diff` shows."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from orlop.storage.tar.extract import OPAQUE_XATTR, WHITEOUT
from orlop.storage.tar.headers import Entry, encode_header
from orlop.storage.tar.layer import is_whiteout
from orlop.storage.tar.writer import TreeWriter
from orlop.storage.trees import opened

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileChange(NamedTuple):
    """One change; `path` is below the root, without a leading slash."""

    kind: str
    path: bytes


def changes_of_overlay(upper: Path, below: Sequence[Path]) -> list[FileChange]:
    """Changes that an overlay's upper directory makes."""
    with _opened_all(upper, below) as (tree, lowers):
        return sorted(_overlay(tree, b"", lowers), key=lambda change: change.path)


def changes_of_copy(tree: Path, below: Sequence[Path]) -> list[FileChange]:
    """Changes in a tree that began as a copy of the layers."""
    with _opened_all(tree, below) as (fd, lowers):
        return sorted(_copy(fd, b"", lowers), key=lambda change: change.path)


def layer_of_changes(tree: Path, changes: Sequence[FileChange]) -> Iterator[bytes]:
    """A layer's tar that makes these changes."""
    writer = TreeWriter(layer=True)
    with opened(tree) as root:
        for kind, path in changes:
            directory, slash, base = path.rpartition(b"/")
            if kind == "D":
                writer.add(encode_header(Entry(directory + slash + WHITEOUT + base, mode=0o600)))
                continue
            with suppress(FileNotFoundError), opened(directory or b".", dir_fd=root) as parent:
                if stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                    with opened(base, dir_fd=parent) as fd:
                        writer.directory(fd, path + b"/")
                else:
                    yield from writer.file(parent, base, path)
        yield from writer.end()


@contextmanager
def _opened_all(tree: Path, below: Sequence[Path]) -> Iterator[tuple[int, list[int]]]:
    with ExitStack() as stack:
        yield stack.enter_context(opened(tree)), [stack.enter_context(opened(layer)) for layer in below]


def _overlay(fd: int, path: bytes, lowers: Sequence[int]) -> list[FileChange]:
    found: list[FileChange] = []
    names = set()
    for name in os.listdir(fd):
        names.add(name)
        place = path + os.fsencode(name)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        old = _below(name, lowers)
        if is_whiteout(status):
            found.append(FileChange("D", place))
            continue
        inner: list[FileChange] = []
        if stat.S_ISDIR(status.st_mode):
            with opened(name, dir_fd=fd) as child, _lowers(name, lowers) as beneath:
                inner = _overlay(child, place + b"/", beneath)
            if old and not inner and _same_directory(old, status):
                continue
        found += [FileChange("C" if old else "A", place), *inner]
    if _is_opaque(fd):
        found += [FileChange("D", path + os.fsencode(name)) for name in _names(lowers) - names]
    return found


def _copy(fd: int, path: bytes, lowers: Sequence[int]) -> list[FileChange]:
    found: list[FileChange] = []
    names = os.listdir(fd)
    for name in names:
        place = path + os.fsencode(name)
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        old = _below(name, lowers)
        inner: list[FileChange] = []
        if stat.S_ISDIR(status.st_mode):
            with opened(name, dir_fd=fd) as child, _lowers(name, lowers) as beneath:
                inner = _copy(child, place + b"/", beneath)
        if old is None:
            found.append(FileChange("A", place))
        elif inner or _differs(old, status):
            found.append(FileChange("C", place))
        found += inner
    found += [FileChange("D", path + os.fsencode(name)) for name in _names(lowers) - set(names)]
    return found


def _same_directory(old: os.stat_result, new: os.stat_result) -> bool:
    """A directory is copied up when something in it changes; that alone is no change of the directory."""
    return stat.S_ISDIR(old.st_mode) and not _differs(old, new) and old.st_mtime_ns == new.st_mtime_ns


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    if (old.st_mode, old.st_uid, old.st_gid, old.st_rdev) != (new.st_mode, new.st_uid, new.st_gid, new.st_rdev):
        return True
    return not stat.S_ISDIR(new.st_mode) and (old.st_size, old.st_mtime_ns) != (new.st_size, new.st_mtime_ns)


def _below(name: str, lowers: Sequence[int]) -> os.stat_result | None:
    """What the layers below show at a name."""
    for lower in lowers:
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=lower, follow_symlinks=False)
            return None if is_whiteout(status) else status
    return None


def _names(lowers: Sequence[int]) -> set[str]:
    """All names that the layers below show in a directory."""
    return {name for lower in lowers for name in os.listdir(lower) if _below(name, lowers)}


@contextmanager
def _lowers(name: str, lowers: Sequence[int]) -> Iterator[list[int]]:
    """The directories of that name that overlayfs would merge, the topmost first."""
    with ExitStack() as stack:
        merged: list[int] = []
        for lower in lowers:
            try:
                fd = os.open(name, _DIRECTORY, dir_fd=lower)
            except FileNotFoundError:
                continue
            except OSError:  # a file, a link or a whiteout hides what is further below
                break
            stack.callback(os.close, fd)
            merged.append(fd)
            if _is_opaque(fd):
                break
        yield merged


def _is_opaque(fd: int) -> bool:
    with suppress(OSError):
        return os.getxattr(fd, OPAQUE_XATTR) == b"y"
    return False
