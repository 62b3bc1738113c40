"""Processes started in running containers, over the HTTP API."""

from orlop.client.documents import dumps
from orlop.client.http import HIJACK, JSON, query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.client.documents import Document
    from orlop.client.http import Client, Connection


def create(client: "Client", ref: str, body: "Document") -> str:
    """The new exec's id."""
    document: Document = client.call("POST", f"/containers/{quote(ref)}/exec", body)
    return str(document["Id"])


def start_detached(client: "Client", exec_id: str, body: "Document") -> None:
    client.call("POST", f"/exec/{exec_id}/start", body)


def begin_start(client: "Client", exec_id: str, body: "Document") -> "Connection":
    """Start it attached; its streams are `containers.hijacked` of this connection."""
    return client.send("POST", f"/exec/{exec_id}/start", dumps(body).encode(), HIJACK + JSON)


def inspect(client: "Client", exec_id: str) -> "Document":
    document: Document = client.call("GET", f"/exec/{exec_id}/json")
    return document


def resize(client: "Client", exec_id: str, rows: int, columns: int) -> None:
    client.call("POST", f"/exec/{exec_id}/resize{query({'h': rows, 'w': columns})}")
