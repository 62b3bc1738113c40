"""`orlop start` and `orlop attach`."""

import posix

from orlop.cli.command import Command
from orlop.cli.session import Failure
from orlop.client import containers
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document
    from orlop.client.http import Hijacked, Response


def start(session: "Session", arguments: "Arguments") -> int:
    for option in ("checkpoint", "checkpoint-dir"):
        if arguments.text(option):
            raise Failure(f"--{option} is not supported")
    if arguments.flag("attach") or arguments.flag("interactive"):
        if len(arguments.words) > 1:
            raise Failure("you cannot start and attach multiple containers at once")
        return _start_attached(session, arguments)
    failed = []
    for ref in arguments.words:
        try:
            containers.start(session.client, ref)
        except ApiError as error:
            session.warn(f"Error response from daemon: {error.message}\n")
            failed.append(ref)
            continue
        session.out(f"{ref}\n")
    if failed:
        session.warn(f"Error: failed to start containers: {', '.join(failed)}\n")
    return 1 if failed else 0


def _start_attached(session: "Session", arguments: "Arguments") -> int:
    found = containers.inspect(session.client, arguments.words[0])
    ref, stdin = str(found["Id"]), arguments.flag("interactive") and bool(found["Config"]["OpenStdin"])
    remove = bool(found["HostConfig"].get("AutoRemove"))
    attaching = containers.begin_attach(session.client, ref, _fields(arguments, stdin))
    waiting = containers.begin_wait(session.client, ref, "removed" if remove else "next-exit")
    streams, exit = containers.hijacked(attaching), waiting.response()
    tty = bool(found["Config"]["Tty"])
    if not tty:
        _pass_signals(session, ref)
    try:
        containers.start(session.client, ref)
    except ApiError:
        if remove:
            exit.read()
        raise
    return _pump(session, arguments, found, (streams, exit), stdin=stdin)


def attach(session: "Session", arguments: "Arguments") -> int:
    ref = arguments.words[0]
    found = containers.inspect(session.client, ref)
    state = found["State"]
    for condition, complaint in (
        (not state["Running"], "You cannot attach to a stopped container, start it first"),
        (state["Paused"], "You cannot attach to a paused container, unpause it first"),
        (state["Restarting"], "You cannot attach to a restarting container, wait until it is running"),
    ):
        if condition:
            raise Failure(complaint)
    tty = bool(found["Config"]["Tty"])
    if tty and not arguments.flag("no-stdin") and not posix.isatty(0):
        raise Failure("the input device is not a TTY")
    stdin = not arguments.flag("no-stdin") and bool(found["Config"]["OpenStdin"])
    waiting = containers.begin_wait(session.client, found["Id"])
    attaching = containers.begin_attach(session.client, found["Id"], _fields(arguments, stdin))
    streams, exit = containers.hijacked(attaching), waiting.response()
    if arguments.flag("sig-proxy") and not tty:
        _pass_signals(session, found["Id"])
    if tty and posix.isatty(1):
        from orlop.cli.run import resize
        from orlop.cli.terminal import size

        rows, columns = size()
        resize(session, found["Id"], rows + 1, columns + 1)  # so that the next, true size makes the program draw itself again
    return _pump(session, arguments, found, (streams, exit), stdin=stdin)


def _fields(arguments: "Arguments", stdin: bool) -> "dict[str, str | bool]":
    return {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": arguments.text("detach-keys")}


def _pass_signals(session: "Session", ref: str) -> None:
    from orlop.cli.attached import pass_signals

    pass_signals(session, ref, tty=False)


def _pump(
    session: "Session",
    arguments: "Arguments",
    found: "Document",
    joined: "tuple[Hijacked, Response]",
    *,
    stdin: bool,
) -> int:
    from orlop.cli.attached import pump
    from orlop.cli.run import exit_code, resize

    streams, exit = joined
    tty = bool(found["Config"]["Tty"])
    if tty and posix.isatty(1):
        from orlop.cli.terminal import watch_size

        watch_size(lambda rows, columns: resize(session, str(found["Id"]), rows, columns))
    try:
        detached = pump(streams, stdin=stdin, tty=tty, detach_keys=arguments.text("detach-keys"))
    except ValueError as error:
        raise Failure(f"invalid detach keys ({arguments.text('detach-keys')}): {error}") from None
    return 0 if detached else exit_code(exit.document())


DETACH_KEYS = ("detach-keys", "", "string", "Override the key sequence for detaching a container")

COMMANDS = {
    "start": Command(
        start,
        "Start one or more stopped containers",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        (1, None),
        (
            ("attach", "a", "bool", "Attach STDOUT/STDERR and forward signals"),
            ("checkpoint", "", "string", "Restore from this checkpoint (not supported)"),
            ("checkpoint-dir", "", "string", "Use a custom checkpoint storage directory (not supported)"),
            DETACH_KEYS,
            ("interactive", "i", "bool", "Attach container's STDIN"),
        ),
        examples=("orlop start web db", "orlop start -ai shell"),
    ),
    "attach": Command(
        attach,
        "Attach local standard input, output, and error streams to a running container",
        "[OPTIONS] CONTAINER",
        (1, 1),
        (
            DETACH_KEYS,
            ("no-stdin", "", "bool", "Do not attach STDIN"),
            ("sig-proxy", "", "bool=true", "Proxy all received signals to the process"),
        ),
        examples=("orlop attach web", "orlop attach --detach-keys ctrl-x shell"),
    ),
}
