"""The daemon as a program: one owner of its roots, its socket, a clean end that leaves containers running."""

import stat
import subprocess
from pathlib import Path

import pytest

from support.engine import BIN, Engine, until

pytestmark = pytest.mark.root


def orlopd(*options: str) -> subprocess.CompletedProcess[str]:
    """A daemon that is expected to refuse."""
    return subprocess.run([str(BIN / "orlopd"), *options], capture_output=True, text=True, timeout=20, check=False)


def test_the_socket_is_for_root_and_its_group_only(engine: Engine) -> None:
    assert stat.S_IMODE(engine.socket.stat().st_mode) == 0o660
    assert engine.socket.stat().st_uid == 0


def test_a_second_daemon_on_the_same_pidfile_is_refused(engine: Engine) -> None:
    refused = orlopd(
        "--data-root", str(engine.data_root), "--exec-root", str(engine.exec_root), "--pidfile", str(engine.home / "pid")
    )
    assert refused.returncode == 1
    assert f"process {engine.pid} holds it" in refused.stderr
    assert engine.docker("ps", "-q") == ""


@pytest.mark.parametrize(
    "options", [("--bip", "nonsense"), ("--storage-driver", "zfs"), ("--host", "ftp://x"), ("--log-level", "x")]
)
def test_a_wrong_option_ends_it_with_one_line_and_nothing_left(tmp_path: Path, options: tuple[str, str]) -> None:
    refused = orlopd("--data-root", f"{tmp_path}/d", "--exec-root", f"{tmp_path}/r", *options)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert options[1] in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "r" / "orlopd.pid").exists()


def test_a_clean_end_leaves_containers_running_and_removes_the_socket(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("run", "-d", "--name", "runs", "busybox", "sleep", "1000")
    pid = engine.inspect("runs")["State"]["Pid"]
    engine.stop()
    assert not engine.socket.exists()
    assert not (engine.home / "pid").exists()
    assert Path(f"/proc/{pid}/stat").exists()
    engine.start()
    assert engine.inspect("runs")["State"]["Pid"] == pid
    assert engine.docker("exec", "runs", "echo", "hi") == "hi\n"


def test_records_of_a_killed_daemon_are_all_there(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("volume", "create", "kept")
    engine.docker("network", "create", "mine")
    engine.docker("create", "--name", "made", "-v", "kept:/data", "--network", "mine", "busybox", "true")
    engine.docker("tag", "busybox", "other:tag")
    engine.kill()
    engine.start()
    assert engine.docker("ps", "-a", "--format", "{{.Names}}").split() == ["made"]
    assert engine.docker("volume", "ls", "-q").split() == ["kept"]
    assert "mine" in engine.docker("network", "ls", "--format", "{{.Name}}").split()
    assert "other:tag" in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert engine.docker("start", "-a", "made") == ""


def test_what_a_crash_left_half_made_is_swept(own_engine: Engine) -> None:
    engine = own_engine
    engine.docker("run", "--rm", "busybox", "true")
    engine.kill()
    for name in ("containers/" + "f" * 64, "snapshots/new-left", "containers/new-left"):
        (engine.data_root / name).mkdir()
    engine.start()
    until(lambda: not any(engine.data_root.glob("*/*left")), 10, "nothing half-made is left")
    assert not (engine.data_root / "containers" / ("f" * 64)).exists()
