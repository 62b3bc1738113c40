"""`orlop volume create`, `ls` and `rm`."""

from orlop.cli.command import Command
from orlop.cli.details import pairs_to_map
from orlop.cli.render import FORMAT, View, filters, natural, pairs, show, size
from orlop.cli.session import Failure
from orlop.client import volumes
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document


def create(session: "Session", arguments: "Arguments") -> int:
    body: Document = {
        "Name": arguments.words[0] if arguments.words else "",
        "Driver": arguments.text("driver"),
        "DriverOpts": pairs_to_map(arguments.many("opt")),
        "Labels": pairs_to_map(arguments.many("label")),
    }
    session.out(f"{volumes.create(session.client, body)['Name']}\n")
    return 0


def list_volumes(session: "Session", arguments: "Arguments") -> int:
    documents = volumes.list_volumes(session.client, filters(arguments.many("filter")))
    documents.sort(key=lambda document: natural(document["Name"]))
    show(session, VIEW, documents, format=arguments.text("format"), quiet="Name" if arguments.flag("quiet") else "")
    return 0


def remove(session: "Session", arguments: "Arguments") -> int:
    failures = []
    for name in arguments.words:
        try:
            volumes.remove(session.client, name, force=arguments.flag("force"))
        except ApiError as error:
            failures.append(f"Error response from daemon: {error.message}")
            continue
        session.out(f"{name}\n")
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _usage(field: str, shown: "Callable[[int], str]") -> "Callable[[Document, bool], str]":
    def read(document: "Document", _: bool) -> str:
        usage = document.get("UsageData")
        return "N/A" if not usage or usage[field] == -1 else shown(usage[field])

    return read


def label(document: "Document", _: bool) -> "Callable[[str], str]":
    labels: dict[str, str] = document.get("Labels") or {}
    return lambda name: labels.get(name, "")


VIEW = View(
    {
        "Name": ("VOLUME NAME", lambda document, _: document["Name"]),
        "Driver": ("DRIVER", lambda document, _: document["Driver"]),
        "Scope": ("SCOPE", lambda document, _: document["Scope"]),
        "Mountpoint": ("MOUNTPOINT", lambda document, _: document["Mountpoint"]),
        "Labels": ("LABELS", lambda document, _: pairs(document.get("Labels"))),
        "Label": ("", label),
        "Links": ("LINKS", _usage("RefCount", str)),
        "Size": ("SIZE", _usage("Size", size)),
        "Status": ("STATUS", lambda document, _: "N/A"),
        "Group": ("GROUP", lambda document, _: "N/A"),
        "Availability": ("AVAILABILITY", lambda document, _: "N/A"),
    },
    ("Driver", "Name"),
)

COMMANDS = {
    "volume create": Command(
        create,
        "Create a volume",
        "[OPTIONS] [VOLUME]",
        (0, 1),
        (
            ("driver", "d", "string=local", "Specify volume driver name"),
            ("label", "", "list", "Set metadata for a volume"),
            ("opt", "o", "map", "Set driver specific options"),
        ),
        examples=("orlop volume create data", "orlop volume create -o type=tmpfs -o device=tmpfs -o o=size=100m scratch"),
    ),
    "volume ls": Command(
        list_volumes,
        "List volumes",
        "[OPTIONS]",
        (0, 0),
        (
            ("filter", "f", "filter", 'Provide filter values (e.g. "dangling=true")'),
            FORMAT,
            ("quiet", "q", "bool", "Only display volume names"),
        ),
        examples=("orlop volume ls -f dangling=true",),
    ),
    "volume rm": Command(
        remove,
        "Remove one or more volumes",
        "[OPTIONS] VOLUME [VOLUME...]",
        (1, None),
        (("force", "f", "bool", "Force the removal of one or more volumes"),),
        details="You cannot remove a volume that is in use by a container.",
        examples=("orlop volume rm data",),
    ),
}
