"""The prune verbs: each says what it will remove, asks, and reports what it did."""

import posix

from orlop.cli.command import Command
from orlop.cli.render import filters, size
from orlop.client import containers, images, networks, volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document
    from orlop.client.http import Client, Filters

    Prune = Callable[[Client, Filters], Document]

TRUE = frozenset(("1", "true", "True"))


def _confirmed(session: "Session", arguments: "Arguments", question: str) -> bool:
    """Whether --force was given or the user says yes."""
    if arguments.flag("force"):
        return True
    session.out(f"{question}\nAre you sure you want to continue? [y/N] ")
    answer = b""
    while (byte := posix.read(0, 1)) not in (b"", b"\n"):
        answer += byte
    return answer.strip().lower() in (b"y", b"yes")


def _reclaimed(report: "Document") -> int:
    return int(report.get("SpaceReclaimed") or 0)


def prune_containers(session: "Session", arguments: "Arguments") -> int:
    if not _confirmed(session, arguments, "WARNING! This will remove all stopped containers."):
        return 0
    report = containers.prune(session.client, filters(arguments.many("filter")))
    _list(session, "Deleted Containers", report.get("ContainersDeleted"))
    session.out(f"Total reclaimed space: {size(_reclaimed(report))}\n")
    return 0


def prune_images(session: "Session", arguments: "Arguments") -> int:
    every = arguments.flag("all")
    which = "all images without at least one container associated to them" if every else "all dangling images"
    if not _confirmed(session, arguments, f"WARNING! This will remove {which}."):
        return 0
    report = images.prune(session.client, _image_filters(arguments))
    _list(session, "Deleted Images", _image_lines(report))
    session.out(f"Total reclaimed space: {size(_reclaimed(report))}\n")
    return 0


def _image_filters(arguments: "Arguments") -> "Filters":
    return {"dangling": ["false" if arguments.flag("all") else "true"], **filters(arguments.many("filter"))}


def _image_lines(report: "Document") -> list[str]:
    return [f"{verb.lower()}: {name}" for step in report.get("ImagesDeleted") or () for verb, name in step.items() if name]


def prune_volumes(session: "Session", arguments: "Arguments") -> int:
    wanted = filters(arguments.many("filter"))
    every = arguments.flag("all") or bool(TRUE & set(wanted.get("all", ())))
    if arguments.flag("all"):
        wanted["all"] = ["true"]
    which = "all local volumes" if every else "anonymous local volumes"
    if not _confirmed(session, arguments, f"WARNING! This will remove {which} not used by at least one container."):
        return 0
    report = volumes.prune(session.client, wanted)
    _list(session, "Deleted Volumes", report.get("VolumesDeleted"))
    session.out(f"Total reclaimed space: {size(_reclaimed(report))}\n")
    return 0


def prune_networks(session: "Session", arguments: "Arguments") -> int:
    if not _confirmed(session, arguments, "WARNING! This will remove all custom networks not used by at least one container."):
        return 0
    report = networks.prune(session.client, filters(arguments.many("filter")))
    _list(session, "Deleted Networks", report.get("NetworksDeleted"))
    return 0


def prune_system(session: "Session", arguments: "Arguments") -> int:
    every, with_volumes = arguments.flag("all"), arguments.flag("volumes")
    lines = ["all stopped containers", "all networks not used by at least one container"]
    lines += ["all anonymous volumes not used by at least one container"] if with_volumes else []
    lines += ["all images without at least one container associated to them" if every else "all dangling images"]
    lines += ["all build cache" if every else "unused build cache"]
    question = "WARNING! This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if arguments.many("filter"):
        question += "\n  Items to be pruned will be filtered with:\n" + "".join(
            f"  - {text}\n" for text in sorted(arguments.many("filter"))
        )
    if not _confirmed(session, arguments, question):
        return 0
    wanted = filters(arguments.many("filter"))
    total = 0
    report = containers.prune(session.client, wanted)
    _list(session, "Deleted Containers", report.get("ContainersDeleted"))
    total += _reclaimed(report)
    _list(session, "Deleted Networks", networks.prune(session.client, wanted).get("NetworksDeleted"))
    if with_volumes:
        report = volumes.prune(session.client, wanted)
        _list(session, "Deleted Volumes", report.get("VolumesDeleted"))
        total += _reclaimed(report)
    report = images.prune(session.client, _image_filters(arguments))
    _list(session, "Deleted Images", _image_lines(report))
    session.out(f"Total reclaimed space: {size(total + _reclaimed(report))}\n")
    return 0


def _list(session: "Session", title: str, lines: "list[str] | None") -> None:
    if lines:
        session.out(f"{title}:\n" + "".join(f"{line}\n" for line in lines) + "\n")


FORCE = ("force", "f", "bool", "Do not prompt for confirmation")


def _filter(example: str) -> tuple[str, str, str, str]:
    return ("filter", "", "filter", f'Provide filter values (e.g. "{example}")')


COMMANDS = {
    "container prune": Command(
        prune_containers,
        "Remove all stopped containers",
        "[OPTIONS]",
        (0, 0),
        (_filter("until=<timestamp>"), FORCE),
        examples=("orlop container prune --filter until=24h",),
    ),
    "image prune": Command(
        prune_images,
        "Remove unused images",
        "[OPTIONS]",
        (0, 0),
        (("all", "a", "bool", "Remove all unused images, not just dangling ones"), _filter("until=<timestamp>"), FORCE),
        examples=("orlop image prune -a",),
    ),
    "volume prune": Command(
        prune_volumes,
        "Remove unused local volumes",
        "[OPTIONS]",
        (0, 0),
        (("all", "a", "bool", "Remove all unused volumes, not just anonymous ones"), _filter("label=<label>"), FORCE),
        examples=("orlop volume prune -f",),
    ),
    "network prune": Command(
        prune_networks,
        "Remove all unused networks",
        "[OPTIONS]",
        (0, 0),
        (_filter("until=<timestamp>"), FORCE),
        examples=("orlop network prune -f",),
    ),
    "system prune": Command(
        prune_system,
        "Remove unused data",
        "[OPTIONS]",
        (0, 0),
        (
            ("all", "a", "bool", "Remove all unused images not just dangling ones"),
            _filter("label=<key>=<value>"),
            FORCE,
            ("volumes", "", "bool", "Prune anonymous volumes"),
        ),
        examples=("orlop system prune -af --volumes",),
    ),
}
