"""Named volumes."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeSpec:
    """A volume as asked for; an empty name means an anonymous one."""

    name: str = ""
    driver: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeRecord:
    """A volume that exists. `mountpoint` is its _data directory."""

    spec: VolumeSpec
    mountpoint: str
    created_ns: int
    anonymous: bool = False

    @property
    def name(self) -> str:
        return self.spec.name
