"""The stock docker CLI (each that is installed) and docker-py talk to the API over a fake engine whose processes are `cat`."""

import base64
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from support.api import Api, running_api
from support.fake_engine import EXIT_CODE

CLIENTS = sorted(
    {path for path in ("/usr/local/bin/docker", "/usr/bin/docker", shutil.which("docker") or "") if os.access(path, os.X_OK)}
)


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(params=CLIENTS or [pytest.param("", marks=pytest.mark.skip(reason="no docker CLI on this machine"))])
def docker(request: pytest.FixtureRequest, api: Api, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [request.param, "--config", str(tmp_path_factory.mktemp("config")), "-H", api.url]


def run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=20, check=False)


def test_version_and_ps(docker: list[str]) -> None:
    assert "Server: Orlop" in run([*docker, "version"]).stdout
    assert "Up 2 hours (healthy)" in run([*docker, "ps"]).stdout


def test_run_with_input_that_ends_gives_output_and_exit_code(docker: list[str]) -> None:
    done = run([*docker, "run", "-i", "busybox", "cat"], "hello\n" * 10_000)
    assert done.stdout == "hello\n" * 10_000
    assert done.stderr == "60000 bytes\n"
    assert done.returncode == EXIT_CODE


def test_run_on_a_terminal(docker: list[str], api: Api) -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(docker[0], [*docker, "run", "-it", "busybox", "cat"])
    termios.tcsetwinsize(terminal, (24, 80))
    seen = _read_until(terminal, b"")
    os.write(terminal, b"say exit\r")
    seen += _read_until(terminal, None)
    assert b"bytes" in seen
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == EXIT_CODE
    assert any(call[0] == "resize" for call in api.engine.containers.calls)


def test_detaching_leaves_the_container_running(docker: list[str], api: Api) -> None:
    pid, terminal = pty.fork()
    if not pid:
        os.execv(docker[0], [*docker, "run", "-it", "busybox", "cat"])
    _read_until(terminal, b"")
    os.write(terminal, b"\x10\x11")
    _read_until(terminal, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(api.ask("GET", "/containers/json")[1]) == 2


def _read_until(terminal: int, text: bytes | None) -> bytes:
    """What the terminal shows until a text, or until nothing comes for a moment (b""), or until the end (None)."""
    seen, deadline = b"", time.monotonic() + 15
    while time.monotonic() < deadline:
        readable, _, _ = select.select([terminal], [], [], 1.0)
        if not readable:
            if text == b"":
                return seen
            continue
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: the other end is closed
            return seen
        if not data:
            return seen
        seen += data
    return seen


def test_exec_logs_and_stats(docker: list[str]) -> None:
    done = run([*docker, "exec", "-i", "web", "cat"], "hi")
    assert (done.stdout, done.stderr, done.returncode) == ("hi", "2 bytes\n", EXIT_CODE)
    logs = run([*docker, "logs", "-f", "web"])
    assert (logs.stdout, logs.stderr) == ("one\nthree\n", "two\n")
    assert "/ 61.04MiB" in run([*docker, "stats", "--no-stream", "web"]).stdout


def test_events_come_as_they_happen(docker: list[str], api: Api) -> None:
    listening = subprocess.Popen([*docker, "events", "--format", "{{.Action}}"], stdout=subprocess.PIPE, text=True)
    assert listening.stdout
    try:
        deadline = time.monotonic() + 10
        while not api.engine.events.listeners and time.monotonic() < deadline:
            time.sleep(0.05)
        run([*docker, "run", "-i", "busybox", "cat"])
        assert [listening.stdout.readline().strip() for _ in range(2)] == ["start", "die"]
    finally:
        listening.kill()
        listening.wait()
    deadline = time.monotonic() + 5
    while api.engine.events.listeners and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not api.engine.events.listeners


def test_stop_sends_its_timeout_and_errors_are_shown(docker: list[str], api: Api) -> None:
    run([*docker, "stop", "-t", "3", "web"])
    assert ("stop", ("", 3)) in api.engine.containers.calls
    assert "No such container: nope" in run([*docker, "inspect", "--type", "container", "nope"]).stderr.replace("Error: ", "")
    assert run([*docker, "run", "missing"]).returncode == 125


def test_docker_py_speaks_with_it(api: Api) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=api.url, version="auto")
    assert client.ping()
    assert client.containers.get("web").status == "running"
    assert client.containers.get("web").logs() == b"one\ntwo\n"
    made = client.api.create_container(
        "busybox", "cat", stdin_open=True, host_config=client.api.create_host_config(mem_limit="64m")
    )
    spec = next(call[1] for call in reversed(api.engine.containers.calls) if call[0] == "create")
    assert spec.resources.memory_bytes == 64 << 20
    held = client.api.attach_socket(made["Id"], params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    client.api.start(made["Id"])
    held._sock.sendall(b"abc")
    held._sock.shutdown(socket.SHUT_WR)
    received = b"".join(iter(lambda: held._sock.recv(4096), b""))
    assert received == b"\x01\0\0\0\0\0\0\x03abc\x02\0\0\0\0\0\0\x083 bytes\n"
    assert client.api.wait(made["Id"])["StatusCode"] == EXIT_CODE
    exit_code, output = client.containers.get("web").exec_run(["cat"], detach=True)
    assert (exit_code, output) == (None, "")
    assert next(client.api.stats("web", decode=True))["pids_stats"]["current"] == 3
    client.close()


def test_a_browser_attaches_by_websocket(api: Api) -> None:
    made = api.ask("POST", "/containers/create", {"Image": "busybox", "OpenStdin": True})[1]["Id"]
    api.ask("POST", f"/containers/{made}/start")
    held = socket.socket(socket.AF_UNIX)
    held.settimeout(10)
    held.connect(str(api.path))
    key = base64.b64encode(b"0123456789abcdef").decode()
    held.sendall(
        f"GET /containers/{made}/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    stream = held.makefile("rb")
    head = b"".join(iter(stream.readline, b"\r\n"))
    assert b"101" in head.splitlines()[0]
    assert b"Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=" in head
    mask, text = b"abcd", b"hello"
    held.sendall(b"\x81" + bytes([0x80 | len(text)]) + mask + bytes(a ^ b for a, b in zip(text, mask + mask, strict=False)))
    assert stream.read(2 + len(text)) == b"\x82\x05hello"
    held.sendall(b"\x89\x80abcd")
    assert stream.read(2) == b"\x8a\x00"
    held.sendall(b"\x88\x80abcd")
    assert stream.read() == b"\x88\x02\x03\xe8"
    held.close()
    assert json.dumps(api.ask("GET", "/containers/web/attach/ws")[1]).count("not a websocket handshake")
