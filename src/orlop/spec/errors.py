"""Every error that may leave a module. They know their meaning, never an HTTP status: `api/errors.py` holds that table."""

from __future__ import annotations

import os
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def in_words(error: BaseException) -> str:
    """An error as a user is shown it; the system's errors as Go words them: "/a/b: no space left on device"."""
    if not isinstance(error, OSError) or not error.errno:
        return str(error) or type(error).__name__
    reason = os.strerror(error.errno)
    text = (error.strerror or reason).replace(reason, reason.lower())
    name = error.filename
    shown = os.fsdecode(name).encode(errors="replace").decode() if isinstance(name, (str, bytes)) else ""
    return f"{shown}: {text}" if shown else text


class OrlopError(Exception):
    """Base of all errors that are shown to a user. The message is one line: what failed, on which object, why."""


class InvalidArgument(OrlopError):
    """What was asked for is malformed or contradicts itself."""


class NotSupported(InvalidArgument):
    """A well-formed request for something that this engine (or this wall) cannot do; names the option."""


class Unauthorized(OrlopError):
    """Credentials are missing or were refused."""


class Forbidden(OrlopError):
    """The object may not be treated so (Docker's 403), for example removing a predefined network."""


# Docker's wording, for clients match on it: "No such container: web", but of these:
_NOT_FOUND = {
    "network": "network {reference} not found",
    "plugin": 'plugin "{reference}" not found',
    "volume driver": 'error looking up volume plugin {reference}: plugin "{reference}" not found',
}


class NotFound(OrlopError):
    """Nothing has that name."""

    def __init__(self, noun: str, reference: str) -> None:
        super().__init__(_NOT_FOUND.get(noun, "No such {noun}: {reference}").format(noun=noun, reference=reference))


class NotFoundThere(NotFound):
    """A registry has no such repository, tag or blob, or does not show it to us. Worded by whoever asked it."""

    def __init__(self, message: str) -> None:
        OrlopError.__init__(self, message)


class NoSuchPath(NotFound):
    """A path is not there in a container."""

    def __init__(self, path: str, container: str) -> None:
        OrlopError.__init__(self, f"Could not find the file {path} in container {container}")  # Docker's wording


class Conflict(OrlopError):
    """The object's present state, or another object, stands in the way."""


class NotModified(OrlopError):
    """The object already is in the state asked for (start of a running container)."""


class Unavailable(OrlopError):
    """A part that is needed (keeper, registry, worker) does not answer now."""


class RegistryFailed(OrlopError):
    """A registry did not answer, or refused or failed what was asked of it."""


class StartFailed(OrlopError):
    """A process could not be started in a container.

    `exit_code` is what the container or exec is recorded with, as Docker has it:
    127 command not found, 126 not executable, 128 anything else.
    """

    def __init__(self, message: str, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Corrupt(OrlopError):
    """Content is not what its digest or its format says."""


@contextmanager
def explained(prefix: str) -> Iterator[None]:
    """Put what was tried before the message of what failed inside: "cannot X: why"."""
    try:
        yield
    except OrlopError as error:
        error.args = (f"{prefix}: {error}",)
        raise
