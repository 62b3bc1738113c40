"""The engines that this machine has, each with a daemon of its own, and how one command of theirs is timed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv/bin"
START_SECONDS = 60.0


@dataclass
class Engine:
    """One engine: `cli` before the verb, `daemon` the command that serves it (none for podman)."""

    name: str
    cli: Sequence[str]
    home: Path
    daemon: Sequence[str] = ()
    own: Sequence[str] = ()  # what the command lines of its own processes begin with
    remove: Sequence[str] = ("rm", "-f")
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Start the daemon; False when it does not come up."""
        if self.daemon:
            with (self.home / f"{self.name}.log").open("ab") as log:
                self.process = subprocess.Popen(
                    self.daemon, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run([*self.cli, "ps"], env=self.env, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline or (self.process and self.process.poll() is not None):
                return False
            time.sleep(0.1)
        return True

    def stop(self) -> None:
        """End the daemon and whatever it left running."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        deadline = time.monotonic() + 5  # a keeper with nothing left to keep takes its cgroups away and ends
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", *sorted(self._mounts(), reverse=True)], check=False, capture_output=True)

    def _mounts(self) -> list[str]:
        points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        return [point for point in points if point.startswith(f"{self.home}/")]

    @property
    def env(self) -> dict[str, str]:
        return os.environ | self.environment

    def run(self, *words: str) -> float:
        """Milliseconds of one command from spawn to exit. Raises CalledProcessError when it fails."""
        began = time.perf_counter()
        subprocess.run([*self.cli, *words], env=self.env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - began) * 1000

    def attempt(self, *words: str) -> None:
        """A command whose failure does not matter."""
        subprocess.run([*self.cli, *words], env=self.env, check=False, capture_output=True)

    def processes(self) -> list[int]:
        """Its own processes (daemon, keeper, shims): known by its directory on their command line. No containers."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            programs = [Path(word).name for word in command[:3]]  # an interpreter and its options may stand before ours
            if str(self.home) in " ".join(command) and any(name.startswith(tuple(self.own)) for name in programs):
                found.append(int(entry.name))
        return found

    def pss_kib(self) -> int:
        """Proportional set size of its own processes."""
        total = 0
        for pid in self.processes():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total


def present() -> list[Engine]:
    """Orlop, and those of docker and podman that are installed."""
    home = Path(tempfile.mkdtemp(prefix="orlop-bench"))
    host = f"unix://{home}/orlop.sock"
    engines = [
        Engine(
            "orlop", [str(BIN / "orlop")], home, own=("orlop",), environment={"DOCKER_HOST": host},
            daemon=[str(BIN / "orlopd"), "--data-root", f"{home}/orlop", "--exec-root", f"{home}/orlop-run", "--host", host,
                    "--pidfile", f"{home}/orlopd.pid", "--cgroup-parent", f"/{home.name}"],
        )
    ]  # fmt: skip
    if shutil.which("dockerd"):
        host = f"unix://{home}/docker.sock"
        engines.append(
            Engine(
                "docker", ["docker"], home, own=("dockerd", "containerd", "docker-proxy"), environment={"DOCKER_HOST": host},
                daemon=["dockerd", "--data-root", f"{home}/docker", "--exec-root", f"{home}/docker-run", "--host", host,
                        "--pidfile", f"{home}/dockerd.pid", "--storage-driver", "overlay2"],
            )
        )  # fmt: skip
    if shutil.which("podman"):
        roots = ["--root", f"{home}/podman", "--runroot", f"{home}/podman-run", "--tmpdir", f"{home}/podman-tmp"]
        engines.append(Engine("podman", ["podman", *roots], home, own=("conmon",), remove=("rm", "-f", "-t", "0")))
    return engines
