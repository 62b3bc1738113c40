"""Snapshots by overlayfs: the layers stay where they are, only changes are kept."""

import os
from collections.abc import Sequence
from pathlib import Path

from orlop.spec.image import Digest
from orlop.spec.mounts import Mount
from orlop.storage.layers import LayerStore
from orlop.storage.snapshots.base import Driver

# Switched off where the kernel has them: with them the upper directory would not be a plain difference. overlayfs.rst
_FEATURES = ("index", "metacopy", "redirect_dir")
_PARAMETERS = Path("/sys/module/overlay/parameters")


class Overlay(Driver):
    """Driver `overlay2`, by Docker's name."""

    name = "overlay2"
    instant = True

    def __init__(self, root: Path, layers: LayerStore) -> None:
        super().__init__(root, layers)
        self._options = tuple(f"{feature}=off" for feature in _FEATURES if (_PARAMETERS / feature).exists())

    def prepare(self, key: str, parent: Digest) -> tuple[Mount, ...]:
        self.create(key, parent)
        self.publish(key)
        return self.mounts(key)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        below = self.below(key)
        place = self.place(key)
        return self._mount(below, (f"upperdir={place / 'fs'}", f"workdir={place / 'work'}"))

    def view(self, key: str) -> tuple[Mount, ...]:
        below = self.below(key)
        return self._mount((self.place(key) / "fs", *below), ("ro",))

    def _mount(self, below: Sequence[Path], options: Sequence[str]) -> tuple[Mount, ...]:
        lower = ":".join(os.fspath(layer) for layer in below)
        return (Mount("overlay", "overlay", (f"lowerdir={lower}", *options, *self._options)),)
