"""The verbs on containers, as the API calls them. Each is told in a room of its own; this is the hall."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orlop.engine import top, update
from orlop.engine.archive import Archive
from orlop.engine.commit import Commit
from orlop.engine.creation import Creation
from orlop.engine.execs import Execs
from orlop.engine.filters import Filters
from orlop.engine.health import HealthMonitor
from orlop.engine.isolation import while_running
from orlop.engine.lifecycle import Lifecycle
from orlop.engine.links import names_by_links
from orlop.engine.listing import select
from orlop.engine.logs import read_log
from orlop.engine.names import check_name
from orlop.engine.parts import Parts
from orlop.engine.removal import Removal
from orlop.engine.roster import Container
from orlop.spec.container import LIVE, Change, ContainerRecord, ContainerSpec, ProcessDefaults, RestartPolicy, Stats, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotSupported
from orlop.spec.image import Digest
from orlop.spec.resources import Resources
from orlop.spec.streams import Attachment, LogQuery, PathStat, WaitResult

if TYPE_CHECKING:
    from orlop.engine.images import Images


class Containers:
    """All containers. `reference` is an id, the beginning of one, or a name; all verbs raise NotFound for an unknown one."""

    def __init__(self, parts: Parts, execs: Execs, images: Images) -> None:
        self._parts = parts
        self._roster = parts.roster
        self._creation = Creation(parts)
        self.removal = Removal(parts)
        self._archive = Archive(parts)
        self._commit = Commit(parts, images)
        self.health = HealthMonitor(parts.events, execs.probe, parts.spawn, parts.clock)
        self.lifecycle = Lifecycle(parts, self.removal, self.health, execs)

    # --- reading ---

    def get(self, reference: str) -> ContainerRecord:
        """The record."""
        return self._roster.get(reference).record

    def list(self, *, all: bool = False, limit: int = 0, filters: Filters | None = None) -> list[ContainerRecord]:
        """Newest first: those that run, or `all`; with a limit the newest of all."""
        return select(self._roster, everything=all, limit=limit, filters=filters or {}, ancestors=self._ancestors)

    def _ancestors(self, reference: str) -> frozenset[str]:
        """An image and all that were made from it; none when there is no such image."""
        image = self._parts.images.find(reference)
        found, waiting = set[str](), [image.id] if image else []
        while waiting:
            found.add(one := waiting.pop())
            waiting += [child.id for child in self._parts.images.children(one) if child.id not in found]
        return frozenset(found)

    def link_names(self) -> Mapping[str, builtins.list[str]]:
        """What containers are called by those that link to them, by the name that the links use."""
        return names_by_links(self._roster.records())

    def paths(self, record: ContainerRecord) -> Mapping[str, str]:
        """Where its files are: resolv_conf, hostname, hosts, log, sandbox; "" for what it does not have."""
        directory = self._parts.homes.path(record.id)
        started = bool(record.started_ns)
        files = {"resolv_conf": "resolv.conf", "hostname": "hostname", "hosts": "hosts"}
        paths = {key: f"{directory}/{name}" if started else "" for key, name in files.items()}
        paths["log"] = self._parts.homes.log(record.id) if record.spec.log.driver != "none" else ""
        own_network = record.status in LIVE and not record.spec.network_mode.startswith(("host", "container:"))
        paths["sandbox"] = str(self._parts.settings.exec_root / "netns" / record.id) if own_network else ""
        return paths

    async def size(self, record: ContainerRecord) -> tuple[int, int]:
        """SizeRw and SizeRootFs, in bytes."""
        return await self._archive.size(record)

    # --- life ---

    async def create(self, spec: ContainerSpec, name: str = "") -> tuple[str, tuple[str, ...]]:
        """See `Creation.create`."""
        return await self._creation.create(spec, name)

    async def start(self, reference: str) -> None:
        """See `Lifecycle.start`."""
        await self.lifecycle.start(reference)

    async def stop(self, reference: str, *, signal: str = "", timeout_seconds: int | None = None) -> None:
        """See `Lifecycle.stop`."""
        await self.lifecycle.stop(reference, signal=signal, timeout_seconds=timeout_seconds)

    async def restart(self, reference: str, *, signal: str = "", timeout_seconds: int | None = None) -> None:
        """See `Lifecycle.restart`."""
        await self.lifecycle.restart(reference, signal=signal, timeout_seconds=timeout_seconds)

    async def kill(self, reference: str, signal: str = "KILL") -> None:
        """See `Lifecycle.kill`."""
        await self.lifecycle.kill(reference, signal)

    async def pause(self, reference: str) -> None:
        """See `Lifecycle.pause`."""
        await self.lifecycle.pause(reference)

    async def unpause(self, reference: str) -> None:
        """See `Lifecycle.unpause`."""
        await self.lifecycle.unpause(reference)

    async def remove(self, reference: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """See `Removal.remove`."""
        kill = self.lifecycle.kill_for_removal
        await self.removal.remove(reference, force=force, volumes=volumes, link=link, kill=kill)

    async def prune(self, filters: Filters) -> tuple[builtins.list[str], int]:
        """Remove all that do not run: ids, bytes freed."""

        async def own_size(container: Container) -> int:
            return (await self._archive.size(container.record))[0]

        return await self.removal.prune(filters, own_size)

    def waiter(self, reference: str, condition: str = "not-running") -> Awaitable[WaitResult]:
        """Registered at once; comes when the condition holds: not-running, next-exit or removed."""
        return self._roster.get(reference).waiter(condition)

    async def wait(self, reference: str, condition: str = "not-running") -> WaitResult:
        """As `waiter`, awaited."""
        return await self.waiter(reference, condition)

    async def rename(self, reference: str, name: str) -> None:
        """Give it another name. Raises InvalidArgument, Conflict."""
        if not name.removeprefix("/"):
            raise InvalidArgument("Neither old nor new names may be empty")
        container = self._roster.get(reference)
        async with container.lock:
            before = container.record
            name = check_name(name)
            if name == before.name:
                raise InvalidArgument("Renaming a container with the same name as its current name")
            self._roster.save(container, replace(before, name=name))
            self._parts.events.container("rename", container.record, oldName=f"/{before.name}")

    async def update(self, reference: str, resources: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
        """See `update.update`."""
        return await update.update(self._parts, self._roster.get(reference), resources, restart)

    # --- streams ---

    async def resize(self, reference: str, rows: int, columns: int) -> None:
        """Set the size of its terminal. Raises Conflict when it does not run."""
        container = self._roster.get(reference)
        if container.record.status not in LIVE:
            raise Conflict(f"container {container.record.id} is not running")
        with while_running(container.record.id):
            await self._parts.isolation.resize(container.record.id, rows, columns)
        size = {"height": str(rows), "width": str(columns)}
        self._parts.events.container("resize", container.record, **size)

    async def attach(self, reference: str, *, stream: bool, stdin: bool, stdout: bool, stderr: bool, logs: bool) -> Attachment:
        """Take hold of its stdio, also before it starts. Raises Conflict when it is paused or restarting."""
        container = self._roster.get(reference)
        record = container.record
        if record.status is Status.PAUSED:
            raise Conflict(f"container {reference} is paused, unpause the container before attach")
        if record.status is Status.RESTARTING:
            raise Conflict(f"container {reference} is restarting, wait until the container is running")
        held = None
        if stream:
            held = await self._parts.isolation.attach(
                record.id, stdin=stdin and record.spec.open_stdin, stdout=stdout, stderr=stderr, tty=record.spec.tty
            )
        query = LogQuery(stdout=stdout, stderr=stderr, until_ns=self._parts.clock())  # from here on the socket tells
        backlog = self._logs(container, query) if logs else None
        self._parts.events.container("attach", record)
        return Attachment(tty=record.spec.tty, socket=held, backlog=backlog)

    def logs(self, reference: str, query: LogQuery) -> AsyncIterator[bytes]:
        """What it printed, in frames (raw for a tty). Raises NotSupported when no log is kept."""
        return self._logs(self._roster.get(reference), query)

    def _logs(self, container: Container, query: LogQuery) -> AsyncIterator[bytes]:
        if container.record.spec.log.driver == "none":
            raise NotSupported("configured logging driver does not support reading")
        return read_log(self._parts.homes.log(container.record.id), container, query)

    # --- inside ---

    async def top(self, reference: str, ps_args: str) -> tuple[builtins.list[str], builtins.list[builtins.list[str]]]:
        """Titles and rows of ps."""
        return await top.top(self._parts, self._roster.get(reference), ps_args)

    async def stats(self, reference: str) -> Stats:
        """One reading of its counters. Raises Conflict when it does not run."""
        record = self._roster.get(reference).record
        if record.status not in LIVE:
            raise Conflict(f"container {record.id} is not running")
        with while_running(record.id):
            reading = await self._parts.isolation.stats(record.id)
        return replace(reading, networks=await self._parts.networks.statistics(record.id))

    async def changes(self, reference: str) -> builtins.list[Change]:
        """What it has changed in its image's files."""
        return await self._archive.changes(self._roster.get(reference))

    def export(self, reference: str) -> AsyncIterator[bytes]:
        """Its root as a tar."""
        return self._archive.export(self._roster.get(reference))

    async def stat_path(self, reference: str, path: str) -> PathStat:
        """What is at a path in it."""
        return await self._archive.stat(self._roster.get(reference), path)

    def get_archive(self, reference: str, path: str) -> AsyncIterator[bytes]:
        """A tar of what is at a path in it."""
        return self._archive.get(self._roster.get(reference), path)

    async def put_archive(
        self, reference: str, path: str, body: AsyncIterator[bytes], *, no_overwrite_dir_non_dir: bool, copy_uid_gid: bool
    ) -> None:
        """Extract a tar into a directory of it."""
        container = self._roster.get(reference)
        await self._archive.put(container, path, body, no_overwrite=no_overwrite_dir_non_dir, copy_uid_gid=copy_uid_gid)

    async def commit(
        self,
        reference: str,
        *,
        repository: str,
        tag: str,
        author: str,
        comment: str,
        changes: tuple[str, ...],
        pause: bool,
        process: ProcessDefaults | None,
    ) -> Digest:
        """A new image of it; its id."""
        return await self._commit.commit(
            self._roster.get(reference),
            repository=repository,
            tag=tag,
            author=author,
            comment=comment,
            changes=changes,
            pause=pause,
            process=process,
        )
