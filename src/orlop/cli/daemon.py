"""Starting the daemon when nobody listens at the default socket, and saying clearly why it cannot be reached."""

import posix
from time import monotonic, sleep

from orlop.cli.files import ensure_directory
from orlop.cli.session import DEFAULT_SOCKET, program
from orlop.client.http import Unreachable, dial_unix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.session import Session
    from orlop.client.http import Stream

START_SECONDS, GRACE_SECONDS = 20.0, 1.0
POLL_SECONDS = 0.01
LOG = "/run/orlop/orlopd.log"


def revive(session: "Session", path: str, error: OSError) -> "Stream":
    """A connection to a daemon that was just started. Raises Unreachable where none may be, or can be, started."""
    if isinstance(error, PermissionError):
        where = f"the Orlop daemon socket at unix://{path}"
        raise Unreachable(f"permission denied while trying to connect to {where}: connect: permission denied", error)
    absent = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
    daemon = _daemon_program()
    if not absent or path != DEFAULT_SOCKET or posix.geteuid() != 0 or not daemon:
        raise Unreachable(f"Cannot connect to the Orlop daemon at unix://{path}. Is the orlopd daemon running?", error)
    session.warn("Starting the Orlop daemon ...\n")
    child: int | None = _spawn(daemon)
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline:
        try:
            return dial_unix(path)
        except OSError:
            sleep(POLL_SECONDS)
        if child and posix.waitpid(child, posix.WNOHANG)[0]:
            child, deadline = None, monotonic() + GRACE_SECONDS  # another one may just be starting, started by another command
    if child is None:
        raise Unreachable(f"Cannot start the Orlop daemon: {_last_line()}", error)
    raise Unreachable(f"The Orlop daemon does not answer at unix://{path} after {START_SECONDS:.0f} s; see {LOG}", error)


def _daemon_program() -> str:
    """orlopd beside this very program, else on PATH."""
    from orlop.cli.credentials import find_program

    beside = f"{program().rpartition('/')[0]}/orlopd"
    return beside if posix.access(beside, posix.X_OK) else find_program("orlopd")


def _spawn(daemon: str) -> int:
    ensure_directory("/run/orlop", 0o711)
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND
    actions = [
        (posix.POSIX_SPAWN_OPEN, 0, "/dev/null", posix.O_RDONLY, 0),
        (posix.POSIX_SPAWN_OPEN, 1, LOG, flags, 0o640),
        (posix.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return posix.posix_spawn(daemon, [daemon], posix.environ, file_actions=actions, setsid=True)


def _last_line() -> str:
    try:
        with open(LOG, encoding="utf-8", errors="replace") as log:
            lines = log.read().strip().split("\n")
    except OSError:
        return "it ended at once"
    return lines[-1]
