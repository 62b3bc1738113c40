"""`orlop run` and `orlop create`."""

import posix

from orlop.cli.command import Command, UsageError
from orlop.cli.container import OPTIONS, container_body
from orlop.cli.session import Failure
from orlop.client import containers
from orlop.client.http import ApiError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

RUN_OPTIONS = (
    ("detach", "d", "bool", "Run container in background and print container ID"),
    ("detach-keys", "", "string", "Override the key sequence for detaching a container"),
    ("sig-proxy", "", "bool=true", "Proxy received signals to the process"),
)
NOT_FOUND = ("executable file not found", "no such file or directory")
NOT_ALLOWED = ("permission denied", "is a directory")


def run(session: "Session", arguments: "Arguments") -> int:
    """Create, attach, start, wait; the exit code is the container's, or 125, 126, 127 when it never ran."""
    body = _body(arguments, "run")
    detached = arguments.flag("detach")
    if detached and arguments.many("attach"):
        raise Failure("conflicting options: cannot specify both --attach and --detach")
    if detached:
        body.update({"AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "StdinOnce": False})
    elif body.get("Tty") and body["AttachStdin"] and not posix.isatty(0):
        raise Failure("the input device is not a TTY")
    if arguments.text("detach-keys"):
        _check_keys(arguments.text("detach-keys"))
    try:
        ref = _create(session, arguments, body)
        attached = body["AttachStdin"] or body["AttachStdout"] or body["AttachStderr"]
        if attached:
            return _run_attached(session, arguments, body, ref)
        containers.start(session.client, ref)
    except ApiError as error:
        raise _failure(f"Error response from daemon: {error.message}", "run") from None
    session.out(f"{ref}\n")
    return 0


def create(session: "Session", arguments: "Arguments") -> int:
    """Create only; its id is printed."""
    body = _body(arguments, "create")
    try:
        ref = _create(session, arguments, body)
    except ApiError as error:
        raise Failure(f"Error response from daemon: {error.message}") from None
    session.out(f"{ref}\n")
    return 0


def _body(arguments: "Arguments", verb: str) -> "Document":
    if not arguments.words and "rootfs" not in arguments.given:
        raise UsageError(f"orlop: 'orlop {verb}' requires at least 1 argument", code=1)
    pull = arguments.text("pull")
    if pull not in ("always", "missing", "never"):
        raise _failure(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"', verb)
    try:
        body = container_body(arguments)
    except ValueError as error:
        raise _failure(str(error), verb) from None
    if body.get("Tty") and posix.isatty(1):
        size = posix.get_terminal_size(1)
        body["HostConfig"]["ConsoleSize"] = [size.lines, size.columns]
    return body


def _failure(message: str, verb: str) -> Failure:
    """A failure before the container's own process ran: 127 not found, 126 not executable, 125 anything else."""
    code = 127 if any(part in message for part in NOT_FOUND) else 126 if any(part in message for part in NOT_ALLOWED) else 125
    return Failure(f"orlop: {message}\n\nRun 'orlop {verb} --help' for more information", code)


def _check_keys(text: str) -> None:
    from orlop.cli.terminal import parse_keys

    try:
        parse_keys(text)
    except ValueError as error:
        raise Failure(f"invalid detach keys ({text}): {error}") from None


def _create(session: "Session", arguments: "Arguments", body: "Document") -> str:
    """Create the container, pulling the image when that is asked for or it is missing; its id."""
    name, platform, image = arguments.text("name"), arguments.text("platform"), str(body["Image"])
    id_file = arguments.text("cidfile")
    if id_file and _exists(id_file):
        why = f"container ID file found, make sure the other container isn't running or delete {id_file}"
        raise Failure(f"orlop: {why}\n\nRun 'orlop run --help' for more information", 125)
    if arguments.text("pull") == "always" and image:
        _pull(session, arguments, image)
    try:
        created = containers.create(session.client, body, name=name, platform=platform)
    except ApiError as error:
        if error.status != 404 or arguments.text("pull") == "never" or "no such image" not in error.message.lower():
            raise
        if not arguments.flag("quiet"):
            session.warn(f"Unable to find image '{_familiar(image)}' locally\n")
        _pull(session, arguments, image)
        created = containers.create(session.client, body, name=name, platform=platform)
    for warning in created.get("Warnings") or ():
        session.warn(f"WARNING: {warning}\n")
    if id_file:
        with open(id_file, "w", encoding="ascii") as file:
            file.write(created["Id"])
    return str(created["Id"])


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _familiar(image: str) -> str:
    from orlop.cli.names import image_reference

    return image_reference(image).with_default_tag().familiar


def _pull(session: "Session", arguments: "Arguments", image: str) -> None:
    from orlop.cli.transfer import pull_image

    pull_image(session, image, platform=arguments.text("platform"), quiet=arguments.flag("quiet"), descriptor=2)


def _run_attached(session: "Session", arguments: "Arguments", body: "Document", ref: str) -> int:
    from orlop.cli.attached import pass_signals, pump

    tty, stdin, remove = bool(body.get("Tty")), bool(body["AttachStdin"]), arguments.flag("rm")
    keys = arguments.text("detach-keys")
    fields = {
        "stream": True,
        "stdin": stdin,
        "stdout": body["AttachStdout"],
        "stderr": body["AttachStderr"],
        "detachKeys": keys,
    }
    attaching = containers.begin_attach(session.client, ref, fields)
    waiting = containers.begin_wait(session.client, ref, "removed" if remove else "next-exit")
    streams = containers.hijacked(attaching)
    exit = waiting.response()
    if arguments.flag("sig-proxy"):
        pass_signals(session, ref, tty=tty)
    try:
        containers.start(session.client, ref)
    except ApiError:
        if remove:
            exit.read()  # until it is gone
        raise
    if tty and posix.isatty(1):
        from orlop.cli.terminal import watch_size

        watch_size(lambda rows, columns: resize(session, ref, rows, columns))
    if pump(streams, stdin=stdin, tty=tty, detach_keys=keys):
        return 0
    return exit_code(exit.document())


def resize(session: "Session", ref: str, rows: int, columns: int) -> None:
    """Tell the terminal's size; a container that has just ended does not mind."""
    try:
        containers.act(session.new_client(), ref, "resize", h=rows, w=columns)
    except (ApiError, Unreachable):
        return


def exit_code(answer: "Document") -> int:
    """The exit code in the answer of a wait. Raises Failure when the container could not be waited for."""
    problem = answer.get("Error")
    if problem and problem.get("Message"):
        raise Failure(f"Error waiting for container: {problem['Message']}", 125)
    return int(answer["StatusCode"])


COMMANDS = {
    "run": Command(
        run,
        "Create and run a new container from an image",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        (0, None),
        tuple(sorted((*OPTIONS, *RUN_OPTIONS))),
        free=False,
        details="With --rootfs DIR there is no IMAGE: every operand belongs to the command.",
        examples=(
            "orlop run --rm -it debian:bookworm bash",
            "orlop run -d --name web -p 8080:80 -v site:/var/www nginx",
            "orlop run --rm --memory 64m --cpus 0.5 --network none busybox true",
            "orlop run --rm --rootfs /srv/tree /bin/sh -c 'echo hello'",
        ),
    ),
    "create": Command(
        create,
        "Create a new container",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        (0, None),
        OPTIONS,
        free=False,
        examples=("orlop create --name job busybox sleep 60", "orlop start -a job"),
    ),
}
