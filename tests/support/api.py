"""The API over a fake engine, on a socket in a thread of its own; and Docker's swagger file to hold replies against."""

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orlop.api.routes import site
from orlop.wire.listen import listen
from orlop.wire.server import serve
from support.fake_engine import fake_engine, record

SWAGGER = Path("/work/shared/data/docker-engine-api.swagger.yaml")

NULL_IN_GO = {"ExitCode", "MemorySwappiness"}  # pointers that the file forgets to mark


class Api:
    """A client that asks one thing on one connection."""

    def __init__(self, path: Path, engine: Any) -> None:
        self.path, self.engine = path, engine
        self.url = f"unix://{path}"

    def ask(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body (decoded when it is JSON) and headers."""
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.path))
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        fields = {} if isinstance(body, bytes) or body is None else {"Content-Type": "application/json"}
        connection.request(method, target, content, {**fields, **(headers or {})})
        response = connection.getresponse()
        raw = response.read()
        connection.close()
        is_json = raw and response.headers.get("Content-Type") == "application/json" and raw.count(b"\n") <= 1
        return response.status, json.loads(raw) if is_json else raw, response.headers


@contextmanager
def running_api(directory: Path) -> Iterator[Api]:
    """The API with one container, `web`, that runs."""
    path, ready, done = directory / "api.sock", threading.Event(), asyncio.Event()
    made: dict[str, Any] = {}

    async def main() -> None:
        made["engine"], made["loop"] = engine, loop = fake_engine(), asyncio.get_running_loop()
        engine.containers.records[record().id] = record()
        async with asyncio.TaskGroup() as group:
            server = await serve(site(engine, group.create_task), listen(f"unix://{path}"))  # type: ignore[arg-type]
            loop.call_soon(ready.set)
            await done.wait()
            await server.close(1)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield Api(path, made["engine"])
    finally:
        made["loop"].call_soon_threadsafe(done.set)
        thread.join(10)


class Swagger:
    """Docker's own description of its replies."""

    def __init__(self) -> None:
        if not SWAGGER.exists():
            pytest.skip(f"{SWAGGER} is not on this machine")
        self._jsonschema = pytest.importorskip("jsonschema")
        yaml = pytest.importorskip("yaml")
        document = yaml.load(SWAGGER.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._paths = document["paths"]
        self._definitions = _nullable(document["definitions"])

    def routes(self) -> Iterator[tuple[str, str]]:
        """Method and path of everything that Docker answers."""
        for path, methods in self._paths.items():
            yield from ((method.upper(), path) for method in methods if method in ("get", "post", "put", "delete", "head"))

    def check(self, value: Any, definition: str) -> None:
        """Raises when a value is not as a definition says."""
        self._validate(value, {"$ref": f"#/definitions/{definition}"})

    def check_reply(self, value: Any, method: str, path: str, status: int) -> None:
        """Raises when a value is not what the path answers with this status."""
        self._validate(value, _nullable(self._paths[path][method.lower()]["responses"][status]["schema"]))

    def _validate(self, value: Any, schema: Mapping[str, Any]) -> None:
        self._jsonschema.validate(value, {**schema, "definitions": self._definitions})


def _nullable(schema: Any) -> Any:
    """Swagger 2 as JSON schema: `x-nullable`, and Go's nil slices, maps and pointers, which are null on the wire."""
    if isinstance(schema, list):
        return [_nullable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _nullable(value) for key, value in schema.items() if key not in ("example", "default", "x-nullable")}
    for name in set(plain.get("properties", ())) & NULL_IN_GO:
        plain["properties"][name] = {"anyOf": [plain["properties"][name], {"type": "null"}]}
    kind = plain.get("type")
    if kind in ("array", "object") or (schema.get("x-nullable") and isinstance(kind, str)):
        plain["type"] = [kind, "null"]
        if "enum" in plain:
            plain["enum"] = [*plain["enum"], None]
    if schema.get("x-nullable") and "$ref" in plain:
        return {"anyOf": [plain, {"type": "null"}]}
    return plain
