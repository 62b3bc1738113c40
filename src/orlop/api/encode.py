"""Images, networks, volumes, progress, events and the system as Docker's JSON. Containers: encode_container.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orlop.api.encode_container import summary
from orlop.api.fields import write
from orlop.api.tables import OMITTED_WHEN_EMPTY, PROCESS
from orlop.api.text import human_size
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import InvalidArgument
from orlop.spec.event import Event
from orlop.spec.image import HistoryEntry, ImageRecord, Removal
from orlop.spec.network import Endpoint, NetworkRecord, SubnetSpec
from orlop.spec.progress import ProgressEvent
from orlop.spec.reference import parse_reference
from orlop.spec.registry import Distribution, SearchHit
from orlop.spec.system import DiskUsage
from orlop.spec.times import rfc3339
from orlop.spec.volume import VolumeRecord

Version = tuple[int, int]

# Fields that an OCI image's config does not have: API 1.50 stopped showing them.
_LEGACY_CONFIG = {
    "Hostname": "", "Domainname": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "Tty": False,
    "OpenStdin": False, "StdinOnce": False, "Image": "",
}  # fmt: skip


def familiar(reference: str) -> str:
    """docker.io/library/alpine:3 -> alpine:3, as users know it."""
    try:
        return parse_reference(reference).familiar
    except InvalidArgument:
        return reference


def image_summary(record: ImageRecord, version: Version, *, containers: int = -1, shared_size: int = -1) -> dict[str, Any]:
    """One entry of GET /images/json."""
    tags, digests = _names(record, version)
    shown = {
        "Containers": containers,
        "Created": record.created_ns // 10**9,
        "Id": record.id,
        "Labels": dict(record.config.process.labels),
        "ParentId": record.parent,
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": shared_size,
        "Size": record.size,
    }
    return shown if version >= (1, 44) else {**shown, "VirtualSize": record.size}


def _names(record: ImageRecord, version: Version) -> tuple[list[str], list[str]]:
    """Tags and digests; before API 1.43 an image without either had "<none>"s."""
    tags, digests = [familiar(tag) for tag in record.tags], [familiar(digest) for digest in record.digests]
    if version < (1, 43) and not tags:
        tags = ["<none>:<none>"]
        digests = digests or ["<none>@<none>"]
    return tags, digests


def image_inspect(record: ImageRecord, version: Version) -> dict[str, Any]:
    """GET /images/{name}/json."""
    config = record.config
    shown: dict[str, Any] = {
        "Id": record.id,
        "RepoTags": [familiar(tag) for tag in record.tags],
        "RepoDigests": [familiar(digest) for digest in record.digests],
        "Parent": record.parent,
        "Comment": config.comment,
        "Created": config.created or rfc3339(record.created_ns),
        "DockerVersion": config.docker_version,
        "Author": config.author,
        "Config": _image_config(record, version),
        "Architecture": config.platform.architecture,
        "Os": config.platform.os,
        "Size": record.size,
        "GraphDriver": {"Data": {}, "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Metadata": {"LastTagTime": rfc3339(record.last_tagged_ns)},
    }
    if config.platform.variant:
        shown["Variant"] = config.platform.variant
    if config.platform.os_version:
        shown["OsVersion"] = config.platform.os_version
    if version < (1, 44):
        shown["VirtualSize"] = record.size
    return shown


def _image_config(record: ImageRecord, version: Version) -> dict[str, Any]:
    shown = write(PROCESS, record.config.process)
    if version < (1, 50):
        return _LEGACY_CONFIG | {key: value for key, value in shown.items() if value or key not in OMITTED_WHEN_EMPTY}
    return {key: value for key, value in shown.items() if value}


def history(entries: Iterable[HistoryEntry]) -> list[dict[str, Any]]:
    """GET /images/{name}/history."""
    return [
        {
            "Comment": entry.comment,
            "Created": entry.created_ns // 10**9,
            "CreatedBy": entry.created_by,
            "Id": entry.id,
            "Size": entry.size,
            "Tags": [familiar(tag) for tag in entry.tags] or None,
        }
        for entry in entries
    ]


def removals(entries: Iterable[Removal]) -> list[dict[str, str]]:
    """DELETE /images/{name}."""
    return [{"Untagged": familiar(one.untagged)} if one.untagged else {"Deleted": one.deleted} for one in entries]


def search(hits: Iterable[SearchHit]) -> list[dict[str, Any]]:
    """GET /images/search."""
    return [
        {
            "star_count": hit.stars,
            "is_official": hit.official,
            "name": hit.name,
            "is_automated": hit.automated,
            "description": hit.description,
        }
        for hit in hits
    ]


def distribution(found: Distribution) -> dict[str, Any]:
    """GET /distribution/{name}/json."""
    one = found.descriptor
    platforms = [
        {"architecture": platform.architecture, "os": platform.os} | ({"variant": platform.variant} if platform.variant else {})
        for platform in found.platforms
    ]
    return {"Descriptor": {"mediaType": one.media_type, "digest": one.digest, "size": one.size}, "Platforms": platforms}


_AUX_KEYS = {"id": "ID", "tag": "Tag", "digest": "Digest", "size": "Size"}
BAR_WIDTH = 50


def progress(event: ProgressEvent) -> dict[str, Any]:
    """One message of a pull, push, load, import or build. moby, jsonmessage"""
    if event.error:
        detail: dict[str, Any] = {"message": event.error}
        if event.error_code:
            detail["code"] = event.error_code
        return {"errorDetail": detail, "error": event.error}
    if event.stream:
        return {"stream": event.stream}
    if event.aux is not None:
        aux = {_AUX_KEYS.get(key, key): value for key, value in event.aux.items()}
        return {"progressDetail": {}, "aux": aux} if "Tag" in aux else {"aux": aux}
    shown: dict[str, Any] = {"status": event.status}
    if event.current or event.total:
        detail = {"current": event.current} | ({"total": event.total} if event.total else {})
        shown |= {"progressDetail": detail, "progress": _bar(event.current, event.total)}
    elif event.id and not event.status.startswith("Pulling from "):  # there `id` is a tag
        shown["progressDetail"] = {}
    return shown | ({"id": event.id} if event.id else {})


def _bar(current: int, total: int) -> str:
    if total <= 0 or current > total:
        return f"{human_size(current):>8}"
    done = min(BAR_WIDTH, current * BAR_WIDTH // total)
    arrow = "=" * done + ">" if done < BAR_WIDTH else "=" * BAR_WIDTH + ">"
    blank = " " * (BAR_WIDTH - done)
    return f"[{arrow}{blank}] {human_size(current):>8}/{human_size(total)}"


def event_message(event: Event) -> dict[str, Any]:
    """One line of GET /events, with the fields of API 1.21 that clients still read."""
    shown: dict[str, Any] = {}
    if event.type in ("container", "image"):
        shown = {"status": event.action, "id": event.actor_id}
        if event.type == "container" and event.attributes.get("image"):
            shown["from"] = event.attributes["image"]
    return shown | {
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": dict(event.attributes)},
        "scope": event.scope,
        "time": event.time_ns // 10**9,
        "timeNano": event.time_ns,
    }


def network(record: NetworkRecord, members: Sequence[tuple[ContainerRecord, Endpoint]] | None = None) -> dict[str, Any]:
    """A network; with its containers when inspected."""
    spec = record.spec
    return {
        "Name": spec.name,
        "Id": record.id,
        "Created": rfc3339(record.created_ns),
        "Scope": spec.scope,
        "Driver": spec.driver,
        "EnableIPv4": spec.enable_ipv4,
        "EnableIPv6": spec.enable_ipv6,
        "IPAM": {
            "Driver": spec.ipam_driver,
            "Options": dict(spec.ipam_options) or None,
            "Config": [_subnet(subnet) for subnet in spec.subnets],
        },
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": spec.ingress,
        "ConfigFrom": {"Network": spec.config_from},
        "ConfigOnly": spec.config_only,
        "Containers": {one.id: _member(one, endpoint) for one, endpoint in members or ()},
        "Options": dict(spec.options),
        "Labels": dict(spec.labels),
    }


def _subnet(subnet: SubnetSpec) -> dict[str, Any]:
    shown = {"Subnet": subnet.subnet, "IPRange": subnet.ip_range, "Gateway": subnet.gateway}
    auxiliary = {"AuxiliaryAddresses": dict(subnet.auxiliary_addresses)} if subnet.auxiliary_addresses else {}
    return {key: value for key, value in shown.items() if value} | auxiliary


def _member(container: ContainerRecord, endpoint: Endpoint) -> dict[str, str]:
    return {
        "Name": container.name,
        "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": f"{endpoint.ipv4_address}/{endpoint.ipv4_prefix}" if endpoint.ipv4_address else "",
        "IPv6Address": f"{endpoint.ipv6_address}/{endpoint.ipv6_prefix}" if endpoint.ipv6_address else "",
    }


def volume(record: VolumeRecord, usage: tuple[int, int] | None = None) -> dict[str, Any]:
    """A volume; `usage` (bytes, containers) is shown by system df only."""
    shown: dict[str, Any] = {
        "CreatedAt": rfc3339(record.created_ns // 10**9 * 10**9),
        "Driver": record.spec.driver,
        "Labels": dict(record.spec.labels),
        "Mountpoint": record.mountpoint,
        "Name": record.name,
        "Options": dict(record.spec.options),
        "Scope": "local",
    }
    return shown | ({"UsageData": {"Size": usage[0], "RefCount": usage[1]}} if usage else {})


def disk_usage(usage: DiskUsage, names: Mapping[str, str], version: Version) -> dict[str, Any]:
    """GET /system/df. `names`: what each container's image is called now, by container id."""
    shown: dict[str, Any] = {}
    if usage.images is not None:
        shown["LayersSize"] = usage.layers_size
        shown["Images"] = [
            image_summary(one.record, version, containers=one.containers, shared_size=one.shared_size) for one in usage.images
        ]
    if usage.containers is not None:
        shown["Containers"] = [
            summary(one.record, image=names.get(one.record.id, one.record.image_id), sizes=(one.size_rw, one.size_root_fs))
            for one in usage.containers
        ]
    if usage.volumes is not None:
        shown["Volumes"] = [volume(one.record, (one.size, one.reference_count)) for one in usage.volumes]
    return shown
