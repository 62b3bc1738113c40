"""`load`: an archive of images, in one pass over its stream. docker save's format, old and new, and the OCI image layout.

The archive says only at its end what its parts are. So whatever looks like a layer is unpacked at once (each by a child,
several at a time), the few small documents are kept in memory, and at the end the parts are put together.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orlop.spec.errors import Corrupt, InvalidArgument, OrlopError
from orlop.spec.image import (
    INDEXES,
    Descriptor,
    Digest,
    ImageArrival,
    LayerRecord,
    Manifest,
    chain_ids,
    digest_of,
    host_platform,
)
from orlop.spec.image_json import parse_config, parse_document, parse_index, parse_manifest
from orlop.spec.platforms import choose
from orlop.spec.reference import Reference, parse_reference
from orlop.state import documents
from orlop.storage.arrivals import arrive
from orlop.storage.compression import Source, detect, inflate, sniff
from orlop.storage.content import SIZE_LIMIT
from orlop.storage.layers import Unpacked, Unpacking
from orlop.storage.store import Store
from orlop.storage.tar.extract import clean_name
from orlop.storage.tar.headers import BLOCK, FILE, LINK, SYMLINK, Entry, parse_header
from orlop.storage.tar.reader import TarReader

Progress = Callable[[dict[str, Any]], None]

_DOCUMENTS_LIMIT = 64 << 20  # bytes of all documents of one archive
_MOST_LINKS = 40
_PROGRESS_SECONDS = 0.1
_DIGEST_NAME = re.compile(r"(?:.*/)?(?:sha256/)?([a-f0-9]{64})(?:\.json)?")
_CONTAINERD_NAME, _OCI_NAME = "io.containerd.image.name", "org.opencontainers.image.ref.name"


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """An image that the archive declares: documents by content, layers by their names in the archive."""

    config: bytes
    layers: tuple[str, ...]
    names: tuple[str, ...]
    manifest: bytes = b""


def load(store: Store, source: Source, progress: Progress) -> list[ImageArrival]:
    """Read an archive (compressed or not) to its end and bring its images into the store.

    Raises Corrupt or InvalidArgument, OSError; then nothing of it is left.
    """
    parts = _Parts(store, progress)
    try:
        parts.read(inflate(*sniff(source)))
        wanted = _wanted(parts)
        for image in wanted:
            _check(image, parts)
        return [_settle(store, image, parts) for image in wanted]
    finally:
        parts.discard()


class _Parts:
    """What came out of the archive."""

    def __init__(self, store: Store, progress: Progress) -> None:
        self._store, self._progress = store, progress
        self._documents: dict[str, bytes] = {}
        self._documents_size = 0
        self._layers: dict[str, Unpacked] = {}
        self._running: dict[str, Unpacking] = {}
        self._links: dict[str, str] = {}
        self._used: set[Digest] = set()
        self._most_running = len(os.sched_getaffinity(0)) + 1

    def read(self, blocks: Iterable[bytes]) -> None:
        """Take everything in."""
        iterator = iter(blocks)
        reader = TarReader(lambda: next(iterator, b""))
        while entry := reader.next():
            name = clean_name(entry.name).decode(errors="replace")
            if entry.kind == FILE:
                self._file(name, entry, reader)
            elif entry.kind == SYMLINK:
                target = os.path.normpath(os.path.join(os.path.dirname(name), entry.link.decode(errors="replace")))
                self._links[name] = target
            elif entry.kind == LINK:
                self._links[name] = clean_name(entry.link).decode(errors="replace")
        reader.drain()
        while self._running:
            self._finish_oldest()

    def document(self, name: str) -> bytes | None:
        """A document by its name in the archive."""
        return self._documents.get(self._resolve(name))

    def blob(self, digest: Digest) -> bytes | None:
        """A document of an OCI layout, verified. Raises Corrupt."""
        content = self.document(blob_name(digest))
        if content is not None and digest_of(content) != digest:
            raise Corrupt(f"blob {digest} of the archive was changed: it is {digest_of(content)}")
        return content

    def layer(self, name: str) -> Unpacked:
        """A layer by its name in the archive. Raises Corrupt."""
        name = self._resolve(name)
        if name not in self._layers:
            raise Corrupt(f"the archive has no layer {name}")
        return self._layers[name]

    def take(self, name: str) -> Unpacked | None:
        """A layer to be settled; None when it was taken before."""
        layer = self.layer(name)
        if not layer.place or layer.place in self._used:
            return None
        self._used.add(layer.place)
        return layer

    def discard(self) -> None:
        """Remove what was not taken, and what is not complete."""
        for running in self._running.values():
            running.abort()
        for layer in self._layers.values():
            if layer.place:
                self._store.layers.discard(layer)

    def manifest_of(self, config: bytes) -> bytes:
        """The manifest in the archive that has this config, b"" when there is none."""
        wanted = digest_of(config)
        for content in self._documents.values():
            with suppress(OrlopError):
                if parse_manifest(content).config.digest == wanted:
                    return content
        return b""

    def _file(self, name: str, entry: Entry, reader: TarReader) -> None:
        body = _Body(reader)
        if _is_layer(body.peek(), name):
            self._begin(name, entry, body)
        elif entry.size <= SIZE_LIMIT:
            self._documents_size += entry.size
            if self._documents_size > _DOCUMENTS_LIMIT:
                raise InvalidArgument(f"the archive is too large: over {_DOCUMENTS_LIMIT} bytes of documents")
            self._documents[name] = b"".join(iter(lambda: body.read(SIZE_LIMIT), b""))

    def _begin(self, name: str, entry: Entry, body: "_Body") -> None:
        if len(self._running) >= self._most_running:
            self._finish_oldest()
        title, last = _title(name), 0.0

        def tell(done: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= _PROGRESS_SECONDS or done == entry.size:
                last = now
                self._progress({"status": "Loading layer", "id": title, "current": done, "total": entry.size})

        running = self._store.layers.begin(body, progress=tell)
        self._running[name] = running
        told = _DIGEST_NAME.fullmatch(name)
        if told and name.startswith("blobs/sha256/") and running.unpacked.digest != f"sha256:{told[1]}":
            raise Corrupt(f"layer sha256:{told[1]} of the archive was changed: it is {running.unpacked.digest}")

    def _finish_oldest(self) -> None:
        name = next(iter(self._running))
        self._layers[name] = self._running[name].finish()
        del self._running[name]

    def _resolve(self, name: str) -> str:
        name = clean_name(name.encode()).decode()
        for _ in range(_MOST_LINKS):
            if name not in self._links:
                return name
            name = self._links[name]
        raise Corrupt(f"too many links in the archive at {name}")


class _Body:
    """The body of an entry as a source, whose first block can be looked at."""

    def __init__(self, reader: TarReader) -> None:
        self._pieces = reader.pieces()
        self._first = b""

    def peek(self) -> bytes:
        while len(self._first) < BLOCK and (piece := next(self._pieces, None)):
            self._first += piece
        return self._first[:BLOCK]

    def read(self, size: int, /) -> bytes:
        if self._first:
            block, self._first = self._first[:size], self._first[size:]
            return block
        piece = next(self._pieces, None)
        if piece is None:
            return b""
        self._first = bytes(piece[size:])
        return bytes(piece[:size])


def blob_name(digest: Digest) -> str:
    """Where an OCI layout has a blob."""
    return f"blobs/{digest.replace(':', '/')}"


def _is_layer(start: bytes, name: str) -> bool:
    """Whether a file of the archive is a layer: a tar, or something compressed."""
    if name.endswith(".tar") or detect(start):
        return True
    if len(start) < BLOCK:
        return False
    if not any(start):
        return True  # an empty archive
    with suppress(Corrupt):
        parse_header(start)
        return True
    return False


def _title(name: str) -> str:
    found = _DIGEST_NAME.fullmatch(name.removesuffix("/layer.tar"))
    return found[1][:12] if found else name[:12]


def _wanted(parts: _Parts) -> list[_Wanted]:
    """What images the archive declares. Raises InvalidArgument, Corrupt."""
    if (content := parts.document("manifest.json")) is not None:
        return [_from_docker(entry, parts) for entry in _objects(content)]
    if (content := parts.document("index.json")) is not None:
        found = [_from_oci(descriptor, parts) for descriptor in parse_index(content).manifests]
        if images := [image for image in found if image]:
            return images
    raise InvalidArgument("the archive holds no image: it has neither a manifest.json nor an index.json that names one")


def _objects(content: bytes) -> Sequence[Mapping[str, Any]]:
    entries = documents.loads(content)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries) or not entries:
        raise Corrupt("invalid manifest.json: not a list of objects")
    return entries


def _from_docker(entry: Mapping[str, Any], parts: _Parts) -> _Wanted:
    name, layers, tags = entry.get("Config"), entry.get("Layers") or [], entry.get("RepoTags") or []
    if not isinstance(name, str) or not _texts(layers) or not _texts(tags):
        raise Corrupt("invalid manifest.json: Config, Layers or RepoTags is malformed")
    config = parts.document(name)
    if config is None:
        raise Corrupt(f"invalid manifest.json: the archive has no {name}")
    told = _DIGEST_NAME.fullmatch(name)
    if told and digest_of(config) != f"sha256:{told[1]}":
        raise Corrupt(f"config sha256:{told[1]} of the archive was changed: it is {digest_of(config)}")
    return _Wanted(
        config=config,
        layers=tuple(layers),
        names=tuple(str(_tagged(tag)) for tag in tags),
        manifest=parts.manifest_of(config),
    )


def _from_oci(descriptor: Descriptor, parts: _Parts) -> _Wanted | None:
    """The image of one entry of index.json; of an index the one for this host. None when its blobs are not here."""
    manifest, content = _resolve_manifest(descriptor, parts)
    if manifest is None:
        return None
    config = parts.blob(manifest.config.digest)
    if config is None:
        raise Corrupt(f"the archive has no config {manifest.config.digest}")
    return _Wanted(
        config=config,
        layers=tuple(blob_name(layer.digest) for layer in manifest.layers),
        names=_annotated(descriptor.annotations),
        manifest=content,
    )


def _resolve_manifest(descriptor: Descriptor, parts: _Parts) -> tuple[Manifest | None, bytes]:
    content = parts.blob(descriptor.digest)
    if content is None:
        return None, b""
    document = parse_document(content, descriptor.media_type)
    if isinstance(document, Manifest):
        return document, content
    here = [entry for entry in document.manifests if parts.blob(entry.digest) is not None]
    chosen = choose(here, host_platform()) or next((entry for entry in here if entry.media_type not in INDEXES), None)
    return _resolve_manifest(chosen, parts) if chosen else (None, b"")


def _annotated(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The name that an OCI layout gives an image: containerd's full one, or a reference or bare tag as skopeo writes."""
    name = annotations.get(_CONTAINERD_NAME) or annotations.get(_OCI_NAME, "")
    if not name or (_CONTAINERD_NAME not in annotations and not re.search(r"[:/]", name)):
        return ()  # a bare tag names nothing
    return (str(_tagged(name)),)


def _tagged(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.digest or not reference.tag:
        raise InvalidArgument(f"invalid tag {text!r} in the archive")
    return reference


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _check(image: _Wanted, parts: _Parts) -> None:
    """Its layers are those that its config names. Raises Corrupt, with Docker's wording."""
    expected = parse_config(image.config).diff_ids
    if len(expected) != len(image.layers):
        raise Corrupt(f"invalid manifest, layers length mismatch: expected {len(expected)}, got {len(image.layers)}")
    for number, (name, diff_id) in enumerate(zip(image.layers, expected, strict=True)):
        found = parts.layer(name).diff_id
        if found != diff_id:
            raise Corrupt(f'invalid diffID for layer {number}: expected "{diff_id}", got "{found}"')


def _settle(store: Store, image: _Wanted, parts: _Parts) -> ImageArrival:
    """Put its layers one upon the other; those that are here already are taken as they are."""
    diff_ids = parse_config(image.config).diff_ids
    records: list[LayerRecord] = []
    batch: list[Unpacked] = []

    def flush() -> None:
        if batch:
            records.extend(store.layers.commit_all(batch, records[-1].chain_id if records else ""))
            batch.clear()

    for name, chain_id in zip(image.layers, chain_ids(diff_ids), strict=True):
        if store.layers.has(chain_id):
            flush()
            records.append(store.layers.get(chain_id))
        elif layer := parts.take(name):
            batch.append(layer)
        else:  # the same layer at another place
            flush()
            records.append(_again(store, parts.layer(name).diff_id, records[-1].chain_id if records else ""))
    flush()
    return arrive(store.content, records, image.config, image.manifest, names=image.names)


def _again(store: Store, diff_id: Digest, parent: Digest) -> LayerRecord:
    record = store.layers.holding(diff_id)
    if record is None:
        raise Corrupt(f"layer {diff_id} was removed meanwhile, try again")
    return store.layers.copy(record, parent)
