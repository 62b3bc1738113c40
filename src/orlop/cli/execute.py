"""`orlop exec`."""

import posix

from orlop.cli.command import Command
from orlop.cli.session import Failure
from orlop.client import containers, execs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document


def execute(session: "Session", arguments: "Arguments") -> int:
    """Run a command in a running container; the exit code is the command's."""
    ref, *command = arguments.words
    tty, detached, keys = arguments.flag("tty"), arguments.flag("detach"), arguments.text("detach-keys")
    stdin = arguments.flag("interactive") and not detached
    if tty and stdin and not posix.isatty(0):
        containers.inspect(session.client, ref)  # so that "no such container" is what is said first
        raise Failure("the input device is not a TTY")
    body: Document = {
        "Cmd": command,
        "Tty": tty,
        "AttachStdin": stdin,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Privileged": arguments.flag("privileged"),
        "User": arguments.text("user"),
        "WorkingDir": arguments.text("workdir"),
        "DetachKeys": keys,
    }
    if arguments.many("env") or arguments.many("env-file"):
        body["Env"] = _environment(arguments)
    start: dict[str, Any] = {"Detach": detached, "Tty": tty}
    if tty and posix.isatty(1):
        size = posix.get_terminal_size(1)
        start["ConsoleSize"] = body["ConsoleSize"] = [size.lines, size.columns]
    exec_id = execs.create(session.client, ref, body)
    if detached:
        execs.start_detached(session.client, exec_id, start)
        return 0
    return _attached(session, exec_id, start, stdin=stdin, keys=keys)


def _attached(session: "Session", exec_id: str, start: "Document", *, stdin: bool, keys: str) -> int:
    from orlop.cli.attached import pump

    streams = containers.hijacked(execs.begin_start(session.client, exec_id, start))
    if start["Tty"] and posix.isatty(0) and posix.isatty(1):
        from orlop.cli.terminal import watch_size

        watch_size(lambda rows, columns: _resize(session, exec_id, rows, columns))
    try:
        if pump(streams, stdin=stdin, tty=start["Tty"], detach_keys=keys):
            return 0
    except ValueError as error:
        raise Failure(f"invalid detach keys ({keys}): {error}") from None
    return int(execs.inspect(session.client, exec_id)["ExitCode"] or 0)


def _resize(session: "Session", exec_id: str, rows: int, columns: int) -> None:
    from orlop.client.http import ApiError, Unreachable

    try:
        execs.resize(session.new_client(), exec_id, rows, columns)
    except (ApiError, Unreachable):
        return  # it has just ended


def _environment(arguments: "Arguments") -> list[str]:
    from orlop.cli.details import inherited, read_pairs

    try:
        pairs = [pair for path in arguments.many("env-file") for pair in read_pairs(path, "env-file", inherit=True)]
    except ValueError as error:
        raise Failure(str(error)) from None
    return pairs + [inherited(text) for text in arguments.many("env")]


COMMANDS = {
    "exec": Command(
        execute,
        "Execute a command in a running container",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        (2, None),
        (
            ("detach", "d", "bool", "Detached mode: run command in the background"),
            ("detach-keys", "", "string", "Override the key sequence for detaching a container"),
            ("env", "e", "list", "Set environment variables"),
            ("env-file", "", "list", "Read in a file of environment variables"),
            ("interactive", "i", "bool", "Keep STDIN open even if not attached"),
            ("privileged", "", "bool", "Give extended privileges to the command"),
            ("tty", "t", "bool", "Allocate a pseudo-TTY"),
            ("user", "u", "string", 'Username or UID (format: "<name|uid>[:<group|gid>]")'),
            ("workdir", "w", "string", "Working directory inside the container"),
        ),
        free=False,
        examples=("orlop exec -it web sh", "orlop exec -u www-data -w /var/www web ls -l"),
    ),
}
