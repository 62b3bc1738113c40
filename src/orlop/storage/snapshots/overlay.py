"""Snapshots by overlayfs: the layers stay where they are, only changes are kept."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orlop.kernel import process, syscalls
from orlop.spec.errors import OrlopError
from orlop.spec.image import Digest
from orlop.spec.mounts import Mount
from orlop.storage.layers import LayerStore
from orlop.storage.snapshots.base import Driver
from orlop.storage.trees import opened

# Switched off where the kernel has them: with them the upper directory would not be a plain difference. overlayfs.rst
_FEATURES = ("index", "metacopy", "redirect_dir")
_PARAMETERS = Path("/sys/module/overlay/parameters")


# File systems that overlayfs does not take as its upper one: statfs(2)'s magic numbers.
_UNFIT = {0x794C7630: "overlay", 0x6969: "nfs", 0xF15F: "ecryptfs", 0x61756673: "aufs", 0x01021997: "9p", 0x65735546: "fuse"}


def overlay_works(place: Path) -> bool:
    """Whether the kernel has overlayfs, and a directory is on a file system fit for it."""
    if not _has_overlay():
        return False
    with opened(place) as fd:
        if syscalls.file_system_type(fd) in _UNFIT:
            return False
        try:
            os.setxattr(fd, "trusted.overlay.orlop-probe", b"y")
            os.removexattr(fd, "trusted.overlay.orlop-probe")
        except OSError:
            return False
    return True


def _has_overlay() -> bool:
    """Whether the kernel has overlayfs; on many hosts a module that nobody has loaded yet."""
    if not _is_listed():
        with suppress(OrlopError):  # no modprobe, or no such module
            process.run(["modprobe", "overlay"])
    return _is_listed()


def _is_listed() -> bool:
    return any(line.split()[-1:] == ["overlay"] for line in Path("/proc/filesystems").read_text().splitlines())


class Overlay(Driver):
    """Driver `overlay2`, by Docker's name."""

    name = "overlay2"
    instant = True

    def __init__(self, root: Path, layers: LayerStore) -> None:
        super().__init__(root, layers)
        _has_overlay()  # its parameters can be read only once it is loaded
        self._options = tuple(f"{feature}=off" for feature in _FEATURES if (_PARAMETERS / feature).exists())

    def prepare(self, key: str, parent: Digest) -> tuple[Mount, ...]:
        self.create(key, parent)
        self.publish(key)
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        place = os.fspath(self.place(key))
        return self._mount(self.below(key), (f"upperdir={place}/fs", f"workdir={place}/work"))

    def view(self, key: str) -> tuple[Mount, ...]:
        below = self.below(key)
        return self._mount((self.place(key) / "fs", *below), ("ro",))

    def _mount(self, below: Sequence[Path], options: Sequence[str]) -> tuple[Mount, ...]:
        lower = ":".join(os.fspath(layer) for layer in below)
        return (Mount("overlay", "overlay", (f"lowerdir={lower}", *options, *self._options)),)
