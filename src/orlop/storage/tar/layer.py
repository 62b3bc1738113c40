"""A layer's tar unpacked as overlayfs wants a layer: whiteouts become 0/0 devices, opaque directories an attribute."""

import os
import stat

from orlop.storage.tar.extract import (
    DEFAULT_LIMITS,
    OPAQUE_XATTR,
    WHITEOUT,
    WHITEOUT_META,
    WHITEOUT_OPAQUE,
    Extractor,
    Limits,
    Parent,
    join,
)
from orlop.storage.tar.headers import DIRECTORY, Entry
from orlop.storage.tar.recipe import Recorder


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file means that the one below is deleted. overlayfs.rst, "whiteouts and opaque directories\""""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class LayerExtractor(Extractor):
    """Unpacks a layer on its own, knowing nothing of those below it, and records how to make its tar again.

    What only those below can tell is left in `implied` (directories without an entry), `links` (hard links to files that are
    not in this layer: target, name) and `is_opaque` (the root hides everything below).
    """

    def __init__(self, root: int, kept: int, recorder: Recorder | None, limits: Limits = DEFAULT_LIMITS) -> None:
        """`kept`: a directory for files that the recipe needs but that later entries replaced."""
        super().__init__(root, limits=limits)
        self._kept = kept
        self._kept_count = 0
        self._record = recorder
        self.implied.add(b"")
        self.links: list[tuple[bytes, bytes]] = []
        self.is_opaque = False

    def _recorder(self) -> Recorder | None:
        return self._record

    def _special(self, parent: Parent, base: bytes) -> bool:
        if not base.startswith(WHITEOUT):
            return False
        if base == WHITEOUT_OPAQUE:
            self._make_opaque(b".", parent.fd)
            self.is_opaque = self.is_opaque or not parent.path
        elif not base.startswith(WHITEOUT_META):  # others are aufs's own, of no meaning here
            self._whiteout(parent, base[len(WHITEOUT) :])
        return True

    def _whiteout(self, parent: Parent, base: bytes) -> None:
        """Whiteouts apply to the layers below only: what this layer itself has at that name stays (OCI layer specification)."""
        try:
            os.mknod(base, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent.fd)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(base, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                self._make_opaque(base, parent.fd)

    def _make_opaque(self, base: bytes, dir_fd: int) -> None:
        os.fchdir(dir_fd)
        os.setxattr(base, OPAQUE_XATTR, b"y", follow_symlinks=False)

    def _displace(self, parent: Parent, base: bytes, entry: Entry) -> None:
        """Put aside what an earlier entry of this layer made here: the recipe still needs it."""
        status = os.stat(base, dir_fd=parent.fd, follow_symlinks=False)
        if is_whiteout(status):
            os.unlink(base, dir_fd=parent.fd)
            if entry.kind == DIRECTORY:  # deleted and made anew: nothing of the old one may show through
                os.mkdir(base, 0o755, dir_fd=parent.fd)
                self._make_opaque(base, parent.fd)
            return
        path = join(parent.path, base)
        os.rename(base, b"%d" % self._kept_count, src_dir_fd=parent.fd, dst_dir_fd=self._kept)
        if self._record:
            self._record.moved(path, self._kept_count)
        self._kept_count += 1
        self.size -= status.st_size if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else 0
        for made in [made for made in self._times if made == path or made.startswith(path + b"/")]:
            del self._times[made]
        self.implied = {made for made in self.implied if made != path and not made.startswith(path + b"/")}
        self.links = [(target, name) for target, name in self.links if name != path and not name.startswith(path + b"/")]

    def _missing_target(self, parent: Parent, base: bytes, entry: Entry) -> None:
        self.links.append((entry.link, join(parent.path, base)))
