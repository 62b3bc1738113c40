"""How results look: tables, sizes, ages, and rows of any noun by --format. No engine unless a template is asked for."""

from time import localtime, strftime, time

from orlop.cli.session import columns
from orlop.client.documents import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from orlop.cli.session import Session
    from orlop.client.documents import Document

    Field = tuple[str, Callable[[Document, bool], Any]]

MINIMUM_WIDTH, PADDING = 10, 3  # of a column, as Docker's tables have them
NARROW_PADDING = 2  # where a table must be made to fit
SHORTEST = 8  # no column is cut below this to make a table fit
SHORT_ID = 12
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
FORMAT_HELP = (
    "Format output using a custom template:\n"
    "'table':          Print output in table format with column headers (default)\n"
    "'table TEMPLATE': Print output in table format using the given Go template\n"
    "'json':           Print in JSON format\n"
    "'TEMPLATE':       Print output using the given Go template"
)
FORMAT = ("format", "", "string", FORMAT_HELP)
NO_TRUNC = ("no-trunc", "", "bool", "Don't truncate output")


class View:
    """How a noun is listed. Each field has a header and a function of (document, whether nothing is cut)."""

    def __init__(self, fields: "Mapping[str, Field]", shown: tuple[str, ...]) -> None:
        self.fields = fields
        self.shown = shown


class Row:
    """One document seen through a view: what `{{.Field}}` reads."""

    def __init__(self, view: View, document: "Document", full: bool) -> None:
        self.view = view
        self.document = document
        self.full = full

    def __contains__(self, name: str) -> bool:
        return name in self.view.fields

    def __getitem__(self, name: str) -> "Any":
        return self.view.fields[name][1](self.document, self.full)

    def plain(self) -> "dict[str, Any]":
        """All fields but those that want an argument, for JSON."""
        values = {name: self[name] for name in sorted(self.view.fields)}
        return {name: value for name, value in values.items() if not callable(value)}


class Header(Row):
    """The row of headers: every field is its own header."""

    def __init__(self, view: View) -> None:
        super().__init__(view, {}, True)

    def __getitem__(self, name: str) -> "Any":
        return self.view.fields[name][0] or _label_header


def _label_header(name: str) -> str:
    return name.split(".")[-1].replace("-", " ").replace("_", " ")


def show(
    session: "Session", view: View, documents: "Iterable[Document]", *, format: str = "", quiet: str = "", full: bool = False
) -> None:
    """Print documents as --format and --quiet want them. `quiet` names the one field of -q, or is empty."""
    rows = [Row(view, document, full) for document in documents]
    if quiet:
        session.out("".join(f"{row[quiet]}\n" for row in rows))
    elif format in ("", "table"):
        cells = [[view.fields[name][0] for name in view.shown]]
        cells += [[str(row[name]) for name in view.shown] for row in rows]
        session.out(table(cells, fit=0 if full else columns(), bold=columns() > 0))
    elif format == "json":
        session.out("".join(f"{dumps(row.plain())}\n" for row in rows))
    else:
        from orlop.cli.templates import render_rows

        session.out(render_rows(format, Header(view), rows))


def table(cells: list[list[str]], *, fit: int = 0, bold: bool = False) -> str:
    """Lines of columns as wide as needed; cut to `fit` characters when that is not 0. The first line is the header."""
    longest = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    widths = [max(MINIMUM_WIDTH, length + PADDING) for length in longest]
    if fit and sum(widths[:-1]) + longest[-1] > fit:
        kept = _shrink(longest, [len(head) for head in cells[0]], fit)
        cells = [[ellipsis(cell, width) for cell, width in zip(line, kept, strict=True)] for line in cells]
        widths = [width + NARROW_PADDING for width in kept]
    lines = ["".join(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)) + line[-1] for line in cells]
    if bold:
        lines[0] = f"{BOLD}{lines[0]}{PLAIN}"
    return "\n".join(lines) + "\n"


def _shrink(longest: list[int], heads: list[int], fit: int) -> list[int]:
    """Widths that fit: the widest columns give way, but never the first, which names the row."""
    widths = longest.copy()
    while sum(widths) + NARROW_PADDING * (len(widths) - 1) > fit:
        candidates = [at for at in range(1, len(widths)) if widths[at] > max(heads[at], SHORTEST)]
        if not candidates:
            break
        widths[max(candidates, key=widths.__getitem__)] -= 1
    return widths


def tabulate(text: str) -> str:
    """Line up tab-separated columns as Go's tabwriter does (10, 1, 3): a column is as wide as its run of adjoining lines."""
    lines = [line.split("\t") for line in text.split("\n")]
    widths: list[list[int]] = [[0] * (len(line) - 1) for line in lines]
    for at, line in enumerate(lines):
        for column in range(len(line) - 1):
            if widths[at][column]:
                continue
            block = at
            while block < len(lines) and column < len(lines[block]) - 1:
                block += 1
            width = max(MINIMUM_WIDTH, *(len(other[column]) + PADDING for other in lines[at:block]))
            for row in widths[at:block]:
                row[column] = width
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, [*row, 0], strict=True))
        for line, row in zip(lines, widths, strict=True)
    )


def ellipsis(text: str, width: int) -> str:
    """At most `width` characters, the last of them … when some were cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def short_id(text: str) -> str:
    """The twelve digits by which people know a thing."""
    return text.rpartition(":")[2][:SHORT_ID] if text.startswith("sha256:") else text[:SHORT_ID]


def identity(document: "Document", full: bool) -> str:
    """The field ID of every noun that has an Id."""
    return str(document["Id"]) if full else short_id(document["Id"])


def age(seconds: float) -> str:
    """How long something lasted, roughly: 3 minutes, About an hour."""
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return "1 second" if int(seconds) == 1 else f"{int(seconds)} seconds"
    minutes, hours = int(seconds / 60), int(seconds / 3600 + 0.5)
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, unit, length in ((24 * 14, "days", 24), (24 * 60, "weeks", 24 * 7), (24 * 730, "months", 24 * 30)):
        if hours < limit:
            return f"{hours // length} {unit}"
    return f"{int(seconds / 3600 / 24 / 365)} years"


def ago(created: float) -> str:
    return f"{age(time() - created)} ago"


def timestamp(seconds: int) -> str:
    """2026-01-31 12:00:00 +0100 CET, in local time."""
    return strftime("%Y-%m-%d %H:%M:%S %z %Z", localtime(seconds))


def size(count: float, digits: int = 4) -> str:
    """Bytes by thousands: 2.13MB."""
    return _scaled(count, 1000, ("B", "kB", "MB", "GB", "TB", "PB"), digits)


def binary_size(count: float) -> str:
    """Bytes by 1024: 2.031MiB."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), 4)


def _scaled(count: float, base: int, units: tuple[str, ...], digits: int) -> str:
    at = 0
    while count >= base and at < len(units) - 1:
        count /= base
        at += 1
    return f"{count:.{digits}g}{units[at]}"


def pairs(labels: "dict[str, str] | None") -> str:
    """Labels as a=b,c=d."""
    return ",".join(sorted(f"{name}={value}" for name, value in (labels or {}).items()))


def natural(text: str) -> "list[tuple[int, int, str]]":
    """A key that sorts a9 before a10."""
    key, at = [], 0
    while at < len(text):
        end = at + 1
        while end < len(text) and text[end].isdecimal() == text[at].isdecimal():
            end += 1
        run = text[at:end]
        key.append((0, int(run), run) if run.isdecimal() else (1, 0, run))
        at = end
    return key


def filters(texts: list[str]) -> dict[str, list[str]]:
    """`--filter name=value` (the parser has seen to the sign) as the API takes them."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, _, value = text.partition("=")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found
