"""What bad input gets: one line that says what and why, Docker's status, nothing left behind."""

import json

import pytest

from support.engine import Engine
from support.leftovers import leftovers

pytestmark = pytest.mark.root

REQUESTS = [
    ("GET", "/nosuch", None, 404, "page not found"),
    ("GET", "/v1.10/version", None, 400, "too old"),
    ("GET", "/v9.99/version", None, 400, "too new"),
    ("POST", "/containers/create", "{broken", 400, ""),
    ("POST", "/containers/create", {}, 400, ""),
    ("POST", "/containers/create", {"Image": "nosuch:1"}, 404, "No such image: nosuch:1"),
    ("POST", "/containers/create", {"Image": "UPPER"}, 400, "invalid reference format"),
    ("POST", "/containers/create?name=bad/name", {"Image": "busybox"}, 400, "Invalid container name"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"NetworkMode": "nosuch"}}, None, ""),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Binds": ["relative:/x:zz"]}}, 400, "invalid"),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"Memory": 1000}}, 400, "Minimum memory limit"),
    (
        "POST",
        "/containers/create",
        {"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}},
        400,
        "invalid restart policy",
    ),
    ("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"PortBindings": {"99999/tcp": [{}]}}}, 400, "99999"),
    ("GET", "/containers/nosuch/json", None, 404, "No such container: nosuch"),
    ("POST", "/containers/nosuch/start", None, 404, "No such container: nosuch"),
    ("DELETE", "/containers/nosuch", None, 404, "No such container: nosuch"),
    ("GET", "/images/nosuch/json", None, 404, "No such image: nosuch"),
    ("GET", "/containers/json?filters={bad", None, 400, ""),
    ("GET", '/containers/json?filters={"nosuch":["x"]}', None, 400, "invalid filter"),
    ("GET", "/containers/json?limit=abc", None, 400, ""),
    ("GET", "/exec/nosuch/json", None, 404, "No such exec instance"),
    ("GET", "/volumes/nosuch", None, 404, "no such volume"),
    ("POST", "/volumes/create", {"Name": "a/b"}, 400, "includes invalid characters for a local volume name"),
    ("POST", "/volumes/create", {"Name": "a", "Driver": "nosuch"}, None, "nosuch"),
    ("GET", "/networks/nosuch", None, 404, "network nosuch not found"),
    ("POST", "/networks/create", {"Name": "x", "Driver": "nosuch"}, 404, "nosuch"),
    ("GET", "/swarm", None, 503, "not a swarm manager"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "message"), REQUESTS, ids=lambda value: str(value)[:40])
def test_a_wrong_request(engine: Engine, method: str, path: str, body: object, status: int | None, message: str) -> None:
    before = leftovers(engine)
    code, content = engine.api(
        method, path.replace("{", "%7B").replace("}", "%7D").replace("[", "%5B").replace("]", "%5D").replace('"', "%22"), body
    )
    if status is None and code == 201:  # Docker accepts a network that is not there until the start
        engine.docker("rm", json.loads(content)["Id"])
        return
    assert code == (status or code)
    assert code >= 400
    text = json.loads(content)["message"]
    assert message in text
    assert "\n" not in text.strip()
    added = {kind: set(things) - set(before[kind]) for kind, things in leftovers(engine).items()}
    assert not any(added.values()), added


def test_an_option_that_is_not_supported_is_refused_by_name(engine: Engine) -> None:
    body = {"Image": "busybox", "HostConfig": {"Isolation": "hyperv"}}
    code, content = engine.api("POST", "/containers/create", body)
    assert code == 400
    assert "hyperv" in json.loads(content)["message"]


def test_the_socket_is_roots(engine: Engine) -> None:
    assert engine.socket.stat().st_mode & 0o777 == 0o660
    assert engine.socket.stat().st_uid == 0
