"""JSON of manifests, indexes and image configs <-> their nouns.

`parse_*` raises Corrupt, naming the member that is wrong; members we do not know are ignored, `null` counts as absent.
`encode_*` gives one form only (sorted, no blanks, nothing empty), so that equal images have equal digests.
"""

import json
from collections.abc import Mapping
from typing import Any

from orlop.spec.container import HealthSpec, ProcessDefaults
from orlop.spec.errors import Corrupt, NotSupported
from orlop.spec.image import (
    DOCKER_MANIFEST,
    INDEXES,
    MANIFESTS,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    History,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    parse_digest,
)

_MOST_ENTRIES = 10_000  # of a list in a document that strangers wrote

Tree = Mapping[str, Any]


def parse_document(content: bytes, media_type: str = "") -> Manifest | Index:
    """A manifest or an index, whichever it is. `media_type`, what a registry called it, counts where it does not say itself."""
    tree = _tree(content, "manifest")
    if tree.get("schemaVersion") == 1:
        raise NotSupported(
            "Docker Image manifest version 2, schema 1 is not supported: the image must be pushed again as schema 2 or OCI"
        )
    if "manifests" in tree and ("config" in tree or "layers" in tree):
        raise Corrupt("invalid manifest: it is an index too (CVE-2021-41190)")
    kind = _text(tree, "mediaType") or media_type
    if kind in INDEXES or (kind not in MANIFESTS and "manifests" in tree):
        return _index(tree, kind if kind in INDEXES else OCI_INDEX)
    return _manifest(tree, kind if kind in MANIFESTS else "")


def parse_manifest(content: bytes, media_type: str = "") -> Manifest:
    """One image's manifest."""
    document = parse_document(content, media_type)
    if isinstance(document, Index):
        raise Corrupt("invalid manifest: it is an index")
    return document


def parse_index(content: bytes, media_type: str = "") -> Index:
    """An index or manifest list (an OCI layout's index.json too)."""
    document = parse_document(content, media_type or OCI_INDEX)
    if isinstance(document, Manifest):
        raise Corrupt("invalid index: it is a manifest")
    return document


def parse_config(content: bytes) -> ImageConfig:
    """An image's config."""
    tree = _tree(content, "image configuration")
    rootfs = _object(tree, "rootfs")
    return ImageConfig(
        platform=_platform(tree),
        process=parse_process(_object(tree, "config")),
        diff_ids=tuple(parse_digest(digest) for digest in _list(rootfs, "diff_ids")),
        history=tuple(_history(_as_object(entry, "history")) for entry in _list(tree, "history")),
        created=_text(tree, "created"),
        author=_text(tree, "author"),
        comment=_text(tree, "comment"),
        docker_version=_text(tree, "docker_version"),
        parent=_text(tree, "parent"),
    )


def parse_process(tree: Tree) -> ProcessDefaults:
    """The `config` member of an image's config: what its containers run as."""
    health = _object(tree, "Healthcheck")
    return ProcessDefaults(
        user=_text(tree, "User"),
        env=_texts(tree, "Env"),
        entrypoint=_texts(tree, "Entrypoint") if tree.get("Entrypoint") is not None else None,
        command=_texts(tree, "Cmd") if tree.get("Cmd") is not None else None,
        working_dir=_text(tree, "WorkingDir"),
        labels={_string(name, "Labels"): _string(value, "Labels") for name, value in _object(tree, "Labels").items()},
        exposed_ports=tuple(_object(tree, "ExposedPorts")),
        volumes=tuple(_object(tree, "Volumes")),
        stop_signal=_text(tree, "StopSignal"),
        stop_timeout_seconds=_number(tree, "StopTimeout") if tree.get("StopTimeout") is not None else None,
        healthcheck=_health(health) if health else None,
        shell=_texts(tree, "Shell"),
        on_build=_texts(tree, "OnBuild"),
        args_escaped=tree.get("ArgsEscaped") is True,
    )


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes whose digest names the manifest."""
    return _encoded(
        {
            "schemaVersion": 2,
            "mediaType": manifest.media_type,
            "config": _encode_descriptor(manifest.config),
            "layers": [_encode_descriptor(layer) for layer in manifest.layers],
            "annotations": dict(manifest.annotations) or None,
        }
    )


def encode_index(index: Index) -> bytes:
    """The bytes whose digest names the index."""
    return _encoded(
        {
            "schemaVersion": 2,
            "mediaType": index.media_type,
            "manifests": [_encode_descriptor(entry) for entry in index.manifests],
            "annotations": dict(index.annotations) or None,
        }
    )


def encode_config(config: ImageConfig) -> bytes:
    """The bytes whose digest is the image's id."""
    tree = {
        **_encode_platform(config.platform),
        "config": encode_process(config.process),
        "rootfs": {"type": "layers", "diff_ids": list(config.diff_ids)},
        "history": [_encode_history(step) for step in config.history] or None,
        "created": config.created or None,
        "author": config.author or None,
        "comment": config.comment or None,
        "docker_version": config.docker_version or None,
        "parent": config.parent or None,
    }
    return _encoded(tree)


def encode_process(process: ProcessDefaults) -> dict[str, Any]:
    """The `config` member of an image's config, without what is not said."""
    tree: dict[str, Any] = {
        "User": process.user,
        "Env": list(process.env),
        "WorkingDir": process.working_dir,
        "Labels": dict(process.labels),
        "ExposedPorts": {port: {} for port in process.exposed_ports},
        "Volumes": {target: {} for target in process.volumes},
        "StopSignal": process.stop_signal,
        "StopTimeout": process.stop_timeout_seconds,
        "Healthcheck": _encode_health(process.healthcheck) if process.healthcheck else None,
        "Shell": list(process.shell),
        "OnBuild": list(process.on_build),
        "ArgsEscaped": process.args_escaped,
    }
    said = {name: value for name, value in tree.items() if value or (name == "StopTimeout" and value is not None)}
    lists = {"Entrypoint": process.entrypoint, "Cmd": process.command}  # empty is not absent: it overrides
    return said | {name: list(words) for name, words in lists.items() if words is not None}


def _encoded(tree: dict[str, Any]) -> bytes:
    said = {name: value for name, value in tree.items() if value is not None}
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _index(tree: Tree, media_type: str) -> Index:
    entries = tuple(_descriptor(_as_object(entry, "manifests")) for entry in _list(tree, "manifests"))
    return Index(media_type=media_type, manifests=entries, annotations=_strings(tree, "annotations"))


def _manifest(tree: Tree, media_type: str) -> Manifest:
    if not isinstance(tree.get("config"), dict) or not isinstance(tree.get("layers", []), list):
        raise Corrupt("invalid manifest: it has no config or no list of layers")
    config = _descriptor(_object(tree, "config"))
    layers = tuple(_descriptor(_as_object(layer, "layers")) for layer in _list(tree, "layers"))
    docker = config.media_type.startswith("application/vnd.docker.")
    return Manifest(
        media_type=media_type or (DOCKER_MANIFEST if docker else OCI_MANIFEST),
        config=config,
        layers=layers,
        annotations=_strings(tree, "annotations"),
    )


def _descriptor(tree: Tree) -> Descriptor:
    size = _number(tree, "size")
    if size < 0:
        raise Corrupt(f"invalid descriptor: size {size} is negative")
    platform = tree.get("platform")
    return Descriptor(
        media_type=_text(tree, "mediaType"),
        digest=parse_digest(tree.get("digest")),
        size=size,
        platform=_platform(_as_object(platform, "platform")) if platform is not None else None,
        annotations=_strings(tree, "annotations"),
        urls=_texts(tree, "urls"),
        artifact_type=_text(tree, "artifactType"),
    )


def _encode_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    tree = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
        "platform": _encode_platform(descriptor.platform) if descriptor.platform else None,
        "annotations": dict(descriptor.annotations) or None,
        "urls": list(descriptor.urls) or None,
        "artifactType": descriptor.artifact_type or None,
    }
    return {name: value for name, value in tree.items() if value is not None}


def _platform(tree: Tree) -> Platform:
    return Platform(
        _text(tree, "os") or "linux",
        _text(tree, "architecture"),
        _text(tree, "variant"),
        _text(tree, "os.version"),
    )


def _encode_platform(platform: Platform) -> dict[str, str]:
    tree = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        tree["variant"] = platform.variant
    if platform.os_version:
        tree["os.version"] = platform.os_version
    return tree


def _history(tree: Tree) -> History:
    return History(
        created=_text(tree, "created"),
        created_by=_text(tree, "created_by"),
        author=_text(tree, "author"),
        comment=_text(tree, "comment"),
        empty_layer=tree.get("empty_layer") is True,
    )


def _encode_history(step: History) -> dict[str, Any]:
    tree = {
        "created": step.created,
        "created_by": step.created_by,
        "author": step.author,
        "comment": step.comment,
        "empty_layer": step.empty_layer,
    }
    return {name: value for name, value in tree.items() if value}


_HEALTH_TIMES = {
    "interval_ns": "Interval",
    "timeout_ns": "Timeout",
    "start_period_ns": "StartPeriod",
    "start_interval_ns": "StartInterval",
    "retries": "Retries",
}


def _health(tree: Tree) -> HealthSpec:
    numbers = {field: _number(tree, name) for field, name in _HEALTH_TIMES.items()}
    return HealthSpec(test=_texts(tree, "Test"), **numbers)


def _encode_health(health: HealthSpec) -> dict[str, Any]:
    numbers = {name: getattr(health, field) for field, name in _HEALTH_TIMES.items() if getattr(health, field)}
    return ({"Test": list(health.test)} if health.test else {}) | numbers


def _tree(content: bytes, what: str) -> Tree:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"invalid {what}: not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise Corrupt(f"invalid {what}: not a JSON object")
    return tree


def _as_object(value: object, name: str) -> Tree:
    if not isinstance(value, dict):
        raise Corrupt(f"invalid {name}: {str(value)[:100]!r} is not an object")
    return value


def _object(tree: Tree, name: str) -> Tree:
    value = tree.get(name)
    return {} if value is None else _as_object(value, name)


def _list(tree: Tree, name: str) -> list[Any]:
    value = tree.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MOST_ENTRIES:
        raise Corrupt(f"invalid {name}: not a list of at most {_MOST_ENTRIES} entries")
    return value


def _string(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise Corrupt(f"invalid {name}: {str(value)[:100]!r} is not a string")
    return value


def _text(tree: Tree, name: str) -> str:
    value = tree.get(name)
    return "" if value is None else _string(value, name)


def _texts(tree: Tree, name: str) -> tuple[str, ...]:
    return tuple(_string(value, name) for value in _list(tree, name))


def _strings(tree: Tree, name: str) -> dict[str, str]:
    return {key: _string(value, name) for key, value in _object(tree, name).items()}


def _number(tree: Tree, name: str) -> int:
    value = tree.get(name)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 63:
        raise Corrupt(f"invalid {name}: {str(value)[:100]!r} is not a whole number")
    return value
