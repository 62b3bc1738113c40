"""Which containers a list shows: Docker's filters, over records in memory."""

from collections.abc import Callable, Iterable, Mapping

from orlop.engine.checks import check_port
from orlop.engine.filters import Filters, boolean, check_filters, matches_key_values, matches_pattern
from orlop.engine.roster import ACTIVE, Roster
from orlop.spec.container import ContainerRecord, Status
from orlop.spec.errors import InvalidArgument, NotFound

KNOWN = frozenset(
    ("ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish",
     "since", "status", "volume")
)  # fmt: skip
HEALTH = ("starting", "healthy", "unhealthy", "none")

Predicate = Callable[[ContainerRecord], bool]


def select(
    roster: Roster, *, everything: bool, limit: int, filters: Filters, ancestors: Callable[[str], frozenset[str]]
) -> list[ContainerRecord]:
    """Newest first. `ancestors`: ids of an image and of all images made from it. Raises InvalidArgument, NotFound."""
    check_filters(filters, KNOWN)
    predicates = [_MAKERS[name](values, ancestors) for name, values in filters.items() if values and name in _MAKERS]
    everything = everything or bool(filters.get("status")) or bool(filters.get("exited")) or limit > 0
    records = _between(roster, filters)
    found: list[ContainerRecord] = []
    for record in records:
        if not everything and record.status not in ACTIVE:
            continue
        if limit > 0 and len(found) == limit:
            break
        if all(predicate(record) for predicate in predicates):
            found.append(record)
    return found


def _between(roster: Roster, filters: Filters) -> Iterable[ContainerRecord]:
    """The part of the list after `since` and before `before`."""
    records = roster.records()
    for name, is_after in (("before", False), ("since", True)):
        for reference in filters.get(name, ())[:1]:
            found = roster.find(reference)
            if found is None:
                raise NotFound("container", reference)
            index = records.index(found.record) if found.record in records else len(records)
            records = records[:index] if is_after else records[index + 1 :]
    if boolean(filters, "is-task", False):
        return []
    return records


def _by_status(values: tuple[str, ...], _: object) -> Predicate:
    known = {status.value for status in Status}
    for value in values:
        if value not in known:
            one_of = ", ".join(repr(status.value) for status in Status)
            raise InvalidArgument(
                f"invalid filter 'status={value}': invalid value for state ({value}): must be one of {one_of}"
            )
    return lambda record: record.status.value in values


def _by_exit_code(values: tuple[str, ...], _: object) -> Predicate:
    for value in values:
        if not value.lstrip("-").isdecimal():
            raise InvalidArgument(f"invalid filter 'exited={value}'")
    codes = {int(value) for value in values}
    return lambda record: record.status not in ACTIVE and record.started_ns > 0 and record.exit_code in codes


def _by_health(values: tuple[str, ...], _: object) -> Predicate:
    for value in values:
        if value not in HEALTH:
            raise InvalidArgument(f"invalid filter 'health={value}'")
    return lambda record: (record.health.status if record.health else "none") in values


def _by_volume(values: tuple[str, ...], _: object) -> Predicate:
    return lambda record: any(
        value in (point.name or point.source, point.target) for point in record.mounts for value in values
    )


def _by_network(values: tuple[str, ...], _: object) -> Predicate:
    return lambda record: any(
        value == name or (endpoint.network_id and endpoint.network_id.startswith(value))
        for name, endpoint in record.endpoints.items()
        for value in values
    )


def _by_image(values: tuple[str, ...], ancestors: Callable[[str], frozenset[str]]) -> Predicate:
    images = frozenset().union(*(ancestors(value) for value in values))
    return lambda record: record.image_id in images


def _by_port(*, published: bool) -> Callable[[tuple[str, ...], object], Predicate]:
    def make(values: tuple[str, ...], _: object) -> Predicate:
        wanted = {port for value in values for port in _ports(value)}

        def predicate(record: ContainerRecord) -> bool:
            if published:
                return any((binding.host_port, binding.protocol) in wanted for binding in record.ports)
            own = {(binding.container_port, binding.protocol) for binding in record.ports}
            own.update(port for text in record.process.exposed_ports for port in _ports(text))
            return bool(own & wanted)

        return predicate

    return make


def _ports(text: str) -> list[tuple[int, str]]:
    """ "80", "80/udp", "8000-8010/tcp" -> each port and its protocol."""
    check_port(text)
    numbers, _, protocol = text.partition("/")
    first, _, last = numbers.partition("-")
    return [(port, protocol or "tcp") for port in range(int(first), int(last or first) + 1)]


_MAKERS: Mapping[str, Callable[[tuple[str, ...], Callable[[str], frozenset[str]]], Predicate]] = {
    "name": lambda values, _: lambda record: matches_pattern(values, record.name, f"/{record.name}"),
    "id": lambda values, _: lambda record: any(record.id.startswith(value) for value in values),
    "label": lambda values, _: lambda record: matches_key_values(values, record.process.labels),
    "isolation": lambda values, _: (
        lambda record: (record.spec.isolation or "process") in {value or "process" for value in values}
    ),
    "status": _by_status,
    "exited": _by_exit_code,
    "health": _by_health,
    "volume": _by_volume,
    "network": _by_network,
    "ancestor": _by_image,
    "publish": _by_port(published=True),
    "expose": _by_port(published=False),
}
