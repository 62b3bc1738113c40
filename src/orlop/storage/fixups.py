"""Fixups: what a layer's tar leaves to the layers below it, done when it is put on top of them."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orlop.kernel import syscalls
from orlop.spec.errors import Corrupt
from orlop.state import documents
from orlop.storage.tar.extract import OPAQUE_XATTR, clean_name
from orlop.storage.tar.layer import LayerExtractor, is_whiteout
from orlop.storage.trees import copy_file, copy_metadata, copy_xattrs, opened

_PLAIN = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixups:
    """`implied`: directories that the tar had no entry for, which are to look like those below. `links`: hard links to files
    below (target, name). `is_opaque`: the root hides all that is below. Paths are Latin-1 text, which keeps any byte."""

    implied: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    is_opaque: bool = False

    @classmethod
    def of(cls, extractor: LayerExtractor) -> "Fixups":
        """What an extraction left."""
        return cls(
            implied=tuple(sorted(path.decode("latin-1") for path in extractor.implied)),
            links=tuple((target.decode("latin-1"), name.decode("latin-1")) for target, name in extractor.links),
            is_opaque=extractor.is_opaque,
        )

    @classmethod
    def load(cls, place: Path) -> "Fixups":
        """Those kept in an unpacked layer's directory."""
        return documents.decode((place / "fixups").read_bytes(), cls)

    def encode(self) -> bytes:
        """As a file keeps them."""
        return documents.encode(self)

    def apply(self, tree: Path, below: Sequence[Path]) -> None:
        """Do them. `below` has the layers below, the topmost first. Raises Corrupt for a link to nothing."""
        with opened(tree) as root:
            for target, name in self.links:
                _copy_up(root, target.encode("latin-1"), name.encode("latin-1"), below)
            if self.is_opaque:
                _hide(root, below)
            for path in reversed(self.implied):
                _resemble(root, path.encode("latin-1"), below)


def _copy_up(root: int, target: bytes, name: bytes, below: Sequence[Path]) -> None:
    directory, _, base = clean_name(target).rpartition(b"/")
    to, _, made = name.rpartition(b"/")
    for layer in below:
        with opened(layer) as fd, suppress(FileNotFoundError, NotADirectoryError):
            source = syscalls.openat2(fd, directory or b".", _DIRECTORY, resolve=_PLAIN)
            try:
                status = os.stat(base, dir_fd=source, follow_symlinks=False)
                if is_whiteout(status) or stat.S_ISDIR(status.st_mode):
                    break
                parent = syscalls.openat2(root, to or b".", _DIRECTORY, resolve=_PLAIN)
                try:
                    before = os.fstat(parent)
                    copy_file(os.fsdecode(base), source, os.fsdecode(made), parent)
                    os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
                finally:
                    os.close(parent)
                return
            finally:
                os.close(source)
    raise Corrupt(f'invalid hardlink "{os.fsdecode(name)}" -> "{os.fsdecode(target)}": no such file')


def _hide(root: int, below: Sequence[Path]) -> None:
    """An opaque root: overlayfs knows none, so each name below is hidden by itself."""
    names = {name for layer in below for name in os.listdir(layer)}
    present = set(os.listdir(root))
    for name in names - present:
        os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=root)
    for name in names & present:
        with suppress(NotADirectoryError), opened(name, dir_fd=root) as fd:
            os.setxattr(fd, OPAQUE_XATTR, b"y")


def _resemble(root: int, path: bytes, below: Sequence[Path]) -> None:
    """Give a directory the owner, mode, times and attributes of the one it covers."""
    for layer in below:
        with opened(layer) as fd:
            try:
                covered = syscalls.openat2(fd, path or b".", _DIRECTORY, resolve=_PLAIN)
            except OSError:  # absent, or something else: there the search ends only if it hides the rest, which is rare
                continue
            made = syscalls.openat2(root, path or b".", _DIRECTORY, resolve=_PLAIN)
            try:
                copy_xattrs(covered, made)
                copy_metadata(os.fstat(covered), f"/proc/self/fd/{made}/.", dir_fd=made)
            finally:
                os.close(covered)
                os.close(made)
            return
