"""What the server and the API say to each other: Request, the three kinds of Reply, Route, and the Router that finds it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from orlop.wire.body import Body

RAW_STREAM = "application/vnd.docker.raw-stream"
JSON = "application/json"


class Request:
    """One request. `path` is decoded and without a query; `ref` is what the route's pattern caught."""

    __slots__ = ("_query", "body", "headers", "method", "path", "query_string", "ref", "target", "version")

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: Body) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        path, _, self.query_string = target.partition("?")
        self.path = unquote(path) if "%" in path else path
        self.ref = ""
        self.version: tuple[int, int] = (0, 0)
        self._query: dict[str, list[str]] | None = None

    @property
    def queries(self) -> dict[str, list[str]]:
        """Every value of every query parameter, blank ones too."""
        if self._query is None:
            self._query = parse_qs(self.query_string, keep_blank_values=True) if self.query_string else {}
        return self._query

    def query(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.queries.get(name)
        return values[0] if values else default


@dataclass(slots=True)
class Response:
    """A reply that is ready as a whole."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Stream:
    """A reply that comes piece by piece, each sent at once. When `chunks` raises, the connection breaks off, so that the
    client does not take what it has for the whole. It is closed (`aclose`) when the client goes."""

    chunks: AsyncGenerator[bytes, None]
    content_type: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Session(asyncio.Protocol, ABC):
    """Owner of a connection after a hijack: takes its bytes as a Protocol, and is over when `run` returns."""

    @abstractmethod
    async def run(self) -> None:
        """Live until the connection is of no more use. Cancelled when the server closes."""

    @abstractmethod
    async def close(self) -> None:
        """Free what it holds. Called once in the end, also of a session that never began."""


@dataclass(slots=True)
class Hijack:
    """The connection leaves HTTP: 101 where the client asked for an upgrade, else 200 and raw bytes until it closes.
    `upgrade` holds further header fields of the 101."""

    session: Session
    content_type: str = RAW_STREAM
    protocol: str = "tcp"
    headers: tuple[tuple[str, str], ...] = field(default=())


Reply = Response | Stream | Hijack
Handler = Callable[[Request], "Reply | Awaitable[Reply]"]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path pattern with at most one parameter: "/containers/{id}/json", or "/images/{name...}/json" for one
    that may contain slashes. `handler` takes what the table's owner gives it, and a Request."""

    method: str
    pattern: str
    handler: Callable[[Any, Request], "Reply | Awaitable[Reply]"]


class _Branch:
    """All patterns with one text before the parameter: suffix (with its slash, or "") -> method -> Route."""

    __slots__ = ("greedy", "suffixes")

    def __init__(self) -> None:
        self.greedy = False
        self.suffixes: dict[str, dict[str, Route]] = {}

    def find_greedy(self, method: str, rest: str) -> tuple[Route, str] | None:
        """The longest parameter that leaves a known suffix, which has at most two segments."""
        last = rest.rfind("/")
        for end in (last, rest.rfind("/", 0, last), len(rest)):
            methods = self.suffixes.get(rest[end:]) if end > 0 else None
            if methods and method in methods:
                return methods[method], rest[:end]
        return None


class Router:
    """Finds the route of a request by two dict lookups."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._branches: dict[str, _Branch] = {}
        for route in routes:
            prefix, brace, rest = route.pattern.partition("{")
            if not brace:
                self._fixed.setdefault(prefix, {})[route.method] = route
                continue
            name, _, suffix = rest.partition("}")
            branch = self._branches.setdefault(prefix, _Branch())
            branch.greedy |= name.endswith("...")
            branch.suffixes.setdefault(suffix, {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, str] | None:
        """The route and its parameter's value, or None."""
        fixed = self._fixed.get(path)
        if fixed and method in fixed:
            return fixed[method], ""
        branch = self._branches.get(path[: path.find("/", 1) + 1])
        if branch is None:
            return None
        value, slash, suffix = path[path.find("/", 1) + 1 :].partition("/")
        methods = branch.suffixes.get(slash + suffix)
        if methods and value and method in methods:
            return methods[method], value
        return branch.find_greedy(method, f"{value}{slash}{suffix}") if branch.greedy and slash else None
