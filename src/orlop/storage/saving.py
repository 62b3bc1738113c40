"""`save`: images as an archive that is an OCI image layout and docker save's format at once, as Docker 25 and newer do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orlop.spec.image import OCI_INDEX, OCI_LAYER, OCI_MANIFEST, Descriptor, Digest, Index, LayerRecord, digest_of
from orlop.spec.image_json import encode_index, parse_config
from orlop.spec.reference import parse_reference
from orlop.state import documents
from orlop.storage.arrivals import plain_manifest
from orlop.storage.loading import blob_name
from orlop.storage.store import Store
from orlop.storage.tar.headers import DIRECTORY, ZEROS, Entry, encode_header, padding


@dataclass(frozen=True, kw_only=True)
class SavedImage:
    """An image to be saved: the digest of its config, its layers, and the names (full references) to save it under."""

    config: Digest
    layers: tuple[LayerRecord, ...]
    names: tuple[str, ...] = ()


def save(store: Store, images: Sequence[SavedImage]) -> Iterator[bytes]:
    """The archive, in blocks. Every blob is verified: raises Corrupt, midway too."""
    yield encode_header(Entry(b"blobs/", DIRECTORY, mode=0o755)) + encode_header(Entry(b"blobs/sha256/", DIRECTORY, mode=0o755))
    written: set[Digest] = set()
    manifests: list[Descriptor] = []
    for image in images:
        config = store.content.read(image.config)
        manifest = plain_manifest(config, image.layers)
        for content in (config, manifest):
            if (digest := digest_of(content)) not in written:
                written.add(digest)
                yield _file(blob_name(digest), content)
        for layer in image.layers:
            if layer.diff_id not in written:
                written.add(layer.diff_id)
                yield from _layer(store, layer)
        manifests += _described(image, config, manifest)
    yield _file("index.json", encode_index(Index(media_type=OCI_INDEX, manifests=tuple(manifests))))
    yield _file("manifest.json", documents.dumps([_docker_entry(image) for image in images]))
    yield _file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    if repositories := _repositories(images):
        yield _file("repositories", documents.dumps(repositories))
    yield ZEROS


def _layer(store: Store, layer: LayerRecord) -> Iterator[bytes]:
    yield encode_header(Entry(blob_name(layer.diff_id).encode(), size=layer.tar_size))
    yield from store.layers.replay(layer.diff_id, layer.chain_id)
    yield bytes(padding(layer.tar_size))


def _file(name: str, content: bytes) -> bytes:
    return encode_header(Entry(name.encode(), size=len(content))) + content + bytes(padding(len(content)))


def _described(image: SavedImage, config: bytes, manifest: bytes) -> Iterator[Descriptor]:
    """Entries of index.json: one for each name, or one without."""
    for name in image.names or ("",):
        tag = parse_reference(name).tag if name else ""
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag} if name else {}
        yield Descriptor(
            media_type=OCI_MANIFEST,
            digest=digest_of(manifest),
            size=len(manifest),
            platform=parse_config(config).platform,
            annotations=annotations,
        )


def _docker_entry(image: SavedImage) -> Mapping[str, object]:
    """One entry of manifest.json."""
    return {
        "Config": blob_name(image.config),
        "RepoTags": [parse_reference(name).familiar for name in image.names] or None,
        "Layers": [blob_name(layer.diff_id) for layer in image.layers],
        "LayerSources": {
            layer.diff_id: {"mediaType": OCI_LAYER, "size": layer.tar_size, "digest": layer.diff_id} for layer in image.layers
        },
    }


def _repositories(images: Sequence[SavedImage]) -> dict[str, dict[str, str]]:
    """Docker's first format: name -> tag -> topmost layer."""
    found: dict[str, dict[str, str]] = {}
    for image in images:
        for name in image.names:
            reference = parse_reference(name)
            top = image.layers[-1].diff_id if image.layers else image.config
            found.setdefault(reference.familiar_name, {})[reference.tag] = top.removeprefix("sha256:")
    return found
