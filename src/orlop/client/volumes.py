"""Volumes over the HTTP API."""

from orlop.client.http import query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.client.documents import Document
    from orlop.client.http import Client, Filters


def list_volumes(client: "Client", filters: "Filters | None" = None) -> "list[Document]":
    document: Document = client.call("GET", f"/volumes{query({'filters': filters})}")
    return document["Volumes"] or []


def create(client: "Client", body: "Document") -> "Document":
    document: Document = client.call("POST", "/volumes/create", body)
    return document


def inspect(client: "Client", name: str) -> "Document":
    document: Document = client.call("GET", f"/volumes/{quote(name)}")
    return document


def remove(client: "Client", name: str, *, force: bool = False) -> None:
    client.call("DELETE", f"/volumes/{quote(name)}{query({'force': force})}")


def prune(client: "Client", filters: "Filters | None" = None) -> "Document":
    document: Document = client.call("POST", f"/volumes/prune{query({'filters': filters})}")
    return document
