"""After a daemon's start: records are compared with what lives, and each container is settled. What runs is not touched."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from orlop.engine import restart
from orlop.engine.health import HealthMonitor
from orlop.engine.lifecycle import Lifecycle
from orlop.engine.parts import Parts
from orlop.engine.removal import Removal
from orlop.engine.roster import Container
from orlop.engine.sandbox import cleared
from orlop.spec.container import LIVE, ContainerRecord, Process, Status
from orlop.spec.errors import OrlopError
from orlop.spec.isolation import Exit, Living

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runs:
    """It runs: adopt it."""

    process: Process
    paused: bool


@dataclass(frozen=True)
class Ended:
    """It has ended, as the wall tells or (code None) unseen."""

    exit: Exit


Verdict = Runs | Ended | None  # None: it was down and is down


def verdict(record: ContainerRecord, living: Living | None, now_ns: int) -> Verdict:
    """What has become of a container since its record was written. Pure."""
    if living is not None and living.exit is None:
        return Runs(living.process, living.paused)
    expected = record.status in LIVE
    if living is not None and living.exit is not None:
        is_news = expected or living.exit.ended_ns > max(record.finished_ns, record.created_ns)
        return Ended(living.exit) if is_news else None
    if not expected:
        return None
    return Ended(Exit(container_id=record.id, exec_id="", exit_code=None, oom_killed=False, ended_ns=now_ns))


class Recovery:
    """Settles all containers, then starts what the restart policies want."""

    def __init__(self, parts: Parts, lifecycle: Lifecycle, health: HealthMonitor, removal: Removal) -> None:
        self._parts, self._lifecycle, self._health, self._removal = parts, lifecycle, health, removal

    async def adopt(self, living: Iterable[Living]) -> list[tuple[Container, Exit]]:
        """First half, before the networks are restored: records of what runs are set right; gives what has ended."""
        known = {one.container_id: one for one in living}
        ended: list[tuple[Container, Exit]] = []
        for container in self._parts.roster:
            record = container.record
            match verdict(record, known.pop(record.id, None), self._parts.clock()):
                case Runs(process, paused):
                    status = Status.PAUSED if paused else Status.RUNNING
                    started_ns = record.started_ns or self._parts.clock()
                    adopted = replace(record, status=status, init=process, started_ns=started_ns, error="", exit_code=0)
                    if adopted != record:
                        self._parts.roster.save(container, adopted)
                case Ended(exit):
                    ended.append((container, exit))
                case None if any(endpoint.endpoint_id for endpoint in record.endpoints.values()):
                    endpoints = {name: cleared(endpoint) for name, endpoint in record.endpoints.items()}
                    self._parts.roster.save(container, replace(record, endpoints=endpoints, ports=()))  # it was about to start
        for stranger in known:  # its record was deleted just before the daemon died
            await self._remove_stranger(stranger)
        return ended

    async def _remove_stranger(self, container_id: str) -> None:
        log.warning("Removing container %s: nothing is recorded of it", container_id)
        try:
            await self._parts.isolation.remove(container_id)
        except OrlopError as error:
            log.warning("Cannot remove container %s: %s", container_id, error)

    async def settle(self, ended: Iterable[tuple[Container, Exit]]) -> None:
        """Second half, when networks work: ends are recorded and told, health checks go on, policies are applied."""
        for container, exit in ended:
            async with container.lock:
                if container.record.status not in LIVE:  # it ran without the record knowing: started just before the crash
                    container.record = replace(container.record, status=Status.RUNNING)
                await self._lifecycle.settle_end(container, exit)
        for container in self._parts.roster:
            record = container.record
            if record.status is Status.RUNNING:
                self._health.resume(container)
            elif record.status in LIVE:
                continue
            elif record.status is Status.REMOVING:  # the daemon died while it was created
                async with container.lock:
                    await self._removal.destroy(container, volumes=True)
            elif record.spec.auto_remove and record.started_ns:
                async with container.lock:
                    await self._removal.auto_remove(container)
            elif record.status is Status.RESTARTING or restart.restarts_with_daemon(record):
                self._parts.roster.save(container, replace(record, status=Status.RESTARTING))
                self._parts.spawn(self._lifecycle.restart_by_policy(container))

    def sweep(self) -> None:
        """Remove what no record names: snapshots and directories of containers."""
        records = self._parts.roster.records()
        self._parts.store.sweep([record.snapshot for record in records if record.snapshot])
        self._removal.purge_later()
        self._parts.homes.sweep({record.id for record in records})
