"""A small registry that misbehaves as told: breaks connections, tampers, wants tokens, redirects, is busy."""

import gzip
import hashlib
import json
import socket
import threading
import urllib.parse
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class Rogue:
    """Content, and what is wrong with the way in which it is served. `close` ends it."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # tag or digest -> media type, content
    break_after: int = 0  # bytes of a blob that one connection gives, 0: all
    breaks: int = 0  # how many connections still break
    stall: bool = False  # they do not end there, they fall silent
    ranges: bool = True
    busy: int = 0  # how many requests are still answered by 429
    token: str = ""  # wanted as "Bearer TOKEN"; given by /token to everybody
    redirect: str = ""  # base of another server that has the blobs
    upload_breaks: list[int] = field(default_factory=list)  # after so many bytes of a PATCH the connection ends, one each
    uploads: dict[str, bytearray] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)  # bytes by digest
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        rogue = self

        class Handler(_Handler):
            pass

        Handler.rogue = rogue
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()

    def add_image(self, tag: str, layers: list[bytes], *, architecture: str = "amd64", **config: Any) -> str:
        """An image with these (plain tar) layers, gzipped; returns its id."""
        tree = {
            "os": "linux",
            "architecture": architecture,
            "created": "2026-01-02T03:04:05Z",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            "history": [{"created_by": f"layer {n}"} for n in range(len(layers))],
        } | config
        content = json.dumps(tree).encode()
        packed = [gzip.compress(layer, 1, mtime=0) for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self._blob(content, OCI_CONFIG),
            "layers": [self._blob(layer, OCI_GZIP) for layer in packed],
        }
        document = json.dumps(manifest).encode()
        self.manifests[tag] = self.manifests[digest_of(document)] = OCI_MANIFEST, document
        return digest_of(content)

    def add_index(self, tag: str, entries: dict[str, str]) -> None:
        """An index: platform -> tag of its image."""
        manifests = []
        for platform, name in entries.items():
            system, _, architecture = platform.partition("/")
            document = self.manifests[name][1]
            manifests.append(
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": digest_of(document),
                    "size": len(document),
                    "platform": {"os": system, "architecture": architecture},
                }
            )
        content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
        self.manifests[tag] = self.manifests[digest_of(content)] = OCI_INDEX, content

    def tamper(self, digest: str) -> None:
        """Serve something else, of the same length, under a digest."""
        content = bytearray(self.blobs[digest])
        content[-9] ^= 1  # in gzip's trailer: CRC32
        self.blobs[digest] = bytes(content)

    def _blob(self, content: bytes, media_type: str) -> dict[str, Any]:
        self.blobs[digest_of(content)] = content
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rogue: Rogue

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        rogue = self.rogue
        if self.path.startswith("http://"):  # we are taken for a proxy
            self.path = "/" + self.path.split("/", 3)[3]
        rogue.requests.append((self.command, self.path, dict(self.headers)))
        if rogue.busy:
            rogue.busy -= 1
            return self._answer(429, b"{}", {"Retry-After": "0"})
        if self.path.startswith("/token"):
            return self._answer(200, json.dumps({"token": rogue.token}).encode())
        if rogue.token and self.headers.get("Authorization") != f"Bearer {rogue.token}":
            realm = f'Bearer realm="http://{rogue.address}/token",service="rogue"'
            return self._answer(401, b"", {"WWW-Authenticate": realm})
        if self.path in rogue.uploads:
            return self._upload_status(204)
        kind, _, name = self.path.removeprefix("/v2/").rpartition("/")
        if self.path == "/v2/":
            return self._answer(200, b"{}")
        if kind.endswith("/manifests"):
            return self._manifest(name)
        if kind.endswith("/blobs"):
            return self._blob(name)
        if self.path.endswith("/tags/list"):
            return self._answer(200, json.dumps({"tags": [tag for tag in rogue.manifests if ":" not in tag]}).encode())
        return self._answer(404, b"{}")

    def do_POST(self) -> None:
        upload = f"/v2/up/blobs/uploads/{uuid.uuid4()}"
        self.rogue.uploads[upload] = bytearray()
        self._answer(202, b"", {"Location": upload})

    def do_PATCH(self) -> None:
        """Take a chunk, or the beginning of one and then no more."""
        self.rogue.requests.append((self.command, self.path, dict(self.headers)))
        size = int(self.headers["Content-Length"])
        taken = min(size, self.rogue.upload_breaks.pop(0)) if self.rogue.upload_breaks else size
        self.rogue.uploads[self.path] += self.rfile.read(taken)
        if taken < size:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._upload_status(202)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "/manifests/" in self.path:
            name = self.path.rpartition("/")[2]
            self.rogue.manifests[name] = self.rogue.manifests[digest_of(body)] = self.headers["Content-Type"], body
            return self._answer(201, b"")
        path, _, query = self.path.partition("?")
        content, digest = bytes(self.rogue.uploads[path]), urllib.parse.parse_qs(query)["digest"][0]
        if digest_of(content) != digest:
            return self._answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}')
        self.rogue.blobs[digest] = content
        return self._answer(201, b"")

    def _upload_status(self, status: int) -> None:
        have = len(self.rogue.uploads[self.path])
        self._answer(status, b"", {"Location": self.path, "Range": f"0-{max(have - 1, 0)}"})

    def _manifest(self, name: str) -> None:
        if name not in self.rogue.manifests:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return self._answer(404, json.dumps(error).encode())
        media_type, content = self.rogue.manifests[name]
        self._answer(200, content, {"Content-Type": media_type, "Docker-Content-Digest": digest_of(content)})

    def _blob(self, digest: str) -> None:
        rogue = self.rogue
        if rogue.redirect:
            return self._answer(307, b"", {"Location": f"{rogue.redirect}{self.path}"})
        if digest not in rogue.blobs:
            return self._answer(404, b"{}")
        content, start, headers = rogue.blobs[digest], 0, {}
        asked = self.headers.get("Range", "")
        if asked and rogue.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        self.send_response(206 if headers else 200)
        for key, value in (headers | {"Content-Length": str(len(content) - start)}).items():
            self.send_header(key, value)
        self.end_headers()
        given = content[start:] if self.command == "GET" else b""
        if rogue.breaks and len(given) > rogue.break_after:
            rogue.breaks -= 1
            given = given[: rogue.break_after]
            self.close_connection = True
        self.wfile.write(given)
        rogue.sent[digest] += len(given)
        if self.close_connection and rogue.stall:
            rogue.closed.wait()

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
