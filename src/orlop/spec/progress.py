"""The messages of long operations (pull, push, load, import, bootstrap, build): ProgressEvent."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressEvent:
    """One message: a status line (of a part such as a layer, where `id` is set), a piece of text, an error, or a result.

    `current` and `total` count bytes; `total` 0 shows no bar. `aux` is for programs: keys `id`, or `tag`, `digest` and `size`.
    An `error` is the last message: an operation that has sent its first message fails in this way, never by raising.
    """

    status: str = ""
    id: str = ""
    current: int = 0
    total: int = 0
    stream: str = ""
    error: str = ""
    error_code: int = 0
    aux: Mapping[str, str | int] | None = None
