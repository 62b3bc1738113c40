"""`orlop` beside the stock `docker` client at the same engine: same tables, same errors, same exit codes; and its terminal work."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.engine import BIN, Engine

pytestmark = pytest.mark.root
ORLOP = str(BIN / "orlop")


@pytest.fixture(scope="module")
def busy(engine: Engine) -> Iterator[Engine]:
    """An engine with a running container that has everything, and one that has ended."""
    engine.docker("volume", "create", "data")
    engine.docker("network", "create", "back")
    engine.docker("tag", "busybox", "other/name:1")
    engine.docker("run", "-d", "--name", "up", "-l", "a=b", "-l", "c.d=e", "-v", "data:/data", "-p", "127.0.0.1:18080:80", "-p", "9000-9001",
                  "busybox", "sleep", "1000")  # fmt: skip
    engine.docker("run", "--name", "over", "--network", "none", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    yield engine
    engine.docker("rm", "-f", "up", "over")
    engine.docker("network", "rm", "back")
    engine.docker("volume", "rm", "data")
    engine.docker("rmi", "other/name:1")


ALIKE = [
    "ps", "ps -a", "ps -aq", "ps -a --no-trunc", "ps -n 1", "ps -l", "ps -a --filter status=exited", "ps -a --filter name=up -q",
    "images", "images -q", "images --digests", "images --no-trunc", "images busybox", "images nosuch",
    "history busybox", "history -q --no-trunc busybox", "network ls", "network ls --no-trunc", "network ls -q -f driver=bridge",
    "volume ls", "volume ls -q", "inspect up over", "inspect data", "inspect -s over", "image inspect busybox", "network inspect bridge back",
    "volume inspect data", "container inspect over", "inspect nosuch", "inspect --type image up", "port up", "port up 80", "port up 81", "top up",
    "logs over", "logs -t --tail 1 over", "logs nosuch", "exec up echo hi", "exec -e A=1 -w /tmp up sh -c pwd;echo $A", "exec up sh -c exit 5",
    "exec up nosuch", "exec over true", "exec nosuch true", "start nosuch", "stop nosuch", "kill over", "rm up", "rm nosuch",
    "rmi nosuch", "wait over", "wait nosuch", "rename nosuch x", "rename up over", "pause over", "tag nosuch x", "tag busybox UP",
    "volume rm data", "volume rm nosuch", "network rm nosuch", "network connect nosuch up", "network disconnect none up",
    "cp up:/etc/passwd -", "cp up:/nosuch .", "cp nosuch:/x .", "cp a b", "diff over", "export nosuch", "commit nosuch", "update -m 1m up",
    "attach over", "attach nosuch", "run nosuch:1 true", "run --rm busybox sh -c exit 7", "run --rm busybox nosuch", "run --rm busybox /etc",
    "run --name up busybox true", "run --rm --user nosuch busybox true", "run --rm -w rel busybox true", "run --rm --memory 1m busybox true",
    "run --rm --network nosuch busybox true", "create --name up busybox", "pull UPPER", "save nosuch", "load -i /nosuch",
    "system df", "events --since 1m --until 0s --filter event=nosuch", "image prune -f", "search",
]  # fmt: skip
FORMATS = [
    ["ps", "-a", "--format", '{{.Names}}: {{.Status}} {{.Label "c.d"}}'],
    ["ps", "-a", "--format", "table {{.ID}}\\t{{.Names}}\\t{{.Ports}}"],
    ["images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"],
    ["inspect", "-f", "{{.State.Status}} {{.Config.Env}} {{json .Config.Cmd}} {{.HostConfig.Memory}}", "up", "over"],
    ["inspect", "-f", "{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{(index $c 0).HostPort}} {{end}}", "up"],
    ["inspect", "-f", "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{println}}{{end}}", "up"],
    ["inspect", "-f", "{{if .State.Running}}yes{{else}}no{{end}}{{.State.ExitCode}}", "up", "over"],
    ["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"],
    ["volume", "ls", "--format", "{{.Name}} {{.Mountpoint}}"],
    ["info", "--format", "{{.Driver}} {{.ServerVersion}} {{.NCPU}}"],
    ["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"],
    [
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "container=over",
        "--format",
        "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}",
    ],
]
# What a later version of Docker's client words differently than an earlier one is compared by its exit code alone.
CODES_ONLY = (
    "attach over",
    "tag busybox UP",
    "pull UPPER",
    "search",
    "cp a b",
    "port up 81",
    "load -i /nosuch",
    "update -m 1m up",
)


@pytest.fixture(scope="module")
def client_is_new(engine: Engine) -> bool:
    """Whether `docker` words things as we do: as version 28 (Debian 12 has 20.10, of which exit codes and templates are compared)."""
    return int(engine.docker("--version").split("version ")[1].split(".")[0]) >= 28


def words_of(line: str) -> list[str]:
    """The words of a line; what follows `-c` is one word."""
    before, mark, script = line.partition(" -c ")
    return [*before.split(), "-c", script] if mark else before.split()


def compare(engine: Engine, words: list[str], *, codes_only: bool = False) -> None:
    for _ in range(5):  # ages are shown in seconds: the clock may have moved on between the two
        theirs, ours = engine.run("docker", *words), engine.run(ORLOP, *words)
        if ours.stdout == theirs.stdout:
            break
    assert ours.returncode == theirs.returncode, (theirs.stderr, ours.stderr)
    if codes_only:
        return
    assert ours.stdout == theirs.stdout
    wanted = [
        line
        for line in theirs.stderr.decode().replace("docker: ", "orlop: ").splitlines()
        if not line.startswith(("See ", "Run "))
    ]
    shown = [line for line in ours.stderr.decode().splitlines() if not line.startswith("Run ")]
    assert shown[:1] == wanted[:1]


@pytest.mark.parametrize("line", ALIKE)
def test_both_clients_say_the_same(busy: Engine, client_is_new: bool, line: str) -> None:
    if not client_is_new and line == "run --rm busybox /etc":
        pytest.skip("version 20.10 of docker ends with 125 there, later ones with 126")
    compare(busy, words_of(line), codes_only=line in CODES_ONLY or not client_is_new)


@pytest.mark.parametrize("words", FORMATS, ids=lambda words: " ".join(words)[:50])
def test_both_clients_fill_templates_alike(busy: Engine, client_is_new: bool, words: list[str]) -> None:
    compare(busy, words, codes_only=not client_is_new and ".Ports" in words[-1])


def test_input_ends_and_output_still_comes(engine: Engine) -> None:
    assert (
        engine.orlop("run", "--rm", "-i", "busybox", "sh", "-c", "wc -c; sleep 0.2; echo late", stdin=b"x" * 300_000)
        == "300000\nlate\n"
    )


def test_a_large_stream_goes_both_ways_at_once(engine: Engine) -> None:
    data = os.urandom(3_000_000)
    done = engine.run(ORLOP, "run", "--rm", "-i", "busybox", "cat", stdin=data)
    assert done.stdout == data


def test_stdout_and_stderr_are_kept_apart(engine: Engine) -> None:
    done = engine.run(ORLOP, "run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_the_id_goes_to_a_file_that_must_not_be_there(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    printed = engine.orlop("create", "--cidfile", str(file), "busybox")
    assert file.read_text() == printed.strip()
    again = engine.orlop("create", "--cidfile", str(file), "busybox", code=125, both=True)
    assert "container ID file found" in again
    engine.orlop("rm", printed.strip())


def test_signals_go_to_the_container(engine: Engine) -> None:
    script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [ORLOP, "run", "--rm", "busybox", "sh", "-c", script], stdout=subprocess.PIPE, env=engine.environment
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == b"got it\n"
        assert child.wait(20) == 9


def test_a_reader_that_leaves_ends_the_writer_quietly(engine: Engine) -> None:
    line = f"{ORLOP} run --rm busybox sh -c 'while echo y; do :; done' | head -1; echo $?"
    with subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=engine.environment) as child:
        out, err = child.communicate(timeout=30)
    assert (out, err) == (b"y\n0\n", b"")
    for name in engine.docker("ps", "-q").split():
        engine.docker("rm", "-f", name)


def test_many_are_removed_at_once(engine: Engine) -> None:
    names = [engine.orlop("create", "busybox").strip() for _ in range(60)]
    out = engine.orlop("rm", *names[:30], "nosuch", *names[30:], code=1, both=True)
    assert out == "".join(f"{name}\n" for name in names) + "Error response from daemon: No such container: nosuch\n"


def test_following_logs_ends_with_the_container(engine: Engine) -> None:
    engine.orlop("run", "-d", "--name", "talks", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
    assert engine.orlop("logs", "-f", "talks") == "1\n2\n3\n"
    engine.orlop("rm", "talks")


def test_copies_keep_what_they_carry(engine: Engine, tmp_path: Path) -> None:
    engine.orlop("create", "--name", "box", "busybox")
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/file").write_bytes(os.urandom(500_000))
    (tree / "sub/file").chmod(0o640)
    (tree / "link").symlink_to("sub/file")
    engine.orlop("cp", str(tree), "box:/copied")
    engine.orlop("cp", "box:/copied", str(tmp_path / "back"))
    assert (tmp_path / "back/sub/file").read_bytes() == (tree / "sub/file").read_bytes()
    assert (tmp_path / "back/sub/file").stat().st_mode == (tree / "sub/file").stat().st_mode
    assert os.readlink(tmp_path / "back/link") == "sub/file"
    engine.orlop("rm", "box")


class Terminal:
    """A command on a pseudo terminal of 33 rows and 101 columns."""

    def __init__(self, engine: Engine, *words: str) -> None:
        self.shown = ""
        self.pid, self.descriptor = pty.fork()
        if not self.pid:
            os.execve(ORLOP, [ORLOP, *words], engine.environment)
        self.resize(33, 101)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def _read(self) -> bool:
        """Take what is shown; False when the other side has gone."""
        try:
            self.shown += os.read(self.descriptor, 65536).decode(errors="replace")
        except OSError:
            return False
        return True

    def until(self, text: str, seconds: float = 15) -> None:
        """Read until the text is shown."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.shown!r}"
            if select.select([self.descriptor], [], [], 0.1)[0]:
                assert self._read() or text in self.shown, f"{text!r} is not in {self.shown!r}"

    def ended(self, seconds: float = 15) -> int:
        """The exit code."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if select.select([self.descriptor], [], [], 0.05)[0]:
                self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.descriptor)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"it did not end: {self.shown!r}")


def test_a_terminal_and_its_size(engine: Engine) -> None:
    terminal = Terminal(engine, "run", "--rm", "-it", "busybox", "sh", "-c", "stty size; read x; stty size; exit 4")
    terminal.until("33 101")
    terminal.resize(20, 70)
    time.sleep(0.3)
    terminal.type("\n")
    terminal.until("20 70")
    assert terminal.ended() == 4


def test_keys_detach_and_attach_comes_back(engine: Engine) -> None:
    terminal = Terminal(
        engine, "run", "--name", "shell", "-it", "busybox", "sh", "-c", "echo ready; read x; echo read-$x; exit 6"
    )
    terminal.until("ready")
    terminal.type("he\x10\x11")
    assert terminal.ended() == 0
    assert engine.docker("inspect", "-f", "{{.State.Running}}", "shell") == "true\n"
    terminal = Terminal(engine, "attach", "shell")
    time.sleep(0.5)
    terminal.type("re\n")
    terminal.until("read-here")
    assert terminal.ended() == 6
    engine.docker("rm", "shell")


def test_interrupt_is_a_key_for_the_container(engine: Engine) -> None:
    terminal = Terminal(
        engine,
        "run",
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "trap 'echo INT; exit 5' INT; echo ready; while :; do sleep 0.05; done",
    )
    terminal.until("ready")
    terminal.type("\x03")
    terminal.until("INT")
    assert terminal.ended() == 5


def test_a_shell_in_a_running_container(engine: Engine) -> None:
    engine.orlop("run", "-d", "--name", "up2", "busybox", "sleep", "1000")
    terminal = Terminal(engine, "exec", "-it", "up2", "sh")
    terminal.until("/ #")
    terminal.type("stty size; exit 9\n")
    terminal.until("33 101")
    assert terminal.ended() == 9
    engine.orlop("rm", "-f", "up2")


def test_a_table_fits_the_terminal_and_a_bar_moves(engine: Engine, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar"
    engine.orlop("save", "-o", str(archive), "busybox")
    terminal = Terminal(engine, "images")
    terminal.resize(20, 50)
    assert terminal.ended() == 0
    assert max(len(line) for line in terminal.shown.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()) <= 101
    terminal = Terminal(engine, "load", "-i", str(archive))
    terminal.until("Loaded image: busybox:latest")
    assert terminal.ended() == 0


def test_no_tty_is_refused_before_anything_is_made(engine: Engine) -> None:
    before = engine.docker("ps", "-aq")
    assert "the input device is not a TTY" in engine.orlop("run", "-it", "busybox", "sh", code=1, both=True, stdin=b"")
    assert engine.docker("ps", "-aq") == before
