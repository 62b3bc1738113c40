"""What the steps of a container's first process share: their state, and how one fails. Import-light: the keeper imports it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND_NOT_FOUND, COMMAND_NOT_EXECUTABLE, CANNOT_START = 127, 126, 128  # exit codes, as Docker has them


class StepFailed(Exception):
    """A step could not be done; the message is for the user, without the outermost words."""

    def __init__(self, message: str, exit_code: int = CANNOT_START) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class State:
    """What one step leaves for the next."""

    __slots__ = (
        "description",
        "env",
        "gate_fd",
        "gid",
        "groups",
        "home",
        "program",
        "report_fd",
        "root_fd",
        "target_pidfd",
        "uid",
    )

    def __init__(self, plan: dict[str, Any], report_fd: int, target_pidfd: int) -> None:
        self.report_fd, self.target_pidfd = report_fd, target_pidfd
        self.root_fd = -1  # the container's root, O_PATH
        self.gate_fd = -1  # a FIFO: what is written to it lets us go on
        self.description = b""  # the container's state in JSON, for hooks
        self.env: dict[str, str] = plan["env"]
        self.uid = self.gid = 0
        self.groups: list[int] = []
        self.home = "/"
        self.program = ""


def explain(error: OSError) -> str:
    """An error of the kernel in the words that clients know: lower case, without Python's "[Errno 2]"."""
    words = (error.strerror or str(error)).lower()
    return f"{words}: {error.filename}" if error.filename is not None else words
