"""VolumeStore: named directories that outlive containers, in `volumes/<name>/_data`. Docker's `local` driver."""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from orlop.spec.errors import InvalidArgument, NotFound
from orlop.spec.mounts import Mount
from orlop.spec.volume import VolumeRecord, VolumeSpec
from orlop.storage.layers import NEW
from orlop.storage.trees import remove_tree

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_NAME_LENGTH = 255
_OPTIONS = frozenset(("type", "o", "device", "size"))
_REQUIRED = ("device", "type")


class VolumeRecords(Protocol):
    """Where records of volumes are kept (`state.records.Records`)."""

    def load(self) -> dict[str, VolumeRecord]: ...
    def save(self, key: str, value: VolumeRecord, /) -> None: ...
    def delete(self, key: str, /) -> None: ...


class VolumeStore:
    """All volumes. Lives in the daemon."""

    def __init__(self, root: Path, records: VolumeRecords) -> None:
        """`root`: the data root."""
        self._directory = Path(root) / "volumes"
        self._directory.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._records = records
        self._volumes = records.load()
        for left in self._directory.glob(f"{NEW}*"):
            remove_tree(left)

    def list(self) -> tuple[VolumeRecord, ...]:
        """Every volume, by name."""
        return tuple(self._volumes[name] for name in sorted(self._volumes))

    def find(self, name: str) -> VolumeRecord | None:
        """A volume by name, or None."""
        return self._volumes.get(name)

    def get(self, name: str) -> VolumeRecord:
        """A volume by name. Raises NotFound, with Docker's wording."""
        if record := self.find(name):
            return record
        error = NotFound("volume", name)
        error.args = (f"get {name}: no such volume",)
        raise error

    def create(self, spec: VolumeSpec, now_ns: int, *, anonymous: bool = False) -> VolumeRecord:
        """Make a volume, or give the one that has the name. An empty name becomes 64 hex digits. Raises InvalidArgument."""
        if spec.name and (present := self.find(spec.name)):
            return present
        spec = replace(spec, name=spec.name or secrets.token_hex(32), driver=spec.driver or "local")
        check_name(spec.name)
        check_options(spec.options)
        place = self._directory / spec.name
        data = place / "_data"
        data.mkdir(parents=True, exist_ok=True)  # exists where a crash lost the record: its data comes back
        os.chmod(place, 0o701)
        os.chmod(data, 0o755)
        record = VolumeRecord(spec=spec, mountpoint=os.fspath(data), created_ns=now_ns, anonymous=anonymous)
        self._records.save(spec.name, record)
        self._volumes[spec.name] = record
        return record

    def remove(self, name: str) -> None:
        """Delete a volume and its content; whether it is in use is the engine's to know. Raises NotFound."""
        self.get(name)
        aside = self._directory / f"{NEW}{secrets.token_hex(8)}"
        os.rename(self._directory / name, aside)  # a crash from here on leaves only what the next start sweeps
        self._records.delete(name)
        del self._volumes[name]
        remove_tree(aside)

    def mount_of(self, record: VolumeRecord) -> Mount | None:
        """What must be mounted on the volume's directory before use. None: nothing, it is a plain directory."""
        options = record.spec.options
        if not options.get("device"):
            return None
        words = tuple(word for word in options.get("o", "").split(",") if word)
        fstype = "bind" if "bind" in words or "rbind" in words else options["type"]
        return Mount(fstype, options["device"], words)


def check_name(name: str) -> None:
    """Raises InvalidArgument, with Docker's wording."""
    if len(name) == 1:
        raise InvalidArgument("volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.fullmatch(name) or len(name) > _NAME_LENGTH:
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
            "are allowed. If you intended to pass a host directory, use absolute path"
        )


def check_options(options: Mapping[str, str]) -> None:
    """Options of the local driver: what mount(8) takes as type, o and device. Raises InvalidArgument, with Docker's wording."""
    for name in options:
        if name not in _OPTIONS:
            raise InvalidArgument(f'invalid option: "{name}"')
    if "size" in options:
        raise InvalidArgument("quota size requested but no quota support")
    if options:
        for name in _REQUIRED:
            if not options.get(name):
                raise InvalidArgument(f'missing required option: "{name}"')
