"""Snapshotter: writable file systems on top of layers. It describes how to mount them and never mounts.

On disk an active snapshot is `snapshots/<key>/{fs,work,parent}`: its own files, overlayfs's own directory, and a symbolic link
whose text is the chain id below. A new inode costs a disk file system 0.05 to 0.5 ms, a rename next to nothing: so a few are
made ready in idle time, in `ready/`.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from orlop.spec.errors import Conflict, NotFound
from orlop.spec.image import Digest
from orlop.spec.mounts import Mount
from orlop.storage.layers import LayerStore, directory_name
from orlop.storage.trees import GONE, NEW, remove_tree

# What lies under every image, so that the runtime finds a place for its mounts; Docker has the same in its "-init" layers.
_INIT_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_INIT_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")
_INIT_LINKS = {"etc/mtab": "/proc/mounts"}
_INIT = "init"
_NO_PARENT = "none"
READY = 4  # snapshots kept ready


class Snapshotter(Protocol):
    """A way to stack layers. `key` names an active snapshot, `parent` is the chain id of what it starts from ("": nothing)."""

    name: str  # as `info` shows it
    instant: bool  # `prepare` is a few system calls; else it copies and belongs into a worker

    def prepare(self, key: str, parent: Digest) -> tuple[Mount, ...]:
        """Make a snapshot. Raises NotFound for the parent, Conflict for the key."""
        ...

    def stock(self) -> None:
        """Make ready what the next snapshots of the same parent need. Some milliseconds: for idle time."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such a snapshot."""
        ...

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """How to mount it, writable. Raises NotFound."""
        ...

    def view(self, key: str) -> tuple[Mount, ...]:
        """How to mount it read-only, also while it is in use."""
        ...

    def parent(self, key: str) -> Digest:
        """The chain id that it starts from, "" for nothing. Raises NotFound."""
        ...

    def upper(self, key: str) -> Path:
        """Where its own files are. Raises NotFound."""
        ...

    def below(self, key: str) -> tuple[Path, ...]:
        """What it started from, the topmost layer first. Raises NotFound."""
        ...

    def remove(self, key: str) -> None:
        """Take it away; its files wait aside for `purge`. Idempotent."""
        ...

    def sweep(self, keep: Collection[str]) -> None:
        """Put aside what a crash left: things half-made, and active snapshots that are not among the keys to keep."""
        ...

    def purge(self) -> None:
        """Delete what was put aside. May take long: for workers."""
        ...


class Driver:
    """The directories of active snapshots, which all drivers share."""

    def __init__(self, root: Path, layers: LayerStore) -> None:
        """`root`: the data root."""
        self.root, self._ready_root = root / "snapshots", root / "ready"
        self.layers = layers
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_init()
        self._parent: Digest | None = None  # of the last snapshot
        self._ready: list[Path] = []  # empty snapshots of the same parent
        self._made = 0

    def create(self, key: str, parent: Digest) -> Path:
        """An empty snapshot whose root looks like the one below it."""
        beside = self.root / f"{NEW}{directory_name(key)}"
        if os.path.lexists(self.place(key)):
            raise Conflict(f"snapshot {key} exists already")
        remove_tree(beside)
        if self._parent != parent:
            self._discard_ready()
            self._parent = parent
        if self._ready:
            os.rename(self._ready.pop(), beside)
        else:
            self._make(beside, parent)
        return beside

    def _make(self, place: Path, parent: Digest) -> None:
        below = os.stat(self.lowers(parent)[0])
        os.mkdir(place, 0o700)
        os.mkdir(place / "fs", 0o700)
        os.mkdir(place / "work", 0o700)
        os.symlink(parent or _NO_PARENT, place / "parent")
        os.chown(place / "fs", below.st_uid, below.st_gid)
        os.chmod(place / "fs", below.st_mode & 0o7777)

    def stock(self) -> None:
        if self._parent is None:
            return
        self._ready_root.mkdir(mode=0o700, exist_ok=True)
        while len(self._ready) < READY:
            self._made += 1
            place = self._ready_root / f"{os.getpid()}-{self._made}"
            self._make(place, self._parent)
            self._ready.append(place)

    def _discard_ready(self) -> None:
        """Put aside what is ready, and what a daemon before us had."""
        self._ready.clear()
        if self._ready_root.exists():
            for place in list(self._ready_root.iterdir()):
                os.rename(place, self.root / f"{GONE}{os.urandom(8).hex()}")

    def publish(self, key: str) -> None:
        """Give what `create` made its name."""
        os.rename(self.root / f"{NEW}{directory_name(key)}", self.place(key))

    def place(self, key: str) -> Path:
        """The directory of a snapshot."""
        return self.root / directory_name(key)

    def upper(self, key: str) -> Path:
        self.parent(key)
        return self.place(key) / "fs"

    def below(self, key: str) -> tuple[Path, ...]:
        return self.lowers(self.parent(key))

    def exists(self, key: str) -> bool:
        return _is_active(self.place(key))

    def parent(self, key: str) -> Digest:
        """The chain id below. Raises NotFound."""
        try:
            text = os.readlink(self.place(key) / "parent")
        except FileNotFoundError:
            raise NotFound("snapshot", key) from None
        return "" if text == _NO_PARENT else text

    def lowers(self, parent: Digest) -> tuple[Path, ...]:
        """All that lies under a snapshot, the topmost first. Never empty."""
        return (*self.layers.stack(parent), self.root / _INIT / "fs")

    def _make_init(self) -> None:
        place, beside = self.root / _INIT, self.root / f"{NEW}{_INIT}{os.getpid()}"
        if place.exists():
            return
        tree = beside / "fs"
        for directory in ("", *_INIT_DIRECTORIES):
            (tree / directory).mkdir(parents=True)
            (tree / directory).chmod(0o755)
        for file in _INIT_FILES:
            (tree / file).touch()
            (tree / file).chmod(0o755)
        for link, target in _INIT_LINKS.items():
            (tree / link).symlink_to(target)
        with suppress(OSError):  # another process was faster
            beside.rename(place)
        remove_tree(beside)

    def remove(self, key: str) -> None:
        with suppress(FileNotFoundError):
            os.rename(self.place(key), self.root / f"{GONE}{os.urandom(8).hex()}")

    def sweep(self, keep: Collection[str]) -> None:
        self._discard_ready()
        names = {directory_name(key) for key in keep}
        for place in list(self.root.iterdir()):
            if place.name.startswith(NEW) or (_is_active(place) and place.name not in names):
                place.rename(self.root / f"{GONE}{os.urandom(8).hex()}")

    def purge(self) -> None:
        for place in self.root.glob(f"{GONE}*"):
            remove_tree(place)


def _is_active(place: Path) -> bool:
    return not place.name.startswith((NEW, GONE)) and (place / "parent").is_symlink()
