"""Store: all that is kept on the disk below the data root and needs no database. The daemon and its workers build the same."""

from collections.abc import Collection
from pathlib import Path

from orlop.storage.content import ContentStore
from orlop.storage.layers import LayerStore
from orlop.storage.snapshots import snapshotter
from orlop.storage.tar.extract import DEFAULT_LIMITS, Limits
from orlop.storage.trees import GONE, NEW


class Store:
    """Content, layers and snapshots below one root."""

    def __init__(self, root: str | Path, driver: str = "", limits: Limits = DEFAULT_LIMITS) -> None:
        """`driver`: of snapshots. Raises InvalidArgument for one that is unknown, OSError."""
        self.root = Path(root)
        self.content = ContentStore(self.root)
        self.layers = LayerStore(self.root, limits)
        self.snapshots = snapshotter(driver, self.root, self.layers)

    def sweep(self, keys: Collection[str]) -> None:
        """At start: put aside what a crash left; `keys` are the snapshots of known containers. Then `snapshots.purge`."""
        self.content.sweep()
        self.layers.sweep()
        self.snapshots.sweep(keys)

    def sweep_of(self, pid: int) -> None:
        """Put aside what a killed worker has left half-made. Then `snapshots.purge`."""
        for place in (self.root / "snapshots").glob(f"{NEW}{pid}-*"):
            place.rename(place.with_name(f"{GONE}{place.name}"))
        self.content.sweep(f".{pid}")
