"""The stories of removal: `rm`, --rm, prune. The record goes at once; what is slow to destroy goes in idle time."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from orlop.engine.filters import Filters, check_filters, is_pruned_by
from orlop.engine.links import without_link
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.spec.container import Status
from orlop.spec.errors import Conflict, NotFound

log = logging.getLogger(__name__)

PURGE_IDLE_SECONDS = 2.0  # a worker process has to be started for it


class Removal:
    """Removes containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def remove(
        self,
        reference: str,
        *,
        force: bool,
        volumes: bool,
        link: bool,
        kill: Callable[[Container], Awaitable[None]],
    ) -> None:
        """Remove one container; with `force` a running one too, with `volumes` its anonymous volumes. Raises Conflict."""
        if link:
            return self._remove_link(reference)
        container = self._parts.roster.get(reference)
        if container.being_removed:
            raise Conflict(f"removal of container {reference} is already in progress")
        if container.is_active and not force:
            self._refuse_running(container, reference)
        container.being_removed = True
        try:
            while container.record.id in self._parts.roster:
                if container.is_active:
                    await kill(container)
                async with container.lock:
                    if not container.is_active:
                        await self.destroy(container, volumes=volumes)
                    elif not force:  # a start was under way when we came
                        self._refuse_running(container, reference)
        finally:
            container.being_removed = False

    def _refuse_running(self, container: Container, reference: str) -> None:
        record = container.record
        reason = "container is paused and must be unpaused first"
        if record.status is not Status.PAUSED:
            reason = f"container is {record.status.value}: stop the container before removing or force remove"
        raise Conflict(f'cannot remove container "{reference}": {reason}')

    def _remove_link(self, reference: str) -> None:
        """`rm --link self/alias`: it is told no more, from its next start on."""
        container, record = without_link(self._parts.roster, reference)
        self._parts.roster.save(container, record)

    async def auto_remove(self, container: Container) -> None:
        """What --rm promised, when the container has ended. The caller holds its lock."""
        if not container.being_removed:
            container.being_removed = True
            await self.destroy(container, volumes=True)

    async def destroy(self, container: Container, *, volumes: bool) -> None:
        """Forget a container that does not run, and have its remains destroyed. Lock held."""
        record = container.record
        if record.id not in self._parts.roster:
            return
        container.record = replace(record, status=Status.REMOVING)
        self._parts.roster.delete(container)
        if volumes:
            for point in record.mounts:
                if point.kind == "volume" and point.anonymous and not self.users_of(point.name):
                    await self._remove_volume(point.name)
        self._parts.sweeper.later(lambda: self._sweep(record.id, record.snapshot))
        self._parts.events.container("destroy", record)
        container.tell_removal()

    def users_of(self, volume: str) -> list[str]:
        """Ids of the containers that have a volume."""
        records = self._parts.roster.records()
        return [record.id for record in records if any(point.name == volume for point in record.mounts)]

    async def _remove_volume(self, name: str) -> None:
        with suppress(NotFound):
            self._parts.volumes.remove(name)
            self._parts.events.emit("volume", "destroy", name, {"driver": "local"})
            self.purge_later()

    async def _sweep(self, container_id: str, snapshot: str) -> None:
        """Destroy what a container that was removed has left."""
        await self._parts.isolation.remove(container_id)
        if snapshot:
            self._parts.snapshots.remove(snapshot)
            self.purge_later()
        self._parts.homes.remove(container_id)

    def purge_later(self) -> None:
        """Have what was renamed aside deleted by a worker."""
        self._parts.sweeper.later(self._purge, idle_seconds=PURGE_IDLE_SECONDS, name="purge")

    async def _purge(self) -> None:
        await self._parts.workers.run("store.purge", {})

    async def prune(self, filters: Filters, size: Callable[[Container], Awaitable[int]]) -> tuple[list[str], int]:
        """Remove every container that does not run; ids, and the bytes that become free."""
        check_filters(filters, frozenset({"until", "label", "label!"}))
        removed: list[str] = []
        freed = 0
        for container in self._parts.roster:
            record = container.record
            if container.is_active or container.being_removed:
                continue
            if not is_pruned_by(filters, record.process.labels, record.created_ns):
                continue
            freed += await size(container)
            async with container.lock:
                if container.is_active or record.id not in self._parts.roster:
                    continue
                container.being_removed = True
                await self.destroy(container, volumes=False)
            removed.append(record.id)
        if removed:
            self._parts.events.emit("container", "prune", "", {"reclaimed": str(freed)})
        return removed, freed
