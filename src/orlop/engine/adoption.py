"""How an image that a worker made becomes known, and how what no image needs any more goes: never at the same time."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from orlop.engine.parts import Parts
from orlop.spec.errors import Corrupt, NotFound
from orlop.spec.image import Digest, ImageArrival, ImageRecord, LayerRecord, chain_ids
from orlop.state.documents import from_plain
from orlop.storage import gc

Progress = Callable[[dict[str, Any]], None]


class Adoption:
    """Registers arrivals; collects garbage only while nothing is arriving, for what arrives has no name yet."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._arriving = 0
        self._collect_later = False
        self._pins: Counter[Digest] = Counter()  # chain ids that a pull builds on

    async def adopt(self, job: str, args: Mapping[str, Any], progress: Progress | None = None) -> ImageRecord:
        """Run a job that makes an ImageArrival, and register it."""
        with self.arriving():
            arrival = from_plain(await self._parts.workers.run(job, dict(args), progress=progress), ImageArrival)
            return self.register(arrival)

    def register(self, arrival: ImageArrival) -> ImageRecord:
        """Make an image known that is complete on disk."""
        return self._parts.images.register(arrival, self._parts.clock())

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Something that nothing names yet is being written."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1
            if not self._arriving and self._collect_later:
                self.collect()

    def layers(self, record: ImageRecord) -> list[LayerRecord]:
        """An image's layers, the lowest first. Raises Corrupt when one is gone."""
        found = [self._parts.images.layer(chain_id) for chain_id in chain_ids(record.config.diff_ids)]
        there = [layer for layer in found if layer]
        if len(there) < len(found):
            raise Corrupt(f"image {record.id} is incomplete: {len(found) - len(there)} of its layers are gone")
        return there

    @contextmanager
    def pinned(self, chains: Iterable[Digest]) -> Iterator[None]:
        """These layers stay meanwhile, whether an image has them or not."""
        held = tuple(chains)
        self._pins.update(held)
        try:
            yield
        finally:
            self._pins.subtract(held)
            self._pins += Counter()  # drops what is at zero

    def collect(self) -> int:
        """Remove what nothing needs; the bytes that this frees (0 when it has to wait)."""
        self._collect_later = self._arriving > 0
        if self._collect_later:
            return 0
        return gc.collect(self._parts.store, self._parts.images, pinned=self.used())

    def used(self) -> frozenset[Digest]:
        """Chain ids that containers and pulls stand on, with all that lies below them."""
        found: set[Digest] = set()
        for top in (*self._pins, *self._tops()):
            chain_id = top
            while chain_id and chain_id not in found and (layer := self._parts.images.layer(chain_id)):
                found.add(chain_id)
                chain_id = layer.parent
        return frozenset(found)

    def _tops(self) -> Iterator[Digest]:
        """What each container's own files lie on. Its image may be gone."""
        for record in self._parts.roster.records():
            if record.snapshot:
                with suppress(NotFound):
                    yield self._parts.store.snapshots.parent(record.snapshot)
