"""Registries as users meet them: the stock docker client and ours, against a whole engine."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine, until
from support.registry import PASSWORD, USER, Registry, make_image, tar_of
from support.rogue import Rogue

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    running = Registry()
    yield running
    running.close()


@pytest.fixture(scope="module")
def guarded() -> Iterator[Registry]:
    running = Registry(guarded=True)
    yield running
    running.close()


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_what_skopeo_pushed_runs(engine: Engine, registry: Registry, tmp_path: Path, form: str) -> None:
    made = make_image(tmp_path, files=({"etc/motd": b"hello from the registry\n"},))
    reference = registry.put(made.archive, f"runs/{form}:1", "--format", form)
    assert "hello from the registry" in engine.docker(
        "run", "--rm", "--network", "none", reference, "busybox", "cat", "/etc/motd"
    )
    found = json.loads(engine.docker("image", "inspect", reference))[0]
    assert found["Id"] == registry.inspect(f"runs/{form}:1", "--raw")["config"]["digest"]
    assert found["RootFS"]["Layers"] == list(made.diff_ids)
    engine.docker("rmi", "-f", reference)


def test_what_was_committed_and_pushed_comes_back(engine: Engine, registry: Registry) -> None:
    target = f"{registry.address}/ours/committed:1"
    engine.docker("run", "--name", "author", "--network", "none", "busybox", "sh", "-c", "echo written > /note")
    engine.docker("commit", "-c", 'CMD ["cat", "/note"]', "author", target)
    engine.docker("rm", "author")
    image_id = engine.docker("image", "inspect", "-f", "{{.Id}}", target).strip()
    pushed = engine.docker("push", target)
    assert f"1: digest: {registry.inspect('ours/committed:1')['Digest']} size: " in pushed
    engine.docker("rmi", target)
    assert engine.docker("run", "--rm", "--network", "none", target) == "written\n"
    assert engine.docker("image", "inspect", "-f", "{{.Id}}", target).strip() == image_id
    engine.docker("rmi", target)


def test_login_lets_in_and_logout_shuts_out(engine: Engine, guarded: Registry, tmp_path: Path) -> None:
    made = make_image(tmp_path, files=({"etc/motd": b"secret\n"},))
    reference = guarded.put(made.archive, "secret/x:1")
    mine = f"{guarded.address}/mine/x:2"
    login = ("login", "-u", USER, "--password-stdin", guarded.address)
    assert "no basic auth credentials" in engine.docker("pull", reference, code=1, both=True)
    assert "401 Unauthorized" in engine.docker(*login, stdin=b"wrong", code=1, both=True)
    assert "Login Succeeded" in engine.docker(*login, stdin=PASSWORD.encode())
    engine.docker("pull", reference)
    engine.docker("tag", reference, mine)
    engine.docker("push", mine)
    engine.docker("logout", guarded.address)
    assert "no basic auth credentials" in engine.docker("push", mine, code=1, both=True)
    assert "no basic auth credentials" in engine.docker("pull", reference, code=1, both=True)
    engine.docker("rmi", "-f", reference, mine)


def test_an_interrupted_pull_goes_on_even_after_the_daemon_was_killed(own_engine: Engine) -> None:
    server = Rogue(break_after=4_000_000, breaks=2, stall=True)
    try:
        server.add_image("1", [tar_of("big", os.urandom(6 << 20))])
        digest, blob = max(server.blobs.items(), key=lambda pair: len(pair[1]))
        reference, partial = f"{server.address}/big:1", own_engine.data_root / "partial" / digest.replace(":", "-")
        command = ["docker", "pull", "-q", reference]
        client = subprocess.Popen(command, env=own_engine.environment, stderr=subprocess.DEVNULL)
        until(lambda: partial.exists() and partial.stat().st_size == 4_000_000)
        client.terminate()  # not SIGINT, which what runs in the background may have been told to ignore
        client.wait()
        own_engine.kill()
        own_engine.start()
        assert own_engine.docker("images", "-q", reference) == ""
        server.breaks = 0
        own_engine.docker("pull", "-q", reference)
        assert server.sent[digest] == len(blob), "every byte crossed the wire once"
        assert list(partial.parent.iterdir()) == []
    finally:
        server.close()
