"""`orlop ps`: the list of containers."""

from orlop.cli.command import Command
from orlop.cli.render import FORMAT, NO_TRUNC, View, ago, ellipsis, filters, identity, pairs, short_id, show, size, timestamp
from orlop.client import containers
from orlop.client.documents import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

COMMAND_WIDTH, MOUNT_WIDTH = 20, 15


def list_containers(session: "Session", arguments: "Arguments") -> int:
    template, quiet = arguments.text("format"), arguments.flag("quiet")
    if template and quiet:
        session.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.\n")
    with_size = arguments.flag("size") or (".Size" in template and not quiet)
    last = arguments.number("last") or -1
    documents = containers.list_containers(
        session.client,
        all=arguments.flag("all"),
        limit=1 if arguments.flag("latest") and last == -1 else max(last, 0),
        size=with_size,
        filters=filters(arguments.many("filter")),
    )
    view = View(FIELDS, (*SHOWN, "Size")) if with_size else VIEW
    show(session, view, documents, format=template, quiet="ID" if quiet else "", full=arguments.flag("no-trunc"))
    return 0


def _names(document: "Document", full: bool) -> str:
    names = [name.removeprefix("/") for name in document["Names"] or ()]
    return ",".join(names) if full else next((name for name in names if "/" not in name), "")


def _image(document: "Document", full: bool) -> str:
    image = str(document["Image"]) or "<no image>"
    if full:
        return image
    if short_id(document["ImageID"]) == short_id(image):
        return short_id(image)
    return image.partition("@")[0]


def _command(document: "Document", full: bool) -> str:
    command = str(document["Command"])
    return dumps(command if full else ellipsis(command, COMMAND_WIDTH))


def _size(document: "Document", _: bool) -> str:
    written, whole = document.get("SizeRw", 0), document.get("SizeRootFs", 0)
    return size(written, 3) + (f" (virtual {size(whole, 3)})" if whole else "")


def _mounts(document: "Document", full: bool) -> str:
    names = [mount.get("Name") or mount.get("Source") or "" for mount in document.get("Mounts") or ()]
    return ",".join(names if full else [ellipsis(name, MOUNT_WIDTH) for name in names])


def _local_volumes(document: "Document", _: bool) -> str:
    return str(sum(mount.get("Driver") == "local" for mount in document.get("Mounts") or ()))


def _label(document: "Document", _: bool) -> "Callable[[str], str]":
    labels: dict[str, str] = document.get("Labels") or {}
    return lambda name: labels.get(name, "")


def ports(document: "Document", _: bool = True) -> str:
    """0.0.0.0:80->8080/tcp, 9000-9001/udp: runs of ports that are published as they are, or not at all, are one."""
    rows = document.get("Ports") or []
    single: list[str] = []
    runs: list[list[Any]] = []  # [(address, protocol), first, last]
    for row in sorted(rows, key=lambda row: (row["PrivatePort"], row.get("IP", ""), row.get("PublicPort", 0), row["Type"])):
        address, private, public = row.get("IP", ""), row["PrivatePort"], row.get("PublicPort", 0)
        if address and public != private:
            single.append(f"{_host(address)}:{public}->{private}/{row['Type']}")
            continue
        run = next((run for run in reversed(runs) if run[0] == (address, row["Type"])), None)
        if run and private == run[2] + 1:
            run[2] = private
        elif not run or private != run[2]:
            runs.append([(address, row["Type"]), private, private])
    grouped = []
    for (address, protocol), first, last in runs:
        span = str(first) if first == last else f"{first}-{last}"
        grouped.append((f"{_host(address)}:{span}->" if address else "") + f"{span}/{protocol}")
    return ", ".join([*grouped, *single])


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _health(document: "Document", _: bool) -> str:
    known = (document.get("Health") or {}).get("Status", "")
    words = document["Status"].rpartition("(")[2].removesuffix(")").removeprefix("health: ")
    return known if known not in ("", "none") else words if words in ("healthy", "unhealthy", "starting") else ""


FIELDS = {
    "ID": ("CONTAINER ID", identity),
    "Image": ("IMAGE", _image),
    "Command": ("COMMAND", _command),
    "CreatedAt": ("CREATED AT", lambda document, _: timestamp(document["Created"])),
    "RunningFor": ("CREATED", lambda document, _: ago(document["Created"])),
    "Ports": ("PORTS", ports),
    "State": ("STATE", lambda document, _: document["State"]),
    "Status": ("STATUS", lambda document, _: document["Status"]),
    "Size": ("SIZE", _size),
    "Names": ("NAMES", _names),
    "Labels": ("LABELS", lambda document, _: pairs(document["Labels"])),
    "Label": ("", _label),
    "Mounts": ("MOUNTS", _mounts),
    "LocalVolumes": ("LOCAL VOLUMES", _local_volumes),
    "Networks": ("NETWORKS", lambda document, _: ",".join((document.get("NetworkSettings") or {}).get("Networks") or ())),
    "HealthStatus": ("HEALTH STATUS", _health),
}
SHOWN = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
VIEW = View(FIELDS, SHOWN)

COMMANDS = {
    "ps": Command(
        list_containers,
        "List containers",
        "[OPTIONS]",
        (0, 0),
        (
            ("all", "a", "bool", "Show all containers (default shows just running)"),
            ("filter", "f", "filter", "Filter output based on conditions provided"),
            FORMAT,
            ("last", "n", "int=-1", "Show n last created containers (includes all states)"),
            ("latest", "l", "bool", "Show the latest created container (includes all states)"),
            NO_TRUNC,
            ("quiet", "q", "bool", "Only display container IDs"),
            ("size", "s", "bool", "Display total file sizes"),
        ),
        examples=(
            "orlop ps -a",
            "orlop ps --filter status=exited --format '{{.Names}}: {{.Status}}'",
            "orlop rm $(orlop ps -aq)",
        ),
    ),
}
