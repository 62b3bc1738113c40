"""The wall of namespaces, as the engine sees it: plans are made here, the keeper carries them out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orlop.kernel import cgroups, counters, limits
from orlop.kernel.cgroups import Cgroup
from orlop.runtime.keeping import Connection, Document
from orlop.runtime.plan import exec_plan, start_plan
from orlop.runtime.wards import key_of
from orlop.spec.bundle import linux_resources
from orlop.spec.container import Process, Stats
from orlop.spec.errors import Conflict, NotFound, Unavailable
from orlop.spec.host import Host
from orlop.spec.isolation import ExecOrder, Exit, Living, LogFile, StartOrder
from orlop.spec.resources import Resources
from orlop.spec.runtime import Linux, Namespace, RuntimeSpec, Seccomp
from orlop.state import documents
from orlop.state.atomic import write_file

_FREEZE_SECONDS = 10.0
_RECOVERY_SECONDS = 10.0  # so long a verb waits for a new keeper
_RETRY_SECONDS = 0.05
_ATTEMPTS = 2


class ProcessIsolation:
    """Implements `engine.isolation.Isolation`. `spawn` runs a coroutine in the daemon's own group of tasks.

    Of an end nobody hears before `start` (or `execute`) of the same process has returned.
    """

    def __init__(self, exec_root: Path, host: Host, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self._root, self._host, self._spawn = exec_root, host, spawn
        self._layout = cgroups.layout()
        self._connection = Connection(self._on_event, self._on_lost)
        self._connected = asyncio.Event()
        self._closing = self._recovering = False
        self._on_exit: Callable[[Exit], None] = lambda exit_: None
        self._running: dict[str, Process] = {}  # by key; what the engine thinks runs
        self._starting: dict[str, Exit | None] = {}  # by key; an end that came before the start was told
        self._confinements: dict[str, RuntimeSpec] = {}  # by container: as much of its specification as execs need
        self._profiles: dict[Seccomp, str] = {}  # names of those that are on disk for a daemon after this one
        self._groups: dict[str, Cgroup] = {}

    # --- the keeper ---

    async def open(self, on_exit: Callable[[Exit], None]) -> list[Living]:
        """Connect (starting the keeper where none runs) and adopt what lives."""
        self._on_exit = on_exit
        hello = await self._connect()
        living: list[Living] = []
        forgotten: list[Document] = []
        for ward in hello["wards"]:
            if ward["exec"] and "exit" in ward:
                forgotten.append(ward)  # its record went with the daemon that asked for it
                continue
            self._know(ward)
            if not ward["exec"]:
                living.append(self._living(ward))
        for path in set(self._root.glob("seccomp-*.json")) - {self._root / name for name in self._profiles.values()}:
            path.unlink()
        self._connected.set()
        for ward in forgotten:
            await self._connection.request("acknowledge", _names(ward["container"], ward["exec"]))
        return living

    async def _connect(self) -> Document:
        """A new connection and what the keeper said first. It may just be ending for want of work: then another is started."""
        for _ in range(_ATTEMPTS):
            self._connection = Connection(self._on_event, self._on_lost)
            try:
                return await self._connection.open(self._root)
            except Unavailable:
                await asyncio.sleep(_RETRY_SECONDS)
        self._connection = Connection(self._on_event, self._on_lost)
        return await self._connection.open(self._root)

    def _know(self, ward: Document) -> None:
        """Take note of a process of the keeper's."""
        container = ward["container"]
        if "exit" not in ward:
            self._running[key_of(container, ward["exec"])] = Process(pid=ward["pid"], start_ticks=ward["ticks"])
        if not ward["exec"]:
            self._groups[container] = Cgroup(ward["cgroup"], self._layout)
            self._confinements[container] = self._recall(ward["confinement"])

    def _living(self, ward: Document) -> Living:
        ended = _exit_of(ward) if "exit" in ward else None
        return Living(
            container_id=ward["container"],
            process=Process(pid=ward["pid"], start_ticks=ward["ticks"]),
            paused=ended is None and self._groups[ward["container"]].frozen(),
            exit=ended,
        )

    def _on_lost(self) -> None:
        self._connected.clear()
        if not self._closing and not self._recovering:
            self._recovering = True
            self._spawn(self._reconnect())

    async def _reconnect(self) -> None:
        """The keeper died: meet the next one, and hear of what has ended meanwhile."""
        while not self._closing:
            with suppress(Unavailable, OSError):
                hello = await self._connect()
                await self._compare(hello["wards"])
                self._recovering = False
                self._connected.set()
                return
            await asyncio.sleep(_RETRY_SECONDS)

    async def _compare(self, wards: list[Document]) -> None:
        found = {key_of(ward["container"], ward["exec"]): ward for ward in wards}
        for key in [key for key in self._running if key not in found]:
            container, _, exec_id = key.partition("/")
            self._told(Exit(container_id=container, exec_id=exec_id, exit_code=None, oom_killed=False, ended_ns=0))
        for key, ward in found.items():
            if key in self._running and "exit" in ward:
                self._told(_exit_of(ward))
            elif key not in self._running and "exit" not in ward and not ward["exec"]:
                await self._connection.request("remove", _names(ward["container"]))  # started, but nobody was told

    def _on_event(self, event: Document) -> None:
        self._told(_exit_of({**event, "exit": event}))

    def _told(self, ended: Exit) -> None:
        """Hand an end on, once."""
        key = key_of(ended.container_id, ended.exec_id)
        if key in self._starting:
            self._starting[key] = ended
        elif self._running.pop(key, None):
            asyncio.get_running_loop().call_soon(self._on_exit, ended)

    async def _ask(self, verb: str, fields: Mapping[str, Any], fds: tuple[int, ...] = (), *, again: bool = False) -> Document:
        """A request to the keeper. `again`: it may be repeated when the keeper dies in the middle of it."""
        try:
            async with asyncio.timeout(_RECOVERY_SECONDS):
                await self._connected.wait()
        except TimeoutError as error:
            raise Unavailable(f"cannot {verb}: no keeper answers") from error
        try:
            return await self._connection.request(verb, fields, fds)
        except Unavailable:
            if not again or self._closing:
                raise
        return await self._ask(verb, fields, fds)

    async def close(self) -> None:
        """Disconnect; containers and keeper run on."""
        self._closing = True
        self._connection.close()

    # --- starting ---

    async def start(self, order: StartOrder) -> Process:
        """Start a container's first process."""
        plan = start_plan(
            order.runtime_spec, rootfs=order.rootfs, mountpoint=order.mountpoint, host=self._host, layout=self._layout
        )
        request = {
            **_names(order.container_id),
            "plan": plan,
            "tty": order.tty,
            "stdin": order.open_stdin,
            "stdin_once": order.stdin_once,
            "log": _log(order.log),
            "confinement": self._note(order.runtime_spec.linux),
        }
        started = await self._begin("start", order.container_id, request)
        self._groups[order.container_id] = Cgroup(plan["cgroup"]["path"], self._layout)
        linux = order.runtime_spec.linux
        self._confinements[order.container_id] = RuntimeSpec(linux=Linux(namespaces=linux.namespaces, seccomp=linux.seccomp))
        return started

    def _note(self, linux: Linux) -> Document:
        """What execs will need to know, for a daemon after this one. Profiles are large and few: each is written once."""
        name = ""
        if linux.seccomp and not (name := self._profiles.get(linux.seccomp, "")):
            content = documents.encode(linux.seccomp)
            name = self._profiles[linux.seccomp] = f"seccomp-{hashlib.sha256(content).hexdigest()[:32]}.json"
            write_file(self._root / name, content, 0o600)
        return {"namespaces": [namespace.type for namespace in linux.namespaces], "seccomp": name}

    def _recall(self, noted: Document) -> RuntimeSpec:
        seccomp = None
        if name := noted["seccomp"]:
            seccomp = documents.decode((self._root / name).read_bytes(), Seccomp)
            self._profiles[seccomp] = name
        return RuntimeSpec(linux=Linux(namespaces=tuple(Namespace(type=kind) for kind in noted["namespaces"]), seccomp=seccomp))

    async def execute(self, order: ExecOrder) -> Process:
        """Start a further process."""
        if order.container_id not in self._running:
            raise Conflict(f"container {order.container_id} is not running")
        request = {
            **_names(order.container_id, order.exec_id),
            "plan": exec_plan(order.process, spec=self._confinements[order.container_id], host=self._host),
            "tty": order.tty,
            "stdin": order.attach_stdin,
        }
        return await self._begin("execute", key_of(order.container_id, order.exec_id), request)

    async def _begin(self, verb: str, key: str, request: Mapping[str, Any]) -> Process:
        self._starting[key] = None
        try:
            reply = await self._ask(verb, request)
            started = self._running[key] = Process(pid=reply["pid"], start_ticks=reply["ticks"])
        finally:
            ended = self._starting.pop(key)
        if ended:
            asyncio.get_running_loop().call_soon(self._told, ended)
        return started

    async def attach(
        self, container_id: str, exec_id: str = "", *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> socket.socket:
        """A connection to a process's input and output; before its start too."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        wanted = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty}
        try:
            await self._ask("attach", {**_names(container_id, exec_id), **wanted}, (theirs.fileno(),), again=True)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    # --- what runs ---

    async def kill(self, container_id: str, signal: int, exec_id: str = "") -> None:
        """Send a signal."""
        await self._ask("kill", {**_names(container_id, exec_id), "signal": signal}, again=True)

    async def resize(self, container_id: str, rows: int, columns: int, exec_id: str = "") -> None:
        """Set the size of the tty."""
        size = {"rows": rows, "columns": columns}
        await self._ask("resize", {**_names(container_id, exec_id), **size}, again=True)

    def _group(self, container_id: str) -> Cgroup:
        if container_id not in self._running:
            raise NotFound("container", container_id)
        return self._groups[container_id]

    async def pause(self, container_id: str) -> None:
        """Freeze every process."""
        group = self._group(container_id)
        group.freeze()
        deadline = asyncio.get_running_loop().time() + _FREEZE_SECONDS
        while not group.frozen():
            if asyncio.get_running_loop().time() > deadline:
                group.thaw()
                raise Conflict(f"cannot pause container {container_id}: a process does not stop")
            await asyncio.sleep(0.001)

    async def resume(self, container_id: str) -> None:
        """Thaw."""
        self._group(container_id).thaw()

    async def update(self, container_id: str, resources: Resources) -> None:
        """Apply new limits to what runs. Lowering one may make the kernel look for memory, hence the thread."""
        group = self._group(container_id)
        wanted = replace(linux_resources(resources, device_number=_device_number), devices=())
        await asyncio.to_thread(group.apply, limits.settings(wanted, self._layout))

    async def stats(self, container_id: str) -> Stats:
        """Counters of cpu, memory, pids and io."""
        return counters.read_stats(self._group(container_id))

    async def pids(self, container_id: str) -> list[int]:
        """Every process inside."""
        return self._group(container_id).pids()

    # --- ends ---

    async def acknowledge(self, container_id: str, exec_id: str = "") -> None:
        """The keeper may forget an end."""
        await self._ask("acknowledge", _names(container_id, exec_id), again=True)
        if not exec_id:
            self._forget(container_id)

    async def remove(self, container_id: str) -> None:
        """Kill what is left and free everything. Idempotent."""
        await self._ask("remove", _names(container_id), again=True)
        self._forget(container_id)

    def _forget(self, container_id: str) -> None:
        if container_id not in self._running and container_id not in self._starting:
            self._confinements.pop(container_id, None)
            self._groups.pop(container_id, None)


def _names(container_id: str, exec_id: str = "") -> Document:
    return {"container": container_id, "exec": exec_id}


def _log(log: LogFile) -> Document | None:
    if not log.path:
        return None
    return {"path": log.path, "max_bytes": log.max_bytes, "max_files": log.max_files, "attributes": dict(log.attributes)}


def _exit_of(ward: Document) -> Exit:
    ended = ward["exit"]
    return Exit(
        container_id=ward["container"],
        exec_id=ward["exec"],
        exit_code=ended["code"],
        oom_killed=ended["oom_killed"],
        ended_ns=ended["ended_ns"],
    )


def _device_number(path: str) -> tuple[int, int]:
    number = os.stat(path).st_rdev
    return os.major(number), os.minor(number)
