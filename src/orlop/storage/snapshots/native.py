"""Snapshots as plain copies: works on any file system, takes as much room and time as the image is large."""

import os
import stat
from contextlib import suppress

from orlop.spec.image import Digest
from orlop.spec.mounts import Mount
from orlop.storage.snapshots.base import Driver
from orlop.storage.tar.extract import OPAQUE_XATTR
from orlop.storage.tar.layer import is_whiteout
from orlop.storage.trees import copy_file, copy_metadata, copy_xattrs, empty_directory, opened, remove_tree


class Native(Driver):
    """Driver `native`, as containerd calls it (Docker: `vfs`)."""

    name = "native"
    instant = False

    def prepare(self, key: str, parent: Digest) -> tuple[Mount, ...]:
        place = self.create(key, parent)
        with opened(place / "fs") as tree:
            for layer in reversed(self.lowers(parent)):
                with opened(layer) as source:
                    _apply(source, tree, {}, f"/proc/self/fd/{tree}")
                    copy_metadata(os.fstat(source), ".", dir_fd=tree)
        self.publish(key)
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        return (Mount("bind", os.fspath(self.upper(key)), ("rbind", "rw")),)

    def view(self, key: str) -> tuple[Mount, ...]:
        return (Mount("bind", os.fspath(self.upper(key)), ("rbind", "ro")),)


def _apply(source: int, tree: int, links: dict[tuple[int, int], str], place: str) -> None:
    """Lay a layer over a tree, as overlayfs would show the two."""
    with os.scandir(source) as entries:
        found = list(entries)
    for entry in found:
        status = entry.stat(follow_symlinks=False)
        if is_whiteout(status):
            remove_tree(entry.name, dir_fd=tree)
        elif stat.S_ISDIR(status.st_mode):
            _apply_directory(entry.name, status, source, tree, links, f"{place}/{entry.name}")
        else:
            remove_tree(entry.name, dir_fd=tree)
            identity = (status.st_dev, status.st_ino)
            if status.st_nlink > 1 and identity in links:
                os.link(links[identity], f"{place}/{entry.name}", follow_symlinks=False)
            else:
                copy_file(entry.name, source, entry.name, tree)
                links[identity] = f"{place}/{entry.name}"


def _apply_directory(
    name: str, status: os.stat_result, source: int, tree: int, links: dict[tuple[int, int], str], place: str
) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=tree)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=tree, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=tree)
            os.mkdir(name, 0o700, dir_fd=tree)
    with opened(name, dir_fd=source) as inner, opened(name, dir_fd=tree) as made:
        with suppress(OSError):
            if os.getxattr(inner, OPAQUE_XATTR) == b"y":
                empty_directory(made)
        _apply(inner, made, links, place)
        copy_xattrs(inner, made)
    copy_metadata(status, name, dir_fd=tree)
