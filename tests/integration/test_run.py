"""`docker run` and its everyday options, through the stock CLI."""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.engine import Engine, until

pytestmark = pytest.mark.root


def run(engine: Engine, *words: str, code: int | None = 0, both: bool = False) -> str:
    return engine.docker("run", "--rm", "--network", "none", *words, code=code, both=both).rstrip("\n")


def test_a_command_prints_and_its_exit_code_comes_back(engine: Engine) -> None:
    assert run(engine, "busybox", "echo", "hello") == "hello"
    assert run(engine, "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", code=7, both=True) == "out\nerr"
    assert engine.docker("ps", "-aq") == ""


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nosuchcommand",), 127, "executable file not found in $PATH"),
        (("/etc",), 126, ""),
        (("/etc/passwd",), 126, "permission denied"),
        (("/no/such/file",), 127, "no such file or directory"),
    ],
)
def test_a_command_that_cannot_be_run(engine: Engine, words: tuple[str, ...], code: int, message: str) -> None:
    assert message in engine.orlop("run", "--rm", "--network", "none", "busybox", *words, code=code, both=True)
    assert message in run(engine, "busybox", *words, code=None, both=True)  # older clients end with other codes
    assert engine.docker("ps", "-aq") == ""


def test_environment_directory_user_and_hostname(engine: Engine) -> None:
    script = "echo $WORD; pwd; id -u; id -g; hostname; echo $HOME"
    out = run(engine, "-e", "WORD=deck", "-w", "/new/place", "-u", "7:8", "-h", "box", "busybox", "sh", "-c", script)
    assert out.split("\n")[:5] == ["deck", "/new/place", "7", "8", "box"]


def test_stdin_is_passed_and_ends(engine: Engine) -> None:
    assert engine.docker("run", "--rm", "-i", "busybox", "sort", stdin=b"b\na\n") == "a\nb\n"
    big = os.urandom(3_000_000).hex().encode()
    assert engine.docker("run", "--rm", "-i", "busybox", "wc", "-c", stdin=big).strip() == "6000000"


def test_a_large_output_arrives_whole(engine: Engine) -> None:
    out = run(engine, "busybox", "sh", "-c", "seq 1 200000; seq 1 5 >&2")
    assert out.split("\n") == [str(number) for number in range(1, 200001)]


def test_the_file_system_is_the_containers_own(engine: Engine) -> None:
    assert "only here" in run(engine, "busybox", "sh", "-c", "echo only here > /etc/new; cat /etc/new")
    assert run(engine, "busybox", "ls", "/etc/new", code=1) == ""


def test_read_only(engine: Engine) -> None:
    assert "Read-only file system" in run(engine, "--read-only", "busybox", "touch", "/x", code=1, both=True)
    assert run(engine, "--read-only", "--tmpfs", "/t", "busybox", "sh", "-c", "echo ok > /t/x; cat /t/x") == "ok"


def test_capabilities(engine: Engine) -> None:
    caps = "grep CapEff /proc/self/status"
    assert run(engine, "busybox", "sh", "-c", caps).split()[1] == "00000000a80425fb"
    assert run(engine, "--cap-drop", "all", "busybox", "sh", "-c", caps).split()[1] == "0000000000000000"
    assert run(engine, "--cap-drop", "CHOWN", "busybox", "sh", "-c", caps).split()[1] == "00000000a80425fa"
    assert run(engine, "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", caps).split()[1] == "00000000a80435fb"
    assert "nvalid" in run(engine, "--cap-add", "NOSUCH", "busybox", "true", code=125, both=True)


def test_privileged_goes_as_far_as_the_host(engine: Engine) -> None:
    bounding = next(line for line in open("/proc/self/status") if line.startswith("CapBnd")).split()[1]
    assert run(engine, "--privileged", "busybox", "sh", "-c", "grep CapEff /proc/self/status").split()[-1] == bounding
    assert run(engine, "--privileged", "busybox", "sh", "-c", "mount -t tmpfs t /tmp && echo mounted") == "mounted"


def test_the_wall(engine: Engine) -> None:
    """Own namespaces, seccomp on, masked and read-only paths."""
    assert run(engine, "busybox", "ps", "-o", "pid,args").split("\n")[1].split()[0] == "1"
    assert run(engine, "busybox", "sh", "-c", "grep Seccomp: /proc/self/status").split()[1] == "2"
    assert run(engine, "busybox", "sh", "-c", "cat /proc/keys /proc/timer_list | wc -c") == "0"
    assert "Read-only" in run(engine, "busybox", "sh", "-c", "echo 1 > /proc/sys/kernel/panic", code=1, both=True)
    assert "are you root" in run(engine, "busybox", "mount", "-t", "tmpfs", "t", "/tmp", code=1, both=True)
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup")}
    inside = run(
        engine, "busybox", "sh", "-c", "cd /proc/self/ns; for n in mnt pid net ipc uts cgroup; do readlink $n; done"
    ).split()
    assert not set(own.values()) & set(inside)


def test_memory_limit_and_oom_kill(engine: Engine) -> None:
    name = "oom"
    engine.docker(
        "run",
        "--name",
        name,
        "-m",
        "64m",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "x=a; while :; do x=$x$x; done",
        code=137,
    )
    state = engine.inspect(name)["State"]
    assert (state["OOMKilled"], state["ExitCode"]) == (True, 137)
    engine.docker("rm", name)
    assert "Minimum memory limit allowed is 6MB" in run(engine, "-m", "1m", "busybox", "true", code=125, both=True)


def test_cpu_and_pids_limits_reach_the_cgroup(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "limits", "--cpus", ".5", "--pids-limit", "20", "busybox", "sleep", "100")
    host = engine.inspect("limits")["HostConfig"]
    assert (host["NanoCpus"], host["PidsLimit"]) == (500_000_000, 20)
    fork = engine.docker("exec", "limits", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", code=None, both=True)
    assert "can't fork" in fork or "Resource temporarily unavailable" in fork
    engine.docker("rm", "-f", "limits")


def test_init_reaps_and_forwards(engine: Engine) -> None:
    engine.docker("run", "-d", "--init", "--name", "init", "busybox", "sleep", "1000")
    assert "docker-init" in engine.docker("exec", "init", "cat", "/proc/1/cmdline")
    engine.docker("stop", "init")
    assert engine.inspect("init")["State"]["ExitCode"] == 143
    engine.docker("rm", "init")


def test_restart_on_failure_counts(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "again", "--restart", "on-failure:3", "busybox", "sh", "-c", "echo go; exit 3")
    until(lambda: engine.inspect("again")["State"]["Status"] == "exited" and engine.inspect("again")["RestartCount"] == 3, 15)
    assert engine.docker("logs", "again") == "go\n" * 4
    assert engine.inspect("again")["State"]["ExitCode"] == 3
    engine.docker("rm", "again")


def test_restart_always_until_stopped(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "always", "--restart", "always", "busybox", "sh", "-c", "sleep 0.2")
    until(lambda: engine.inspect("always")["RestartCount"] >= 2, 15)
    engine.docker("stop", "-t", "1", "always")
    assert engine.inspect("always")["State"]["Running"] is False
    engine.docker("rm", "always")


def test_a_health_check_turns_healthy_and_unhealthy(engine: Engine) -> None:
    options = ("--health-cmd", "test -e /tmp/ok", "--health-interval", "200ms", "--health-retries", "2")
    engine.docker("run", "-d", "--name", "health", *options, "busybox", "sh", "-c", "touch /tmp/ok; sleep 1000")
    until(lambda: engine.inspect("health")["State"]["Health"]["Status"] == "healthy", 15)
    engine.docker("exec", "health", "rm", "/tmp/ok")
    until(lambda: engine.inspect("health")["State"]["Health"]["Status"] == "unhealthy", 15)
    assert "unhealthy" in engine.docker("ps", "--filter", "name=health")
    engine.docker("rm", "-f", "health")


def test_stop_kill_pause_and_wait(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "life", "busybox", "sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done")
    engine.docker("pause", "life")
    assert engine.inspect("life")["State"]["Paused"] is True
    assert "is paused" in engine.docker("exec", "life", "true", code=None, both=True)
    engine.docker("unpause", "life")
    engine.docker("stop", "life")
    assert engine.docker("wait", "life").strip() == "5"
    engine.docker("start", "life")
    engine.docker("kill", "life")
    assert engine.docker("wait", "life").strip() == "137"
    assert "is not running" in engine.docker("kill", "life", code=1, both=True)
    engine.docker("rm", "life")


def test_a_tty(engine: Engine) -> None:
    script = """
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("docker", ["docker", "run", "--rm", "-it", "busybox", "sh"])
os.write(fd, b"stty size; tty; echo $((6*7)); exit 4\\n")
out = b""
try:
    while block := os.read(fd, 4096):
        out += block
except OSError:
    pass
sys.stdout.buffer.write(out)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = engine.run("/usr/bin/python3", "-c", script)
    assert done.returncode == 4, done.stderr
    assert b"42" in done.stdout
    assert b"/dev/pts/0" in done.stdout


def test_exec(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "exec", "-e", "A=1", "busybox", "sleep", "1000")
    assert (
        engine.docker("exec", "-e", "B=2", "-w", "/tmp", "-u", "9", "exec", "sh", "-c", "echo $A$B; pwd; id -u")
        == "12\n/tmp\n9\n"
    )
    assert engine.docker("exec", "-i", "exec", "cat", stdin=b"through") == "through"
    assert engine.docker("exec", "exec", "sh", "-c", "exit 6", code=6) == ""
    assert "executable file not found" in engine.docker("exec", "exec", "nosuch", code=127, both=True)
    engine.docker("exec", "-d", "exec", "touch", "/tmp/made")
    until(lambda: engine.docker("exec", "exec", "ls", "/tmp/made", code=None))
    assert "sleep 1000" in engine.docker("top", "exec")
    engine.docker("rm", "-f", "exec")


def test_names_conflict_and_are_freed(engine: Engine) -> None:
    engine.docker("create", "--name", "one", "busybox")
    assert 'The container name "/one" is already in use' in engine.docker(
        "create", "--name", "one", "busybox", code=None, both=True
    )
    engine.docker("rename", "one", "two")
    engine.docker("create", "--name", "one", "busybox")
    engine.docker("rm", "one", "two")


def test_labels_filters_and_format(engine: Engine) -> None:
    first = engine.docker("run", "-d", "--label", "deck=orlop", "--name", "f1", "busybox", "sleep", "100").strip()
    engine.docker("create", "--label", "deck=main", "--name", "f2", "busybox")
    assert engine.docker("ps", "-aq", "--no-trunc", "--filter", "label=deck=orlop").strip() == first
    assert engine.docker("ps", "-a", "--filter", "label=deck", "--format", "{{.Names}}").split() == ["f2", "f1"]
    assert engine.docker("ps", "-a", "--filter", "status=created", "--format", "{{.Names}}").strip() == "f2"
    assert json.loads(engine.docker("ps", "--format", "{{json .}}").splitlines()[0])["Names"] == "f1"
    engine.docker("rm", "-f", "f1", "f2")


def test_update_changes_limits_of_what_runs(engine: Engine) -> None:
    engine.docker("run", "-d", "--name", "up", "-m", "64m", "busybox", "sleep", "100")
    engine.docker("update", "--memory", "128m", "--memory-swap", "256m", "--cpus", "1.5", "--restart", "always", "up")
    host = engine.inspect("up")["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["RestartPolicy"]["Name"]) == (128 << 20, 1_500_000_000, "always")
    engine.docker("rm", "-f", "up")


def test_stats_and_events(engine: Engine) -> None:
    began = str(time.time())
    engine.docker("run", "-d", "--name", "seen", "busybox", "sleep", "100")
    row = json.loads(engine.docker("stats", "--no-stream", "--format", "{{json .}}", "seen"))
    assert row["Name"] == "seen"
    assert row["PIDs"] == "1"
    engine.docker("rm", "-f", "seen")
    until_now = f"{time.time() + 1:.3f}"
    out = engine.docker(
        "events", "--since", began, "--until", until_now, "--filter", "type=container", "--format", "{{.Action}}"
    )
    assert out.split() == ["create", "start", "kill", "die", "destroy"]


def test_a_run_is_interrupted_cleanly(engine: Engine) -> None:
    client = subprocess.Popen(["docker", "run", "--rm", "--name", "int", "busybox", "sleep", "1000"], env=engine.environment)
    until(lambda: engine.docker("ps", "-q", "--filter", "name=int"))
    engine.docker("kill", "int")
    assert client.wait(10) == 137
    until(lambda: not engine.docker("ps", "-aq", "--filter", "name=int"))


def test_a_name_is_free_again_at_once(engine: Engine) -> None:
    """Killed or not, once `rm -f` has returned nothing of a container is in the way; also when four of them do this at once."""

    def live_and_die(name: str) -> None:
        for number in range(10):
            engine.orlop("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000")
            if number % 2:
                engine.orlop("kill", name)
            assert engine.orlop("rm", "-f", name).strip() == name

    with ThreadPoolExecutor(4) as many:
        list(many.map(live_and_die, ("ada", "bob", "cyd", "dot")))
    assert engine.docker("ps", "-aq") == ""
