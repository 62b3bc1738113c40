"""A data root without room: what needs some fails in one line, what runs goes on, and all is as before once there is room."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.census import settled
from support.engine import Engine, until
from support.images import archive
from support.registry import MadeImage, Registry, make_image

pytestmark = pytest.mark.root

SIZE = "30m"
FULL = "no space left on device"


@pytest.fixture
def small() -> Iterator[Engine]:
    """An engine whose data root is a file system of its own."""
    engine = Engine("--insecure-registry", "127.0.0.0/8")
    engine.data_root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "small", engine.data_root], check=True)
    with ExitStack() as undo:
        undo.callback(engine.destroy)
        engine.start()
        engine.docker("load", "-i", str(archive("busybox")))
        engine.docker("run", "--rm", "busybox", "true")
        yield engine


@pytest.fixture
def large(tmp_path: Path) -> MadeImage:
    """An image that has no room there."""
    return make_image(tmp_path, "large:1", files=({"a": os.urandom(30 << 20)},))


def test_what_is_too_large_is_refused_in_one_line(small: Engine, large: MadeImage) -> None:
    clean = settled(small)
    registry = Registry()
    try:
        reference = registry.put(large.archive, "large:1")
        _refused(small, "load", "-i", str(large.archive))
        _refused(small, "pull", reference)
    finally:
        registry.close()
    small.docker("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    _refused(small, "cp", str(large.archive), "box:/tmp/x")
    small.docker("exec", "box", "rm", "-f", "/tmp/x")
    small.docker("exec", "box", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=18")
    _refused(small, "commit", "box", "big:1")
    assert small.docker("images", "-aq").split() == small.docker("images", "-q", "busybox").split()
    small.docker("rm", "-f", "box")
    small.stop()
    for download in (small.data_root / "partial").glob("*"):  # kept for the next pull
        download.unlink()
    small.start()  # sweeps what a pull that was broken off between two layers may have left
    settled(small, clean)


def test_without_any_room_nothing_hangs_and_nothing_is_lost(small: Engine) -> None:
    clean = settled(small)
    count = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"
    small.docker("run", "-d", "--name", "logs", "busybox", "sh", "-c", count)
    small.docker("run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 2; exit 3")
    small.docker("run", "-d", "--name", "goes", "--rm", "busybox", "sleep", "2")
    with _full(small.data_root):
        _refused(small, "run", "--rm", "busybox", "true", code=125)
        _refused(small, "load", "-i", str(archive("busybox")))
        assert small.docker("exec", "logs", "echo", "fine") == "fine\n"
        assert small.docker("wait", "ends") == "3\n"
        until(lambda: "goes" not in small.docker("ps", "-a"), what="--rm is kept")
        small.docker("stop", "-t", "0", "logs")
        small.docker("rename", "ends", "ended")
        small.docker("rm", "ended")
        small.kill()
        small.start()
    until(lambda: small.docker("start", "logs", code=None) == "logs\n", what="it starts when there is room")
    before = _lines(small)
    until(lambda: _lines(small) > before + 5, what="it logs again")
    small.stop()
    small.start()
    assert "end" not in small.docker("ps", "-a")
    assert small.inspect("logs")["State"]["Running"] is True
    small.docker("rm", "-f", "logs")
    settled(small, clean)


def _lines(engine: Engine) -> int:
    """How many lines the log has. Each of them is whole."""
    log = Path(engine.inspect("logs")["LogPath"])
    return len([json.loads(line) for line in log.read_text().splitlines()])


def _refused(engine: Engine, *words: str, code: int = 1) -> None:
    said = engine.run("docker", *words)
    assert said.returncode == code, said
    (line,) = [
        line
        for line in said.stderr.decode().splitlines()
        if line and not line.startswith(("Run 'docker", "See 'docker", "Error: failed", 'time="'))
    ]
    assert line.rstrip(".").endswith(FULL), line


@contextmanager
def _full(root: Path) -> Iterator[None]:
    """Take all room, and whatever becomes free, at once."""
    over = threading.Event()

    def fill() -> None:
        filler = os.open(root / "filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        while not over.wait(0.001):
            for size in (1 << 20, 4096):
                try:
                    while os.write(filler, bytes(size)) == size:
                        pass
                except OSError:
                    continue
        os.close(filler)

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        until(lambda: os.statvfs(root).f_bavail == 0)
        time.sleep(0.1)
        yield
    finally:
        over.set()
        thread.join()
        os.unlink(root / "filler")
