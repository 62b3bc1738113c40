"""The HTTP client against canned answers at the other end of a socket pair."""

import socket
import threading
from collections.abc import Callable

import pytest

from orlop.client import containers
from orlop.client.http import ApiError, Client, Hijacked, Unreachable, dial_unix, query, quote


class Server:
    """Gives one canned answer for each connection and keeps what it was sent."""

    def __init__(self, *answers: bytes, linger: bool = False) -> None:
        self.answers = list(answers)
        self.ends: list[socket.socket] = []
        self.linger = linger

    def dial(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.sendall(self.answers.pop(0))
        if not self.linger:
            theirs.shutdown(socket.SHUT_WR)
        self.ends.append(theirs)
        return ours

    def received(self, at: int = 0) -> bytes:
        self.ends[at].setblocking(False)
        try:
            return self.ends[at].recv(1 << 20)
        except BlockingIOError:
            return b""


def answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def test_a_call_sends_one_request_and_reads_json() -> None:
    server = Server(answer(b'{"a": 1}'))
    assert Client(server.dial).call("POST", "/x", {"k": "é"}) == {"a": 1}
    head, _, body = server.received().partition(b"\r\n\r\n")
    assert head.startswith(b"POST /x HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert body == '{"k":"é"}'.encode()


def test_an_idle_connection_is_used_again() -> None:
    server = Server(answer(b"1") + answer(b"2"))
    client = Client(server.dial)
    assert [client.call("GET", "/a"), client.call("GET", "/b")] == [1, 2]
    assert len(server.ends) == 1


def test_a_connection_that_says_close_is_not_used_again() -> None:
    server = Server(answer(b"1", headers="Connection: close\r\n"), answer(b"2"))
    client = Client(server.dial)
    assert [client.call("GET", "/a"), client.call("GET", "/b")] == [1, 2]
    assert len(server.ends) == 2


def test_no_content_is_none() -> None:
    assert Client(Server(b"HTTP/1.1 204 No Content\r\n\r\n").dial).call("POST", "/x") is None


def test_chunks_are_put_together() -> None:
    body = b'8;ext=1\r\n{"a": "x\r\n5\r\nyzw"}\r\n0\r\nTrailer: 1\r\n\r\n'
    server = Server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + answer(b"2"))
    client = Client(server.dial)
    assert client.call("GET", "/a") == {"a": "xyzw"}
    assert client.call("GET", "/b") == 2


def test_a_body_without_length_ends_with_the_connection() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    assert Client(server.dial).stream("GET", "/x").read() == b"all of it"


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nConte", answer(b"12345")[:-2]])
def test_a_broken_answer_is_said_to_be_one(part: bytes) -> None:
    with pytest.raises(Unreachable):
        Client(Server(part).dial).call("GET", "/x")


def test_an_error_carries_status_and_message() -> None:
    server = Server(answer(b'{"message":"No such container: x"}', status="404 Not Found"))
    with pytest.raises(ApiError, match="No such container: x") as caught:
        Client(server.dial).call("GET", "/x")
    assert caught.value.status == 404


def test_an_error_that_is_no_json_is_shown_as_it_is() -> None:
    with pytest.raises(ApiError, match="page not found"):
        Client(Server(answer(b"page not found\n", status="404 Not Found")).dial).call("GET", "/x")


def test_the_answer_to_head_has_no_body_to_wait_for() -> None:
    server = Server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n", linger=True)
    with pytest.raises(ApiError):
        containers.stat_path(Client(server.dial), "x", "/a")


def test_an_interim_answer_is_skipped() -> None:
    server = Server(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"1"))
    assert Client(server.dial).call("GET", "/x") == 1


def test_an_upload_is_chunked_and_an_early_refusal_is_read() -> None:
    ours, theirs = socket.socketpair()

    def refuse() -> None:
        theirs.recv(1 << 16)
        theirs.sendall(answer(b'{"message":"no"}', status="400 Bad Request"))
        theirs.close()

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(ApiError, match="no"):
        Client(lambda: ours).stream("PUT", "/x", (bytes(1 << 20) for _ in range(64)))
    thread.join()


def test_an_upload_is_sent_while_the_answer_comes() -> None:
    """The other side tells its progress for every piece, more than a socket holds: nobody may wait for ever."""
    ours, theirs = socket.socketpair()
    got = b""
    progress = b'{"status":"' + b"x" * 2000 + b'"}\n'

    def serve() -> None:
        nonlocal got
        theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not got.endswith(b"\r\n0\r\n\r\n"):
            got += theirs.recv(1 << 16)
            theirs.sendall(progress)
        theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    answer = Client(lambda: ours).stream("PUT", "/x", iter([b"abc", b"", *[bytes(1 << 16)] * 300]))
    assert all(document["status"] == "x" * 2000 for document in answer.documents())
    thread.join()
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body.startswith(b"3\r\nabc\r\n10000\r\n\0")
    assert len(body) == len(b"3\r\nabc\r\n") + 300 * (len(b"10000\r\n\r\n") + (1 << 16)) + len(b"0\r\n\r\n")


def test_hijacking_keeps_what_came_with_the_head_and_ends_input_alone() -> None:
    server = Server(b"HTTP/1.1 101 UPGRADED\r\n\r\nearly", linger=True)
    streams = containers.hijacked(containers.begin_attach(Client(server.dial), "x", {"stream": True}))
    assert isinstance(streams, Hijacked)
    assert streams.has_received()
    assert streams.receive() == b"early"
    streams.unblock()
    assert streams.receive() is None
    assert streams.send(b"in") == 2
    streams.end_input()
    server.ends[0].sendall(b"late")
    server.ends[0].close()
    assert streams.receive() == b"late"
    assert streams.receive() == b""


def test_a_full_connection_takes_nothing_instead_of_blocking() -> None:
    server = Server(b"HTTP/1.1 101 UPGRADED\r\n\r\n", linger=True)
    streams = containers.hijacked(containers.begin_attach(Client(server.dial), "x", {}))
    streams.unblock()
    while streams.send(bytes(1 << 16)):
        pass
    assert streams.send(b"x") == 0
    server.ends[0].close()
    assert streams.send(b"x") == 1  # nobody reads any more: lost, as on a pipe


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"a": "", "b": None, "c": False, "d": {}}, ""),
        ({"a": True, "n": 0, "t": "x y&z"}, "?a=1&n=0&t=x%20y%26z"),
        ({"filters": {"name": ["a"]}}, "?filters=%7B%22name%22:%5B%22a%22%5D%7D"),
    ],
)
def test_queries(fields: dict[str, str | int | bool | dict[str, list[str]] | None], expected: str) -> None:
    assert query(fields) == expected


def test_names_stay_readable_in_paths() -> None:
    assert quote("host:5000/a/b@sha256:00") == "host:5000/a/b@sha256:00"
    assert quote("a b?é") == "a%20b%3F%C3%A9"


def test_a_socket_that_is_not_there(tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError):
        dial_unix(f"{tmp_path}/none")


def test_every_noun_asks_the_path_of_the_api() -> None:
    from orlop.client import execs, images, networks, system, volumes

    asked: list[tuple[Callable[[Client], object], bytes]] = [
        (lambda client: containers.list_containers(client, all=True, limit=2), b"GET /containers/json?all=1&limit=2 "),
        (lambda client: containers.act(client, "a", "stop", t=0, signal=""), b"POST /containers/a/stop?t=0 "),
        (lambda client: containers.remove(client, "a", force=True), b"DELETE /containers/a?force=1 "),
        (lambda client: execs.resize(client, "e", 5, 6), b"POST /exec/e/resize?h=5&w=6 "),
        (lambda client: images.tag(client, "a:1", "b", "2"), b"POST /images/a:1/tag?repo=b&tag=2 "),
        (lambda client: images.remove(client, "a", prune=False), b"DELETE /images/a?noprune=1 "),
        (lambda client: networks.remove(client, "n"), b"DELETE /networks/n "),
        (lambda client: volumes.remove(client, "v", force=True), b"DELETE /volumes/v?force=1 "),
        (lambda client: system.version(client), b"GET /version "),
    ]
    for call, expected in asked:
        server = Server(answer(b"null"))
        call(Client(server.dial))
        assert server.received().startswith(expected)
