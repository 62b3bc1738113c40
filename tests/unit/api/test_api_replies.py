"""Replies of the API over a fake engine: shapes (held against Docker's swagger file), statuses and wordings."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from orlop.api.routes import ROUTES
from orlop.spec.registry import Credentials
from orlop.wire.route import Router
from support.api import Api, Swagger, running_api

WEB = "a" * 64


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="module")
def swagger() -> Swagger:
    return Swagger()


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/containers/json?all=1&size=1", "/containers/json"),
        ("/containers/web/json?size=1", "/containers/{id}/json"),
        ("/containers/web/top", "/containers/{id}/top"),
        ("/containers/web/stats?stream=0", "/containers/{id}/stats"),
        ("/containers/web/stats?stream=0&one-shot=1", "/containers/{id}/stats"),
        ("/images/json", "/images/json"),
        ("/images/busybox:latest/json", "/images/{name}/json"),
        ("/images/busybox/history", "/images/{name}/history"),
        ("/images/search?term=x", "/images/search"),
        ("/volumes", "/volumes"),
        ("/volumes/data", "/volumes/{name}"),
        ("/networks", "/networks"),
        ("/networks/bridge", "/networks/{id}"),
        ("/version", "/version"),
        ("/info", "/info"),
        ("/plugins", "/plugins"),
    ],
)
def test_a_reply_is_as_docker_describes_it(api: Api, swagger: Swagger, target: str, path: str) -> None:
    status, body, headers = api.ask("GET", target)
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    swagger.check_reply(body, "GET", path, 200)


def test_the_life_of_an_exec_is_as_docker_describes_it(api: Api, swagger: Swagger) -> None:
    status, made, _ = api.ask("POST", "/containers/web/exec", {"Cmd": ["cat", "-u"], "AttachStdout": True, "User": "root"})
    assert status == 201
    swagger.check_reply(made, "POST", "/containers/{id}/exec", 201)
    status, shown, _ = api.ask("GET", f"/exec/{made['Id']}/json")
    swagger.check_reply(shown, "GET", "/exec/{id}/json", 200)
    assert shown["ProcessConfig"] == {
        "tty": False,
        "entrypoint": "cat",
        "arguments": ["-u"],
        "privileged": False,
        "user": "root",
    }
    assert shown["ContainerID"] == WEB
    assert api.ask("POST", f"/exec/{made['Id']}/start", {"Detach": True})[0] == 200


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "message"),
    [
        ("GET", "/nothing", None, 404, "page not found"),
        ("POST", "/containers/json", None, 404, "page not found"),
        ("GET", "/v1.51/nothing", None, 404, "page not found"),
        ("GET", "/v1.23/info", None, 400, "client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"),
        ("GET", "/v1.99/info", None, 400, "client version 1.99 is too new. Maximum supported API version is 1.51"),
        ("GET", "/v2.0/_ping", None, 400, "client version 2.0 is too new. Maximum supported API version is 1.51"),
        ("GET", "/containers/nope/json", None, 404, "No such container: nope"),
        ("GET", "/images/nope/json", None, 404, "No such image: nope"),
        ("GET", "/exec/nope/json", None, 404, "No such exec instance: nope"),
        ("POST", "/containers/create", b"{nonsense", 400, "unsupported Content-Type header (): must be 'application/json'"),
        ("POST", "/containers/create", {}, 400, "config cannot be empty in order to create a container"),
        ("POST", "/containers/create", None, 400, "config cannot be empty in order to create a container"),
        ("POST", "/containers/create", [], 400, "invalid JSON: the body must be an object, not an array"),
        ("POST", "/containers/create", {"Image": "missing"}, 404, "No such image: missing:latest"),
        ("POST", "/containers/create", {"Image": 5}, 400, "invalid JSON: Image must be a string, not a number"),
        ("POST", "/containers/create", {"Image": "x", "HostConfig": {"Memory": "64m"}}, 400, "invalid JSON: HostConfig.Memory must be a number, not a string"),
        ("POST", "/containers/create", {"Image": "x", "HostConfig": {"CpuPercent": 5}}, 400, "HostConfig.CpuPercent is not supported: it is of Windows"),
        ("POST", "/containers/create", {"Image": "x", "HostConfig": {"PortBindings": {"99999/tcp": []}}}, 400, 'invalid port specification: "99999/tcp"'),
        ("POST", "/containers/create", {"Image": "x", "HostConfig": {"Mounts": [{"Type": "npipe", "Target": "/x"}]}}, 400, "invalid mount config for type 'npipe': mount type unknown"),
        ("POST", "/containers/web/exec", {"Cmd": []}, 400, "No exec command specified"),
        ("POST", "/containers/web/resize?h=x&w=1", None, 400, 'invalid h "x": not a number'),
        ("POST", "/containers/web/start?checkpoint=x", None, 400, "checkpoint is not supported: containers cannot be restored"),
        ("GET", "/containers/web/logs", None, 400, "Bad parameters: you must choose at least one stream"),
        ("GET", "/containers/web/logs?stdout=1&since=yesterday", None, 400, "invalid value for \"since\": cannot parse 'yesterday' as a timestamp"),
        ("GET", "/containers/json?filters=nonsense", None, 400, "invalid filter: 'nonsense' is not JSON"),
        ("GET", '/containers/json?filters={"label":5}', None, 400, "invalid filter 'label'"),
        ("GET", "/containers/json?limit=x", None, 400, 'invalid limit "x": not a number'),
        ("POST", "/containers/web/attach?detachKeys=ctrl-1", None, 400, "invalid detach keys (ctrl-1) provided: Unknown character: 'ctrl-1'"),
        ("GET", "/containers/web/archive", None, 400, "bad parameter: 'path' cannot be empty"),
        ("POST", "/images/create?fromImage=UPPER", None, 400, "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ("POST", "/images/create?fromImage=missing&tag=1", None, 404, "No such image: docker.io/library/missing:1"),
        ("POST", "/images/create", None, 400, "neither fromImage nor fromSrc is given"),
        ("GET", "/images/get", None, 400, "no image is named: use names=NAME"),
        ("POST", "/networks/create", {"Name": ""}, 400, "invalid network name: name is empty"),
        ("POST", "/networks/create", None, 400, "invalid JSON: got EOF while reading request body"),
        ("GET", "/swarm", None, 503, 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'),
        ("GET", "/services", None, 503, 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'),
        ("POST", "/swarm/init", None, 501, "swarm mode is not supported"),
        ("GET", "/plugins/x/y/json", None, 404, 'plugin "x/y" not found'),
        ("POST", "/build?t=x", b"tar", 501, "building images is not supported: use commit, import or bootstrap"),
        ("GET", "/events?since=20&until=10", None, 400, "`since` time (20) cannot be after `until` time (10)"),
        ("GET", "/system/df?type=shoes", None, 400, "unknown object type: shoes"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_so(
    api: Api, swagger: Swagger, method: str, target: str, body: Any, status: int, message: str
) -> None:
    got, reply, headers = api.ask(method, target.replace('"', "%22"), body)
    assert (got, reply["message"]) == (status, message)
    assert headers["Content-Type"] == "application/json"
    swagger.check(reply, "ErrorResponse")


def test_a_body_that_is_not_json(api: Api) -> None:
    status, reply, _ = api.ask("POST", "/containers/create", b"{nonsense", {"Content-Type": "application/json"})
    assert status == 400
    assert reply["message"].startswith("invalid JSON: ")


def test_a_surprise_is_a_500_and_tells_nothing_of_the_inside(api: Api) -> None:
    status, reply, _ = api.ask("POST", "/commit?container=web")  # the fake engine has no such verb
    assert (status, reply) == (500, {"message": "internal error: see the log of orlopd"})


def test_ping_tells_what_is_spoken_here(api: Api) -> None:
    for method, body in (("GET", b"OK"), ("HEAD", b"")):
        status, got, headers = api.ask(method, "/_ping")
        assert (status, got) == (200, body)
        told = {
            "Api-Version": "1.51",
            "Ostype": "linux",
            "Docker-Experimental": "false",
            "Builder-Version": "1",
            "Swarm": "inactive",
        }
        assert {name: headers[name] for name in told} == told


def test_starting_what_runs_is_a_304_without_a_body(api: Api) -> None:
    assert api.ask("POST", "/containers/web/start")[:2] == (304, b"")


def test_inspect_shows_what_the_container_has(api: Api) -> None:
    shown = api.ask("GET", "/containers/web/json")[1]
    assert shown["Name"] == "/web"
    assert (shown["Path"], shown["Args"]) == ("sleep", ["1 0"])
    assert shown["State"]["Health"]["Status"] == "healthy"
    assert shown["State"]["Pid"] == 4711
    assert shown["NetworkSettings"]["Ports"] == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "53/udp": None}
    assert shown["NetworkSettings"]["IPAddress"] == "172.17.0.9"
    assert shown["NetworkSettings"]["Networks"]["bridge"]["IPAMConfig"] == {"IPv4Address": "172.17.0.9"}
    assert shown["Mounts"] == [
        {"Type": "volume", "Name": "data", "Source": "/v/data/_data", "Destination": "/data", "Driver": "local", "Mode": "z",
         "RW": True, "Propagation": ""}
    ]  # fmt: skip
    assert shown["HostConfig"]["NetworkMode"] == "bridge"
    assert "SizeRw" not in shown


def test_the_list_is_what_ps_prints(api: Api) -> None:
    (shown,) = api.ask("GET", "/containers/json")[1]
    assert shown["Command"] == "sleep '1 0'"
    assert shown["Status"] == "Up 2 hours (healthy)"
    assert shown["Image"] == "busybox"
    assert {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"} in shown["Ports"]
    assert {"PrivatePort": 53, "Type": "udp"} in shown["Ports"]


def test_filters_come_in_two_forms(api: Api) -> None:
    for text in ('{"label":["a=b"]}', '{"label":{"a=b":true}}'):
        api.ask("GET", f"/containers/json?all=true&filters={quote(text)}")
        assert api.engine.containers.calls[-1] == ("list", (True, 0, {"label": ("a=b",)}))


def test_credentials_come_in_base64_of_any_kind(api: Api) -> None:
    secret = json.dumps({"username": "u?>", "password": "p", "serveraddress": "reg"}).encode()
    for text in (base64.urlsafe_b64encode(secret), base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")):
        api.ask("POST", "/images/create?fromImage=busybox&tag=1", headers={"X-Registry-Auth": text.decode()})
        assert api.engine.images.pulled[-1][2] == Credentials(username="u?>", password="p", server_address="reg")
    assert api.ask("POST", "/images/create?fromImage=busybox", headers={"X-Registry-Auth": "%"})[0] == 400


def test_a_digest_may_stand_in_the_tags_place(api: Api) -> None:
    digest = "sha256:" + "9" * 64
    api.ask("POST", f"/images/create?fromImage=busybox:old&tag={digest}")
    assert api.engine.images.pulled[-1][0] == f"docker.io/library/busybox@{digest}"


def test_progress_is_one_object_a_line_and_an_error_midway_is_the_last(api: Api) -> None:
    status, raw, _ = api.ask("POST", "/images/create?fromImage=broken&tag=1")
    lines = [json.loads(line) for line in raw.splitlines()]
    assert status == 200
    assert lines[0] == {"status": "Pulling from library/busybox", "id": "latest"}
    assert lines[1]["progressDetail"] == {"current": 1_000_000, "total": 4_000_000}
    assert lines[1]["progress"] == "[============>                                      ]      1MB/4MB"
    assert lines[-1] == {"errorDetail": {"message": "it broke"}, "error": "it broke"}


def test_uploads_pass_whole_chunked_or_not(api: Api) -> None:
    content = bytes(range(256)) * 4000
    assert api.ask("PUT", "/containers/web/archive?path=/", content)[0] == 200
    assert api.engine.containers.uploads[-1] == content
    status, reply, _ = api.ask("POST", "/images/load", content)
    assert (status, reply) == (200, {"stream": "Loaded image: busybox:latest\n"})
    assert api.engine.images.uploads[-1] == content


def test_an_archive_tells_what_it_is_in_a_header(api: Api) -> None:
    for method in ("HEAD", "GET"):
        status, body, headers = api.ask(method, "/containers/web/archive?path=/etc/hosts")
        assert (status, body) == (200, b"tar" if method == "GET" else b"")
        stat = json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))
        assert stat == {"name": "hosts", "size": 4, "mode": 0o644, "mtime": "1970-01-01T00:00:01Z", "linkTarget": ""}
    assert api.ask("HEAD", "/containers/web/archive?path=/missing")[0] == 404


def test_old_clients_get_the_fields_of_their_time(api: Api) -> None:
    assert "VirtualSize" in api.ask("GET", "/v1.40/images/json")[1][0]
    assert "VirtualSize" not in api.ask("GET", "/v1.44/images/json")[1][0]
    assert "Hostname" in api.ask("GET", "/v1.41/images/busybox/json")[1]["Config"]
    assert "Hostname" not in api.ask("GET", "/images/busybox/json")[1]["Config"]
    assert api.ask("GET", "/v1.41/containers/web/logs?stdout=1")[2]["Content-Type"] == "application/vnd.docker.raw-stream"
    assert api.ask("GET", "/containers/web/logs?stdout=1")[2]["Content-Type"] == "application/vnd.docker.multiplexed-stream"


def test_df_shows_only_the_kinds_that_were_asked_for(api: Api) -> None:
    assert set(api.ask("GET", "/system/df")[1]) == {"LayersSize", "Images", "Containers", "Volumes", "BuildCache"}
    assert set(api.ask("GET", "/system/df?type=volume")[1]) == {"Volumes"}


def test_every_route_of_docker_is_answered_on_purpose(swagger: Swagger) -> None:
    router = Router(ROUTES)
    paths = [(method, path.replace("{id}", "x").replace("{name}", "x")) for method, path in swagger.routes()]
    assert [route for route in paths if router.find(*route) is None] == []


def test_a_new_network_is_decoded_and_told_back(api: Api, swagger: Swagger) -> None:
    status, made, _ = api.ask("POST", "/networks/create", {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24"}]}})
    assert status == 201
    swagger.check_reply(made, "POST", "/networks/create", 201)
