"""`orlop stats`: what containers use, once or as a live table."""

from orlop.cli.command import Command
from orlop.cli.render import FORMAT, View, binary_size, show, size
from orlop.cli.session import Failure, is_terminal
from orlop.client import containers, system
from orlop.client.http import ApiError, Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document
    from orlop.client.http import Response

REFRESH_MILLISECONDS = 500
HOME_AND_CLEAR = "\x1b[H\x1b[2J"
NONE = "--"
RELEVANT = ("create", "start", "die", "destroy", "rename")


def stats(session: "Session", arguments: "Arguments") -> int:
    refs = arguments.words
    if not arguments.flag("no-stream"):
        return _live(session, arguments)
    if not refs:
        refs = [str(document["Id"]) for document in containers.list_containers(session.client, all=arguments.flag("all"))]
    asked = [(ref, _ask(session, ref)) for ref in refs]
    rows, failures = [], []
    for ref, response in asked:
        if isinstance(response, str):
            failures.append(f"Error response from daemon: {response}")
        else:
            rows.append({"Container": ref, **next(response.documents(), {})})
    if not failures or rows:
        _print(session, arguments, rows)
    if failures:
        raise Failure("\n".join(failures))
    return 0


def _ask(session: "Session", ref: str, *, stream: bool = False) -> "Response | str":
    try:
        return containers.stats(session.client, ref, stream=stream)
    except ApiError as error:
        return error.message


def _print(session: "Session", arguments: "Arguments", rows: "list[Document]") -> None:
    show(session, VIEW, rows, format=arguments.text("format"), full=arguments.flag("no-trunc"))


class _Feed:
    """One container's stream of readings, and the last of them."""

    def __init__(self, ref: str, response: "Response") -> None:
        self.row: Document = {"Container": ref, "id": ref}
        self.response = response
        self._rest = b""
        self.descriptor = response.connection.stream.fileno()

    def read(self, decode: "Callable[[str], Document]") -> bool:
        """Take what has come; False at the end of the stream."""
        try:
            piece = next(self._pieces)
        except (StopIteration, Unreachable):
            return False
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                self.row = {"Container": self.row["Container"], **decode(line.decode())}
        return True

    @property
    def _pieces(self) -> "Iterator[bytes]":
        if not hasattr(self, "_iterator"):
            self._iterator = self.response.pieces()
        return self._iterator


def _live(session: "Session", arguments: "Arguments") -> int:
    """Redraw twice a second. Without names, containers come and go as events tell."""
    from select import POLLIN, poll

    from orlop.client.documents import parse

    follow = not arguments.words
    poller, feeds = poll(), dict[int, _Feed]()

    def add(ref: str) -> str:
        response = _ask(session, ref, stream=True)
        if isinstance(response, str):
            return response
        feed = _Feed(ref, response)
        feeds[feed.descriptor] = feed
        poller.register(feed.descriptor, POLLIN)
        return ""

    events = _events(session) if follow else None
    refs = arguments.words or [
        str(document["Id"]) for document in containers.list_containers(session.client, all=arguments.flag("all"))
    ]
    for ref in refs:
        problem = add(ref)
        if problem and not follow:
            raise Failure(f"Error response from daemon: {problem}")
    if events:
        poller.register(events.connection.stream.fileno(), POLLIN)
        lines = events.documents()
    while feeds or events:
        for descriptor, _ in poller.poll(REFRESH_MILLISECONDS):
            if descriptor in feeds:
                if not feeds[descriptor].read(parse):
                    poller.unregister(descriptor)
                    feeds.pop(descriptor).response.close()
            elif events:
                event = next(lines)
                known = [feed for feed in feeds.values() if feed.row["Container"] == event["Actor"]["ID"]]
                if event["Action"] == "start" and not known:
                    add(event["Actor"]["ID"])
        _draw(session, arguments, [feed.row for feed in feeds.values()])
    return 0


def _events(session: "Session") -> "Response":
    filters = {"type": ["container"], "event": list(RELEVANT)}
    return system.events(session.client, since="", until="", filters=filters)


def _draw(session: "Session", arguments: "Arguments", rows: "list[Document]") -> None:
    if is_terminal(1) and arguments.text("format") in ("", "table"):
        session.out(HOME_AND_CLEAR)
    _print(session, arguments, rows)


def processor_share(reading: "Document") -> float:
    """Percent of one processor used between the reading and the one before it."""
    now, before = reading["cpu_stats"], reading["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    whole = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    processors = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or ()) or 1
    return used / whole * processors * 100 if used > 0 and whole > 0 else 0.0


def memory_used(memory: "Document") -> int:
    """Without the page cache that is not in use. The field is another one with control groups version 1."""
    usage, detail = int(memory.get("usage") or 0), memory.get("stats") or {}
    idle = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return usage - idle if idle < usage else usage


def _processor(reading: "Document", _: bool) -> str:
    return f"{processor_share(reading):.2f}%" if "cpu_stats" in reading else NONE


def _memory(reading: "Document", _: bool) -> str:
    if "memory_stats" not in reading:
        return f"{NONE} / {NONE}"
    memory = reading["memory_stats"]
    return f"{binary_size(memory_used(memory))} / {binary_size(memory.get('limit') or 0)}"


def _memory_share(reading: "Document", _: bool) -> str:
    if "memory_stats" not in reading:
        return NONE
    limit = reading["memory_stats"].get("limit") or 0
    return f"{memory_used(reading['memory_stats']) / limit * 100 if limit else 0:.2f}%"


def _network(reading: "Document", _: bool) -> str:
    if "cpu_stats" not in reading:
        return NONE
    networks = (reading.get("networks") or {}).values()
    return " / ".join(size(sum(network[field] for network in networks), 3) for field in ("rx_bytes", "tx_bytes"))


def _block(reading: "Document", _: bool) -> str:
    if "cpu_stats" not in reading:
        return NONE
    rows = (reading.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
    return " / ".join(size(sum(row["value"] for row in rows if row["op"][:1].lower() == letter), 3) for letter in "rw")


VIEW = View(
    {
        "Container": ("CONTAINER", lambda reading, _: reading["Container"]),
        "ID": ("CONTAINER ID", lambda reading, full: reading.get("id", "") if full else reading.get("id", "")[:12]),
        "Name": ("NAME", lambda reading, _: reading.get("name", "").removeprefix("/") or NONE),
        "CPUPerc": ("CPU %", _processor),
        "MemUsage": ("MEM USAGE / LIMIT", _memory),
        "MemPerc": ("MEM %", _memory_share),
        "NetIO": ("NET I/O", _network),
        "BlockIO": ("BLOCK I/O", _block),
        "PIDs": (
            "PIDS",
            lambda reading, _: str((reading.get("pids_stats") or {}).get("current", 0)) if "pids_stats" in reading else NONE,
        ),
    },
    ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)

COMMANDS = {
    "stats": Command(
        stats,
        "Display a live stream of container(s) resource usage statistics",
        "[OPTIONS] [CONTAINER...]",
        (0, None),
        (
            ("all", "a", "bool", "Show all containers (default shows just running)"),
            FORMAT,
            ("no-stream", "", "bool", "Disable streaming stats and only pull the first result"),
            ("no-trunc", "", "bool", "Do not truncate output"),
        ),
        examples=("orlop stats --no-stream", "orlop stats --format '{{.Name}}: {{.MemUsage}}' web"),
    ),
}
