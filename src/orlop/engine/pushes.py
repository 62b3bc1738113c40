"""The story of `push`: bring every layer that the registry lacks there, side by side, then the config and the manifest."""

from dataclasses import replace
from typing import Any

from orlop.engine.adoption import Adoption
from orlop.engine.parts import Parts
from orlop.engine.progress import Tell, side_by_side
from orlop.engine.pulls import short
from orlop.engine.sources import Sources
from orlop.registry.resolve import Site
from orlop.spec.errors import InvalidArgument, NotFoundThere
from orlop.spec.image import (
    COMPRESSION,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    ImageRecord,
    LayerRecord,
    Manifest,
)
from orlop.spec.image_json import parse_manifest
from orlop.spec.progress import ProgressEvent
from orlop.spec.reference import Reference, parse_reference
from orlop.spec.registry import BlobSource, Credentials, RegistryOptions
from orlop.state.documents import from_plain, to_plain

# By the family of the manifest: its config's type, and a layer's by compression.
_CONFIG_TYPES = {DOCKER_MANIFEST: DOCKER_CONFIG, OCI_MANIFEST: OCI_CONFIG}
_LAYER_TYPES = {
    (DOCKER_MANIFEST, "gzip"): DOCKER_LAYER + ".gzip",
    (OCI_MANIFEST, "gzip"): OCI_LAYER + "+gzip",
    (OCI_MANIFEST, "zstd"): OCI_LAYER + "+zstd",
}


class Pushes:
    """Pushes images."""

    def __init__(self, parts: Parts, registries: RegistryOptions, sources: Sources, adoption: Adoption) -> None:
        self._parts = parts
        self._registries = registries
        self._sources = sources
        self._adoption = adoption

    async def push(self, reference: Reference, credentials: Credentials, tell: Tell) -> None:
        """Push one tag, or (none said) every tag of a repository."""
        if reference.digest:
            raise InvalidArgument("cannot push a digest reference")
        tell(ProgressEvent(status=f"The push refers to repository [{reference.repository}]"))
        images = self._images(reference)
        site = Site(reference=reference, credentials=credentials, options=self._registries)
        opened = from_plain(await self._parts.workers.run("push.open", {"site": to_plain(site)}), Site)
        for name, record in images:
            await self._push_one(replace(opened, reference=name), record, tell)

    def _images(self, reference: Reference) -> list[tuple[Reference, ImageRecord]]:
        """What is to be pushed under which name. Raises NotFoundThere."""
        named = [
            (parsed, record)
            for record in self._parts.images.list()
            for parsed in map(parse_reference, record.tags)
            if parsed.repository == reference.repository
        ]
        if not named:
            raise NotFoundThere(f"An image does not exist locally with the tag: {reference.familiar_name}")
        wanted = [(name, record) for name, record in named if reference.tag in ("", name.tag)]
        if not wanted:
            raise NotFoundThere(f"tag does not exist: {reference.familiar}")
        return sorted(wanted, key=lambda pair: pair[0].tag)

    async def _push_one(self, site: Site, record: ImageRecord, tell: Tell) -> None:
        layers = self._adoption.layers(record)
        original = parse_manifest(self._parts.images.content.read(record.manifest))
        for layer in layers:
            tell(ProgressEvent(status="Preparing", id=short(layer.diff_id)))
        pushed: dict[str, BlobSource] = {}
        unique = {layer.diff_id: layer for layer in layers}
        before = {layer.diff_id: descriptor for layer, descriptor in zip(layers, original.layers, strict=True)}
        await side_by_side(*(self._push_layer(site, layer, before[diff_id], pushed, tell) for diff_id, layer in unique.items()))
        for diff_id, source in pushed.items():
            self._sources.add(diff_id, source)
        same = all(pushed[layer.diff_id].digest == before[layer.diff_id].digest for layer in layers)
        manifest = original if same else _manifest(original, record, [pushed[layer.diff_id] for layer in layers])
        args = {"site": to_plain(site), "manifest": to_plain(manifest), "original": record.manifest if same else ""}
        done = await self._parts.workers.run("push.manifest", args)
        name, digest, size = site.reference, done["digest"], done["size"]
        self._parts.images.tag(record.id, Reference(name.domain, name.path, "", digest))
        tell(ProgressEvent(status=f"{name.tag}: digest: {digest} size: {size}"))
        tell(ProgressEvent(aux={"tag": name.tag, "digest": digest, "size": size}))

    async def _push_layer(
        self, site: Site, layer: LayerRecord, before: Descriptor, pushed: dict[str, BlobSource], tell: Tell
    ) -> None:
        """Bring one layer there, in the form that the image came in where that is possible."""

        def progress(message: dict[str, Any]) -> None:
            tell(
                ProgressEvent(
                    status=message["phase"], id=short(layer.diff_id), current=message["current"], total=message["total"]
                )
            )

        args = {
            "site": to_plain(site),
            "layer": to_plain(layer),
            "sources": to_plain(self._candidates(site.reference, layer, before)),
            "compression": self._registries.push_compression,
        }
        done = await self._parts.workers.run("layer.push", args, progress=progress)
        pushed[layer.diff_id] = from_plain(done["source"], BlobSource)
        status = {"exists": "Layer already exists", "pushed": "Pushed"}.get(done["how"])
        tell(ProgressEvent(status=status or f"Mounted from {_shown(done['from'])}", id=short(layer.diff_id)))

    def _candidates(self, reference: Reference, layer: LayerRecord, before: Descriptor) -> tuple[BlobSource, ...]:
        """Compressed forms to look for: as in the image's manifest, then in this repository, then on this registry."""
        known = self._sources.of(layer.diff_id)
        if COMPRESSION.get(before.media_type):
            original = BlobSource(
                digest=before.digest, size=before.size, media_type=before.media_type, repository=reference.repository
            )
            known = (original, *known)
        registry = f"{reference.domain}/"

        def distance(source: BlobSource) -> tuple[bool, bool, bool]:
            there = source.repository == reference.repository
            return (source.digest != before.digest, not there, not source.repository.startswith(registry))

        return tuple(sorted((one for one in known if COMPRESSION.get(one.media_type)), key=distance))


def _manifest(original: Manifest, record: ImageRecord, layers: list[BlobSource]) -> Manifest:
    """The image's manifest with these compressed layers; a Docker one becomes an OCI one where a layer is zstd."""
    compressions = [COMPRESSION[layer.media_type] for layer in layers]
    family = OCI_MANIFEST if "zstd" in compressions else original.media_type
    descriptors = tuple(
        Descriptor(media_type=_LAYER_TYPES[family, compression], digest=layer.digest, size=layer.size)
        for layer, compression in zip(layers, compressions, strict=True)
    )
    config = replace(original.config, media_type=_CONFIG_TYPES[family])
    return Manifest(media_type=family, config=config, layers=descriptors, annotations=original.annotations)


def _shown(repository: str) -> str:
    """The path alone: the registry is known."""
    return repository.partition("/")[2]
