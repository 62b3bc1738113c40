"""The daemon itself over the HTTP API."""

from orlop.client.http import query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.client.documents import Document
    from orlop.client.http import Client, Filters, Response


def version(client: "Client") -> "Document":
    document: Document = client.call("GET", "/version")
    return document


def info(client: "Client") -> "Document":
    document: Document = client.call("GET", "/info")
    return document


def disk_usage(client: "Client") -> "Document":
    document: Document = client.call("GET", "/system/df")
    return document


def events(client: "Client", *, since: str, until: str, filters: "Filters | None") -> "Response":
    """A stream of events, one document each."""
    fields = {"since": since, "until": until, "filters": filters}
    return client.stream("GET", f"/events{query(fields)}")


def login(client: "Client", body: "Document") -> "Document":
    """Check credentials: {"Status": …, "IdentityToken": …}."""
    document: Document = client.call("POST", "/auth", body)
    return document
