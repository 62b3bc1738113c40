"""What Python programs do through the `docker` module, where its own tests once found us wanting (see docs/conformance.md)."""

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest
from docker.types import LogConfig

from support.engine import Engine
from support.registry import Registry, make_image

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    opened = docker.DockerClient(base_url=engine.host)
    yield opened
    opened.close()


def test_a_variable_without_a_value_is_kept_in_the_config_and_kept_from_the_process(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "env", environment={"BARE": None, "EMPTY": "", "FULL": "x"})
    try:
        assert {"BARE", "EMPTY=", "FULL=x"} <= set(container.attrs["Config"]["Env"])
        container.start()
        container.wait()
        shown = container.logs().decode().splitlines()
        assert {"EMPTY=", "FULL=x"} <= set(shown)
        assert not [line for line in shown if line.startswith("BARE")]
    finally:
        container.remove(force=True)


def test_an_archive_goes_into_the_volume_of_a_container_that_never_ran(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "cat /data/file", volumes=["/data"])
    try:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as writer:
            entry = tarfile.TarInfo("file")
            entry.size = 4
            writer.addfile(entry, io.BytesIO(b"here"))
        assert container.put_archive("/data", archive.getvalue())
        container.start()
        container.wait()
        assert container.logs() == b"here"
    finally:
        container.remove(v=True)


def test_the_exit_code_of_an_exec_is_known_when_its_output_has_ended(client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 1000", detach=True, log_config=LogConfig(type="none"))
    try:
        with ThreadPoolExecutor(4) as threads:
            done = list(threads.map(lambda code: container.exec_run(["sh", "-c", f"echo {code}; exit {code}"]), range(40)))
        assert [(one.exit_code, one.output) for one in done] == [(code, f"{code}\n".encode()) for code in range(40)]
    finally:
        container.remove(force=True)


def test_links_are_listed_told_and_removed(client: docker.DockerClient) -> None:
    client.containers.run("busybox", "sleep 1000", name="linked", environment={"FOO": "1"}, detach=True)
    client.containers.create("busybox", "env", name="linking", links={"linked": "alias"})
    try:
        named = next(one["Names"] for one in client.api.containers(all=True) if "/linked" in one["Names"])
        assert named == ["/linked", "/linking/alias"]
        linking = client.containers.get("linking")
        linking.start()
        linking.wait()
        assert {"ALIAS_NAME=/linking/alias", "ALIAS_ENV_FOO=1"} <= set(linking.logs().decode().splitlines())
        client.api.remove_container("linking/alias", link=True)
        assert client.api.containers(all=True, filters={"name": "linked"})[0]["Names"] == ["/linked"]
        assert client.containers.get("linking").attrs["HostConfig"]["Links"] in (None, [])
    finally:
        for name in ("linked", "linking"):
            client.containers.get(name).remove(force=True)


def test_a_driver_for_volumes_is_only_asked_for_when_there_is_one_to_make(client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", volume_driver="foo")
    assert container.attrs["HostConfig"]["VolumeDriver"] == "foo"
    container.remove()
    with pytest.raises(docker.errors.NotFound, match='plugin "foo" not found'):
        client.volumes.create("driven", driver="foo")


def test_an_image_is_pulled_by_its_digest(client: docker.DockerClient, tmp_path: Path) -> None:
    registry = Registry()
    try:
        registry.put(make_image(tmp_path).archive, "digested:1")
        reference = f"{registry.address}/digested@{registry.inspect('digested:1')['Digest']}"
        image = client.images.pull(reference)
        assert (image.attrs["RepoDigests"], image.tags) == ([reference], [])
        client.images.remove(image.id)
    finally:
        registry.close()
