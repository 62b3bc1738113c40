"""Arrivals: the last step of load, pull, commit, import and bootstrap, before the engine registers the image."""

from collections.abc import Sequence

from orlop.spec.errors import Corrupt
from orlop.spec.image import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Digest,
    ImageArrival,
    LayerRecord,
    Manifest,
    digest_of,
)
from orlop.spec.image_json import encode_manifest, parse_config
from orlop.storage.content import ContentStore


def arrive(
    content: ContentStore,
    layers: Sequence[LayerRecord],
    config: bytes,
    manifest: bytes = b"",
    *,
    names: Sequence[str] = (),
    digests: Sequence[str] = (),
    parent: Digest = "",
) -> ImageArrival:
    """Write config and manifest of an image whose layers are in the store. Without a manifest, one of plain layers is made up.

    Raises Corrupt when the config is malformed or names other layers.
    """
    expected = parse_config(config).diff_ids
    if expected != tuple(layer.diff_id for layer in layers):
        raise Corrupt(f"the image's config names {len(expected)} layers, which are not its {len(layers)} layers")
    return ImageArrival(
        config=content.write(config),
        manifest=content.write(manifest or plain_manifest(config, layers)),
        layers=tuple(layers),
        names=tuple(names),
        digests=tuple(digests),
        parent=parent,
    )


def plain_manifest(config: bytes, layers: Sequence[LayerRecord]) -> bytes:
    """An OCI manifest of an image as we hold it: layers uncompressed, so that their digests are the diff ids."""
    manifest = Manifest(
        media_type=OCI_MANIFEST,
        config=Descriptor(media_type=OCI_CONFIG, digest=digest_of(config), size=len(config)),
        layers=tuple(Descriptor(media_type=OCI_LAYER, digest=layer.diff_id, size=layer.tar_size) for layer in layers),
    )
    return encode_manifest(manifest)
