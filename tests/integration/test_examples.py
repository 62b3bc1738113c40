"""The examples run as they are, and `make run` ends with a page from inside a container."""

import subprocess
from pathlib import Path

import pytest

from support.engine import BIN, ROOT, Engine
from support.images import SERVICES, archive

pytestmark = pytest.mark.root


def test_the_tiny_container_is_tiny_and_runs(tmp_path: Path) -> None:
    source = ROOT / "examples/tiny_container.py"
    assert len(source.read_text().splitlines()) < 60
    (tmp_path / "bin").mkdir()
    subprocess.run(["cp", "/bin/busybox", str(tmp_path / "bin/busybox")], check=True)
    (tmp_path / "proc").mkdir()
    command = [
        str(BIN / "python"),
        str(source),
        str(tmp_path),
        "/bin/busybox",
        "sh",
        "-c",
        "echo pid $$; /bin/busybox hostname",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "pid 1"


def test_the_web_service_of_make_run(engine: Engine) -> None:
    engine.docker("load", "-i", str(archive(*SERVICES)), timeout=120)
    engine.docker("tag", "debian:bookworm", "debian:nginx")
    done = subprocess.run(
        [str(ROOT / "examples/web_service.sh")],
        env=engine.environment | {"PORT": "18090"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Hello from inside a container" in done.stdout
    assert "orlop-example-web" in done.stdout
    engine.docker("rm", "-f", "orlop-example-web")
