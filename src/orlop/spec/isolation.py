"""What the engine asks of a wall (StartOrder, ExecOrder, AttachOrder) and what the wall tells back (Exit, Living).

A wall is whatever isolates a container: kernel namespaces (`runtime`), later a virtual machine (`vm`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orlop.spec.container import Process
from orlop.spec.mounts import Mount
from orlop.spec.runtime import RuntimeProcess, RuntimeSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFile:
    """Where a container's output goes. `path` "" keeps no log. Rotated at `max_bytes`, `max_files` kept in all."""

    path: str = ""
    max_bytes: int = 0  # 0: unbounded
    max_files: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)  # json-file's "attrs" (labels, env)


@dataclass(frozen=True, kw_only=True, slots=True)
class StartOrder:
    """All that a wall needs to start a container."""

    container_id: str
    runtime_spec: RuntimeSpec
    rootfs: tuple[Mount, ...]  # as the snapshotter returned them; a plain directory is one bind mount
    mountpoint: str  # an existing empty directory, on which the child mounts the rootfs
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False  # close stdin when the first attached client goes
    console_size: tuple[int, int] = (0, 0)  # rows, columns
    log: LogFile = LogFile()


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecOrder:
    """A further process in a running container."""

    container_id: str
    exec_id: str
    process: RuntimeProcess
    tty: bool = False
    attach_stdin: bool = False
    console_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """A container (`exec_id` "") or an exec has ended."""

    container_id: str
    exec_id: str
    exit_code: int | None  # None: it ended while nobody could watch
    oom_killed: bool
    ended_ns: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Living:
    """A container that the wall still knows: it runs, or its exit was not yet acknowledged."""

    container_id: str
    process: Process
    paused: bool
    exit: Exit | None
