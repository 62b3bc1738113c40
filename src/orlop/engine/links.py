"""--link: what a container is told of others that it names, in its hosts file and environment. Docker's legacy links."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orlop.engine.roster import Container, Roster
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import Conflict, InvalidArgument, NotFound

UNSHARED = frozenset({"HOME", "PATH"})  # variables of the other container that are its own affair


@dataclass(frozen=True)
class Link:
    """One link of a container: to whom, and under which name."""

    target: str
    alias: str


def parse_link(text: str) -> Link:
    """ "target", "target:alias", and as inspect shows it "/target:/self/alias". Raises InvalidArgument."""
    target, _, alias = text.partition(":")
    target, alias = target.removeprefix("/"), alias.rpartition("/")[2] or target.removeprefix("/")
    if not target or ":" in alias:
        raise InvalidArgument(f"bad format for links: {text}")
    return Link(target, alias)


def linked(roster: Roster, record: ContainerRecord) -> list[tuple[Link, ContainerRecord]]:
    """The containers that one links to, which must run. Raises NotFound, Conflict."""
    found = []
    for link in map(parse_link, record.spec.links):
        other = roster.get(link.target).record
        if other.init is None:
            raise Conflict(f"Cannot link to a non running container: /{other.name} AS /{record.name}/{link.alias}")
        found.append((link, other))
    return found


def host_lines(links: Iterable[tuple[Link, ContainerRecord]]) -> list[tuple[str, tuple[str, ...]]]:
    """Addresses and names for /etc/hosts."""
    lines = []
    for link, other in links:
        names = dict.fromkeys((link.alias, other.spec.hostname, other.name))
        lines.append((_address(other), tuple(name for name in names if name)))
    return lines


def environment(record: ContainerRecord, links: Iterable[tuple[Link, ContainerRecord]]) -> tuple[str, ...]:
    """Variables that tell of the others: ALIAS_NAME, ALIAS_PORT_80_TCP_ADDR ..., and their own as ALIAS_ENV_X."""
    variables: list[str] = []
    for link, other in links:
        prefix, address = link.alias.replace("-", "_").upper(), _address(other)
        variables.append(f"{prefix}_NAME=/{record.name}/{link.alias}")
        ports = sorted(_port(text) for text in other.process.exposed_ports)
        for index, (number, protocol) in enumerate(ports):
            url = f"{protocol}://{address}:{number}"
            if not index:
                variables.append(f"{prefix}_PORT={url}")
            own = f"{prefix}_PORT_{number}_{protocol.upper()}"
            variables += [f"{own}={url}", f"{own}_ADDR={address}", f"{own}_PORT={number}", f"{own}_PROTO={protocol}"]
        shared = (one for one in other.process.env if one.partition("=")[0] not in UNSHARED and "=" in one)
        variables += [f"{prefix}_ENV_{variable}" for variable in shared]
    return tuple(variables)


def told_of_links(roster: Roster, record: ContainerRecord) -> ContainerRecord:
    """The record with what its environment tells of linked containers, under what it says itself. Raises as `linked`."""
    if not record.spec.links:
        return record
    told = environment(record, linked(roster, record))
    return replace(record, process=replace(record.process, env=(*told, *record.process.env)))


def names_by_links(records: Iterable[ContainerRecord]) -> Mapping[str, list[str]]:
    """What containers are called by those that link to them: target (as it was named) -> "/self/alias" ..."""
    found: dict[str, list[str]] = {}
    for record in records:
        for link in map(parse_link, record.spec.links):
            found.setdefault(link.target, []).append(f"/{record.name}/{link.alias}")
    return found


def without_link(roster: Roster, reference: str) -> tuple[Container, ContainerRecord]:
    """For "self/alias": the container, and its record without that link. Raises NotFound, InvalidArgument."""
    name, slash, alias = reference.strip("/").rpartition("/")
    if not slash:
        raise InvalidArgument("Conflict, cannot remove the default link name of the container")
    container = roster.get(name)
    links = container.record.spec.links
    kept = tuple(text for text in links if parse_link(text).alias != alias)
    if kept == links:
        raise NotFound("link", reference)
    return container, replace(container.record, spec=replace(container.record.spec, links=kept))


def _address(record: ContainerRecord) -> str:
    return next((endpoint.ipv4_address for endpoint in record.endpoints.values() if endpoint.ipv4_address), "")


def _port(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return int(number.partition("-")[0]), protocol or "tcp"
