"""ImageStore: images by id and by name, in memory over their records. Lives in the daemon."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.image import Digest, HistoryEntry, ImageArrival, ImageRecord, LayerRecord, chain_ids
from orlop.spec.image_json import parse_config
from orlop.spec.reference import Reference, parse_reference
from orlop.storage.store import Store

_ID_PREFIX = re.compile(r"(?:sha256:)?([a-f0-9]{1,64})")
_FRACTION = re.compile(r"(\.\d+)")
_MISSING = "<missing>"


class ImageRecords(Protocol):
    """Where records of images are kept (`state.records.Records`)."""

    def load(self) -> dict[str, ImageRecord]: ...
    def save(self, key: str, value: ImageRecord, /, *, can_wait: bool = False) -> None: ...
    def delete(self, key: str, /) -> None: ...


class ImageStore:
    """All images. A record is replaced as a whole, never changed."""

    def __init__(self, store: Store, records: ImageRecords) -> None:
        self.content = store.content
        self._layers = store.layers
        self._records = records
        self._images: dict[Digest, ImageRecord] = {}
        self._names: dict[str, Digest] = {}
        for record in sorted(records.load().values(), key=lambda record: record.last_tagged_ns):
            self._enter(record)

    # Finding.

    def list(self) -> tuple[ImageRecord, ...]:
        """Every image, the newest first."""
        return tuple(sorted(self._images.values(), key=lambda record: record.created_ns, reverse=True))

    def get(self, ref: str) -> ImageRecord:
        """An image by name, id or the beginning of its id. Raises NotFound, InvalidArgument, with Docker's wording."""
        if record := self.find(ref):
            return record
        if not re.fullmatch(r"sha256:[a-f0-9]{64}|[a-f0-9]{64}", ref):
            reference = parse_reference(ref).with_default_tag()
            raise NotFound("image", reference.familiar)
        raise NotFound("image", ref)

    def find(self, ref: str) -> ImageRecord | None:
        """The same, None when nothing has that name."""
        return self._images.get(ref) or self._by_name(ref) or self._by_prefix(ref)

    def _by_name(self, ref: str) -> ImageRecord | None:
        try:
            reference = parse_reference(ref).with_default_tag()
        except InvalidArgument:
            return None
        if reference.digest:
            found = self._names.get(f"{reference.repository}@{reference.digest}")
        else:
            found = self._names.get(str(reference))
        return self._images[found] if found else None

    def _by_prefix(self, ref: str) -> ImageRecord | None:
        found = _ID_PREFIX.fullmatch(ref)
        if not found:
            return None
        whole = f"sha256:{found[1]}"
        matching = [record for image_id, record in self._images.items() if image_id.startswith(whole)]
        return matching[0] if len(matching) == 1 else None

    def children(self, image_id: Digest) -> tuple[ImageRecord, ...]:
        """Images made from this one by commit or build."""
        return tuple(record for record in self._images.values() if record.parent == image_id)

    def layer(self, chain_id: Digest) -> LayerRecord | None:
        """A layer, None when it is not in the store."""
        return self._layers.get(chain_id) if self._layers.has(chain_id) else None

    def config_bytes(self, record: ImageRecord) -> bytes:
        """The image's config as it came. Raises Corrupt."""
        return self.content.read(record.id)

    def history(self, record: ImageRecord) -> tuple[HistoryEntry, ...]:
        """Its steps, the last one first. Only the image itself and its parents have an id."""
        chain = iter(chain_ids(record.config.diff_ids))
        entries = []
        for step in record.config.history:
            layer = None if step.empty_layer else self.layer(next(chain, ""))
            entries.append(
                HistoryEntry(
                    id=_MISSING,
                    created_ns=parse_time(step.created),
                    created_by=step.created_by,
                    size=layer.size if layer else 0,
                    comment=step.comment,
                )
            )
        entries.reverse()
        if not entries:
            entries.append(HistoryEntry(id=_MISSING, created_ns=record.created_ns, size=record.size))
        return tuple(self._identified(entries, record))

    def _identified(self, entries: Sequence[HistoryEntry], record: ImageRecord) -> Iterator[HistoryEntry]:
        """Parents stand where their own, shorter history begins."""
        ids = {len(record.config.history): record}
        while record.parent and (parent := self._images.get(record.parent)):
            ids.setdefault(len(parent.config.history), parent)
            record = parent
        for index, entry in enumerate(entries):
            image = ids.get(len(entries) - index) or (ids.get(0) if not index else None)
            yield replace(entry, id=image.id, tags=image.tags) if image else entry

    # Changing.

    def register(self, arrival: ImageArrival, now_ns: int) -> ImageRecord:
        """Make an image that has arrived known, with its names. Raises Conflict when its layers went meanwhile, Unavailable."""
        missing = [layer.diff_id for layer in arrival.layers if not self._layers.has(layer.chain_id)]
        if missing:
            raise Conflict(f"cannot register image {arrival.config}: its layer {missing[0]} was removed meanwhile, try again")
        config = parse_config(self.content.read(arrival.config))
        old = self._images.get(arrival.config)
        record = ImageRecord(
            id=arrival.config,
            manifest=arrival.manifest if arrival.digests or not old else old.manifest,
            config=config,
            size=sum(layer.size for layer in arrival.layers),
            tags=old.tags if old else (),
            digests=old.digests if old else (),
            parent=arrival.parent or (old.parent if old else ""),
            last_tagged_ns=old.last_tagged_ns if old else 0,
            created_ns=parse_time(config.created),
        )
        return self._keep(_named(record, (*arrival.names, *arrival.digests), now_ns))

    def tag(self, image_id: Digest, reference: Reference, now_ns: int = 0) -> ImageRecord:
        """Give an image a name, taking it from the image that had it. A reference with a digest is noted as such."""
        reference = reference.with_default_tag()
        name = f"{reference.repository}@{reference.digest}" if reference.digest else str(reference)
        if image_id not in self._images:
            raise NotFound("image", image_id)
        return self._keep(_named(self._images[image_id], (name,), now_ns))

    def untag(self, reference: Reference) -> ImageRecord:
        """Take a name away; returns the image that had it. Raises NotFound."""
        reference = reference.with_default_tag()
        name = f"{reference.repository}@{reference.digest}" if reference.digest else str(reference)
        image_id = self._names.get(name)
        if image_id is None:
            raise NotFound("image", reference.familiar)
        return self._unname(image_id, name)

    def remove(self, image_id: Digest) -> ImageRecord:
        """Forget an image and its names. What it had stays on the disk until `gc.collect`. Raises NotFound."""
        record = self._images.pop(image_id, None)
        if record is None:
            raise NotFound("image", image_id)
        for name in (*record.tags, *record.digests):
            self._names.pop(name, None)
        self._records.delete(image_id)
        return record

    def _unname(self, image_id: Digest, name: str) -> ImageRecord:
        """Taking a name away is written when it can be: it must be possible on a full disk."""
        self._names.pop(name, None)
        record = self._images[image_id]
        tags = tuple(tag for tag in record.tags if tag != name)
        record = replace(record, tags=tags, digests=tuple(digest for digest in record.digests if digest != name))
        self._images[image_id] = record
        self._records.save(image_id, record, can_wait=True)
        return record

    def _keep(self, record: ImageRecord) -> ImageRecord:
        """Write a record, and only then have it. Raises Unavailable (disk full)."""
        self._records.save(record.id, record)
        self._enter(record)
        return record

    def _enter(self, record: ImageRecord) -> None:
        """Have it, with its names, which are taken from whoever had them. A crash may come before that is written down too."""
        for name in (*record.tags, *record.digests):
            holder = self._names.get(name)
            if holder and holder != record.id:
                self._unname(holder, name)
            self._names[name] = record.id
        self._images[record.id] = record


def _named(record: ImageRecord, names: Sequence[str], now_ns: int) -> ImageRecord:
    """The image with these names too. Those with a digest are noted as such."""
    return replace(
        record,
        tags=tuple(sorted({*record.tags, *(name for name in names if "@" not in name)})),
        digests=tuple(sorted({*record.digests, *(name for name in names if "@" in name)})),
        last_tagged_ns=(now_ns or record.last_tagged_ns) if names else record.last_tagged_ns,
    )


def parse_time(text: str) -> int:
    """RFC 3339 as nanoseconds since the epoch; 0 for "", for nonsense and for Go's zero time."""
    found = _FRACTION.search(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text.replace("Z", "+00:00").replace("z", "+00:00"), count=1))
    except ValueError:
        return 0
    seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    if seconds <= 0:
        return 0
    return seconds * 1_000_000_000 + int((found[1][1:10] if found else "").ljust(9, "0"))
