"""`orlop cp`: files between a container and this machine, with the rules of cp(1) for what lands where."""

import posix
from binascii import a2b_base64
from stat import S_ISDIR

from orlop.cli.command import Command
from orlop.cli.mounts import absolute
from orlop.cli.session import Failure, is_terminal, write
from orlop.client import containers
from orlop.client.documents import parse
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document

READ_BYTES = 1 << 18
# Bits of Go's os.FileMode, which the API uses.
GO_DIRECTORY, GO_SYMLINK = 1 << 31, 1 << 27


def copy(session: "Session", arguments: "Arguments") -> int:
    source, destination = arguments.words
    for name, word in (("source", source), ("destination", destination)):
        if not word:
            raise Failure(f"{name} can not be empty")
    from_container, source_path = split_operand(source)
    to_container, destination_path = split_operand(destination)
    if from_container and to_container:
        raise Failure("copying between containers is not supported")
    if from_container:
        return _out(session, arguments, from_container, source_path, destination_path)
    if to_container:
        return _in(session, arguments, to_container, source_path, destination_path)
    raise Failure("must specify at least one container source")


def split_operand(text: str) -> tuple[str, str]:
    """(container, path) of CONTAINER:PATH; no container for a local path, which starts with / or . when it has a colon."""
    container, colon, path = text.partition(":")
    if text.startswith("/") or not colon or container.startswith("."):
        return "", text
    return container, path


def split_entry(path: str) -> tuple[str, str]:
    """The directory and the last name of a path; the last name is `.` when that was written."""
    whole = absolute(path)
    if path == "." or path.endswith("/."):
        return whole, "."
    head, _, tail = whole.rpartition("/")
    return head or "/", tail or "/"


def resolve(source_base: str, source_is_directory: bool, destination: str, status: "bool | None") -> "tuple[str, str]":
    """Where to unpack, and the name that takes the source's place there (`source_base` itself when it keeps its own).

    `status` of the destination: None when it does not exist, else whether it is a directory. Raises Failure.
    """
    if status:
        return absolute(destination), source_base
    if status is False and source_is_directory:
        raise Failure("cannot copy directory")
    if status is False and destination.endswith(("/", "/.")):
        raise Failure("not a directory")
    if status is None and not source_is_directory and destination.endswith(("/", "/.")):
        raise Failure("no such directory")
    return split_entry(absolute(destination))


def renamer(old: str, new: str) -> "Callable[[str], str]":
    """Gives an entry that begins with the old name the new one."""

    def rename(name: str) -> str:
        if old == new:
            return name
        if old == "/":
            return f"{new}/{name}"
        return new + name.removeprefix(old) if name == old or name.startswith(f"{old}/") else name

    return rename


def _stat(session: "Session", container: str, path: str) -> "Document | None":
    try:
        encoded = containers.stat_path(session.client, container, path)
    except ApiError as error:
        if error.status == 404 and "no such container" not in error.message.lower():
            return None
        if error.status == 404:
            containers.inspect(session.client, container)  # a HEAD has no body: this says what is missing
            return None
        raise
    status: Document = parse(a2b_base64(encoded).decode())
    return status


def _follow(path: str, target: str) -> str:
    return target if target.startswith("/") else f"{split_entry(path)[0]}/{target}"


def _out(session: "Session", arguments: "Arguments", container: str, path: str, destination: str) -> int:
    wanted = ""
    if arguments.flag("follow-link"):
        status = _stat(session, container, path)
        if status and status["mode"] & GO_SYMLINK:
            wanted, path = split_entry(path)[1], _follow(path, status["linkTarget"])
    if destination != "-" and not _local(split_entry(absolute(destination))[0]):
        raise Failure(f'invalid output path: directory "{split_entry(absolute(destination))[0]}" does not exist')
    response = containers.get_archive(session.client, container, path)
    if destination == "-":
        if is_terminal(1):
            raise Failure("cowardly refusing to save to a terminal: redirect the output")
        for piece in response.pieces():
            write(1, piece)
        return 0
    from orlop.cli.unpack import unpack

    status = parse(a2b_base64(response.headers["x-docker-container-path-stat"]).decode())
    base = split_entry(path)[1]
    directory, name = resolve(wanted or base, bool(status["mode"] & GO_DIRECTORY), destination, _local(destination))
    try:
        copied = unpack(response.pieces(), directory, renamer(base, name))
    except OSError as error:
        raise Failure(f"cannot write {error.filename or destination}: {(error.strerror or '').lower()}") from None
    _report(session, arguments, copied, destination)
    return 0


def _local(path: str) -> "bool | None":
    try:
        return S_ISDIR(posix.stat(path).st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(f"cannot read {path}: {(error.strerror or '').lower()}") from None


def _in(session: "Session", arguments: "Arguments", container: str, path: str, destination: str) -> int:
    status = _stat(session, container, destination)
    target = destination
    if status and status["mode"] & GO_SYMLINK:
        target = _follow(destination, status["linkTarget"])
        status = _stat(session, container, target)
    is_directory = None if status is None else bool(status["mode"] & GO_DIRECTORY)
    if path == "-":
        if not is_directory:
            raise Failure(f'destination "{container}:{destination}" must be a directory')
        containers.put_archive(session.client, container, target, _standard_input(), copy_owner=arguments.flag("archive"))
        return 0
    from orlop.cli.pack import pack

    try:
        follow = arguments.flag("follow-link") or path.endswith("/") or path.endswith("/.")
        source_is_directory = S_ISDIR((posix.stat if follow else posix.lstat)(path).st_mode)
        real = _real(path) if follow else path
    except OSError as error:
        raise Failure(f"lstat {absolute(path)}: {(error.strerror or '').lower()}") from None
    if path.endswith("/") and not source_is_directory:
        raise Failure("not a directory")
    base = split_entry(path)[1]
    directory, name = resolve(base, source_is_directory, target if target.startswith("/") else f"/{target}", is_directory)
    total = 0

    def counted() -> "Iterator[bytes]":
        nonlocal total
        for piece in pack(real, name):
            total += len(piece)
            yield piece

    try:
        containers.put_archive(session.client, container, directory, counted(), copy_owner=arguments.flag("archive"))
    except PermissionError as error:
        raise Failure(f"open {error.filename}: permission denied") from None
    _report(session, arguments, total, f"{container}:{destination}")
    return 0


def _real(path: str) -> str:
    """The path with its last link followed."""
    path = absolute(path)
    for _ in range(40):
        try:
            path = absolute(_follow(path, posix.readlink(path)))
        except OSError:
            return path
    raise OSError(40, "too many levels of symbolic links", path)


def _standard_input() -> "Iterator[bytes]":
    while piece := posix.read(0, READ_BYTES):
        yield piece


def _report(session: "Session", arguments: "Arguments", count: int, where: str) -> None:
    if is_terminal(1) and not arguments.flag("quiet"):
        from orlop.cli.render import size

        session.warn(f"Successfully copied {size(count, 3)} to {where}\n")


COMMANDS = {
    "cp": Command(
        copy,
        "Copy files/folders between a container and the local filesystem",
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
        (2, 2),
        (
            ("archive", "a", "bool", "Archive mode (copy all uid/gid information)"),
            ("follow-link", "L", "bool", "Always follow symbol link in SRC_PATH"),
            (
                "quiet",
                "q",
                "bool",
                "Suppress the summary. It is not shown anyway when no terminal is attached",
            ),
        ),
        details=(
            "Use '-' as the source to read a tar archive from stdin\n"
            "and extract it to a directory destination in a container.\n"
            "Use '-' as the destination to stream a tar archive of a\ncontainer source to stdout."
        ),
        examples=("orlop cp web:/etc/nginx/nginx.conf .", "orlop cp ./site/. web:/var/www", "orlop cp web:/var/log - | tar -t"),
    ),
}
