"""Progress messages of pull, push, load, import and bootstrap: bars that stay in place on a terminal, plain lines elsewhere."""

import posix

from orlop.cli.render import size
from orlop.cli.session import Failure, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orlop.client.documents import Document

BAR_WIDTH = 50
USUAL_COLUMNS = 80
BAR_FROM_COLUMNS = 110  # narrower terminals get the numbers alone


def display(messages: "Iterable[Document]", descriptor: int = 1, aux: "Callable[[Document], None] | None" = None) -> None:
    """Show messages until their end. Raises Failure for an error among them."""
    columns = _columns(descriptor)
    rows: dict[str, int] = {}
    for message in messages:
        problem = message.get("errorDetail") or ({"message": message["error"]} if message.get("error") else None)
        if problem:
            raise Failure(str(problem.get("message", "")))
        if message.get("aux") is not None:
            if aux:
                aux(message["aux"])
            continue
        detail = message.get("progressDetail") or {}
        if not columns:
            if not (detail.get("current") or detail.get("total")):
                write(descriptor, line(message))
            continue
        write(descriptor, _in_place(message, rows, columns))


def _columns(descriptor: int) -> int:
    """The terminal's width (a usual one, when it does not say); 0 for what is no terminal."""
    return (posix.get_terminal_size(descriptor).columns or USUAL_COLUMNS) if posix.isatty(descriptor) else 0


def line(message: "Document") -> str:
    """A message as a line of its own (or as the piece of text that it is)."""
    if message.get("stream"):
        return str(message["stream"])
    label = f"{message['id']}: " if message.get("id") else ""
    return f"{label}{message.get('status', '')}\n"


def _in_place(message: "Document", rows: dict[str, int], columns: int) -> str:
    """Escape codes that rewrite the row of the message's id; a message without one starts afresh below."""
    name = message.get("id")
    if not name or "progressDetail" not in message:
        rows.clear()
        return line(message)
    text = f"{name}: {message.get('status', '')} {bar(message.get('progressDetail') or {}, columns)}"[: columns - 1]
    if name not in rows:
        rows[name] = len(rows)
        return f"{text}\n"
    up = len(rows) - rows[name]
    return f"\x1b[{up}A\x1b[2K\r{text}\x1b[{up}B\r"


def bar(detail: "Document", columns: int) -> str:
    """[====>    ]  12MB/48MB"""
    current, total = detail.get("current") or 0, detail.get("total") or 0
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{size(current):>8}"
    done = min(int(current / total * 100) // 2, BAR_WIDTH)
    box = f"[{'=' * done}>{' ' * (BAR_WIDTH - done)}] " if columns > BAR_FROM_COLUMNS else ""
    units = detail.get("units")
    if units:
        return f"{box}{current}/{total} {units}"
    return box + (f"{size(current):>8}" if current > total else f"{size(current):>8}/{size(total)}")


class Transfer:
    """Bytes sent or written so far, on a terminal's line; nothing elsewhere."""

    def __init__(self, label: str, total: int = 0, descriptor: int = 2) -> None:
        self._columns = _columns(descriptor)
        self._label, self._total, self._descriptor = label, total, descriptor
        self._done = self._shown = 0

    def watch(self, pieces: "Iterable[bytes]") -> "Iterable[bytes]":
        """The same pieces, counted; the line is redrawn for every hundredth, or every 4 MiB where the total is not known."""
        if not self._columns:
            yield from pieces
            return
        step = max(self._total // 100, 1 << 20) if self._total else 1 << 22
        for piece in pieces:
            yield piece
            self._done += len(piece)
            if self._done - self._shown >= step:
                self._shown = self._done
                self._draw()
        write(self._descriptor, "\r\x1b[2K")

    def _draw(self) -> None:
        detail = {"current": self._done, "total": self._total}
        write(self._descriptor, f"\r\x1b[2K{self._label} {bar(detail, self._columns)}"[: self._columns + 4])
