"""Verbs that change whether containers run, and that name or remove them."""

from orlop.cli.command import Command
from orlop.client import containers
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.http import Connection

AT_ONCE = 50


def _each(session: "Session", refs: list[str], ask: "Callable[[str], Connection]", *, forgive_missing: bool = False) -> int:
    """Ask for all, then read the answers in order. Names are printed as they succeed, what failed at the end."""
    failures = []
    for start in range(0, len(refs), AT_ONCE):
        asked = [(ref, ask(ref)) for ref in refs[start : start + AT_ONCE]]
        for ref, connection in asked:
            try:
                connection.response().close()
            except ApiError as error:
                if not (forgive_missing and error.status == 404):
                    failures.append(error.message)
                continue
            session.out(f"{ref}\n")
    for message in failures:
        session.warn(f"Error response from daemon: {message}\n")
    return 1 if failures else 0


def _act(session: "Session", arguments: "Arguments", verb: str, **fields: "str | int | None") -> int:
    return _each(session, arguments.words, lambda ref: containers.begin_act(session.client, ref, verb, **fields))


def stop(session: "Session", arguments: "Arguments") -> int:
    return _act(session, arguments, "stop", signal=arguments.text("signal"), t=arguments.number("timeout"))


def restart(session: "Session", arguments: "Arguments") -> int:
    return _act(session, arguments, "restart", signal=arguments.text("signal"), t=arguments.number("timeout"))


def kill(session: "Session", arguments: "Arguments") -> int:
    return _act(session, arguments, "kill", signal=arguments.text("signal"))


def pause(session: "Session", arguments: "Arguments") -> int:
    return _act(session, arguments, "pause")


def unpause(session: "Session", arguments: "Arguments") -> int:
    return _act(session, arguments, "unpause")


def remove(session: "Session", arguments: "Arguments") -> int:
    force, volumes, link = (arguments.flag(name) for name in ("force", "volumes", "link"))

    def ask(ref: str) -> "Connection":
        return containers.begin_remove(
            session.client, ref.strip("/") if not link else ref, force=force, volumes=volumes, link=link
        )

    return _each(session, arguments.words, ask, forgive_missing=force)


def rename(session: "Session", arguments: "Arguments") -> int:
    old, new = (word.strip() for word in arguments.words)
    if not old or not new:
        from orlop.cli.session import Failure

        raise Failure("Error: Neither old nor new names may be empty")
    try:
        containers.act(session.client, old, "rename", name=new)
    except ApiError as error:
        from orlop.cli.session import Failure

        raise Failure(f"Error response from daemon: {error.message}\nError: failed to rename container named {old}") from None
    return 0


def wait(session: "Session", arguments: "Arguments") -> int:
    failed = False
    for ref in arguments.words:
        try:
            session.out(f"{containers.begin_wait(session.client, ref).response().document()['StatusCode']}\n")
        except ApiError as error:
            session.warn(f"Error response from daemon: {error.message}\n")
            failed = True
    return int(failed)


SEVERAL = "CONTAINER [CONTAINER...]"
SIGNAL = ("signal", "s", "string", "Signal to send to the container")
TIMEOUT = ("timeout", "t", "int", "Seconds to wait before killing the container")

COMMANDS = {
    "stop": Command(
        stop,
        "Stop one or more running containers",
        f"[OPTIONS] {SEVERAL}",
        (1, None),
        (SIGNAL, TIMEOUT),
        examples=("orlop stop web", "orlop stop -t 30 db"),
    ),
    "restart": Command(
        restart,
        "Restart one or more containers",
        f"[OPTIONS] {SEVERAL}",
        (1, None),
        (SIGNAL, TIMEOUT),
        examples=("orlop restart web",),
    ),
    "kill": Command(
        kill,
        "Kill one or more running containers",
        f"[OPTIONS] {SEVERAL}",
        (1, None),
        (SIGNAL,),
        examples=("orlop kill -s HUP web",),
    ),
    "pause": Command(
        pause, "Pause all processes within one or more containers", SEVERAL, (1, None), examples=("orlop pause web",)
    ),
    "unpause": Command(
        unpause, "Unpause all processes within one or more containers", SEVERAL, (1, None), examples=("orlop unpause web",)
    ),
    "rm": Command(
        remove,
        "Remove one or more containers",
        f"[OPTIONS] {SEVERAL}",
        (1, None),
        (
            ("force", "f", "bool", "Force the removal of a running container (uses SIGKILL)"),
            ("link", "l", "bool", "Remove the specified link"),
            ("volumes", "v", "bool", "Remove anonymous volumes associated with the container"),
        ),
        examples=("orlop rm -fv web",),
    ),
    "rename": Command(rename, "Rename a container", "CONTAINER NEW_NAME", (2, 2), examples=("orlop rename web old-web",)),
    "wait": Command(
        wait,
        "Block until one or more containers stop, then print their exit codes",
        SEVERAL,
        (1, None),
        examples=("orlop wait job",),
    ),
}
