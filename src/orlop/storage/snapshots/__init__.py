"""Drivers of snapshots: how layers become a root file system."""

from collections.abc import Callable
from pathlib import Path

from orlop.spec.errors import InvalidArgument
from orlop.storage.layers import LayerStore
from orlop.storage.snapshots.base import Snapshotter
from orlop.storage.snapshots.native import Native
from orlop.storage.snapshots.overlay import Overlay, overlay_works

SNAPSHOTTERS: dict[str, Callable[[Path, LayerStore], Snapshotter]] = {
    "overlay2": Overlay,
    "native": Native,
}


def snapshotter(name: str, root: Path, layers: LayerStore) -> Snapshotter:
    """A driver by its name; "" means the best that works here, `overlay` overlay2, `vfs` native. Raises InvalidArgument."""
    best = "overlay2" if name or overlay_works(root) else "native"
    name = {"": best, "overlay": "overlay2", "vfs": "native"}.get(name, name)
    if name not in SNAPSHOTTERS:
        raise InvalidArgument(f"no storage driver {name}: known are {', '.join(SNAPSHOTTERS)}")
    return SNAPSHOTTERS[name](root, layers)
