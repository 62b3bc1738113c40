"""What the rooms of the engine are given: the parts below it, and its settings. Built in daemon.py, never changed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orlop.engine.events import Events
    from orlop.engine.homes import Homes
    from orlop.engine.isolation import Isolation
    from orlop.engine.roster import Roster
    from orlop.engine.sweeper import Sweeper
    from orlop.engine.workers import Workers
    from orlop.network.wiring import Networks
    from orlop.spec.host import Host
    from orlop.spec.resources import Rlimit
    from orlop.storage.images import ImageStore
    from orlop.storage.snapshots.base import Snapshotter
    from orlop.storage.store import Store
    from orlop.storage.volumes import VolumeStore

Spawn = Callable[[Coroutine[Any, Any, None]], None]  # run a loop until it ends or the daemon does


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the administrator chose for all containers."""

    data_root: Path
    exec_root: Path
    storage_driver: str = "overlay2"
    cgroup_parent: str = "/orlop"
    log_driver: str = "json-file"
    log_options: Mapping[str, str] = field(default_factory=dict)
    stop_timeout_seconds: int = 10
    shm_size_bytes: int = 64 << 20
    ulimits: tuple[Rlimit, ...] = ()
    use_init: bool = False
    labels: tuple[str, ...] = ()
    debug: bool = False
    insecure_registries: tuple[str, ...] = ()
    registry_mirrors: tuple[str, ...] = ()
    seccomp_profile: str = ""  # text of a profile instead of the built-in one; "unconfined": none
    no_new_privileges: bool = False

    @property
    def mountpoint(self) -> str:
        """The empty directory on which each container, in its own mount namespace, mounts its root."""
        return f"{self.exec_root}/root"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts that the verbs on containers use."""

    settings: Settings
    host: Host
    roster: Roster
    homes: Homes
    events: Events
    isolation: Isolation
    networks: Networks
    images: ImageStore
    store: Store
    volumes: VolumeStore
    workers: Workers
    sweeper: Sweeper
    spawn: Spawn
    clock: Callable[[], int]  # nanoseconds since the epoch

    @property
    def snapshots(self) -> Snapshotter:
        """The store's."""
        return self.store.snapshots
