"""VolumeStore: named directories that outlive containers, in `volumes/<name>/_data`. Docker's `local` driver.

One that is being made or removed is aside, under a name that no volume can have: so the next start knows what a crash cut short
and completes it.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from orlop.spec.errors import InvalidArgument, NotFound
from orlop.spec.mounts import Mount
from orlop.spec.volume import VolumeRecord, VolumeSpec
from orlop.storage.trees import remove_tree

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_NAME_LENGTH = 255
_NEW, _GONE = ".new-", ".gone-"  # a volume's name cannot begin with a dot
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
        for name in list(self._volumes):
            self._complete(name)
        for left in self._directory.glob(f"{_NEW}*"):
            remove_tree(left)

    def _complete(self, name: str) -> None:
        """Bring to its end what a crash cut short. Where a directory is missing for another reason the record stays."""
        place, made = self._directory / name, self._aside(_NEW, name)
        if place.exists():
            return
        if made.exists():
            os.rename(made, place)
        elif self._aside(_GONE, name).exists():
            self._records.delete(name)
            del self._volumes[name]

    def _aside(self, prefix: str, name: str) -> Path:
        """Where a volume is while it is made or removed."""
        return self._directory / f"{prefix}{hashlib.sha256(name.encode()).hexdigest()}"

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
        spec = replace(spec, name=spec.name or os.urandom(32).hex(), driver=spec.driver or "local")
        check_name(spec.name)
        check_options(spec.options)
        place, aside = self._directory / spec.name, self._aside(_NEW, spec.name)
        record = VolumeRecord(spec=spec, mountpoint=os.fspath(place / "_data"), created_ns=now_ns, anonymous=anonymous)
        with ExitStack() as undo:
            undo.callback(remove_tree, aside)
            _make(aside)
            self._records.save(spec.name, record)
            if not place.exists():  # it does where a power cut lost the record: its data comes back
                undo.callback(self._records.delete, spec.name)
                os.rename(aside, place)
                undo.pop_all()
        self._volumes[spec.name] = record
        return record

    def remove(self, name: str) -> None:
        """Forget a volume; its content waits aside for `purge`. Whether it is in use the engine knows. Raises NotFound."""
        self.get(name)
        aside = self._aside(_GONE, name)
        with suppress(FileNotFoundError):  # there was one of that name before
            os.rename(aside, f"{aside}-{os.urandom(8).hex()}")
        with suppress(FileNotFoundError):
            os.rename(self._directory / name, aside)
        self._records.delete(name)
        del self._volumes[name]

    def mount_of(self, record: VolumeRecord) -> Mount | None:
        """What must be mounted on the volume's directory before use. None: nothing, it is a plain directory."""
        options = record.spec.options
        if not options.get("device"):
            return None
        words = tuple(word for word in options.get("o", "").split(",") if word)
        fstype = "bind" if "bind" in words or "rbind" in words else options["type"]
        return Mount(fstype, options["device"], words)


def purge(root: Path) -> None:
    """Delete the content of removed volumes. May take long: for workers. `root`: the data root."""
    for place in (root / "volumes").glob(f"{_GONE}*"):
        remove_tree(place)


def _make(place: Path) -> None:
    """An empty volume."""
    remove_tree(place)
    for directory, mode in ((place, 0o701), (place / "_data", 0o755)):
        directory.mkdir()
        directory.chmod(mode)


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
