"""What a container gets mounted: binds, --mount, volumes-from and image volumes, resolved to MountPoints in Docker's order,
grammar and wordings. Pure but for a look whether the source of a bind exists.
"""

import os
import posixpath
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

from orlop.spec.container import ContainerRecord, ContainerSpec, ProcessDefaults
from orlop.spec.errors import InvalidArgument, NotFound, NotSupported
from orlop.spec.mounts import MountPoint, MountSpec

PROPAGATIONS = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
# Options after the last colon of -v, by what they choose: at most one of each kind.
MODES: Mapping[str, str] = {
    "rw": "access", "ro": "access", "z": "label", "Z": "label", "nocopy": "copy",
    "consistent": "consistency", "cached": "consistency", "delegated": "consistency",
    **dict.fromkeys(PROPAGATIONS, "propagation"),
}  # fmt: skip

Lookup = Callable[[str], ContainerRecord]


def resolve_mounts(spec: ContainerSpec, process: ProcessDefaults, lookup: Lookup) -> tuple[MountPoint, ...]:
    """All mounts of a container, by target. Later kinds replace earlier ones: volumes-from, -v and --mount, then what the
    image declares where nothing is mounted yet. Anonymous volumes get their names here; nothing is created.
    """
    points: dict[str, MountPoint] = {}
    for reference in spec.volumes_from:
        points.update(_volumes_from(reference, lookup))
    own: set[str] = {posixpath.normpath(target) for target in spec.tmpfs}
    asked = [parse_bind(bind, spec.volume_driver) for bind in spec.binds] + [mount_point(mount) for mount in spec.mounts]
    for point in asked:
        if point.target in own:
            raise InvalidArgument(f"Duplicate mount point: {point.target}")
        own.add(point.target)
        points[point.target] = point
    for volume in process.volumes:
        target = posixpath.normpath(volume)
        if target not in points and target not in own:
            points[target] = _anonymous(target)
    return tuple(points.values())


def _anonymous(target: str) -> MountPoint:
    return MountPoint(kind="volume", target=target, name=secrets.token_hex(32), driver="local", anonymous=True)


def _volumes_from(reference: str, lookup: Lookup) -> dict[str, MountPoint]:
    """The binds and volumes of another container, perhaps read-only."""
    container, _, mode = reference.partition(":")
    if not container:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    if not is_mode(mode) or any(MODES[word] in ("copy", "propagation") for word in mode.split(",") if word):
        raise InvalidArgument(f"invalid mode: {mode}")
    read_only = "ro" in mode.split(",")
    try:
        points = lookup(container).mounts
    except NotFound as error:
        raise InvalidArgument(str(error)) from error
    return {
        point.target: replace(point, read_write=point.read_write and not read_only) for point in points if point.kind != "tmpfs"
    }


def is_mode(mode: str) -> bool:
    """Whether a text can stand after the last colon of -v."""
    if not mode:
        return True
    kinds = [MODES.get(word, "") for word in mode.split(",")]
    return "" not in kinds and len(kinds) == len(set(kinds))


def parse_bind(text: str, volume_driver: str = "") -> MountPoint:
    """ "src:dst[:mode]", "name:dst[:mode]" or "dst" -> a mount point. Raises InvalidArgument."""
    parts = text.split(":")
    mode = parts[2] if len(parts) == 3 else ""
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and is_mode(parts[1])):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    if not is_mode(mode):
        raise InvalidArgument(f"invalid mode: {mode}")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    words = mode.split(",")
    is_bind = source.startswith("/")
    spec = MountSpec(
        kind="bind" if is_bind else "volume",
        target=target,
        source=source,
        read_only="ro" in words,
        propagation=next((word for word in words if word in PROPAGATIONS), ""),
        create_source=is_bind,
        no_copy="nocopy" in words,
        driver="" if is_bind else volume_driver,
    )
    try:
        check_mount(spec)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid volume specification: '{text}': {error}") from error
    if not is_bind and source:
        check_volume_name(source)
    return replace(_point(spec), mode=mode or ("" if is_bind else "z"), spec=None)


def check_volume_name(name: str) -> None:
    """Raises InvalidArgument with Docker's wording."""
    letters = name.replace("_", "").replace(".", "").replace("-", "")
    if len(name) < 2 or not (letters.isascii() and letters.isalnum()) or not name[0].isalnum():
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )


def mount_point(mount: MountSpec) -> MountPoint:
    """A --mount as a mount point. Raises InvalidArgument."""
    check_mount(mount)
    if mount.kind == "volume" and mount.source:
        check_volume_name(mount.source)
    point = _point(mount)
    return replace(point, mode="z") if mount.kind == "volume" else point


def _point(mount: MountSpec) -> MountPoint:
    target = posixpath.normpath(mount.target)
    base = MountPoint(kind=mount.kind, target=target, read_write=not mount.read_only, spec=mount)
    match mount.kind:
        case "bind":
            source = posixpath.normpath(mount.source)
            return replace(base, source=source, propagation=mount.propagation or "rprivate")
        case "volume":
            anonymous = not mount.source
            return replace(base, name=mount.source or secrets.token_hex(32), driver="local", anonymous=anonymous)
    return replace(base, options=tmpfs_options(mount))


def check_mount(mount: MountSpec) -> None:
    """Raises InvalidArgument: `invalid mount config for type "bind": ...`."""
    if reason := _mount_fault(mount):
        raise InvalidArgument(f'invalid mount config for type "{mount.kind}": {reason}')
    if mount.kind in ("npipe", "cluster", "image"):
        raise NotSupported(f"mounts of type {mount.kind} are not supported")
    if mount.driver not in ("", "local"):
        raise NotFound("volume driver", mount.driver)


def _mount_fault(mount: MountSpec) -> str:
    if mount.kind not in ("bind", "volume", "tmpfs", "npipe", "cluster", "image"):
        return "mount type unknown"
    if not mount.target:
        return "field Target must not be empty"
    if posixpath.normpath(mount.target) == "/":
        return "invalid specification: destination can't be '/'"
    if not mount.target.startswith("/"):
        return f"invalid mount path: '{mount.target}' mount path must be absolute"
    return {"bind": _bind_fault, "volume": _volume_fault, "tmpfs": _tmpfs_fault}.get(mount.kind, lambda _: "")(mount)


def _bind_fault(mount: MountSpec) -> str:
    if not mount.source:
        return "field Source must not be empty"
    if mount.propagation and mount.propagation not in PROPAGATIONS:
        return f"invalid propagation mode: {mount.propagation}"
    if not mount.source.startswith("/"):
        return f"invalid mount path: '{mount.source}' mount path must be absolute"
    if not mount.create_source and not os.path.lexists(mount.source):
        return f"bind source path does not exist: {mount.source}"
    return ""


def _volume_fault(mount: MountSpec) -> str:
    if mount.subpath and not mount.source:
        return "must not set Subpath when using anonymous volumes"
    if mount.subpath and (mount.subpath.startswith("/") or posixpath.normpath(mount.subpath).split("/")[0] == ".."):
        return "subpath must be a relative path within the volume"
    return ""


def _tmpfs_fault(mount: MountSpec) -> str:
    if mount.source:
        return "field Source must not be specified"
    for option in mount.tmpfs_options:
        if not 1 <= len(option) <= 2:
            return "invalid option array length"
        if option[0] not in ("exec", "noexec"):
            return f"invalid option: {option[0]}"
    return ""


def tmpfs_options(mount: MountSpec) -> tuple[str, ...]:
    """mount(8) options of a --mount type=tmpfs."""
    options = ["ro"] if mount.read_only else []
    if mount.tmpfs_mode:
        options.append(f"mode={mount.tmpfs_mode:o}")
    if mount.tmpfs_size_bytes:
        options.append(f"size={mount.tmpfs_size_bytes}")
    return (*options, *("=".join(option) for option in mount.tmpfs_options))


def prepare_binds(points: tuple[MountPoint, ...]) -> None:
    """Just before a start: every bind's source is there; `-v` makes a missing directory. Raises InvalidArgument."""
    for point in points:
        if point.kind != "bind" or os.path.lexists(point.source):
            continue
        if point.spec is not None and not point.spec.create_source:
            raise InvalidArgument(f'invalid mount config for type "bind": bind source path does not exist: {point.source}')
        try:
            os.makedirs(point.source, 0o755, exist_ok=True)
        except OSError as error:
            raise InvalidArgument(
                f"error while creating mount source path '{point.source}': mkdir {point.source}: {error.strerror}"
            ) from error
