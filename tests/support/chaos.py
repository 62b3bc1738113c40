"""kill -9 at a random moment of a command, and the look around afterwards. For test_chaos.py and tests/soak."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from support.census import settled
from support.engine import PATIENCE, Engine, end
from support.images import archive
from support.registry import Registry, make_image

DAEMON, KEEPER, HOLDER, WORKER = "daemon", "keeper", "holder", "worker"
VICTIMS = (
    (DAEMON,),
    (KEEPER,),
    (HOLDER,),
    (WORKER,),
    (DAEMON, KEEPER),
    (KEEPER, HOLDER),
    (DAEMON, WORKER),
    (DAEMON, KEEPER, HOLDER),
)
NO_ANSWER_SECONDS = 60
BASE = "busybox:latest"
MOUNTS = ("-v", "/anonymous", "-v", "named:/etc", "-p", "42002:80")

# What is disturbed, and within how many seconds from its start. On stage are `still` and `polite` (which have a volume and a
# port, and end when asked), and a network `net`.
COMMANDS: dict[str, tuple[tuple[str, ...], float]] = {
    "create": (("create", "--name", "new", *MOUNTS, "busybox", "true"), 0.1),
    "run": (("run", "-d", "--name", "new", *MOUNTS, "busybox", "sleep", "1000"), 0.15),
    "run --rm": (("run", "--rm", "busybox", "true"), 0.2),
    "rm -f": (("rm", "-f", "-v", "polite"), 0.12),
    "stop": (("stop", "polite"), 0.2),
    "pause": (("pause", "still"), 0.06),
    "rename": (("rename", "still", "still2"), 0.06),
    "exec": (("exec", "still", "sh", "-c", "echo hi; sleep 0.05"), 0.15),
    "cp": (("cp", "/bin/busybox", "still:/tmp/copy"), 0.15),
    "commit": (("commit", "still", "made:2"), 0.3),
    "load": (("load", "-i", "{archive}"), 0.5),
    "pull": (("pull", "{reference}"), 0.8),
    "volume create": (("volume", "create", "some"), 0.06),
    "network create": (("network", "create", "net2"), 0.1),
    "network connect": (("network", "connect", "net", "still"), 0.1),
    "network disconnect": (("network", "disconnect", "bridge", "still"), 0.1),
}


@dataclass(frozen=True)
class Chaos:
    """An engine on which commands are disturbed. `clean` is its census when nobody uses it; `places` are for COMMANDS."""

    engine: Engine
    clean: dict[str, list[str]]
    places: dict[str, str]

    def round(self, name: str, victims: Sequence[str], random: Random) -> None:
        """Disturb one command. Fails, telling what was done, when something does not work afterwards, or something is left."""
        self._prepare()
        did = self._disturb(name, victims, random)
        try:
            self._works()
            self._clear()
        except AssertionError as error:
            raise AssertionError(f"{did}\n{error}") from error

    def _prepare(self) -> None:
        docker = self.engine.docker
        docker("run", "-d", "--name", "still", "busybox", "sleep", "1000")
        ends = 'trap "exit 3" TERM; while :; do sleep 0.05; done'
        docker("run", "-d", "--name", "polite", "-v", "/data", "-p", "42001:80", "busybox", "sh", "-c", ends)
        docker("network", "create", "net")

    def _disturb(self, name: str, victims: Sequence[str], random: Random) -> str:
        """Start a command, kill the victims at some moment, start the daemon again; what was done and what was said."""
        words, within = COMMANDS[name]
        moment = random.uniform(0, within)
        command = ["docker", *(word.format(**self.places) for word in words)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        running = subprocess.Popen(command, env=self.engine.environment, **quiet)
        time.sleep(moment)
        for pid in self._pids(victims):
            end(pid)
        if DAEMON in victims:
            self.engine.kill()
            self.engine.start()
        did = f"{' '.join(command)}: {'+'.join(victims)} killed after {moment:.4f} s"
        try:
            said, _ = running.communicate(timeout=NO_ANSWER_SECONDS * PATIENCE)
        except subprocess.TimeoutExpired:
            running.kill()
            raise AssertionError(f"{did}: no answer") from None
        return f"{did}: {said.decode().strip()[-300:]}"

    def _works(self) -> None:
        """Who was not spoken to runs on; everything that is listed can be looked at; new containers run, from each image."""
        docker = self.engine.docker
        for container in docker("ps", "-aq").split():
            docker("inspect", container)
        assert "still" in docker("ps", "--format", "{{.Names}}")
        for image in set(docker("images", "-aq").split()):
            docker("run", "--rm", "--network", "none", "--entrypoint", "/bin/sh", image, "-c", "true")
        docker("run", "--rm", "busybox", "true")
        if any((self.engine.data_root / "partial").glob("*")):  # downloads that broke off wait there for the next pull
            docker("pull", self.places["reference"])

    def _clear(self) -> None:
        """Remove everything but the base image; nothing is left then."""
        docker = self.engine.docker
        docker("rm", "-f", "-v", *docker("ps", "-aq").split())
        if volumes := docker("volume", "ls", "-q").split():
            docker("volume", "rm", *volumes)
        docker("network", "prune", "-f")
        for name, image in map(str.split, docker("images", "-a", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()):
            if name != BASE:
                docker("rmi", "-f", image if "<none>" in name else name)
        settled(self.engine, self.clean)

    def _pids(self, victims: Sequence[str]) -> list[int]:
        daemon, keeper = self.engine.pid, self.engine.keeper_pid
        workers = [pid for pid in children_of(daemon) if title(pid).startswith("orlop-worker")]
        found = {DAEMON: [daemon], KEEPER: [keeper], HOLDER: holders_of(keeper), WORKER: workers}
        return [pid for victim in victims for pid in found[victim]]


@contextmanager
def chaos() -> Iterator[Chaos]:
    """An engine with the base image, and a registry and an archive that have another image."""
    with ExitStack() as undo:
        directory = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="orlop-chaos-")))
        registry = Registry()
        undo.callback(registry.close)
        files = ({"a": os.urandom(3 << 20)}, {"b": os.urandom(5 << 20)}, {"c": b"x" * 20_000_000})
        made = make_image(directory, "made:1", files=files)
        engine = Engine("--insecure-registry", "127.0.0.0/8").start()
        undo.callback(engine.destroy)
        engine.docker("load", "-i", str(archive("busybox")))
        engine.docker("run", "--rm", "busybox", "true")
        places = {"archive": str(made.archive), "reference": registry.put(made.archive, "made:1")}
        yield Chaos(engine, settled(engine), places)


def title(pid: int) -> str:
    """What a process shows as its command, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def holders_of(keeper: int) -> list[int]:
    """The keeper's holder: the first one is its parent, one that the keeper has made anew its child."""
    return [pid for pid in (parent_of(keeper), *children_of(keeper)) if title(pid).startswith("orlop-keeper-holder")]


def parent_of(pid: int) -> int:
    """Its parent's pid. proc_pid_stat(5), field 4."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    """The pids of its children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
