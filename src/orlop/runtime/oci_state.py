"""What orlop-runtime keeps of a container between two commands: `<root>/<id>/state.json`, `spec.json`, and the gate's FIFO."""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orlop.kernel import cgroups, process
from orlop.spec.container import Process
from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.runtime import OCI_VERSION, RuntimeSpec
from orlop.spec.runtime_json import encode_spec, parse_spec
from orlop.state.atomic import write_file

_ID = re.compile(r"[\w+.-]{1,1024}")


@dataclass(frozen=True, kw_only=True)
class OciContainer:
    """One container. Its pid is believed only together with its start time."""

    id: str
    bundle: str
    pid: int
    start_ticks: int
    cgroup: str
    created: str  # RFC 3339
    rootfs: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def process(self) -> Process:
        """Its first process."""
        return Process(pid=self.pid, start_ticks=self.start_ticks)

    @property
    def group(self) -> cgroups.Cgroup:
        """Its control group."""
        return cgroups.Cgroup(self.cgroup, cgroups.layout())


class Store:
    """The containers below one root directory."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def directory(self, container_id: str) -> Path:
        """Where one container's files are. Raises InvalidArgument for an id that is none."""
        if not _ID.fullmatch(container_id) or container_id in (".", ".."):
            raise InvalidArgument(f"invalid container ID format: {container_id}")
        return self._root / container_id

    def gate(self, container_id: str) -> Path:
        """The FIFO at which a created container waits."""
        return self.directory(container_id) / "gate"

    def reserve(self, container_id: str) -> Path:
        """Take an id: its directory, new and empty. Raises Conflict when it is taken."""
        directory = self.directory(container_id)
        self._root.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            directory.mkdir(mode=0o711)
        except FileExistsError as error:
            raise Conflict(f"container with given ID already exists: {container_id}") from error
        return directory

    def save(self, container: OciContainer, spec: RuntimeSpec) -> None:
        """Write a container down; the state last, for it makes the container exist."""
        directory = self.directory(container.id)
        write_file(directory / "spec.json", encode_spec(spec), 0o600)
        write_file(directory / "state.json", json.dumps(asdict(container)).encode(), 0o600)

    def load(self, container_id: str) -> OciContainer:
        """Raises NotFound."""
        try:
            return OciContainer(**json.loads((self.directory(container_id) / "state.json").read_bytes()))
        except FileNotFoundError as error:
            raise NotFound("container", container_id) from error

    def spec(self, container_id: str) -> RuntimeSpec:
        """The specification that a container was made from."""
        return parse_spec((self.directory(container_id) / "spec.json").read_bytes())

    def forget(self, container_id: str) -> None:
        """Remove all files of a container."""
        shutil.rmtree(self.directory(container_id), ignore_errors=True)

    def all(self) -> list[OciContainer]:
        """Every container, by id."""
        try:
            names = sorted(os.listdir(self._root))
        except FileNotFoundError:
            return []
        return [self.load(name) for name in names if (self._root / name / "state.json").exists()]

    def status(self, container: OciContainer) -> str:
        """created, running, paused or stopped."""
        if not process.is_alive(container.process):
            return "stopped"
        if self.gate(container.id).exists():
            return "created"
        return "paused" if container.group.frozen() else "running"

    def describe(self, container: OciContainer, status: str = "") -> dict[str, Any]:
        """The state as the specification has it; hooks and `state` get it."""
        status = status or self.status(container)
        return {
            "ociVersion": OCI_VERSION,
            "id": container.id,
            "status": status,
            "pid": 0 if status == "stopped" else container.pid,
            "bundle": container.bundle,
            "annotations": container.annotations,
        }
