"""The stories of a container's life: start, its end, stop, kill, restart, pause, and what the restart policy does."""

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from orlop.engine import restart
from orlop.engine.checks import signal_number
from orlop.engine.execs import Execs
from orlop.engine.health import HealthMonitor
from orlop.engine.isolation import while_running
from orlop.engine.orders import Orders
from orlop.engine.parts import Parts
from orlop.engine.removal import Removal
from orlop.engine.roster import Container
from orlop.engine.sandbox import Sandboxes
from orlop.spec.container import LIVE, ContainerRecord, Process, Status
from orlop.spec.errors import Conflict, NotFound, NotModified, OrlopError, StartFailed, Unavailable, explained, in_words
from orlop.spec.isolation import Exit
from orlop.spec.streams import WaitResult

log = logging.getLogger(__name__)

SIGKILL, SIGTERM = 9, 15
KILL_SECONDS = 10  # how long the kernel may take to end a killed process
UNKNOWN_EXIT = 255  # recorded, with an error, for a process that ended while nobody watched
EXIT_UNKNOWN = "exit code unknown: the process ended while neither the engine nor its keeper ran"


class Lifecycle:
    """Starts containers, stops them, and settles what happens in between."""

    def __init__(self, parts: Parts, removal: Removal, health: HealthMonitor, execs: Execs) -> None:
        self._parts = parts
        self._execs = execs
        self._removal = removal
        self._health = health
        self._sandboxes = Sandboxes(parts)
        self._orders = Orders(parts)
        self.is_shutting_down = False

    # --- start ---

    async def start(self, reference: str) -> None:
        """Raises NotModified when it runs already, Conflict, StartFailed; then the record tells why."""
        container = self._parts.roster.get(reference)
        _check_startable(container)
        async with container.lock:
            if container.is_active and container.record.status is not Status.RESTARTING:
                return
            self._cancel_restart(container)
            container.backoff_seconds = 0.0
            self._save(container, replace(container.record, stopped_by_user=False, restart_count=0), write=False)
            await self._start(container)

    async def _start(self, container: Container) -> None:
        """Bring it up; the caller holds its lock. On failure nothing is left and the record tells why."""
        if container.being_removed or container.record.id not in self._parts.roster:
            raise Conflict("container is marked for removal and cannot be started")
        container.restart_cancelled = False
        try:
            async with AsyncExitStack() as undo:
                order, record = await self._orders.prepare(container.record, self._sandboxes, undo)
                if any(endpoint.interface for endpoint in record.endpoints.values()):
                    self._parts.roster.foresee(record)  # whoever finds it running then knows its addresses
                process = await self._parts.isolation.start(order)
                undo.pop_all()
        except (OrlopError, OSError) as error:
            await self._start_failed(container, error)
            raise
        self._save(container, self._running(record, process))
        self._parts.events.container("start", container.record)
        self._health.begin(container)

    def _running(self, record: ContainerRecord, process: Process) -> ContainerRecord:
        return replace(
            record, status=Status.RUNNING, init=process, exit_code=0, exit_code_known=True, error="", oom_killed=False,
            started_ns=self._parts.clock(),
        )  # fmt: skip

    async def _start_failed(self, container: Container, error: Exception) -> None:
        """Record why, and remove what --rm promised to remove."""
        code = error.exit_code if isinstance(error, StartFailed) else 128
        record = container.record
        never_ran = not record.started_ns
        self._save(
            container,
            replace(
                record, status=Status.CREATED if never_ran else Status.EXITED, init=None, error=in_words(error), exit_code=code,
                finished_ns=record.finished_ns if never_ran else record.finished_ns or self._parts.clock(),
            ),
        )  # fmt: skip
        if record.status is Status.RESTARTING:
            container.tell_end()
        if record.spec.auto_remove:
            await self._removal.auto_remove(container)

    # --- the end ---

    def ended(self, exit: Exit) -> None:
        """The wall says that something ended: tell who waits, in a story of its own."""
        if exit.exec_id:
            self._execs.ended(exit)
            return
        container = self._parts.roster.find(exit.container_id)
        if container is not None:
            self._parts.spawn(self._ended(container, exit))

    async def _ended(self, container: Container, exit: Exit) -> None:
        async with container.lock:
            if container.record.status in LIVE:
                await self.settle_end(container, exit)

    async def settle_end(self, container: Container, exit: Exit) -> None:
        """A container has ended: leave its networks, record it, and do what the restart policy or --rm says. Lock held."""
        self._health.end(container)
        self._execs.container_ended(container.record.id)
        before = container.record
        exit = replace(exit, ended_ns=exit.ended_ns or self._parts.clock())
        ran_seconds = max(0, exit.ended_ns - before.started_ns) / 1e9
        record = _with_end(before, exit)
        try:
            record = await self._sandboxes.leave(record)
            await self._orders.leave_volumes(record)
        except (OrlopError, OSError) as error:
            log.warning("Cannot release the networks and volumes of %s: %s", record.id, error)
        again = self._restarts(container, record)
        if again:
            record = replace(record, status=Status.RESTARTING, restart_count=record.restart_count + 1)
        goes = record.spec.auto_remove and not again and not container.being_restarted
        self._save(container, record, write=not goes)  # --rm is about to delete it: after a crash it is found dead and removed
        if exit.oom_killed:
            self._parts.events.container("oom", record)
        self._parts.events.container("die", record, exitCode=str(record.exit_code), execDuration=str(int(ran_seconds)))
        container.tell_end()
        if again:
            self._schedule_restart(container, ran_seconds)
        if goes:
            await self._removal.auto_remove(container)
        else:
            self._parts.sweeper.later(lambda: self._release(container))

    async def _release(self, container: Container) -> None:
        """In idle time: have the wall free what is left of a container that is down."""
        async with container.lock:
            if container.record.init is None:
                await self._parts.isolation.remove(container.record.id)

    # --- restart policy ---

    def _restarts(self, container: Container, record: ContainerRecord) -> bool:
        if self.is_shutting_down or container.restart_cancelled or container.being_restarted or container.being_removed:
            return False
        return restart.restarts_after_end(record, record.exit_code, stopped_by_user=record.stopped_by_user)

    def _schedule_restart(self, container: Container, ran_seconds: float) -> None:
        container.backoff_seconds = restart.next_delay(container.backoff_seconds, ran_seconds)
        container.restart_timer = asyncio.get_running_loop().call_later(
            container.backoff_seconds, lambda: self._parts.spawn(self.restart_by_policy(container))
        )

    async def restart_by_policy(self, container: Container) -> None:
        """The wait is over, or the daemon has come up: start it unless somebody changed their mind."""
        async with container.lock:
            container.restart_timer = None
            wanted = container.record.status is Status.RESTARTING and not container.restart_cancelled
            if not wanted or container.being_removed or self.is_shutting_down:
                return
            try:
                await self._start(container)
            except (OrlopError, OSError) as error:
                log.warning("Cannot restart container %s: %s", container.record.id, error)

    def _cancel_restart(self, container: Container) -> None:
        """Forget a planned restart."""
        container.restart_cancelled = True
        if container.restart_timer:
            container.restart_timer.cancel()
            container.restart_timer = None
        if container.record.status is Status.RESTARTING:
            self._save(container, replace(container.record, status=Status.EXITED))
            container.tell_end()

    # --- stop and kill ---

    async def stop(self, reference: str, *, signal: str = "", timeout_seconds: int | None = None) -> None:
        """Ask it to end, and kill it when it has not after the timeout (negative: never). Raises NotModified."""
        container = self._parts.roster.get(reference)
        if not container.is_active:
            raise NotModified(f"container {reference} is already stopped")
        await self._stop(container, signal, timeout_seconds)

    async def _stop(self, container: Container, signal: str, timeout_seconds: int | None) -> None:
        process = container.record.process
        number = signal_number(signal or process.stop_signal or "TERM")
        seconds = timeout_seconds if timeout_seconds is not None else process.stop_timeout_seconds
        if seconds is None:
            seconds = self._parts.settings.stop_timeout_seconds
        ending = container.waiter("not-running")
        await self._kill(container, number, cancels_restart=True)
        if not await _comes(ending, None if seconds < 0 else seconds):
            await self._kill(container, SIGKILL, cancels_restart=True)
            if not await _comes(ending, KILL_SECONDS):
                raise Unavailable(f"cannot stop container: {container.record.name}: it did not end after SIGKILL")
        self._parts.events.container("stop", container.record)

    async def kill(self, reference: str, signal: str = "KILL") -> None:
        """Send a signal; SIGKILL also waits for the end. Raises Conflict when it does not run."""
        number = signal_number(signal or "KILL")
        container = self._parts.roster.get(reference)
        _check_running(container, f"cannot kill container: {reference}: ")
        ending = container.waiter("not-running")
        stop_signal = container.record.process.stop_signal
        cancels = not stop_signal or number in (SIGKILL, signal_number(stop_signal))
        await self._kill(container, number, cancels_restart=cancels)
        if number == SIGKILL and not await _comes(ending, KILL_SECONDS):
            raise Unavailable(f"cannot kill container: {reference}: it did not end")

    async def _kill(self, container: Container, number: int, *, cancels_restart: bool) -> None:
        """Send one signal to what runs, note that a user did, and thaw what is paused so that it can act on it."""
        async with container.lock:
            if not container.is_active:
                return
            if not self.is_shutting_down and not container.record.stopped_by_user:
                self._save(container, replace(container.record, stopped_by_user=True))
            was_paused = container.record.status is Status.PAUSED
            if cancels_restart:
                self._cancel_restart(container)
            if container.record.status not in LIVE:
                return
            with suppress(NotFound):  # it has just ended: the end is on its way
                await self._parts.isolation.kill(container.record.id, number)
                if was_paused and cancels_restart:
                    await self._parts.isolation.resume(container.record.id)
                    self._save(container, replace(container.record, status=Status.RUNNING))
            self._parts.events.container("kill", container.record, signal=str(number))

    async def restart(self, reference: str, *, signal: str = "", timeout_seconds: int | None = None) -> None:
        """Stop, if it runs, and start again. --rm does not act in between."""
        container = self._parts.roster.get(reference)
        with explained(f"Cannot restart container {reference}"):
            await self._stop_and_start(container, signal, timeout_seconds)
        self._parts.events.container("restart", container.record)

    async def _stop_and_start(self, container: Container, signal: str, timeout_seconds: int | None) -> None:
        container.being_restarted = True
        try:
            if container.is_active:
                await self._stop(container, signal, timeout_seconds)
        finally:
            container.being_restarted = False
        async with container.lock:
            if not container.is_active:
                self._save(container, replace(container.record, stopped_by_user=False), write=False)
                await self._start(container)

    async def kill_for_removal(self, container: Container) -> None:
        """Kill it and wait for its end, whatever its policy says."""
        ending = container.waiter("not-running")
        await self._kill(container, SIGKILL, cancels_restart=True)
        if not await _comes(ending, KILL_SECONDS):
            raise Unavailable(f"could not kill container: {container.record.id}: it did not end")

    # --- pause ---

    async def pause(self, reference: str) -> None:
        """Freeze all its processes."""
        container = self._parts.roster.get(reference)
        async with container.lock:
            record = container.record
            if record.status is Status.PAUSED:
                raise Conflict(f"Container {reference} is already paused")
            if record.status is Status.RESTARTING:
                raise Conflict(f"Container {reference} is restarting, wait until the container is running")
            _check_running(container)
            with while_running(record.id):
                await self._parts.isolation.pause(record.id)
            self._health.end(container)
            self._save(container, replace(record, status=Status.PAUSED))
            self._parts.events.container("pause", record)

    async def unpause(self, reference: str) -> None:
        """Thaw them."""
        container = self._parts.roster.get(reference)
        async with container.lock:
            if container.record.status is not Status.PAUSED:
                raise Conflict(f"Container {reference} is not paused")
            await self._parts.isolation.resume(container.record.id)
            self._save(container, replace(container.record, status=Status.RUNNING))
            self._health.resume(container)
            self._parts.events.container("unpause", container.record)

    # --- what the stories share ---

    def _save(self, container: Container, record: ContainerRecord, *, write: bool = True) -> None:
        """Keep a record; without `write` in memory only, for the next save follows at once."""
        if record.id not in self._parts.roster or not write:
            container.record = record
        else:
            self._parts.roster.save(container, record)


async def _comes(ending: "asyncio.Future[WaitResult]", seconds: float | None) -> bool:
    """Whether it ends in time."""
    done, _ = await asyncio.wait((ending,), timeout=seconds)
    return bool(done)


def _with_end(record: ContainerRecord, exit: Exit) -> ContainerRecord:
    """The record of a container that ended so."""
    known = exit.exit_code is not None
    return replace(
        record,
        status=Status.EXITED,
        init=None,
        exit_code=exit.exit_code if exit.exit_code is not None else UNKNOWN_EXIT,
        exit_code_known=known,
        error="" if known else EXIT_UNKNOWN,
        oom_killed=exit.oom_killed,
        finished_ns=exit.ended_ns,
    )


def _check_startable(container: Container) -> None:
    """Raises NotModified, Conflict."""
    if container.record.status is Status.PAUSED:
        raise Conflict("cannot start a paused container, try unpause instead")
    if container.record.status is Status.RUNNING:
        raise NotModified("container is already running")
    if container.being_removed or container.record.status in (Status.REMOVING, Status.DEAD):
        raise Conflict("container is marked for removal and cannot be started")


def _check_running(container: Container, prefix: str = "") -> None:
    """Raises Conflict."""
    if not container.is_active:
        raise Conflict(f"{prefix}container {container.record.id} is not running")
