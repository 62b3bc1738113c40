"""What a client is told when something fails: error class -> HTTP status, and the body {"message": ...}."""

from orlop.spec import errors
from orlop.state import documents
from orlop.wire.head import Malformed
from orlop.wire.route import Response

STATUS: dict[type[BaseException], int] = {
    errors.InvalidArgument: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotFoundThere: 404,
    errors.Conflict: 409,
    errors.Unavailable: 503,
    errors.NotModified: 304,
    errors.Corrupt: 400,
    errors.OrlopError: 500,  # RegistryFailed too
    OSError: 500,
}


def status_of(error: BaseException) -> int:
    """The status of the nearest ancestor in the table. A command that does not exist is the asker's fault (400)."""
    if isinstance(error, Malformed):
        return error.status
    if isinstance(error, errors.StartFailed):
        return 400 if error.exit_code in (126, 127) else 500
    return next((STATUS[ancestor] for ancestor in type(error).__mro__ if ancestor in STATUS), 500)


def message_response(status: int, message: str) -> Response:
    """An error as Docker's clients expect it."""
    return Response(status, documents.dumps({"message": message}) + b"\n")


def failure(error: BaseException) -> Response:
    """The reply to a request that raised."""
    status = status_of(error)
    return Response(status) if status == 304 else message_response(status, errors.in_words(error))
