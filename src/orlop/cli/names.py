"""Names of images as users type them, checked before the daemon is asked."""

from orlop.cli.session import Failure
from orlop.spec.errors import InvalidArgument
from orlop.spec.reference import Reference, parse_reference


def image_reference(text: str) -> Reference:
    """The reference that a text is. Raises Failure with Docker's wording."""
    try:
        return parse_reference(text)
    except InvalidArgument as error:
        raise Failure(str(error)) from None
