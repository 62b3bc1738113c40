"""Images as the OCI and Docker schema 2 specifications have them: Digest, Descriptor, Manifest, Index, ImageConfig.

`parse_*` takes JSON bytes and raises Corrupt; `encode_*` gives the canonical JSON bytes whose digest is the object's name.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orlop.spec.container import ProcessDefaults
from orlop.spec.errors import Corrupt, InvalidArgument

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})

# Layer media type -> how it is compressed. "foreign"/nondistributable layers are read like the others.
COMPRESSION = {
    OCI_LAYER: "",
    OCI_LAYER + "+gzip": "gzip",
    OCI_LAYER + "+zstd": "zstd",
    DOCKER_LAYER: "",
    DOCKER_LAYER + ".gzip": "gzip",
    DOCKER_LAYER + ".zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
}

Digest = str  # "sha256:<64 hex>"
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


def digest_of(content: bytes) -> Digest:
    """sha256 of some bytes, as a digest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def parse_digest(text: object) -> Digest:
    """Check the form of a digest. Raises Corrupt."""
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise Corrupt(f"invalid digest {str(text)[:100]!r}: not sha256:<64 hex digits>")
    return text


@dataclass(frozen=True, slots=True)
class Platform:
    """Operating system and CPU, in Go's names."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


_ARCHITECTURES = {
    "x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm", "i686": "386", "i386": "386",
    "ppc64le": "ppc64le", "s390x": "s390x", "riscv64": "riscv64", "loongarch64": "loong64", "mips64": "mips64le",
}  # fmt: skip
_KNOWN_ARCHITECTURES = frozenset(_ARCHITECTURES.values()) | {"arm", "wasm", "ppc64", "mips", "mipsle", "mips64", "mips64le"}
_KNOWN_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd", "wasip1"})


def host_platform() -> Platform:
    """What this machine runs natively."""
    machine = os.uname().machine
    return Platform("linux", _ARCHITECTURES.get(machine, machine), {"armv7l": "v7", "armv6l": "v6"}.get(machine, ""))


def parse_platform(text: str) -> Platform:
    """ "linux/arm64/v8", "arm64" or "linux" -> Platform. Raises InvalidArgument."""
    parts = text.lower().split("/")
    if not all(re.fullmatch(r"[a-z0-9_.-]+", part) for part in parts) or len(parts) > 3:
        raise InvalidArgument(f'"{text}" is an invalid OS component or platform: use os/architecture[/variant]')
    host = host_platform()
    if len(parts) == 1:
        if parts[0] in _KNOWN_SYSTEMS:
            return Platform(parts[0], host.architecture, host.variant)
        architecture = _ARCHITECTURES.get(parts[0], parts[0])
        if architecture not in _KNOWN_ARCHITECTURES:
            raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
        return Platform("linux", architecture)
    variant = parts[2] if len(parts) == 3 else ""
    architecture = _ARCHITECTURES.get(parts[1], parts[1])
    return Platform(parts[0], architecture, "" if (architecture, variant) == ("arm64", "v8") else variant)


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A pointer to a blob."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    artifact_type: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One image for one platform."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """Several manifests under one name (Docker: manifest list)."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """How one layer, or one step without a layer, came to be."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """The image's own JSON: platform, defaults of a process, layers by diff id, history. `created` is RFC 3339 or ""."""

    platform: Platform
    process: ProcessDefaults = ProcessDefaults()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    comment: str = ""
    docker_version: str = ""
    parent: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """An image in the store. Its id is the digest of its config; `names` are full references that point at it."""

    id: Digest
    manifest: Digest
    config: ImageConfig
    size: int  # of all layers, unpacked
    tags: tuple[str, ...] = ()  # "docker.io/library/alpine:3"
    digests: tuple[str, ...] = ()  # "docker.io/library/alpine@sha256:..."
    parent: Digest = ""  # commit and build
    last_tagged_ns: int = 0
    created_ns: int = 0  # config.created, parsed


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRecord:
    """A layer in the store, unpacked on top of those below it; `chain_id` names the whole stack."""

    chain_id: Digest
    diff_id: Digest
    parent: Digest = ""  # chain id of the stack below; "": none
    size: int = 0  # bytes of its files, unpacked
    tar_size: int = 0  # bytes of its tar


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageArrival:
    """An image whose every byte is in the store, but which the engine does not know yet."""

    config: Digest
    manifest: Digest
    layers: tuple[LayerRecord, ...]
    names: tuple[str, ...] = ()  # full references with tags
    digests: tuple[str, ...] = ()  # full references with digests
    parent: Digest = ""


def chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """Names of the file systems after each layer. OCI image spec, "Layer ChainID"."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryEntry:
    """One line of `history`: the step's image where one is kept here, else "<missing>"."""

    id: str
    created_ns: int = 0
    created_by: str = ""
    tags: tuple[str, ...] = ()
    size: int = 0
    comment: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """One line of `rmi`: a name that was taken away, or an image that was deleted."""

    untagged: str = ""
    deleted: str = ""
