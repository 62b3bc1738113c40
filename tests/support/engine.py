"""An `orlopd` with roots, socket and cgroup parent of its own, and the clients that talk to it."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv/bin"
PATIENCE = float(os.environ.get("ORLOP_TEST_PATIENCE", "1"))  # a factor on every wait; tools/vmtest sets it on slow machines
START_SECONDS = 20.0 * PATIENCE


class CommandFailed(AssertionError):
    """A client command ended with a code that the test did not expect."""


class Engine:
    """One daemon. `docker` is the stock client, `orlop` ours; both give stdout and raise CommandFailed unless told the code."""

    def __init__(self, *options: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="orlop-t"))
        self.options = options
        self.socket = self.home / "s"
        self.host = f"unix://{self.socket}"
        self.data_root, self.exec_root = self.home / "data", self.home / "run"
        self.cgroup_parent = f"/orlop-test-{self.home.name}"
        self.log = self.home / "log"
        self.daemon: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> "Engine":
        command = [
            str(BIN / "orlopd"), "--data-root", str(self.data_root), "--exec-root", str(self.exec_root), "--host", self.host,
            "--pidfile", str(self.home / "pid"), "--cgroup-parent", self.cgroup_parent, "--debug", *self.options,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"orlopd did not come up:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        return (
            self.socket.exists()
            and self.run("curl", "-sf", "--unix-socket", str(self.socket), "http://d/_ping").returncode == 0
        )

    @property
    def pid(self) -> int:
        assert self.daemon
        return self.daemon.pid

    @property
    def keeper_pid(self) -> int:
        return int((self.exec_root / "keeper.pid").read_text().split()[0])

    def kill(self) -> None:
        """kill -9 of the daemon alone."""
        assert self.daemon
        self.daemon.kill()
        self.daemon.wait()

    def stop(self) -> None:
        """SIGTERM; containers run on."""
        assert self.daemon
        self.daemon.terminate()
        self.daemon.wait(20 * PATIENCE)

    def destroy(self) -> None:
        """Remove every container, end daemon and keeper, delete the roots."""
        if self.daemon and self.daemon.poll() is None:
            if ids := self.docker("ps", "-aq").split():
                self.docker("rm", "-f", *ids, code=None)
            keeper = self.keeper_pid
            self.stop()
            end(keeper)
        for mount in reversed(mounts_below(self.home)):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def environment(self) -> dict[str, str]:
        config = self.home / "docker-config"
        config.mkdir(exist_ok=True)
        return os.environ | {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(config)}

    def run(self, *argv: str, stdin: bytes | None = None, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            argv, input=stdin, capture_output=True, env=self.environment, timeout=timeout * PATIENCE, check=False
        )

    def docker(self, *words: str, **options: Any) -> str:
        return self._client("docker", words, **options)

    def orlop(self, *words: str, **options: Any) -> str:
        return self._client(str(BIN / "orlop"), words, **options)

    def _client(
        self,
        client: str,
        words: Sequence[str],
        *,
        code: int | None = 0,
        stdin: bytes | None = None,
        both: bool = False,
        timeout: float = 60,
    ) -> str:
        done = self.run(client, *words, stdin=stdin, timeout=timeout)
        if code is not None and done.returncode != code:
            raise CommandFailed(
                f"{client} {' '.join(words)}: exit {done.returncode}, expected {code}\n{done.stdout.decode()}\n{done.stderr.decode()}"
            )
        return (done.stdout + done.stderr if both else done.stdout).decode()

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return found

    def api(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """One raw request: status and body."""
        command = ["curl", "-s", "-o", "-", "-w", "\n%{http_code}", "-X", method, "--unix-socket", str(self.socket)]
        if body is not None:
            text = body if isinstance(body, str) else json.dumps(body)
            command += ["-H", "Content-Type: application/json", "--data-binary", text]
        out = self.run(*command, f"http://d{path}").stdout
        content, _, status = out.rpartition(b"\n")
        return int(status), content


def end(pid: int) -> None:
    """SIGKILL to exactly this process, and wait until it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            time.sleep(0.01)
    except (ProcessLookupError, FileNotFoundError):
        pass
    finally:
        os.close(pidfd)


def mounts_below(directory: Path) -> list[str]:
    """Mount points at or below a directory, in the order in which they were made."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]


def until(condition: Any, seconds: float = 10.0, what: str = "") -> Any:
    """The condition's first true value; fails the test when none comes in time."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        time.sleep(0.03)
