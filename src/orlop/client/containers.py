"""Containers over the HTTP API. `ref` is an id, an id's beginning or a name; documents are Docker's."""

from orlop.client.http import HIJACK, Hijacked, query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from orlop.client.documents import Document
    from orlop.client.http import Client, Connection, Filters, Response


def list_containers(
    client: "Client", *, all: bool = False, limit: int = 0, size: bool = False, filters: "Filters | None" = None
) -> "list[Document]":
    fields = {"all": all, "limit": limit or None, "size": size, "filters": filters}
    documents: list[Document] = client.call("GET", f"/containers/json{query(fields)}")
    return documents


def create(client: "Client", body: "Document", *, name: str = "", platform: str = "") -> "Document":
    """The new container's {"Id": …, "Warnings": […]}."""
    document: Document = client.call("POST", f"/containers/create{query({'name': name, 'platform': platform})}", body)
    return document


def inspect(client: "Client", ref: str, *, size: bool = False) -> "Document":
    document: Document = client.call("GET", f"{_path(ref)}/json{query({'size': size})}")
    return document


def start(client: "Client", ref: str, *, detach_keys: str = "") -> None:
    client.call("POST", f"{_path(ref)}/start{query({'detachKeys': detach_keys})}")


def act(client: "Client", ref: str, verb: str, **fields: "str | int | None") -> None:
    """One of the verbs that answer nothing: stop, restart, kill, pause, unpause, rename, resize."""
    client.call("POST", f"{_path(ref)}/{verb}{query(fields)}")


def begin_act(client: "Client", ref: str, verb: str, **fields: "str | int | None") -> "Connection":
    """The same, only asked for: read `.response()` later. So many containers are acted on at once."""
    return client.send("POST", f"{_path(ref)}/{verb}{query(fields)}")


def remove(client: "Client", ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
    client.call("DELETE", f"{_path(ref)}{query({'force': force, 'v': volumes, 'link': link})}")


def begin_remove(client: "Client", ref: str, *, force: bool, volumes: bool, link: bool) -> "Connection":
    return client.send("DELETE", f"{_path(ref)}{query({'force': force, 'v': volumes, 'link': link})}")


def begin_wait(client: "Client", ref: str, condition: str = "") -> "Connection":
    """Ask for the exit; read the answer's head by `.response()`, its document when the container has ended."""
    return client.send("POST", f"{_path(ref)}/wait{query({'condition': condition})}")


def begin_attach(client: "Client", ref: str, fields: "Mapping[str, str | bool]") -> "Connection":
    """Ask to attach; `hijacked` of the connection gives the streams. Fields: stream stdin stdout stderr logs detachKeys."""
    return client.send("POST", f"{_path(ref)}/attach{query(fields)}", b"", HIJACK)


def hijacked(connection: "Connection") -> Hijacked:
    """The streams of a connection that was asked to attach or to start an exec."""
    return Hijacked(connection.response())


def logs(client: "Client", ref: str, fields: "Mapping[str, str | bool]") -> "Response":
    return client.stream("GET", f"{_path(ref)}/logs{query(fields)}")


def top(client: "Client", ref: str, ps_args: str) -> "Document":
    document: Document = client.call("GET", f"{_path(ref)}/top{query({'ps_args': ps_args})}")
    return document


def stats(client: "Client", ref: str, *, stream: bool) -> "Response":
    return client.stream("GET", f"{_path(ref)}/stats?stream={int(stream)}")


def changes(client: "Client", ref: str) -> "list[Document]":
    documents: list[Document] = client.call("GET", f"{_path(ref)}/changes")
    return documents or []


def export(client: "Client", ref: str) -> "Response":
    return client.stream("GET", f"{_path(ref)}/export")


def update(client: "Client", ref: str, body: "Document") -> "Document":
    document: Document = client.call("POST", f"{_path(ref)}/update", body)
    return document


def commit(
    client: "Client", ref: str, *, repository: str, tag: str, author: str, comment: str, changes: list[str], pause: bool
) -> str:
    """The new image's id."""
    fields: dict[str, Any] = {"container": ref, "repo": repository, "tag": tag, "author": author, "comment": comment}
    words = "".join(f"&changes={quote(change)}" for change in changes)
    document: Document = client.call("POST", f"/commit{query({**fields, 'pause': int(pause)})}{words}", {})
    return str(document["Id"])


def prune(client: "Client", filters: "Filters | None" = None) -> "Document":
    document: Document = client.call("POST", f"/containers/prune{query({'filters': filters})}")
    return document


def stat_path(client: "Client", ref: str, path: str) -> str:
    """The header that describes a path in a container: base64 of JSON. Raises ApiError 404 when there is none."""
    response = client.stream("HEAD", f"{_path(ref)}/archive{query({'path': path})}")
    response.close()
    return response.headers["x-docker-container-path-stat"]


def get_archive(client: "Client", ref: str, path: str) -> "Response":
    return client.stream("GET", f"{_path(ref)}/archive{query({'path': path})}")


def put_archive(client: "Client", ref: str, path: str, body: "Iterable[bytes]", *, copy_owner: bool) -> None:
    fields: dict[str, Any] = {"path": path, "noOverwriteDirNonDir": "true", "copyUIDGID": copy_owner}
    headers = "Content-Type: application/x-tar\r\n"
    client.stream("PUT", f"{_path(ref)}/archive{query(fields)}", body, headers).read()


def _path(ref: str) -> str:
    return f"/containers/{quote(ref)}"
