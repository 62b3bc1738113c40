"""What evil containers and archives try, through the stock client: nothing of the host is read, written or entered."""

import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import Engine
from support.registry import PASSWORD, USER, Registry, make_image
from support.tars import file, symlink, tar

pytestmark = pytest.mark.root

EVIL_TARS = {
    "parent": lambda up, host: tar(file(f"{up}{host}/evil", b"evil")),
    "absolute": lambda up, host: tar(file(f"{host}/evil", b"evil")),
    "link": lambda up, host: tar(symlink("way", host), file("way/evil", b"evil")),
    "relative link": lambda up, host: tar(symlink("way", f"{up}{host}"), file("way/evil", b"evil")),
    "proc": lambda up, host: tar(symlink("way", "/proc/1/root"), file(f"way{host}/evil", b"evil")),
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host with a secret; it must stay as it is."""
    place = tmp_path / "host"
    place.mkdir()
    (place / "secret").write_text("secret of the host")
    yield place
    assert os.listdir(place) == ["secret"]
    assert (place / "secret").read_text() == "secret of the host"


@pytest.fixture
def evil(engine: Engine) -> Iterator[str]:
    """A container that runs and does as it is told."""
    engine.docker("run", "-d", "--name", "evil", "busybox", "sleep", "1000")
    yield "evil"
    engine.docker("rm", "-f", "evil")


def inside(engine: Engine, line: str) -> str:
    return engine.docker("exec", "evil", "sh", "-c", line)


@pytest.mark.parametrize("kind", EVIL_TARS)
def test_an_evil_archive_stays_in_its_root(engine: Engine, evil: str, host: Path, kind: str) -> None:
    content = EVIL_TARS[kind]("../" * 12, os.fspath(host))
    images = engine.docker("images", "-aq")
    engine.docker("cp", "-", f"{evil}:/tmp", stdin=content, code=None)
    made = engine.docker("import", "-", "evil:1", stdin=content, code=None)
    if not made:
        assert engine.docker("images", "-aq") == images
    engine.docker("rmi", "evil:1", code=None)


def test_an_evil_layer_is_refused_by_load_and_nothing_of_it_is_known(engine: Engine, host: Path, tmp_path: Path) -> None:
    up = "../" * 12
    archive = make_image(tmp_path, "evil:2", files=({f"{up}{host}/evil": b"evil"},)).archive
    images = engine.docker("images", "-aq")
    said = engine.docker("load", "-i", str(archive), code=1, both=True)
    assert "outside of the archive's root" in said
    assert engine.docker("images", "-aq") == images


def test_cp_follows_links_inside_the_container_only(engine: Engine, evil: str, host: Path, tmp_path: Path) -> None:
    inside(
        engine,
        f"ln -s {host}/secret /leak; ln -s {host} /way; ln -s /proc/1/root{host} /proc-way; ln -s ../../../../..{host} /up",
    )
    out = tmp_path / "out"
    for path in ("/leak", "/way/secret", "/proc-way/secret", "/up/secret"):
        engine.docker("cp", "-L", f"{evil}:{path}", str(out), code=1)
        assert not out.exists()
    (tmp_path / "mine").write_text("mine")
    for path in ("/way/", "/proc-way/", "/up/", "/way/evil", "/leak"):
        engine.docker("cp", str(tmp_path / "mine"), f"{evil}:{path}", code=None)


def test_cp_while_the_container_exchanges_a_directory_for_a_link(engine: Engine, evil: str, host: Path, tmp_path: Path) -> None:
    inside(engine, f"mkdir /d; ln -s {host} /l; (while :; do mv /d /x; mv /l /d; mv /d /l; mv /x /d; done) >/dev/null 2>&1 &")
    (tmp_path / "mine").write_text("mine")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        engine.docker("cp", str(tmp_path / "mine"), f"{evil}:/d/evil", code=None)
        found = engine.run("docker", "cp", f"{evil}:/d/secret", "-").stdout
        assert b"secret of the host" not in found


@pytest.mark.parametrize("number", range(3, 12))
def test_no_descriptor_is_a_working_directory(engine: Engine, evil: str, number: int) -> None:
    """CVE-2024-21626: /proc/self/fd/N of what starts the process must not lead out."""
    said = engine.run("docker", "exec", "-w", f"/proc/self/fd/{number}", evil, "cat", "etc/hostname")
    assert said.returncode in (1, 126, 127, 128), said
    said = engine.run("docker", "run", "--rm", "-w", f"/proc/self/fd/{number}", "busybox", "ls")
    assert said.returncode in (125, 126, 127, 128), said


def test_a_working_directory_that_is_a_link_stays_inside(engine: Engine, evil: str, host: Path) -> None:
    inside(engine, f"ln -s {host} /work; mkdir -p {host}; touch {host}/inner")
    assert engine.docker("exec", "-w", "/work", evil, "ls") == "inner\n"
    engine.docker("commit", "-c", "WORKDIR /work", evil, "work:1")
    assert engine.docker("run", "--rm", "work:1", "ls") == "inner\n"
    engine.docker("rmi", "work:1")


def test_a_mount_point_that_is_exchanged_for_a_link_stays_inside(engine: Engine, host: Path) -> None:
    """CVE-2021-30465: one container moves directories of a volume while others mount something on them."""
    exchange = f"mkdir -p /v/d/{host.name}; ln -s {host.parent} /v/l; while :; do mv /v/d /v/x; mv /v/l /v/d; mv /v/d /v/l; mv /v/x /v/d; done"
    engine.docker("run", "-d", "--name", "mover", "-v", "race:/v", "busybox", "sh", "-c", f"({exchange}) 2>/dev/null")
    until = time.monotonic() + 4
    target = f"/v/d/{host.name}"
    while time.monotonic() < until:
        found = engine.run("docker", "run", "--rm", "-v", "race:/v", "--tmpfs", target, "busybox", "ls", "-R", "/v/d")
        assert b"secret" not in found.stdout
        assert not os.path.ismount(host)
    engine.docker("rm", "-f", "mover")
    engine.docker("volume", "rm", "race")


def test_the_keeper_cannot_be_reached_through_exe(engine: Engine, evil: str) -> None:
    """CVE-2019-5736: a container whose program is a link to /proc/self/exe executes itself, never the keeper."""
    inside(engine, "ln -s /proc/self/exe /self; cp /bin/busybox /bin/own")
    said = engine.run("docker", "exec", evil, "/self", "echo", "hi")
    assert said.returncode in (0, 1, 126, 127), said
    assert inside(engine, "for p in /proc/[0-9]*; do readlink $p/exe; done | grep -c python || true") == "0\n"


def test_no_secret_is_kept_or_logged(own_engine: Engine, tmp_path: Path) -> None:
    engine, registry = own_engine, Registry(guarded=True)
    try:
        engine.docker("login", "-u", USER, "-p", PASSWORD, registry.address)
        engine.docker("tag", "busybox", f"{registry.address}/box:1")
        engine.docker("push", f"{registry.address}/box:1")
        engine.docker("rmi", f"{registry.address}/box:1")
        engine.docker("pull", f"{registry.address}/box:1")
        assert engine.docker("run", "--rm", f"{registry.address}/box:1", "echo", "hi") == "hi\n"
        engine.docker("login", "-u", USER, "-p", "not-" + PASSWORD, registry.address, code=1)
        shown = engine.docker("info") + engine.docker("inspect", f"{registry.address}/box:1")
    finally:
        registry.close()
    engine.stop()
    secrets = (f'"{PASSWORD}"', f"not-{PASSWORD}", base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode().rstrip("="))
    places = [path for root in (engine.data_root, engine.exec_root) for path in root.rglob("*")]
    files = [path for path in places if path.is_file() and "fs" not in path.parts]
    assert engine.data_root / "state.db" in files
    for name, content in [("shown", shown.encode()), *((str(path), path.read_bytes()) for path in (engine.log, *files))]:
        assert [secret for secret in secrets if secret.encode() in content] == [], name
