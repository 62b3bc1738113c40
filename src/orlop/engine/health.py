"""Health checks: a loop for each running container that has one, and what a probe's result makes of its health."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from orlop.engine.events import Events
from orlop.engine.parts import Spawn
from orlop.engine.roster import Container
from orlop.spec.container import ContainerRecord, Health, HealthProbe, HealthSpec, Status
from orlop.spec.errors import OrlopError, in_words
from orlop.spec.times import show_duration

SECOND = 10**9
INTERVAL_NS, TIMEOUT_NS, START_INTERVAL_NS, RETRIES = 30 * SECOND, 30 * SECOND, 5 * SECOND, 3  # where nothing is said
KEPT_PROBES = 5

Probe = Callable[[ContainerRecord, tuple[str, ...], float], Awaitable[tuple[int | None, str]]]


def command_of(record: ContainerRecord) -> tuple[str, ...]:
    """The command of its health check; () when it has none."""
    check = record.process.healthcheck
    match check.test if check else ():
        case ("CMD", *words):
            return tuple(words)
        case ("CMD-SHELL", line):
            return (*(record.process.shell or ("/bin/sh", "-c")), line)
    return ()


def judged(health: Health, probe: HealthProbe, check: HealthSpec, started_ns: int) -> Health:
    """The health after one more probe. Failures within the start period do not count while it has never been healthy."""
    probes = (*health.probes, probe)[-KEPT_PROBES:]
    if probe.exit_code == 0:
        return Health(status="healthy", failing_streak=0, probes=probes)
    if health.status == "starting" and probe.started_ns - started_ns < check.start_period_ns:
        return replace(health, probes=probes)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= (check.retries or RETRIES) else health.status
    return Health(status=status, failing_streak=streak, probes=probes)


def interval_ns(health: Health, check: HealthSpec, ran_ns: int) -> int:
    """The wait before the next probe: shorter while it starts."""
    if health.status == "starting" and ran_ns < check.start_period_ns:
        return check.start_interval_ns or START_INTERVAL_NS
    return check.interval_ns or INTERVAL_NS


class HealthMonitor:
    """Runs the loops. `probe(record, command, timeout in seconds)` gives the exit code (None: too slow) and the output."""

    def __init__(self, events: Events, probe: Probe, spawn: Spawn, clock: Callable[[], int]) -> None:
        self._events, self._probe, self._spawn, self._clock = events, probe, spawn, clock

    def begin(self, container: Container) -> None:
        """A container has started."""
        if command_of(container.record):
            container.record = replace(container.record, health=Health())
            self.resume(container)
        elif container.record.health:
            container.record = replace(container.record, health=None)

    def resume(self, container: Container) -> None:
        """Go on with one that was paused, or that ran before the daemon did."""
        if command_of(container.record):
            self.end(container)
            container.stop_health = asyncio.Event()
            self._spawn(self._watch(container, container.stop_health))

    def end(self, container: Container) -> None:
        """A container has ended or is paused."""
        if container.stop_health:
            container.stop_health.set()
            container.stop_health = None

    async def _watch(self, container: Container, stop: asyncio.Event) -> None:
        while True:
            record = container.record
            check = record.process.healthcheck or HealthSpec()
            wait_ns = interval_ns(record.health or Health(), check, self._clock() - record.started_ns)
            try:
                async with asyncio.timeout(wait_ns / 1e9):
                    await stop.wait()
                return
            except TimeoutError:
                result = await self._run(container.record, check)
            if stop.is_set() or container.record.status is not Status.RUNNING:
                return
            self._apply(container, result, check)

    async def _run(self, record: ContainerRecord, check: HealthSpec) -> HealthProbe:
        """One probe."""
        started_ns, timeout_ns = self._clock(), check.timeout_ns or TIMEOUT_NS
        try:
            code, output = await self._probe(record, command_of(record), timeout_ns / 1e9)
        except (OrlopError, OSError) as error:
            code, output = -1, in_words(error)
        if code is None:
            message = f"Health check exceeded timeout ({show_duration(timeout_ns)})"
            code, output = -1, f"{message}: {output}" if output else message
        return HealthProbe(started_ns=started_ns, ended_ns=self._clock(), exit_code=code, output=output)

    def _apply(self, container: Container, probe: HealthProbe, check: HealthSpec) -> None:
        """Keep the result, in memory: it is written down with the next change of state."""
        before = container.record.health or Health()
        after = judged(before, probe, check, container.record.started_ns)
        container.record = replace(container.record, health=after)
        if after.status != before.status:
            self._events.container(f"health_status: {after.status}", container.record)
