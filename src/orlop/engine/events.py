"""The stream of what happens: emit, the last 256 kept, subscribe with filters."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping

from orlop.engine.filters import Filters, check_filters, matches_key_values
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import InvalidArgument
from orlop.spec.event import Event
from orlop.spec.network import NetworkRecord
from orlop.spec.reference import parse_reference

KEPT = 256  # as many past events as Docker keeps
QUEUE = 8192  # a subscriber that is this far behind is dropped
OBJECTS = ("config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume")  # a filter each
FILTERS = frozenset({"event", "image", "label", "scope", "type", *OBJECTS})


class Events:
    """A bounded memory of events and everybody who listens."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._past: deque[Event] = deque(maxlen=KEPT)
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self._last_ns = 0

    @property
    def listeners(self) -> int:
        """How many subscriptions are open."""
        return len(self._queues)

    def emit(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """Tell everybody. Times never repeat, so that the order can be told from them."""
        self._last_ns = max(self._clock(), self._last_ns + 1)
        event = Event(type=kind, action=action, actor_id=actor_id, attributes=attributes, time_ns=self._last_ns)
        self._past.append(event)
        for queue in tuple(self._queues):
            if queue.qsize() >= QUEUE:
                self._queues.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def container(self, action: str, record: ContainerRecord, **attributes: str) -> None:
        """Emit an event of a container, with its labels, image and name as attributes."""
        image = {"image": record.spec.image} if record.spec.image else {}
        self.emit("container", action, record.id, {**attributes, **record.process.labels, **image, "name": record.name})

    def network(self, action: str, network: NetworkRecord, **attributes: str) -> None:
        """Emit an event of a network."""
        named = {"name": network.spec.name, "type": network.spec.driver}
        self.emit("network", action, network.id, {**attributes, **named})

    def subscribe(self, *, since_ns: int = 0, until_ns: int = 0, filters: Filters | None = None) -> AsyncIterator[Event]:
        """Events as they happen; with `since_ns` first the kept ones from then on; ends at `until_ns` if that is set.

        Listens from the moment of the call. Raises InvalidArgument for an unknown filter.
        """
        wanted = filters or {}
        check_filters(wanted, FILTERS)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        until = until_ns or None
        past = [
            event
            for event in self._past
            if (since_ns or until) and event.time_ns >= since_ns and (until is None or event.time_ns <= until)
        ]
        if until is None or until > self._clock():
            self._queues.add(queue)
        else:
            queue.put_nowait(None)
        return self._stream(past, queue, until, wanted)

    async def _stream(
        self, past: list[Event], queue: "asyncio.Queue[Event | None]", until: int | None, wanted: Filters
    ) -> AsyncIterator[Event]:
        try:
            for event in past:
                if matches(event, wanted):
                    yield event
            while event := await self._next(queue, until):  # type: ignore[assignment]
                if until is not None and event.time_ns > until:
                    return
                if matches(event, wanted):
                    yield event
        finally:
            self._queues.discard(queue)

    async def _next(self, queue: "asyncio.Queue[Event | None]", until: int | None) -> Event | None:
        """The next event, or None at the time `until`."""
        if until is None:
            return await queue.get()
        try:
            async with asyncio.timeout(max(0, until - self._clock()) / 1e9):
                return await queue.get()
        except TimeoutError:
            return None


def matches(event: Event, wanted: Filters) -> bool:
    """Whether an event passes all filters: values of one filter are alternatives, different filters must all hold."""
    return all(_PREDICATES[name](event, values) for name, values in wanted.items() if values)


def _is_action(event: Event, values: tuple[str, ...]) -> bool:
    """`exec_start` also stands for `exec_start: /bin/sh`."""
    return any(event.action == value or event.action.split(":")[0] == value for value in values)


def _is_object(kind: str) -> Callable[[Event, tuple[str, ...]], bool]:
    def predicate(event: Event, values: tuple[str, ...]) -> bool:
        name = event.attributes.get("name", "")
        return event.type == kind and any(name == value or event.actor_id.startswith(value) for value in values)

    return predicate


def _is_image(event: Event, values: tuple[str, ...]) -> bool:
    """By the image's id or name, or by the image of a container; a name without a tag stands for all its tags."""
    names = {event.actor_id if event.type == "image" else event.attributes.get("image", "")}
    names |= {event.attributes.get("name", "")} if event.type == "image" else set()
    return any(value in names or value in {_without_tag(name) for name in names} for value in values)


def _without_tag(name: str) -> str:
    try:
        return parse_reference(name).familiar_name
    except InvalidArgument:
        return name


_PREDICATES: Mapping[str, Callable[[Event, tuple[str, ...]], bool]] = {
    "type": lambda event, values: event.type in values,
    "event": _is_action,
    "scope": lambda event, values: event.scope in values,
    "label": lambda event, values: matches_key_values(values, event.attributes),
    "image": _is_image,
    **{kind: _is_object(kind) for kind in OBJECTS},
}
