"""The story of `pull`: resolve the name, fetch the layers that are missing side by side, then give the image its name."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from orlop.engine.adoption import Adoption
from orlop.engine.parts import Parts
from orlop.engine.progress import Tell, side_by_side
from orlop.engine.sources import Sources
from orlop.registry.resolve import Resolved, Site
from orlop.spec.image import (
    COMPRESSION,
    Descriptor,
    ImageConfig,
    ImageRecord,
    LayerRecord,
    Manifest,
    Platform,
    chain_ids,
    host_platform,
    parse_platform,
)
from orlop.spec.image_json import parse_config, parse_manifest
from orlop.spec.platforms import matches
from orlop.spec.progress import ProgressEvent
from orlop.spec.reference import Reference
from orlop.spec.registry import BlobSource, Credentials, RegistryOptions
from orlop.state.documents import from_plain, to_plain

_AT_ONCE = 3  # downloads; Docker's max-concurrent-downloads
SHORT = 12  # characters of a digest that are shown


@dataclass(frozen=True)
class _Layer:
    """One layer of the image that is being pulled."""

    descriptor: Descriptor
    diff_id: str
    chain_id: str

    @property
    def short(self) -> str:
        """As progress shows it."""
        return short(self.descriptor.digest)


def short(digest: str) -> str:
    """The first characters of a digest's hex part."""
    return digest.partition(":")[2][:SHORT]


class Pulls:
    """Pulls images. Two pulls that want the same layer fetch it once: the second waits for the first."""

    def __init__(self, parts: Parts, registries: RegistryOptions, sources: Sources, adoption: Adoption) -> None:
        self._parts = parts
        self._registries = registries
        self._sources = sources
        self._adoption = adoption
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()  # by digest: who holds or wants its lock
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def pull(self, reference: Reference, platform: str, credentials: Credentials, tell: Tell) -> None:
        """Pull one image, or (neither tag nor digest) every tag of a repository."""
        site = Site(reference=reference, credentials=credentials, options=self._registries)
        wanted = [reference]
        if not reference.tag and not reference.digest:
            tags = await self._parts.workers.run("registry.tags", {"site": to_plain(site)})
            wanted = [replace(reference, tag=tag) for tag in tags]
        new = False
        for one in wanted:
            new |= await self._pull_one(replace(site, reference=one), platform, tell)
        status = "Downloaded newer image for" if new else "Image is up to date for"
        tell(ProgressEvent(status=f"Status: {status} {reference.familiar}"))

    async def _pull_one(self, site: Site, platform: str, tell: Tell) -> bool:
        """Whether there was something new."""
        reference = site.reference
        wanted = parse_platform(platform) if platform else host_platform()
        shown = f"{reference.repository}@{reference.digest}" if reference.digest else reference.tag
        found = ProgressEvent(status=f"Pulling from {reference.path}", id=shown)
        args = {"site": to_plain(site), "platform": to_plain(wanted)}
        answer = await self._parts.workers.run("registry.resolve", args, progress=lambda _: tell(found))
        resolved: Resolved = from_plain(answer, Resolved)
        manifest = parse_manifest(resolved.manifest.encode())
        config = parse_config(resolved.config.encode())
        images = self._parts.images
        names = _names(reference, resolved.digest)
        before = images.find(str(names[0]))
        record = images.find(manifest.config.digest)
        if record is None:
            record = await self._fetch(site, resolved, manifest, config, names, tell)
        else:
            for name in names:
                images.tag(record.id, name)
        tell(ProgressEvent(status=f"Digest: {resolved.digest}"))
        if platform and not matches(config.platform, wanted):
            tell(ProgressEvent(status=_mismatch(reference, config.platform, wanted)))
        return before is None or before.id != record.id

    async def _fetch(
        self,
        site: Site,
        resolved: Resolved,
        manifest: Manifest,
        config: ImageConfig,
        names: tuple[Reference, ...],
        tell: Tell,
    ) -> ImageRecord:
        """Bring every layer and then the image into the store. What has been fetched when this fails is thrown away."""
        chains = chain_ids(config.diff_ids)
        layers = [_Layer(*one) for one in zip(manifest.layers, config.diff_ids, chains, strict=True)]
        opened = replace(site, endpoints=resolved.endpoints, authorization=resolved.authorization)
        async with self._alone(layers, tell), AsyncExitStack() as undo:
            undo.enter_context(self._adoption.pinned(chains))
            known = {layer.chain_id: there for layer in layers if (there := self._parts.images.layer(layer.chain_id))}
            unpacked: dict[str, Any] = {}
            undo.push_async_callback(self._discard, unpacked)
            for layer in layers:
                status = "Already exists" if layer.chain_id in known else "Pulling fs layer"
                tell(ProgressEvent(status=status, id=layer.short))
            missing = [layer for layer in layers if layer.chain_id not in known]
            await side_by_side(*(self._fetch_layer(opened, layer, unpacked, tell) for layer in missing))
            record = await self._settle(resolved, layers, known, unpacked, names)
            for layer in missing:
                tell(ProgressEvent(status="Pull complete", id=layer.short))
            unpacked.clear()
        self._remember(site.reference, layers)
        return record

    async def _fetch_layer(self, site: Site, layer: _Layer, unpacked: dict[str, Any], tell: Tell) -> None:
        total = layer.descriptor.size

        def downloading(message: dict[str, Any]) -> None:
            tell(ProgressEvent(status="Downloading", id=layer.short, current=message["current"], total=total))

        if self._slots.locked():
            tell(ProgressEvent(status="Waiting", id=layer.short))
        async with self._slots:
            args = {"site": to_plain(site), "layer": to_plain(layer.descriptor), "diff_id": layer.diff_id}
            unpacked[layer.chain_id] = await self._parts.workers.run("layer.pull", args, progress=downloading)
        tell(ProgressEvent(status="Verifying Checksum", id=layer.short))
        tell(ProgressEvent(status="Download complete", id=layer.short))
        tell(ProgressEvent(status="Extracting", id=layer.short, current=total, total=total))

    async def _settle(
        self,
        resolved: Resolved,
        layers: list[_Layer],
        known: dict[str, LayerRecord],
        unpacked: dict[str, Any],
        names: tuple[Reference, ...],
    ) -> ImageRecord:
        """The layers take their places, the image is written, registered and named: from here on it exists."""
        args = {
            "known": [to_plain(known[layer.chain_id]) for layer in layers if layer.chain_id in known],
            "unpacked": [unpacked[layer.chain_id] for layer in layers if layer.chain_id in unpacked],
            "config": resolved.config,
            "manifest": resolved.manifest,
            "names": [str(name) for name in names if name.tag],
            "digests": [str(name) for name in names if name.digest],
        }
        return await self._adoption.adopt("image.settle", args)

    async def _discard(self, unpacked: dict[str, Any]) -> None:
        for one in unpacked.values():
            await asyncio.shield(self._parts.workers.run("layer.discard", {"unpacked": one}))

    def _remember(self, reference: Reference, layers: list[_Layer]) -> None:
        for layer in layers:
            found = layer.descriptor
            if COMPRESSION.get(found.media_type):
                source = BlobSource(
                    digest=found.digest, size=found.size, media_type=found.media_type, repository=reference.repository
                )
                self._sources.add(layer.diff_id, source)

    @asynccontextmanager
    async def _alone(self, layers: list[_Layer], tell: Tell) -> AsyncIterator[None]:
        """Nobody else fetches these layers meanwhile. Locks are taken in one order: no two pulls wait for each other."""
        digests = sorted({layer.descriptor.digest for layer in layers})
        async with AsyncExitStack() as held:
            for digest in digests:
                held.enter_context(self._interest(digest))
                lock = self._locks[digest]
                if lock.locked():
                    tell(ProgressEvent(status="Waiting", id=short(digest)))
                await held.enter_async_context(lock)
            yield

    @contextmanager
    def _interest(self, digest: str) -> Iterator[None]:
        """The lock exists as long as somebody holds or wants it."""
        self._locks.setdefault(digest, asyncio.Lock())
        self._waiting[digest] += 1
        try:
            yield
        finally:
            self._waiting[digest] -= 1
            if not self._waiting[digest]:
                del self._waiting[digest], self._locks[digest]


def _names(reference: Reference, digest: str) -> tuple[Reference, ...]:
    """What the image will be called: by its tag, unless it was asked for by digest, and by its digest."""
    by_digest = Reference(reference.domain, reference.path, "", digest)
    return (by_digest,) if reference.digest else (replace(reference, digest=""), by_digest)


def _mismatch(reference: Reference, found: Platform, wanted: Platform) -> str:
    return (
        f"WARNING: image with reference {reference.familiar} was found but its platform ({found}) does not match "
        f"the specified platform ({wanted})"
    )
