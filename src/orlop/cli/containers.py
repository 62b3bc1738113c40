"""Verbs that look into containers or make something of them: top, port, diff, update, commit, export."""

from orlop.cli.command import Command
from orlop.cli.session import Failure
from orlop.client import containers
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

CHANGES = ("C", "A", "D")
TOP_WIDTH = 20


def top(session: "Session", arguments: "Arguments") -> int:
    ref, *words = arguments.words
    found = containers.top(session.client, ref, " ".join(words))
    rows = [found["Titles"], *(found["Processes"] or [])]
    widths = [max(TOP_WIDTH, *(len(cell) + 3 for cell in column)) for column in zip(*rows, strict=True)]
    for row in rows:
        session.out("".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1] + "\n")
    return 0


def port(session: "Session", arguments: "Arguments") -> int:
    ref, *wanted = arguments.words
    published: dict[str, list[Document] | None] = containers.inspect(session.client, ref)["NetworkSettings"]["Ports"] or {}
    if wanted:
        number, _, protocol = wanted[0].partition("/")
        bindings = published.get(f"{number}/{protocol or 'tcp'}")
        if not bindings:
            raise Failure(f"Error: No public port '{wanted[0]}' published for {ref}")
        lines = [_address(binding) for binding in bindings]
    else:
        rows = [
            (int(name.partition("/")[0]), name, binding) for name, bindings in published.items() for binding in bindings or ()
        ]
        lines = [
            f"{name} -> {_address(binding)}"
            for _, name, binding in sorted(rows, key=lambda row: (row[0], row[1], row[2]["HostIp"]))
        ]
    session.out("".join(f"{line}\n" for line in lines))
    return 0


def _address(binding: "Document") -> str:
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


def diff(session: "Session", arguments: "Arguments") -> int:
    changes = containers.changes(session.client, arguments.words[0])
    session.out("".join(f"{CHANGES[change['Kind']]} {change['Path']}\n" for change in changes))
    return 0


UPDATABLE = {
    "blkio-weight": "BlkioWeight",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpu-shares": "CpuShares",
    "cpus": "NanoCpus",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "pids-limit": "PidsLimit",
}


def update(session: "Session", arguments: "Arguments") -> int:
    if not arguments.given:
        raise Failure("you must provide one or more flags when using this command")
    body: Document = {UPDATABLE[name]: value for name, value in arguments.given.items() if name in UPDATABLE}
    if arguments.text("restart"):
        from orlop.cli.details import parse_restart

        try:
            body["RestartPolicy"] = parse_restart(arguments.text("restart"))
        except ValueError as error:
            raise Failure(str(error)) from None
    warnings: list[str] = []
    failures: list[str] = []
    for ref in arguments.words:
        try:
            warnings += containers.update(session.client, ref, body).get("Warnings") or []
            session.out(f"{ref}\n")
        except ApiError as error:
            failures.append(f"Error response from daemon: {error.message}")
    session.out("".join(f"{warning}\n" for warning in warnings))
    if failures:
        raise Failure("\n".join(failures))
    return 0


def commit(session: "Session", arguments: "Arguments") -> int:
    ref, *name = arguments.words
    repository = tag = ""
    if name and name[0]:
        from orlop.cli.names import image_reference

        reference = image_reference(name[0])
        if reference.digest:
            raise Failure("refusing to create a tag with a digest reference")
        repository, tag = reference.familiar_name, reference.with_default_tag().tag
    image = containers.commit(
        session.client,
        ref,
        repository=repository,
        tag=tag,
        author=arguments.text("author"),
        comment=arguments.text("message"),
        changes=arguments.many("change"),
        pause=arguments.flag("pause"),
    )
    session.out(f"{image}\n")
    return 0


def export(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.files import save_stream

    save_stream(
        arguments.text("output"),
        lambda: containers.export(session.client, arguments.words[0]).pieces(),
        "failed to export container",
    )
    return 0


COMMANDS = {
    "top": Command(
        top,
        "Display the running processes of a container",
        "CONTAINER [ps OPTIONS]",
        (1, None),
        free=False,
        examples=("orlop top web", "orlop top web -o pid,rss,cmd"),
    ),
    "port": Command(
        port,
        "List port mappings or a specific mapping for the container",
        "CONTAINER [PRIVATE_PORT[/PROTO]]",
        (1, 2),
        examples=("orlop port web", "orlop port web 80/tcp"),
    ),
    "diff": Command(
        diff,
        "Inspect changes to files or directories on a container's filesystem",
        "CONTAINER",
        (1, 1),
        examples=("orlop diff web",),
    ),
    "update": Command(
        update,
        "Update configuration of one or more containers",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        (1, None),
        (
            ("blkio-weight", "", "uint16", "Block IO (relative weight), between 10 and 1000, or 0 to disable"),
            ("cpu-period", "", "int", "Limit CPU CFS (Completely Fair Scheduler) period"),
            ("cpu-quota", "", "int", "Limit CPU CFS (Completely Fair Scheduler) quota"),
            ("cpu-rt-period", "", "int", "Limit the CPU real-time period in microseconds"),
            ("cpu-rt-runtime", "", "int", "Limit the CPU real-time runtime in microseconds"),
            ("cpu-shares", "c", "int", "CPU shares (relative weight)"),
            ("cpus", "", "decimal", "Number of CPUs"),
            ("cpuset-cpus", "", "string", "CPUs in which to allow execution (0-3, 0,1)"),
            ("cpuset-mems", "", "string", "MEMs in which to allow execution (0-3, 0,1)"),
            ("memory", "m", "bytes", "Memory limit"),
            ("memory-reservation", "", "bytes", "Memory soft limit"),
            ("memory-swap", "", "bytes", "Swap limit equal to memory plus swap: -1 to enable unlimited swap"),
            ("pids-limit", "", "int", "Tune container pids limit (set -1 for unlimited)"),
            ("restart", "", "string", "Restart policy to apply when a container exits"),
        ),
        examples=("orlop update --memory 256m --cpus 1.5 web", "orlop update --restart unless-stopped web"),
    ),
    "commit": Command(
        commit,
        "Create a new image from a container's changes",
        "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
        (1, 2),
        (
            ("author", "a", "string", 'Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")'),
            ("change", "c", "list", "Apply Dockerfile instruction to the created image"),
            ("message", "m", "string", "Commit message"),
            ("pause", "p", "bool=true", "Pause container during commit"),
        ),
        free=False,
        examples=('orlop commit -c \'CMD ["nginx", "-g", "daemon off;"]\' web site:1',),
    ),
    "export": Command(
        export,
        "Export a container's filesystem as a tar archive",
        "[OPTIONS] CONTAINER",
        (1, 1),
        (("output", "o", "string", "Write to a file, instead of STDOUT"),),
        examples=("orlop export web | tar -t", "orlop export -o web.tar web"),
    ),
}
