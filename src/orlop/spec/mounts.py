"""What a user asks to be mounted, and what a container then has."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class MountSpec:
    """One `--mount`: `kind` is bind, volume or tmpfs."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    consistency: str = ""
    propagation: str = ""  # bind: rprivate, private, rshared, shared, rslave, slave
    create_source: bool = False  # bind: make the source directory when it is missing (as -v does)
    non_recursive: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    no_copy: bool = False  # volume: do not fill an empty one from the image
    labels: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    subpath: str = ""
    tmpfs_size_bytes: int = 0
    tmpfs_mode: int = 0
    tmpfs_options: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class MountPoint:
    """A mount that a container was given: what inspect shows under Mounts, and what the bundle mounts."""

    kind: str  # bind, volume, tmpfs
    target: str
    source: str = ""  # path on the host
    name: str = ""  # of the volume
    driver: str = ""
    mode: str = ""  # as written after the last colon of -v ("ro,z")
    read_write: bool = True
    propagation: str = ""
    anonymous: bool = False  # a volume that goes with `rm -v` / --rm
    spec: MountSpec | None = None  # the --mount it came from, if any
    options: tuple[str, ...] = ()  # mount(8) options of a tmpfs


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount(2) call, as snapshots return them. fstab(5) fields without the target."""

    fstype: str  # "bind" or a file system's name
    source: str
    options: tuple[str, ...] = ()
