"""What nobody refers to any more: found (pure) and put aside."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orlop.spec.image import Digest, ImageRecord, LayerRecord, chain_ids
from orlop.storage.images import ImageStore
from orlop.storage.store import Store


@dataclass(frozen=True, slots=True)
class Garbage:
    """Layers (children before parents) and blobs to remove."""

    layers: tuple[LayerRecord, ...]
    blobs: tuple[Digest, ...]


def garbage(
    images: Iterable[ImageRecord], layers: Collection[LayerRecord], blobs: Iterable[Digest], pinned: Collection[Digest] = ()
) -> Garbage:
    """What neither an image nor a pinned chain (of a container) needs."""
    needed: set[Digest] = set()
    wanted_blobs: set[Digest] = set()
    for image in images:
        needed.update(chain_ids(image.config.diff_ids))
        wanted_blobs.update((image.id, image.manifest))
    parents = {layer.chain_id: layer.parent for layer in layers}
    for chain_id in pinned:
        while chain_id and chain_id not in needed:
            needed.add(chain_id)
            chain_id = parents.get(chain_id, "")
    unneeded = {layer.chain_id: layer for layer in layers if layer.chain_id not in needed}
    return Garbage(_children_first(unneeded, parents), tuple(blob for blob in blobs if blob not in wanted_blobs))


def _children_first(layers: dict[Digest, LayerRecord], parents: dict[Digest, Digest]) -> tuple[LayerRecord, ...]:
    def depth(chain_id: Digest) -> int:
        count = 0
        while chain_id := parents.get(chain_id, ""):
            count += 1
        return count

    return tuple(sorted(layers.values(), key=lambda layer: depth(layer.chain_id), reverse=True))


def collect(store: Store, images: ImageStore, pinned: Collection[Digest] = ()) -> int:
    """Put aside what is not needed; `snapshots.purge` deletes it. Returns how many bytes that will free.

    Not while an image is arriving: what has no name yet looks like garbage.
    """
    unneeded = garbage(images.list(), list(store.layers.records()), store.content.digests(), pinned)
    for layer in unneeded.layers:
        store.layers.remove(layer.chain_id)
    for blob in unneeded.blobs:
        store.content.remove(blob)
    return sum(layer.size for layer in unneeded.layers)
