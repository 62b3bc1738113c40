"""All containers in memory, by id, prefix and name; each with its lock and its waiters. Every change is written through."""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import replace

from orlop.spec.container import LIVE, ContainerRecord, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotFound
from orlop.spec.streams import WaitResult
from orlop.state.records import Records

ACTIVE = LIVE | {Status.RESTARTING}  # what Docker calls running


class Container:
    """One container: its record, and what a daemon need not remember. Its story verbs hold `lock` while they run."""

    __slots__ = (
        "_ends",
        "_removals",
        "backoff_seconds",
        "being_removed",
        "being_restarted",
        "lock",
        "record",
        "restart_cancelled",
        "restart_timer",
        "stop_health",
    )  # fmt: skip

    def __init__(self, record: ContainerRecord) -> None:
        self.record = record
        self.lock = asyncio.Lock()
        self.being_removed = False
        self.being_restarted = False  # by `restart`: its end must not trigger --rm
        self.restart_cancelled = False  # by `stop` or `kill`, until the next start
        self.restart_timer: asyncio.TimerHandle | None = None
        self.backoff_seconds = 0.0
        self.stop_health: asyncio.Event | None = None
        self._ends: list[asyncio.Future[WaitResult]] = []
        self._removals: list[asyncio.Future[WaitResult]] = []

    @property
    def is_active(self) -> bool:
        """Running, paused or between two restarts."""
        return self.record.status in ACTIVE

    def result(self) -> WaitResult:
        """How it ended last."""
        return WaitResult(exit_code=self.record.exit_code, error=self.record.error)

    def waiter(self, condition: str) -> "asyncio.Future[WaitResult]":
        """A future for the next time the condition holds: not-running, next-exit or removed. Raises InvalidArgument."""
        if condition not in ("", "not-running", "next-exit", "removed"):
            raise InvalidArgument(f'invalid condition: "{condition}"')
        future: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        if condition in ("", "not-running") and not self.is_active:
            future.set_result(self.result())
            return future
        waiting = self._removals if condition == "removed" else self._ends
        waiting[:] = [other for other in waiting if not other.done()]
        waiting.append(future)
        return future

    def tell_end(self) -> None:
        """Wake who waits for an end."""
        _wake(self._ends, self.result())

    def tell_removal(self) -> None:
        """Wake everybody: nothing will happen any more. Why it could not be started is no news to them."""
        result = WaitResult(exit_code=self.record.exit_code)
        _wake(self._ends, result)
        _wake(self._removals, result)


def _wake(waiting: "list[asyncio.Future[WaitResult]]", result: WaitResult) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(result)
    waiting.clear()


class Roster:
    """The containers. Iterating gives them oldest first."""

    def __init__(self, records: "Records[ContainerRecord]") -> None:
        self._records = records
        self._containers: dict[str, Container] = {}
        self._ids: list[str] = []
        self.names: dict[str, str] = {}  # name -> id
        for record in sorted(records.load().values(), key=lambda record: record.created_ns):
            self._enter(Container(record))

    def __iter__(self) -> Iterator[Container]:
        return iter(tuple(self._containers.values()))

    def __len__(self) -> int:
        return len(self._containers)

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._containers

    def add(self, record: ContainerRecord) -> Container:
        """Enter a new container; `complete` writes it down. Raises Conflict when the name is taken.

        Until then it is written only if records of anonymous volumes hang on it, as one that the next start removes.
        """
        self.check_free(record.name)
        if any(point.kind == "volume" for point in record.mounts):
            self._records.save(record.id, replace(record, status=Status.REMOVING))
        return self._enter(Container(record))

    def check_free(self, name: str) -> None:
        """Raises Conflict, in Docker's words, when a container has that name."""
        if name in self.names:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{self.names[name]}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )

    def complete(self, container: Container, record: ContainerRecord) -> None:
        """Write down a container that `add` has entered. Raises Unavailable (disk full)."""
        self._records.save(record.id, record)
        container.record = record

    def save(self, container: Container, record: ContainerRecord) -> None:
        """Replace a record, in memory and (when the disk is full: later) on disk. A new name moves the index."""
        if record.name != container.record.name:
            self.check_free(record.name)
            del self.names[container.record.name]
            self.names[record.name] = record.id
        container.record = record
        self._records.save(record.id, record, can_wait=True)

    def foresee(self, record: ContainerRecord) -> None:
        """Write down what is about to be true, for a recovery that finds that it has come true."""
        self._records.save(record.id, record, can_wait=True)

    def delete(self, container: Container) -> None:
        """Forget a container."""
        record = container.record
        if self._containers.pop(record.id, None) is not None:
            self.names.pop(record.name, None)
            del self._ids[bisect_left(self._ids, record.id)]
            self._records.delete(record.id)

    def find(self, reference: str) -> Container | None:
        """By full id, name (with or without its slash) or unambiguous id prefix. Raises InvalidArgument when ambiguous."""
        if found := self._containers.get(reference):
            return found
        if container_id := self.names.get(reference.removeprefix("/")):
            return self._containers[container_id]
        if not reference:
            return None
        start = bisect_left(self._ids, reference)
        matching = [one for one in self._ids[start : start + 2] if one.startswith(reference)]
        if len(matching) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {reference}")
        return self._containers[matching[0]] if matching else None

    def get(self, reference: str) -> Container:
        """As `find`; raises NotFound."""
        if not reference:
            raise InvalidArgument('invalid name or ID supplied: ""')
        if found := self.find(reference):
            return found
        raise NotFound("container", reference)

    def records(self) -> list[ContainerRecord]:
        """All records, newest first."""
        return [container.record for container in reversed(self._containers.values())]

    def _enter(self, container: Container) -> Container:
        record = container.record
        self._containers[record.id] = container
        self.names[record.name] = record.id
        insort(self._ids, record.id)
        return container
